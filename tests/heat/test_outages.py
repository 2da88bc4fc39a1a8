"""Services that are away, or die with a signal in their hands, while a deployment is to be signalled."""

from __future__ import annotations

import pytest

from .conftest import Site
from .gated import SECONDS, container, is_complete_with_its_outputs, is_delivered, signal_is, waiting


@pytest.mark.parametrize(
    ("transport", "signal", "service", "answer"),
    [
        ("POLL_SERVER_CFN", "CFN_SIGNAL", "heat-api-cfn", "refused"),
        ("POLL_SERVER_HEAT", "HEAT_SIGNAL", "heat-api", "refused"),
        ("POLL_TEMP_URL", "TEMP_URL_SIGNAL", "swift", "refused"),
        ("POLL_SERVER_HEAT", "HEAT_SIGNAL", "keystone", "refused"),
        ("ZAQAR_MESSAGE", "ZAQAR_SIGNAL", "keystone", "refused"),
        ("POLL_TEMP_URL", "CFN_SIGNAL", "keystone", ": 500 Internal Server Error"),
    ],
)
def test_a_signal_comes_when_the_service_is_back(
    site: Site, transport: str, signal: str, service: str, answer: str
) -> None:
    """Not with Zaqar away: Heat, which polls it too, then fails the deployment by itself.

    Without Keystone heat-api-cfn answers, that it has failed.
    """
    stack, guest = waiting(site, transport, signal)
    before = container(guest)
    with site.lab.without(service):
        guest.open_gate("web")
        guest.node.wait_for(lambda: signal_is(guest, "pending", answer), "an attempt that is refused", SECONDS)
    assert is_complete_with_its_outputs(stack, guest)
    assert is_delivered(guest)
    assert container(guest) == before


def test_a_signal_is_sent_again_when_its_answer_is_lost(site: Site) -> None:
    """The API hangs as Keystone does, and its connections are cut: Heat may have got the signal or not."""
    stack, guest = waiting(site, "POLL_TEMP_URL", "CFN_SIGNAL")
    before = site.lab.connections("heat-api-cfn")
    with site.lab.hanging("keystone"):
        guest.open_gate("web")
        guest.node.wait_for(lambda: site.lab.connections("heat-api-cfn") > before, "the signal to be under way")
        with site.lab.without("heat-api-cfn"):
            guest.node.wait_for(lambda: signal_is(guest, "pending", "127.0.0.1"), "the attempt to have failed")
    assert is_complete_with_its_outputs(stack, guest)
    assert is_delivered(guest)


def test_keystone_is_killed_with_the_request_for_a_token_in_its_hands(site: Site) -> None:
    stack, guest = waiting(site, "POLL_TEMP_URL", "HEAT_SIGNAL")
    with site.lab.hanging("keystone"):
        before = site.lab.connections("keystone")
        guest.open_gate("web")
        guest.node.wait_for(lambda: site.lab.connections("keystone") > before, "the request to be under way")
        with site.lab.killed("keystone"):
            guest.node.wait_for(lambda: signal_is(guest, "pending", "refused"), "an attempt that is refused")
    assert is_complete_with_its_outputs(stack, guest)
    assert is_delivered(guest)
