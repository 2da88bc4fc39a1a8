"""A node that has booted as the server of a stack, with what Heat and Nova would have given it."""

from __future__ import annotations

import itertools
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatlab import services_environment, templates
from heatlab.lab import HeatLab
from heatlab.stacks import Stacks
from lab import deployments as heat
from lab.progress import Progress

from . import apart, images, machine, user_data
from .images import Image
from .machine import Instance, Machine
from .node import ImageNode, secrets_of

SECONDS = 900.0
"""For what takes an emulated node seconds where the machine is quiet."""
PLANTED = "planted-6b1f0c9d2e"
"""A secret of the pod `secret_pod`."""
_POLLING = {"os-collect-config": {"polling_interval": 3, "min_polling_interval": 1}}
"""A server's metadata; the image's own interval is 30 s."""
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Cloud:
    """What servers are made in: Heat where guests reach it, and who may ask them."""

    folder: Path
    heat: HeatLab
    key: Path
    public_key: str
    progress: Progress


@contextmanager
def cloud(folder: Path, progress: Progress) -> Iterator[Cloud]:
    """Start OpenStack in a folder, with TLS by the CA that the images trust; to be called where `apart.enter` was."""
    key = folder / "key"
    shutil.copytree(images.authority(), folder / "heat" / "tls")
    with HeatLab(folder / "heat", progress, address=apart.HEAT, tls=True) as lab:
        yield Cloud(folder, lab, key, machine.make_key(key), progress)


def deployment(name: str, pod: object, signal: str) -> dict[str, Any]:
    """Give a deployment that an emulated node has time for."""
    return templates.deployment(
        name,
        pod,
        signal,
        outputs=["pod_ip", "pods"],
        error_outputs=["why"],
        options={"containers_timeout": SECONDS, "poll_period": 1},
    )


def outputs(*names: str) -> dict[str, Any]:
    """Give what a stack tells of deployments."""
    items = ("pod_ip", "pods", "deploy_stdout", "deploy_stderr", "deploy_status_code")
    return {name: {item: {"get_attr": [name, item]} for item in items} for name in names}


def secret_pod(command: str = "exec sleep 3600", **spec: Any) -> dict[str, Any]:
    """Give the pod web, which has a secret."""
    return heat.pod("web", command, container={"env": [{"name": "DB_PASSWORD", "value": PLANTED}]}, **spec)


class Booted:
    """A node that has had its first boot, with a first deployment, web; and what is known of that.

    Further deployments are made by updates of its stack.
    """

    def __init__(self, node: ImageNode, signal: str, server: dict[str, Any], settings: Mapping[str, Any]) -> None:
        self.node = node
        self.stack = node.stack
        self.signal = signal
        self.secrets = {PLANTED, *secrets_of(settings, [])}
        self.outputs: dict[str, Any] = {}
        """Of the first deployment, as the stack has them."""
        self.pods: dict[str, dict[str, Any]] = {}
        """Those that were ready when the stack was complete."""
        self.seconds = 0.0
        """From the power switch until Heat said that the stack is complete."""
        self.saved = False
        self._server = server

    # --- what is done

    def update(self, *parts: dict[str, Any], outputs: Mapping[str, Any] | None = None) -> None:
        """Begin to update the stack to these deployments."""
        self.stack.update(templates.template(self._server, *parts, outputs=outputs), timeout_mins=60)
        self.know_secrets()

    def begin(self, pod: object, name: str = "web") -> None:
        """Begin to update the stack to one deployment, of this pod."""
        self.update(deployment(name, pod, self.signal), outputs=outputs(name))

    def deploy(self, pod: object, name: str = "web") -> None:
        """Have one deployment, of this pod, and wait until Heat says that it is complete."""
        self.begin(pod, name)
        self.node.wait_for_stack("UPDATE_COMPLETE")
        self.know_secrets()

    def forget(self) -> None:
        """Have no deployment; the node need not answer."""
        self.update()
        self.stack.wait_for("UPDATE_COMPLETE", SECONDS)

    def empty(self) -> None:
        """Have no deployment, nor any pod on the node."""
        self.forget()
        self.node.wait_until_only()
        self.node.wait_until_idle()

    def know_secrets(self) -> None:
        """Remember the secrets of what is deployed now."""
        self.secrets |= secrets_of({}, self.stack.metadata("server").get("deployments", []))

    def told_secrets(self) -> list[str]:
        """The lines of the node's logs that have a secret in them."""
        logs = self.node.all_logs()
        assert "heat-config-kubelet" in logs
        return [line[:300] for line in logs.splitlines() if any(secret in line for secret in self.secrets)]


@contextmanager
def first_boot(
    image: Image,
    site: Cloud,
    *,
    transport: str,
    signal: str,
    config_drive: bool,
    pod: Mapping[str, Any] | None = None,
    before_heat: Callable[[], object] | None = None,
) -> Iterator[Booted]:
    """Create a stack of a server and a deployment, boot a machine as that server, and wait until it is complete.

    `pod` is the deployment's, by default `secret_pod`. Heat is not asked until `before_heat` gives something true: this
    machine is the guest's too.
    """
    name = f"{image.kind.release}-{next(_NUMBERS)}"
    server = templates.server(transport, metadata=_POLLING)
    template = templates.template(server, deployment("web", pod or secret_pod(), signal), outputs=outputs("web"))
    stack = Stacks(site.heat.plan).create(name, template, timeout_mins=60)
    stack.wait_for_resource("server", "CREATE_COMPLETE", SECONDS)
    settings = stack.attribute("server", "os_collect_config")
    data = user_data.of_heat(services_environment.folder(site.progress), settings)
    metadata = user_data.Metadata(str(uuid.uuid4()), name, site.public_key, data)
    own = site.folder / name
    own.mkdir()
    drive = own / "config.iso" if config_drive else None
    with ExitStack() as opened:
        if drive:
            user_data.write_config_drive(drive, metadata)
        else:
            opened.enter_context(user_data.MetadataService(metadata))
        instance = Instance(metadata.id, drive)
        guest = opened.enter_context(
            Machine(own, name, image.raw, instance, site.key, site.progress, user=image.kind.user)
        )
        booted = Booted(ImageNode(guest, stack), signal, server, settings)
        guest.switch_on()
        if before_heat:
            guest.wait_for(before_heat, "the pod to run", machine.BOOT_SECONDS)
        booted.node.wait_for_stack("CREATE_COMPLETE")
        booted.seconds = time.monotonic() - guest.started
        site.progress.say(f"{name}: stack complete after {booted.seconds:.0f} s")
        guest.wait_for_shell()
        booted.know_secrets()
        booted.outputs = stack.outputs()
        booted.pods = booted.node.ready_pods()
        yield booted
