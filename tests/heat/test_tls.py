"""Everything behind TLS whose CA only the lab has: the node needs that CA for its polls and for its signals."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from heatlab import templates
from heatlab.lab import HeatLab
from lab import deployments as heat
from lab.progress import Progress

from .conftest import SITE, Nodes, Site, site_on

PAIRS = [
    ("POLL_SERVER_CFN", "HEAT_SIGNAL"),
    ("POLL_SERVER_HEAT", "ZAQAR_SIGNAL"),
    ("POLL_TEMP_URL", "CFN_SIGNAL"),
    ("ZAQAR_MESSAGE", "TEMP_URL_SIGNAL"),
]
SECONDS = 120


@pytest.fixture(scope="module")
def tls_lab(progress: Progress) -> Iterator[HeatLab]:
    folder = Path(tempfile.mkdtemp(prefix="heat-lab-tls-", dir="/tmp"))
    try:
        with HeatLab(folder, progress, tls=True) as lab:
            yield lab
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def tls_site(tls_lab: HeatLab, nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[Site]:
    with site_on(tls_lab, nodes) as found:
        request.node.stash[SITE] = found
        yield found


@pytest.mark.parametrize(("transport", "signal"), PAIRS)
def test_polls_and_signals_with_a_private_ca(tls_site: Site, transport: str, signal: str) -> None:
    guest = tls_site.guest()
    guest.node.configure(signals={"ca": tls_site.lab.plan.ca})
    part = templates.deployment("web", heat.pod("web"), signal)
    stack = tls_site.create(templates.template(templates.server(transport), part))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    assert list(guest.containers()) == ["web"]


def test_a_signal_waits_until_the_ca_is_there(tls_site: Site) -> None:
    guest = tls_site.guest()
    ca = guest.node.folder / "late-ca.crt"
    guest.node.configure(signals={"ca": ca})
    part = templates.deployment("web", heat.pod("web"), "CFN_SIGNAL")
    stack = tls_site.create(templates.template(templates.server("POLL_SERVER_CFN"), part))
    guest.boot(stack)
    answers: list[str] = guest.node.wait_for(
        lambda: [row["signal_answer"] for row in guest.deployments() if row["signal_answer"]], "the first attempt"
    )
    assert "its certificate cannot be verified" in answers[0]
    assert stack.show()["stack_status"] == "CREATE_IN_PROGRESS"
    assert tls_site.lab.plan.ca
    shutil.copy(tls_site.lab.plan.ca, ca)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
