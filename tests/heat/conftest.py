"""Real OpenStack and nodes for the tests of this folder.

A test that cannot run here fails; it is never skipped. Needs root, and brings what is missing.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from heatlab.guest import Guest
from heatlab.lab import HeatLab
from heatlab.stacks import Stack, Stacks
from lab import binaries, packages
from lab.node import LabNode
from lab.progress import Progress
from lab.spread import Spread

Nodes = Callable[[str], LabNode]
"""Gives the node of a name."""
_DELETE_SECONDS = 120.0
_LONGEST = ("test_trouble.py", "test_author_faults.py", "test_examples.py", "test_transports.py")
"""Files that go to one worker as a whole: begun first, so that none of them is left over at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    return Spread(config, log)


@pytest.fixture(scope="session")
def progress() -> Progress:
    return Progress()


@pytest.fixture(scope="session")
def heat_lab(progress: Progress) -> Iterator[HeatLab]:
    """Heat and what it needs, for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="heat-lab-", dir="/tmp"))
    try:
        with HeatLab(folder, progress) as lab:
            yield lab
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def programs(progress: Progress) -> binaries.Binaries:
    packages.install(packages.NODE, progress)
    return binaries.get(progress)


@pytest.fixture(scope="session")
def nodes(programs: binaries.Binaries, progress: Progress) -> Iterator[Nodes]:
    """Gives the node of a name, started when it is first asked for; all end with the session."""
    with ExitStack() as stack:
        started: dict[str, LabNode] = {}

        def get(name: str) -> LabNode:
            if name not in started:
                folder = Path(tempfile.mkdtemp(prefix=f"lab-{name}-", dir="/tmp"))
                stack.callback(shutil.rmtree, folder)
                started[name] = stack.enter_context(LabNode(folder, name, programs, progress))
            return started[name]

        yield get


class Site:
    """What a test has: stacks and the nodes behind their servers, all gone at its end."""

    def __init__(self, lab: HeatLab, nodes: Nodes) -> None:
        self.lab = lab
        self.stacks = Stacks(lab.plan)
        self.made: list[Stack] = []
        self.guests: dict[str, Guest] = {}
        self._nodes = nodes

    def create(self, template: dict[str, Any] | Path, **fields: Any) -> Stack:
        """Begin to create a stack."""
        self.made.append(self.stacks.create(f"lab-{next(_NUMBERS)}", template, **fields))
        return self.made[-1]

    def guest(self, name: str = "one", **settings: Any) -> Guest:
        """The node of a name, which has nothing deployed on it at first; `settings` are those of `Guest`."""
        if name not in self.guests:
            self.guests[name] = Guest(self._nodes(name), ca=self.lab.plan.ca, **settings)
        return self.guests[name]

    def close(self) -> None:
        """Delete the stacks while the nodes can still answer, then empty those."""
        try:
            for stack in self.made:
                stack.delete()
            for stack in self.made:
                stack.wait_for("DELETE_COMPLETE", _DELETE_SECONDS)
        finally:
            for guest in self.guests.values():
                guest.node.empty()

    def story(self) -> str:
        """What is known of its stacks and nodes, for a person."""
        told = [f"=== stack {stack.name}\n{stack.story()}" for stack in self.made]
        told += [f"=== node {name}\n{guest.node.last_lines(15)}" for name, guest in self.guests.items()]
        return "\n".join([*told, "=== OpenStack", self.lab.last_lines(12)])


@contextmanager
def site_on(lab: HeatLab, nodes: Nodes) -> Iterator[Site]:
    """Give a site, closed at the end in whatever way that comes."""
    site = Site(lab, nodes)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def site(heat_lab: HeatLab, nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Stacks and nodes for one test."""
    with site_on(heat_lab, nodes) as found:
        request.node.stash[SITE] = found
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for part in item.listchain():
            if SITE in part.stash:
                report.sections.append(("stacks, nodes and OpenStack", part.stash[SITE].story()))
    return report


SITE = pytest.StashKey[Site]()
"""Where a test, or a module, keeps the site that is shown where it fails."""
_NUMBERS = itertools.count(1)
