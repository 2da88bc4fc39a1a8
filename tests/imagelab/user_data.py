"""What a server boots with: the user data that Heat makes, and how Nova brings them, by config drive or by service."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from . import apart

_PROGRAM = Path(__file__).parents[1] / "heatlab" / "programs" / "print_user_data.py"
_LABEL = "config-2"
"""nova/virt/configdrive.py."""
_LATEST = ("latest", "2020-10-14", "2018-08-27")
"""Of Nova's versions (nova/api/metadata/base.py), those that have all that is here."""


@dataclass(frozen=True)
class Metadata:
    """What Nova knows of one server."""

    id: str
    name: str
    key: str
    """ssh's public key, as of the property key_name."""
    user_data: str

    def files(self) -> dict[str, str]:
        """The files of the OpenStack metadata, by their paths in one version (nova/api/metadata/base.py)."""
        about = {
            "uuid": self.id,
            "name": self.name,
            "hostname": f"{self.name}.novalocal",
            "launch_index": 0,
            "availability_zone": "nova",
            "project_id": "0" * 32,
            "public_keys": {"lab": self.key},
            "keys": [{"name": "lab", "type": "ssh", "data": self.key}],
            "devices": [],
        }
        return {
            "meta_data.json": json.dumps(about),
            "network_data.json": json.dumps(_NETWORK),
            "user_data": self.user_data,
            "vendor_data.json": "{}",
        }

    def ec2_files(self) -> dict[str, str]:
        """The same as EC2 has them."""
        return {
            "meta-data/instance-id": f"i-{self.id[:8]}",
            "meta-data/hostname": f"{self.name}.novalocal",
            "meta-data/local-hostname": f"{self.name}.novalocal",
            "meta-data/public-keys/0/openssh-key": self.key,
            "user-data": self.user_data,
        }


def of_heat(services: Path, settings: Mapping[str, Any]) -> str:
    """Give the user data that Heat itself makes for `user_data_format: SOFTWARE_CONFIG`.

    `services` is the environment of `heatlab.services_environment`, `settings` the server's `os_collect_config`.
    """
    metadata = {"deployments": [], "os-collect-config": settings}
    command = [str(services / "bin" / "python"), "-W", "ignore", str(_PROGRAM)]
    done = subprocess.run(command, input=json.dumps(metadata), capture_output=True, text=True, check=True, cwd="/")
    return done.stdout


def write_config_drive(file: Path, metadata: Metadata) -> None:
    """Write a config drive as Nova does (nova/virt/configdrive.py)."""
    with tempfile.TemporaryDirectory() as folder:
        for version in _LATEST:
            for path, content in metadata.files().items():
                _write(Path(folder, "openstack", version, path), content)
        _write(Path(folder, "ec2", "latest", "meta-data.json"), json.dumps(metadata.ec2_files()))
        _write(Path(folder, "ec2", "latest", "user-data"), metadata.user_data)
        options = ["-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-quiet", "-J", "-r", "-V", _LABEL]
        command = ["genisoimage", "-o", str(file), "-publisher", "OpenStack Nova", *options, folder]
        subprocess.run(command, check=True, capture_output=True)


class MetadataService:
    """Nova's metadata service for one server, as a context manager; guests find it at its well-known address."""

    def __init__(self, metadata: Metadata) -> None:
        self.paths: list[str] = []
        """What was asked for, and given."""
        files = {f"/openstack/{version}/{path}": text for version in _LATEST for path, text in metadata.files().items()}
        for version in ("latest", "2009-04-04"):
            files.update({f"/{version}/{path}": text for path, text in metadata.ec2_files().items()})
        files["/openstack"] = files["/openstack/"] = "\n".join(reversed(_LATEST))
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                content = files.get(self.path) or _listing(files, self.path)
                if content is not None:
                    service.paths.append(self.path)
                body = (content or "").encode()
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> MetadataService:
        self._server = ThreadingHTTPServer((apart.METADATA, 80), self._handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


def _listing(files: Mapping[str, str], path: str) -> str | None:
    """What is below a path, as the service lists it: a name a line, folders with a slash."""
    below = path.rstrip("/") + "/"
    names = {
        f"{first}/" if rest else first
        for file in files
        if file.startswith(below)
        for first, _, rest in [file.removeprefix(below).partition("/")]
    }
    return "\n".join(sorted(names)) if names else None


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


MAC = "52:54:00:12:34:56"
"""QEMU's for a first network card."""
_NETWORK = {
    "links": [{"id": "tap0", "vif_id": "0", "type": "bridge", "mtu": 1500, "ethernet_mac_address": MAC}],
    "networks": [{"id": "network0", "type": "ipv4_dhcp", "link": "tap0", "network_id": "0"}],
    "services": [],
}
