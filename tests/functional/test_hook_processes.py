"""Hooks of other groups as processes: what they take and leave, and what becomes of those that hang or crash."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import deployment

from heat_config_kubelet import hooks
from heat_config_kubelet.values import Deployment, Result

REPOSITORY = Path(__file__).resolve().parents[2]


class Node:
    """The directories of a node."""

    def __init__(self, root: Path) -> None:
        self.hooks, self.deployed, self.state = root / "hooks", root / "deployed", root / "state"
        self.hooks.mkdir()

    def hook(self, text: str, name: str = "script") -> None:
        (self.hooks / name).write_text("#!/bin/sh\n" + text)
        (self.hooks / name).chmod(0o700)

    def start(self, wanted: Deployment, **options: Any) -> hooks.HookRun:
        hook = hooks.find_hook(wanted.group, [self.hooks])
        assert hook
        return hooks.HookRun.start(wanted, hook, deployed_dir=self.deployed, state_dir=self.state, **options)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def ended(run: hooks.HookRun, seconds: float = 10.0) -> Result:
    """Wait as the loop does: for the descriptor."""
    assert run.fileno() >= 0
    deadline = time.monotonic() + seconds
    while (found := run.poll()) is None:
        readable, _, _ = select.select([run.fileno()], [], [], deadline - time.monotonic())
        assert readable, "the hook has not ended"
    return found


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


WANTED = deployment(group="script", config="echo hello", outputs=("result",), error_outputs=("why",))


def test_a_hook_takes_the_deployment_and_gives_json(node: Node) -> None:
    node.hook('cp /dev/stdin "$0.stdin"; echo \'{"deploy_stdout": "hello", "deploy_status_code": 0, "result": "r"}\'')
    assert ended(node.start(WANTED)) == Result(0, "hello", "", {"result": "r"})
    assert json.loads((node.hooks / "script.stdin").read_bytes()) == json.loads(hooks.stdin_of(WANTED))


def test_a_hook_that_fails_gives_its_texts_and_code(node: Node) -> None:
    node.hook("echo out; echo err >&2; exit 7")
    assert ended(node.start(WANTED)) == Result(7, "out\n", "err\n")


def test_a_hook_that_is_killed_has_failed(node: Node) -> None:
    node.hook("kill -9 $$")
    assert ended(node.start(WANTED)).status_code == -9


def test_marks_are_for_root_alone_and_whole(node: Node) -> None:
    """Caches and logs of today's agents are readable by all, and a rewritten file keeps the end of a longer old one."""
    node.hook('echo \'{"deploy_stdout": "o"}\'')
    node.deployed.mkdir(0o700)
    hooks.notify_file(node.deployed, WANTED.id).write_text("x" * 10000)
    old_mask = os.umask(0)
    try:
        ended(node.start(WANTED))
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(node.deployed.stat().st_mode) == stat.S_IMODE(node.state.stat().st_mode) == 0o700
    names = sorted(path.name for path in node.deployed.iterdir())
    assert names == [f"{WANTED.id}.json", f"{WANTED.id}.notify.json"]
    for name in names:
        assert stat.S_IMODE((node.deployed / name).stat().st_mode) == 0o600
    assert json.loads((node.deployed / names[1]).read_text())["deploy_stdout"] == "o"
    assert list(node.state.iterdir()) == []
    assert hooks.finished_result(node.deployed, WANTED) == Result(0, "o", "")


def test_much_output_does_not_stop_a_hook(node: Node) -> None:
    """Above about 1 MB today's signal fails; a full pipe would stop the hook for ever."""
    node.hook("head -c 20000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2; echo END")
    found = ended(node.start(WANTED), 30)
    assert found.stdout.endswith("xEND\n") and len(found.stdout) == 16 * 1024 * 1024


def test_a_daemon_that_a_hook_leaves_behind_does_not_hold_it_up(node: Node) -> None:
    node.hook('sleep 30 & echo $! > "$0.pid"; echo done')
    assert ended(node.start(WANTED), 5).stdout == "done\n"
    pid = int((node.hooks / "script.pid").read_text())
    assert running(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_hook_that_hangs_blocks_nothing_and_can_be_cancelled(node: Node) -> None:
    """Today a hook that hangs stops all polling."""
    node.hook('echo begun; sleep 60 & echo $! > "$0.pid"; wait')
    began = time.monotonic()
    run = node.start(WANTED)
    assert within(5, (node.hooks / "script.pid").exists)
    assert run.poll() is None
    run.cancel("superseded by another")
    found = ended(run)
    assert time.monotonic() - began < 10
    assert (
        found.status_code == 1 and found.outputs["why"] == "the hook of group script was stopped: superseded by another"
    )
    assert within(5, lambda: not running(int((node.hooks / "script.pid").read_text())))


def test_a_hook_that_ignores_being_cancelled_is_killed_with_its_children(node: Node) -> None:
    node.hook('trap "" TERM; sleep 60 & echo $! > "$0.pid"; while :; do sleep 60; done')
    now = [0.0]
    run = node.start(WANTED, clock=lambda: now[0])
    assert within(5, lambda: (node.hooks / "script.pid").exists() and bool((node.hooks / "script.pid").read_text()))
    run.cancel("too long")
    time.sleep(0.1)
    assert run.poll() is None
    now[0] = hooks.TERMINATE_SECONDS
    assert "too long" in ended(run).stderr
    assert within(5, lambda: not running(int((node.hooks / "script.pid").read_text())))


def test_what_is_no_program_says_so(node: Node) -> None:
    (node.hooks / "script").write_text("#!/no/such/interpreter\n")
    (node.hooks / "script").chmod(0o700)
    with pytest.raises(hooks.HookError, match="hooks/script"):
        node.start(WANTED)


def test_a_result_comes_once_and_again(node: Node) -> None:
    node.hook("exit 3")
    run = node.start(WANTED)
    assert ended(run) is run.poll()
    run.cancel("late")
    assert run.poll() == Result(3, "", "")
    assert run.fileno() == -1


AGENT = """
import os, sys
sys.path[:0] = [{repository!r}, {tests!r}]
from pathlib import Path
from samples import deployment
from heat_config_kubelet import hooks
run = hooks.HookRun.start(
    deployment(group="script"), Path({hook!r}), deployed_dir=Path({deployed!r}), state_dir=Path({state!r})
)
print(run.record, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_hook_cut_short_by_a_crash_is_killed_and_has_failed(node: Node) -> None:
    """Marked but never run to its end: today such a deployment is never finished and never fails."""
    node.hook('sleep 60 & echo $! > "$0.pid"; wait')
    code = AGENT.format(
        repository=str(REPOSITORY),
        tests=str(REPOSITORY / "tests"),
        hook=str(node.hooks / "script"),
        deployed=str(node.deployed),
        state=str(node.state),
    )
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    record = died.stdout.decode()
    pid = json.loads(record)["pid"]
    assert within(5, lambda: (node.hooks / "script.pid").exists() and bool((node.hooks / "script.pid").read_text()))
    wanted = deployment(group="script", error_outputs=("why",))
    assert hooks.already_deployed(node.deployed, wanted.id) and hooks.finished_result(node.deployed, wanted) is None
    assert running(pid)
    found = hooks.cut_short(wanted, record)
    assert found.status_code == 1 and "cut short" in found.outputs["why"] and "was killed" in found.stderr
    assert within(5, lambda: not running(pid) and not running(int((node.hooks / "script.pid").read_text())))


@pytest.mark.parametrize("changed", ["started", "boot"])
def test_another_process_with_the_same_number_is_left_alone(changed: str, node: Node) -> None:
    node.hook("sleep 60")
    run = node.start(WANTED)
    record = {**json.loads(run.record), changed: "12"}
    assert not hooks.kill_stale(json.dumps(record))
    assert run.poll() is None
    assert hooks.kill_stale(run.record)
    assert ended(run).status_code == -9
