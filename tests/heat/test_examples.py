"""The templates of examples/, made by the commands of their README, each file as it is.

Only what a cloud has and the lab has not is other: OS::Nova::Server is the lab's (heatlab/nova-server.yaml, by the
environment), and the nodes have images of the published names, with busybox's httpd or shell in them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from heatlab.client import Client
from heatlab.guest import Guest
from heatlab.stacks import Stack
from lab import images
from lab.node import free_ports
from lab.progress import Progress

from heat_config_kubelet.settings import load

from .conftest import Nodes, Site

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVER = Path(__file__).parents[1] / "heatlab" / "nova-server.yaml"
COMMANDS = re.findall(r"`openstack (stack .*?)`", (EXAMPLES / "README.md").read_text())
NODES = ("one", "two", "three")
OLD, NEW = "nginx:1.27", "nginx:1.28"
WORKER = "busybox:1.37"
BAD = "Nginx:1.28"
"""No image can have this name."""
SECONDS = 90
QUICK_SECONDS = 2.0
"""A look at all nodes that took longer is none at one moment."""


class Example:
    """An example as its user has it: a folder, the command `openstack`, and the nodes that its servers are."""

    def __init__(self, name: str, site: Site, client: Client) -> None:
        self.name = name
        self.site = site
        self._client = client

    def fill_in(self, **parameters: object) -> None:
        """Fill in my-cloud.yaml."""
        file = self._client.folder / "my-cloud.yaml"
        content = yaml.safe_load(file.read_text())
        content["parameter_defaults"].update(network="lab", **parameters)
        content["resource_registry"] = {"OS::Nova::Server": SERVER.name}
        file.write_text(yaml.safe_dump(content))

    def create(self) -> Stack:
        """Begin to create it, as nodes have to boot meanwhile."""
        self.run("create", wait=False)
        self.site.made.append(self.site.stacks.get(self.name))
        return self.site.made[-1]

    def run(self, what: str, *, wait: bool = True, **parameters: str) -> str:
        """Run the README's command, with other values of the parameters that are given there."""
        told = [shlex.split(command) for command in COMMANDS if command.startswith(f"stack {what} ")]
        own = [words for words in told if self.name in words]
        words = own[0] if own else [self.name if word == "one-pod" else word for word in told[0]]
        words = [word for word in words if wait or word != "--wait"]
        for name, value in parameters.items():
            (place,) = [number for number, word in enumerate(words) if word.startswith(f"{name}=")]
            words[place] = f"{name}={value}"
        done = self._client.run(*words)
        assert done.returncode == 0, f"openstack {shlex.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images that stand for the published ones."""
    folder = tmp_path_factory.mktemp("images")
    serve = "httpd -p 80 -h /www; trap exit TERM; while :; do sleep 3600 & wait; done"
    servers = [
        images.write_image(
            folder / f"{number}.tar",
            f"docker.io/library/{name}",
            ["/bin/sh", "-c", serve],
            files={"www/index.html": name.encode()},
        )
        for number, name in enumerate((OLD, NEW))
    ]
    return [*servers, images.write_busybox(folder / "worker.tar", f"docker.io/library/{WORKER}")]


@pytest.fixture
def example(
    request: pytest.FixtureRequest,
    site: Site,
    nodes: Nodes,
    archives: list[Path],
    progress: Progress,
    tmp_path: Path,
) -> Example:
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    shutil.copy(SERVER, folder)
    for name in NODES:
        for archive in archives:
            nodes(name).import_image(archive)
    return Example(request.param, site, Client(site.lab.plan, progress, folder))


def one_pod(example: Example) -> None:
    (port,) = free_ports(1)
    example.fill_in(port=port)
    stack, guest = on_one_node(example)
    assert stack.outputs()["url"] == f"http://127.0.0.1:{port}/"
    assert answer(stack.outputs()["url"]) == OLD
    assert is_running(stack, guest, OLD)
    assert f"http://127.0.0.1:{port}/" in example.run("output show")

    example.run("update", wait=False, pod_image=BAD)
    stack.wait_for("UPDATE_FAILED", SECONDS)
    told = example.run("failures list")
    assert "spec.containers[0].image: must be" in told
    assert f'not the text "{BAD}"' in told

    example.run("update")
    assert is_running(stack, guest, NEW)
    example.run("delete")
    assert example.name not in example.site.stacks.list()


def one_web_pod(example: Example) -> None:
    example.fill_in()
    stack, guest = on_one_node(example)
    assert is_running(stack, guest, OLD)


def group(example: Example) -> None:
    example.fill_in(polling_interval=2)
    stack, guests = on_all_nodes(example, polling_interval=None)
    for number, guest in enumerate(guests):
        pod = guest.running_pods()["web"]
        assert stack.outputs()["pod_ips"][str(number)] == pod["status"]["podIP"]
        assert "default/web  1/1    Running" in stack.outputs()["pods"][str(number)]
        guest.node.wait_for(lambda guest=guest: has_interval(guest, 2), "its interval")  # type: ignore[misc]

    boot = stack.attribute("boot", "config")
    assert boot.startswith("#cloud-config\n")
    (file,) = yaml.safe_load(boot)["write_files"]
    written = guests[0].node.folder / "written.conf"
    written.write_text(file["content"])
    settings = load(written)
    assert (settings.defaults["images_timeout"], settings.signal_timeout) == ("900", 20)


def component(example: Example) -> None:
    folder = example.site.guest().node.folder / "worker"
    example.fill_in(folder=str(folder))
    _, guest = on_one_node(example)
    assert list(guest.containers()) == ["worker"]
    assert (folder / "state").read_text() == "working\n"
    example.run("delete")
    assert (folder / "state").read_text() == "finished\n"
    assert not guest.node.pods_left()


def rolling_upgrade(example: Example) -> None:
    example.fill_in()
    stack, guests = on_all_nodes(example)
    assert versions(guests) == [OLD, OLD, OLD]

    example.run("update", wait=False)
    seen = []
    while stack.show()["stack_status"] == "UPDATE_IN_PROGRESS":
        began = time.monotonic()
        found = versions(guests)
        if time.monotonic() - began < QUICK_SECONDS:
            seen.append(found)
    assert stack.show()["stack_status"] == "UPDATE_COMPLETE", stack.story()
    assert versions(guests) == [NEW, NEW, NEW]
    assert max(found.count(None) for found in seen) == 1
    assert {found.count(NEW) for found in seen} >= {1, 2}

    example.run("update", wait=False, pod_image=BAD)
    stack.wait_for("UPDATE_FAILED", SECONDS)
    states = sorted(stack.nested("web_on_servers").resources().values())
    assert states == ["UPDATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED"]
    assert versions(guests) == [NEW, NEW, NEW]


CHECKS: dict[str, Callable[[Example], None]] = {
    "one-pod": one_pod,
    "text-from-file": one_web_pod,
    "group": group,
    "component": component,
    "zaqar": one_web_pod,
    "rolling-upgrade": rolling_upgrade,
}


def templates() -> list[str]:
    """The examples, as the folder has them."""
    return sorted(file.stem for file in EXAMPLES.glob("*.yaml") if "heat_template_version" in file.read_text())


@pytest.mark.parametrize("example", templates(), indirect=True)
def test_an_example(example: Example) -> None:
    CHECKS[example.name](example)


def test_every_file_is_told_of() -> None:
    told = (EXAMPLES / "README.md").read_text()
    assert [file.name for file in EXAMPLES.iterdir() if f"({file.name})" not in told] == ["README.md"]


@pytest.mark.parametrize("name", templates())
def test_transports_are_those_that_any_cloud_allows(name: str) -> None:
    """Heat's defaults are not, and with DELETE among the actions only two signals are safe (docs/heat.md)."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    polls = re.findall(r"software_config_transport: (\w+)", text)
    signals = re.findall(r"signal_transport: (\w+)", text)
    assert len(polls) == text.count("type: OS::Nova::Server") == text.count("user_data_format: SOFTWARE_CONFIG")
    assert len(signals) == len(re.findall("type: OS::Heat::(?:Software|Structured)Deployment", text))
    assert "POLL_SERVER_CFN" not in polls
    assert set(signals) <= {"TEMP_URL_SIGNAL", "ZAQAR_SIGNAL", *([] if "DELETE" in text else ["HEAT_SIGNAL"])}


def on_one_node(example: Example) -> tuple[Stack, Guest]:
    """Create an example of one server."""
    stack, guest = example.create(), example.site.guest()
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    return stack, guest


def on_all_nodes(example: Example, **settings: Any) -> tuple[Stack, list[Guest]]:
    """Create an example of a group of servers; `settings` are those of `Guest`."""
    stack = example.create()
    stack.wait_for_resource("servers", "CREATE_COMPLETE", SECONDS)
    guests = [example.site.guest(name, **settings) for name in NODES]
    for number, guest in enumerate(guests):
        guest.boot(stack.nested("servers"), str(number))
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    return stack, guests


def has_interval(guest: Guest, seconds: int) -> bool:
    """Whether this is the limit of the pause between two polls in the settings of the node's os-collect-config."""
    return f"\npolling_interval = {seconds}\n" in guest.node.collector.config_file.read_text()


def versions(guests: list[Guest]) -> list[str | None]:
    """The image of each node's pod, None where that is not ready."""
    found = [guest.running_pods().get("web") for guest in guests]
    return [pod["spec"]["containers"][0]["image"] if pod else None for pod in found]


def is_running(stack: Stack, guest: Guest, version: str) -> bool:
    """Whether the stack tells of a ready pod that answers with its version."""
    told = stack.outputs()
    assert "default/web  1/1    Running" in told["pods"]
    assert told["pod_ip"] == guest.running_pods()["web"]["status"]["podIP"]
    return answer(f"http://{told['pod_ip']}/") == version


def answer(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as found:
        return str(found.read().decode())
