"""The commands on a real terminal: colours, widths, long lists, and questions."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import raw_entry, source

from heat_config_kubelet import settings as settings_module
from heat_config_kubelet.store import Store

PROGRAM = Path(sys.executable).parent / "heat-config-kubelet"
COLOUR = re.compile(r"\x1b\[\d+m")
LONG = "a-resource-with-a-name-that-is-much-longer-than-the-terminal-of-anybody-is-wide"
DEADLINE = 30.0
NONE: Mapping[str, str] = {}


class Terminal:
    """A command on a terminal of its own; as a context manager it is ended with it."""

    def __init__(
        self, *arguments: str, columns: int = 80, lines: int = 24, variables: Mapping[str, str] = NONE
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **variables}
        for name in ("NO_COLOR", "PAGER", "COLUMNS", "LINES"):
            if name not in variables:
                environment.pop(name, None)
        self._process = subprocess.Popen(
            [str(PROGRAM), *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def wait_for(self, holds: Callable[[str], object]) -> str:
        """Read until what was shown fulfils this, and give it."""
        deadline = time.monotonic() + DEADLINE
        while not holds(self.shown):
            assert self._read(deadline), f"it has ended and shown no more than {self.shown!r}"
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read until the command has ended; gives its exit status."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return self._process.wait(DEADLINE)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more was shown than {self.shown!r}"
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.shown += data.decode()
        return bool(data)


@dataclass(frozen=True)
class Node:
    """Settings of a node without a kubelet, whose store has two deployments; one of them has vanished."""

    settings: str
    store: Path


@pytest.fixture
def node(tmp_path: Path) -> Node:
    file = tmp_path / "agent.conf"
    file.write_text(
        f"[agent]\nstate_dir = {tmp_path}/state\nrun_dir = {tmp_path}/run\nsystemd = no\n"
        f"deployed_dir = {tmp_path}/deployed\nhooks_dirs = {tmp_path}/hooks\n"
        f"[kubelet]\nconfig = {tmp_path}/no-kubelet.yaml\n"
    )
    store = Store.open(settings_module.load(file).store_file)
    store.record([source(raw_entry("id-1", resource=LONG), raw_entry("id-2", resource="gone"))], "run", time.time())
    store.record([source(raw_entry("id-1", resource=LONG))], "run", time.time())
    store.close()
    return Node(str(file), store.path)


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
    ids=str,
)
def test_colour_is_for_a_terminal_that_has_it(node: Node, variables: dict[str, str], coloured: bool) -> None:
    with Terminal("status", "--settings", node.settings, columns=200, variables=variables) as terminal:
        assert terminal.end() == 2
    assert bool(COLOUR.search(terminal.shown)) is coloured
    assert LONG in terminal.shown


def test_a_table_fits_the_terminal(node: Node) -> None:
    with Terminal("status", "--settings", node.settings, columns=72) as terminal:
        assert terminal.end() == 2
    head, row = COLOUR.sub("", terminal.shown).splitlines()[:2]
    assert head.startswith("STACK") and row.startswith("shop")
    assert max(len(head.rstrip()), len(row.rstrip())) <= 72
    assert LONG[:8] in row and LONG not in row


def test_what_is_longer_than_the_screen_goes_through_the_pager() -> None:
    assert shutil.which("less"), "Debian's package less"
    with Terminal("doctor", "--list", lines=10, columns=120) as terminal:
        shown = terminal.wait_for(lambda text: text.endswith(":\x1b[K"))
        assert shown.count("\n") == 9, "the first page, and what less asks below it"
        terminal.type("q")
        assert terminal.end() == 0


def test_another_pager_is_the_terminals_own_affair(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\nsed 's/^/paged: /'\n")
    pager.chmod(0o755)
    with Terminal("doctor", "--list", lines=10, variables={"PAGER": str(pager)}) as terminal:
        assert terminal.end() == 0
    assert terminal.shown.count("paged: ") == 29
    for lines, none in ((10, ""), (10, "/no/such/pager"), (60, str(pager))):
        with Terminal("doctor", "--list", lines=lines, variables={"PAGER": none}) as terminal:
            assert terminal.end() == 0
        assert terminal.shown.count("\n") == 29


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("", 2), ("y", 1), ("yes", 1)])
def test_a_question_is_asked_and_its_answer_heeded(node: Node, answer: str, left: int) -> None:
    with Terminal("forget", "gone", "--settings", node.settings, columns=200) as terminal:
        asked = terminal.wait_for(lambda text: text.endswith("Go on? [y/N] "))
        assert "shop/gone" in asked
        terminal.type(f"{answer}\n")
        assert terminal.end() == (0 if left == 1 else 1)
    store = Store.open(node.store)
    assert len(store.entries(vanished=True)) == left
    store.close()
