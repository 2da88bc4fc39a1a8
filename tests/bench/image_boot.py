"""One boot of a built image on a virtual machine: image_boot.py ours|bare, in a network of its own.

"ours" is a server of a stack of real Heat with one deployment; "bare" is the same image with the kubelet alone, and the
same pod's manifest there already. Prints, as JSON, the seconds from the power switch until the pod's container runs;
the memory in use when all is quiet, in MB; and how many seconds longer than its grace period an update of the pod took,
which is another manifest where there is the kubelet alone.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
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
_GRACE_SECONDS = 2
_MANIFEST = "/etc/kubernetes/manifests/web.json"
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


class Words:
    """What pods say: a word by each connection to a port of `apart.HEAT`."""

    def __init__(self) -> None:
        self._socket = socket.create_server((apart.HEAT, 0))
        self._at: dict[str, float] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def pod(self, name: str) -> dict[str, Any]:
        """A pod that says this as soon as it runs, and "asked" when it is asked to end; it waits to be killed."""
        tell = f"nc {apart.HEAT} {self._socket.getsockname()[1]}"
        command = (
            f"trap 'echo asked | {tell}' TERM; until echo {name} | {tell}; do sleep 0.1; done; "
            "sleep 1000000 & while :; do wait $!; done"
        )
        return heat.pod("web", command, terminationGracePeriodSeconds=_GRACE_SECONDS)

    def at(self, word: str) -> float:
        """When it was said first, in steady seconds; 0 before."""
        return self._at.get(word, 0.0)

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            now = time.monotonic()
            with connection:
                word = connection.recv(100).decode().strip()
            if word:
                self._at.setdefault(word, now)


def ours(image: Image, folder: Path, say: Progress) -> dict[str, float]:
    """As it is meant to be used."""
    words = Words()
    with (
        cloud(folder, say) as site,
        first_boot(
            image,
            site,
            transport="POLL_TEMP_URL",
            signal="TEMP_URL_SIGNAL",
            config_drive=True,
            pod=words.pod("first"),
            before_heat=lambda: words.at("first"),
        ) as booted,
    ):
        booted.node.wait_until_idle()
        return measured(booted.node.machine, words, lambda: booted.begin(words.pod("second")))


def bare(image: Image, folder: Path, say: Progress) -> dict[str, float]:
    """With the kubelet alone, while Heat runs on this machine too."""
    words, key = Words(), folder / "key-of-bare"
    disk = folder / "bare.raw"
    subprocess.run(["cp", "--sparse=always", str(image.raw), str(disk)], check=True)
    with images.mounted(disk, folder / "root", writable=True) as root:
        make_bare(root, words.pod("first"), machine.make_key(key))
    with (
        cloud(folder, say),
        Machine(folder / "bare", "bare", disk, Instance(str(uuid.uuid4())), key, say) as guest,
    ):
        guest.switch_on()
        guest.wait_for(lambda: words.at("first"), "the pod to run", machine.BOOT_SECONDS)
        guest.wait_for_shell()

        def update() -> None:
            guest.run(f"cat > /run/web.json; mv /run/web.json {_MANIFEST}", stdin=json.dumps(words.pod("second")))

        return measured(guest, words, update)


def make_bare(root: Path, pod: dict[str, Any], key: str) -> None:
    """Leave the kubelet alone in an image, with this pod."""
    for unit in _OURS:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/kubernetes/bare.json").write_text(json.dumps(_BARE_KUBELET))
    (root / _MANIFEST.lstrip("/")).write_text(json.dumps(pod))
    _write(root / "etc/systemd/system/kubelet.service.d/90-bare.conf", _BARE_UNIT)
    _write(root / "root/.ssh/authorized_keys", f"{key}\n")


def measured(guest: Machine, words: Words, update: Callable[[], object]) -> dict[str, float]:
    """Give the figures; the memory is the least of some samples."""
    used = []
    for _ in range(_SAMPLES):
        used.append(int(guest.run(_USED)) * 1024 / 1e6)
        time.sleep(_SAMPLE_SECONDS)
    update()
    second = guest.wait_for(lambda: words.at("second"), "the updated pod to run", machine.BOOT_SECONDS)
    return {
        "seconds": words.at("first") - guest.started,
        "megabytes": min(used),
        "beyond_grace": second - words.at("asked") - _GRACE_SECONDS,
    }


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
