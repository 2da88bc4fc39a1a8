"""The lab itself: its other shape, its command line, and that nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from heatlab import holding, plan, templates
from heatlab.guest import Guest
from heatlab.lab import HeatLab
from heatlab.stacks import Stacks
from lab import deployments as heat
from lab.progress import Progress

from .conftest import Nodes

TOOL = Path(__file__).parents[2] / "tools" / "heat-lab"


def test_several_processes_make_a_stack_and_leave_nothing(nodes: Nodes, progress: Progress, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    guest = Guest(nodes("one"))
    with HeatLab(folder, progress, shape=plan.SEVERAL, engine_workers=2, convergence=False) as lab:
        part = templates.deployment("web", heat.pod("web"), "HEAT_SIGNAL")
        stack = Stacks(lab.plan).create("web", templates.template(templates.server("ZAQAR_MESSAGE"), part))
        guest.boot(stack)
        stack.wait_for("CREATE_COMPLETE")
        assert list(guest.containers()) == ["web"]
        with lab.killed("heat-api"):
            pass
        stack.delete()
        stack.wait_for("DELETE_COMPLETE")
        assert processes_of(folder)
    guest.node.empty()
    assert not processes_of(folder)
    assert [path.name for path in folder.iterdir()] == ["log"]


def test_a_person_starts_it_and_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    told = tool("up", folder)
    assert told.returncode == 0, told.stderr
    assert f"runs: process {holding.holder(folder)}" in told.stdout
    assert tool("up", folder).returncode == 1
    script = '. <("$0" openrc --folder "$1") && openstack stack list -f json'
    seen = subprocess.run(["bash", "-ec", script, str(TOOL), str(folder)], capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stdout.strip()) == (0, "[]"), seen.stderr
    assert tool("status", folder).returncode == 0
    ended = tool("down", folder)
    assert (ended.returncode, ended.stdout) == (0, "ended; nothing is left of it\n")
    assert not processes_of(folder)
    assert not list(tmp_path.iterdir())
    assert tool("status", folder).returncode == 1


def test_nothing_is_left_running_of_a_lab_that_is_killed(nodes: Nodes, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    assert tool("up", folder, "--tls").returncode == 0
    holder = holding.holder(folder)
    assert holder and len(processes_of(folder)) > 5
    os.kill(holder, signal.SIGKILL)
    nodes("one").wait_for(lambda: not processes_of(folder), "all of its processes to end")
    assert tool("down", folder).returncode == 0
    assert not list(tmp_path.iterdir())


def tool(what: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), what, "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def processes_of(folder: Path) -> set[int]:
    """All living processes whose command line names a folder."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in path.joinpath("cmdline").read_bytes():
                found.add(int(path.name))
        except OSError:
            continue
    return found
