"""Everything behind TLS whose CA only the lab has: the node needs that CA for its polls and for its signals."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from heatlab import certificates, templates
from heatlab.guest import Guest
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


REFUSALS = {
    "POLL_SERVER_CFN": "CERTIFICATE_VERIFY_FAILED",
    "POLL_SERVER_HEAT": "CERTIFICATE_VERIFY_FAILED",
    "POLL_TEMP_URL": "CERTIFICATE_VERIFY_FAILED",
    "ZAQAR_MESSAGE": "CERTIFICATE_VERIFY_FAILED",
}
"""What os-collect-config's log says where it polls by a transport and does not trust who answers."""


@pytest.fixture(scope="module")
def wrong_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a CA that has signed nothing here, of the same name as the lab's."""
    folder = tmp_path_factory.mktemp("wrong")
    certificates.make(folder, "127.0.0.1")
    return folder / "ca.crt"


@pytest.mark.parametrize("transport", REFUSALS)
def test_polls_with_a_wrong_ca_are_refused(tls_site: Site, nodes: Nodes, wrong_ca: Path, transport: str) -> None:
    """The node learns of no deployment; the log of os-collect-config has the reason."""
    guest = tls_site.guests["one"] = Guest(nodes("one"), ca=wrong_ca)
    part = templates.deployment("web", heat.pod("web"), "NO_SIGNAL")
    stack = tls_site.create(templates.template(templates.server(transport), part))
    guest.boot(stack)
    log = guest.node.collector.log
    guest.node.wait_for(lambda: REFUSALS[transport] in log.read_text(), "a poll that is refused", SECONDS)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    before = log.read_text().count(REFUSALS[transport])
    guest.node.wait_for(lambda: log.read_text().count(REFUSALS[transport]) > before, "another one", SECONDS)
    assert guest.deployments() == []
    assert guest.node.pods() == []


def test_signals_with_a_wrong_ca_say_what_to_set(tls_site: Site, wrong_ca: Path) -> None:
    """All wait, and come when the right one is there."""
    guest, ca = tls_site.guest(), tls_site.lab.plan.ca
    guest.node.configure(signals={"ca": wrong_ca})
    names = {signal.partition("_SIGNAL")[0].lower().replace("_", "-"): signal for _, signal in PAIRS}
    parts = [templates.deployment(name, heat.pod(name), signal) for name, signal in names.items()]
    stack = tls_site.create(templates.template(templates.server("POLL_SERVER_HEAT"), *parts))
    guest.boot(stack)
    wait_for_refusals(guest, set(names), f"set [signals] ca, which is {wrong_ca}, to the file of the CA that signed it")
    assert {stack.resources()[name] for name in names} == {"CREATE_IN_PROGRESS"}

    guest.node.configure()
    start_again(guest)
    wait_for_refusals(guest, set(names), "set [signals] ca, which is not set, to the file of the CA that signed it")
    assert {stack.resources()[name] for name in names} == {"CREATE_IN_PROGRESS"}

    guest.node.configure(signals={"ca": ca})
    start_again(guest)
    stack.wait_for("CREATE_COMPLETE", SECONDS)


def wait_for_refusals(guest: Guest, names: set[str], mend: str) -> None:
    """Wait until no signal has been taken, each for its certificate, and `status` and the log say what to set."""

    def look() -> bool:
        return {
            row["resource"]
            for row in guest.deployments()
            if row["signal"] == "pending" and mend in row["signal_answer"]
        } == names

    guest.node.wait_for(look, f"{mend} for each signal", SECONDS)
    assert all("its certificate cannot be verified: " in row["signal_answer"] for row in guest.deployments())
    assert guest.node.agent("status").stdout.count(mend) == len(names)
    assert mend in (guest.node.state_dir / "loop.log").read_text()


def start_again(guest: Guest) -> None:
    """Start the agent's loop with the settings as they are now; os-collect-config would bring it its own CAs."""
    guest.node.kill_agent()
    assert guest.node.agent("resume").returncode == 0


def test_a_signal_waits_until_the_ca_is_there(tls_site: Site) -> None:
    guest = tls_site.guest()
    ca = guest.node.folder / "late-ca.crt"
    guest.node.configure(signals={"ca": ca})
    part = templates.deployment("web", heat.pod("web"), "CFN_SIGNAL")
    stack = tls_site.create(templates.template(templates.server("POLL_SERVER_CFN"), part))
    guest.boot(stack)
    answers: list[str] = guest.node.wait_for(
        lambda: [row["signal_answer"] for row in guest.deployments() if row["attempts"]], "the first attempt"
    )
    assert "its certificate cannot be verified" in answers[0]
    assert stack.show()["stack_status"] == "CREATE_IN_PROGRESS"
    assert tls_site.lab.plan.ca
    shutil.copy(tls_site.lab.plan.ca, ca)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
