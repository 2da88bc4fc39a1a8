"""Nodes for the tests: real kubelets and runtimes on this machine.

A test that cannot run here fails; it is never skipped. Needs root, and brings what is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from faults.sick_node import SickNode
from lab import binaries, packages
from lab.node import LabNode
from lab.progress import Progress
from lab.spread import Spread
from way import Way, way_on

NodeFactory = Callable[[str], LabNode]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kubelet", default=binaries.KUBELET_VERSIONS[0], help="the kubelet's release (default: %(default)s)"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    return Spread(config, log)


@pytest.fixture(scope="session")
def progress() -> Progress:
    return Progress()


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config, progress: Progress) -> binaries.Binaries:
    packages.install(packages.NODE, progress)
    return binaries.get(progress, kubelet_version=str(pytestconfig.getoption("--kubelet")))


@pytest.fixture(scope="session")
def node_factory(programs: binaries.Binaries, progress: Progress) -> Iterator[NodeFactory]:
    """Starts a further node by the given name; all end with the session."""
    with ExitStack() as stack:

        def start(name: str) -> LabNode:
            folder = Path(tempfile.mkdtemp(prefix=f"lab-{name}-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder)
            return stack.enter_context(LabNode(folder, name, programs, progress))

        yield start


@pytest.fixture
def fresh_node(
    programs: binaries.Binaries, progress: Progress, request: pytest.FixtureRequest
) -> Iterator[NodeFactory]:
    """Starts a node by the given name that ends with the test."""
    with ExitStack() as stack:

        def start(name: str) -> LabNode:
            folder = Path(tempfile.mkdtemp(prefix=f"lab-{name}-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder)
            found = stack.enter_context(LabNode(folder, name, programs, progress))
            _nodes_of(request.node).append(found)
            return found

        yield start


@pytest.fixture(scope="session")
def shared_node(node_factory: NodeFactory) -> LabNode:
    return node_factory("shared")


@pytest.fixture(scope="module")
def sick(shared_node: LabNode) -> Iterator[SickNode]:
    """The shared node, well, for faults to be put in."""
    with SickNode(shared_node) as found:
        yield found
    shared_node.empty()


@pytest.fixture
def node(shared_node: LabNode, request: pytest.FixtureRequest) -> Iterator[LabNode]:
    """The node that most tests share, with nothing deployed on it."""
    _nodes_of(request.node).append(shared_node)
    yield shared_node
    shared_node.empty()


@pytest.fixture
def way(node: LabNode) -> Iterator[Way]:
    """The whole way on the node that most tests share."""
    with way_on(node) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for found in _nodes_of(item):
            report.sections.append((f"logs of node {found.name}", found.last_lines(15)))
    return report


_NODES = pytest.StashKey[list[LabNode]]()


def _nodes_of(item: pytest.Item) -> list[LabNode]:
    return item.stash.setdefault(_NODES, [])
