"""One boot of a built image on a virtual machine: image_boot.py ours|bare, in a network of its own.

"ours" is a server of a stack of real Heat with one deployment; "bare" is the same image with the kubelet alone, and the
same pod's manifest there already. Prints, as JSON, the seconds from the power switch until the pod's container runs,
and the memory in use when all is quiet, in MB.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from heatlab import debian, services_environment
from imagelab import apart, images, machine
from imagelab.booted import cloud, first_boot
from imagelab.images import TRIXIE, Image
from imagelab.machine import Instance, Machine
from lab import deployments as heat
from lab import packages
from lab.folders import temporary_folder
from lab.progress import Progress

_SAMPLES = 10
_SAMPLE_SECONDS = 3.0
_USED = "awk '/^MemTotal/ {all=$2} /^MemAvailable/ {free=$2} END {print all-free}' /proc/meminfo"
"""KiB that are not to be had for more programs."""
_BARE_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "staticPodPath": "/etc/kubernetes/manifests",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cgroupDriver": "systemd",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "failSwapOn": False,
}
_BARE_UNIT = """[Service]
ExecStartPre=
ExecStart=
ExecStart=kubelet --config=/etc/kubernetes/bare.json
"""
_OURS = (
    "heat-config-kubelet-user-data.service",
    "heat-config-kubelet-first-settings.service",
    "heat-config-kubelet.path",
    "os-collect-config.service",
)


class Greeted:
    """Waits for the first connection to a port of `apart.HEAT`, which the pod makes as soon as it runs."""

    def __init__(self) -> None:
        self._socket = socket.create_server((apart.HEAT, 0))
        self.at = 0.0
        """Steady seconds; 0 before."""
        threading.Thread(target=self._wait, daemon=True).start()

    def pod(self) -> dict[str, Any]:
        """The pod that connects."""
        port = self._socket.getsockname()[1]
        return heat.pod("web", f"until nc {apart.HEAT} {port} < /dev/null; do sleep 0.1; done; exec sleep 1000000")

    def _wait(self) -> None:
        self._socket.accept()
        self.at = time.monotonic()


def ours(image: Image, folder: Path, say: Progress) -> dict[str, float]:
    """As it is meant to be used."""
    greeted = Greeted()
    with (
        cloud(folder, say) as site,
        first_boot(
            image,
            site,
            transport="POLL_TEMP_URL",
            signal="TEMP_URL_SIGNAL",
            config_drive=True,
            pod=greeted.pod(),
        ) as booted,
    ):
        booted.node.wait_until_idle()
        return measured(booted.node.machine, greeted)


def bare(image: Image, folder: Path, say: Progress) -> dict[str, float]:
    """With the kubelet alone."""
    greeted, key = Greeted(), folder / "key"
    disk = folder / "bare.raw"
    subprocess.run(["cp", "--sparse=always", str(image.raw), str(disk)], check=True)
    with images.mounted(disk, folder / "root", writable=True) as root:
        make_bare(root, greeted.pod(), machine.make_key(key))
    with Machine(folder / "bare", "bare", disk, Instance(str(uuid.uuid4())), key, say) as guest:
        guest.switch_on()
        guest.wait_for(lambda: greeted.at, "the pod to run", machine.BOOT_SECONDS)
        guest.wait_for_shell()
        return measured(guest, greeted)


def make_bare(root: Path, pod: dict[str, Any], key: str) -> None:
    """Leave the kubelet alone in an image, with this pod."""
    for unit in _OURS:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/kubernetes/bare.json").write_text(json.dumps(_BARE_KUBELET))
    (root / "etc/kubernetes/manifests/web.json").write_text(json.dumps(pod))
    _write(root / "etc/systemd/system/kubelet.service.d/90-bare.conf", _BARE_UNIT)
    _write(root / "root/.ssh/authorized_keys", f"{key}\n")


def measured(guest: Machine, greeted: Greeted) -> dict[str, float]:
    """Give both figures; the memory is the least of some samples."""
    used = []
    for _ in range(_SAMPLES):
        used.append(int(guest.run(_USED)) * 1024 / 1e6)
        time.sleep(_SAMPLE_SECONDS)
    return {"seconds": greeted.at - guest.started, "megabytes": min(used)}


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(text)


def main(which: str) -> None:
    """Boot once, and print what was measured."""
    say = Progress()
    packages.install([*packages.IMAGE, *debian.PACKAGES], say)
    services_environment.folder(say)
    image = images.get([TRIXIE], say)[TRIXIE]
    apart.enter()
    with temporary_folder("bench-image-") as folder:
        print(json.dumps({"ours": ours, "bare": bare}[which](image, folder, say)))


if __name__ == "__main__":
    main(sys.argv[1])
