"""What Nova gives a server at its first boot, for images without cloud-init: host name, ssh keys, user data.

Taken from the config drive where there is one, else from the metadata service; done once for each server. Of user data
it takes what Heat writes for `user_data_format: SOFTWARE_CONFIG` (heat/engine/clients/os/nova.py, build_userdata): the
parts of type text/x-cfninitdata, which heat/cloudinit/part_handler.py stores where os-collect-config's collectors
look; and of `#cloud-config` the keys `write_files` and `ssh_authorized_keys`. What else there is gets a warning.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email
import email.message
import email.policy
import http.client
import json
import os
import pwd
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .clock import Clock
from .errors import AgentError
from .log import Log
from .whole_file import write_whole

META_DATA = "openstack/latest/meta_data.json"
USER_DATA = "openstack/latest/user_data"
"""Of the config drive and of the metadata service alike (nova/api/metadata/base.py)."""

CONFIG_DRIVE_LABELS = ("config-2", "CONFIG-2")
"""Nova's (nova/virt/configdrive.py); the other spelling is what FAT makes of it."""

SERVICE_ADDRESS = "169.254.169.254"
SERVICE_ADDRESS_IPV6 = "fe80::a9fe:a9fe"
"""Neutron's, on the link of each interface."""

MOST_BYTES = 4 << 20
"""More than any user data: Nova takes 64 KiB."""

_ATTEMPT_SECONDS = 3.0
_PAUSE_SECONDS = 0.5
_SHORT_SECONDS = 5.0
"""For machines that do not say they are OpenStack's: it may be there all the same."""

_SETTLE_SECONDS = 10
"""At most, until the kernel's devices of the boot have their names."""

_HEATS_OWN = ("cloud-config", "boothook.sh", "part-handler.py")
"""Parts that Heat adds for cloud-init: nothing is missed without them."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[\w.@-]+ [A-Za-z0-9+/=]+( [^\n]*)?")


class UserDataError(AgentError):
    """There is no telling what Nova gives this server, or it cannot be put in its place."""


@dataclass(frozen=True)
class Given:
    """What Nova gives a server."""

    source: str
    meta_data: Mapping[str, Any]
    user_data: bytes


@dataclass(frozen=True)
class Place:
    """Where things are on the machine; another `root` is for tests."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Give the absolute `path` below the root."""
        return self.root / path.lstrip("/")

    def dmi(self, name: str) -> str:
        """A value of the machine's SMBIOS table, in lower case; empty where there is none."""
        try:
            return self.at(f"/sys/class/dmi/id/{name}").read_text(encoding="utf-8", errors="replace").strip().lower()
        except OSError:
            return ""

    @property
    def says_openstack(self) -> bool:
        """Whether the machine says that Nova made it (nova/virt/libvirt/driver.py, _get_guest_config_sysinfo)."""
        told = [self.dmi(name) for name in ("product_name", "chassis_asset_tag")]
        return any(text.startswith("openstack") for text in told)

    @property
    def server_uuid(self) -> str:
        """The server's UUID where Nova gave it to the machine as its own; else empty."""
        return self.dmi("product_uuid") if self.says_openstack else ""


@dataclass
class FirstBoot:
    """Takes what Nova gives; `user` is the one whose ssh keys they are."""

    state_dir: Path
    log: Log
    clock: Clock
    user: str = "root"
    place: Place = field(default_factory=Place)
    drive: Callable[[], Given | None] = lambda: read_config_drive()
    ask: Callable[[str, str], tuple[int, bytes]] = lambda address, path: ask_service(address, path)
    set_host_name: Callable[[str], None] = socket.sethostname
    first_settings: Callable[[], str] = lambda: ""
    """Makes os-collect-config's settings of what Heat gave; gives why not, empty where it did."""

    def run(self, limit: float) -> None:
        """Take it, unless it is taken already; wait `limit` seconds for the metadata service.

        Raises UserDataError where nobody answers, or a file cannot be written.
        """
        taken = self._taken()
        uuid = self.place.server_uuid
        if taken and uuid and taken == uuid:
            return
        given = self.drive()
        if given is None:
            if taken and not uuid:
                return  # nothing says that this is another server than the one whose data these are
            given = self._ask_until(limit if self.place.says_openstack else min(limit, _SHORT_SECONDS))
        server = str(given.meta_data.get("uuid") or uuid).lower()
        if taken and taken == server:
            return
        self._take(given)
        write_whole(self._record, json.dumps({"uuid": server}).encode())
        self.log.info("user data taken", source=given.source, server=server)
        problem = self.first_settings()
        if problem:
            self.log.warning("os-collect-config has no settings of Heat's before its first pass", problem=problem)

    @property
    def _record(self) -> Path:
        return self.state_dir / "server.json"

    def _taken(self) -> str:
        """The UUID of the server whose data were taken; empty where none were."""
        try:
            return str(json.loads(self._record.read_bytes())["uuid"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _ask_until(self, limit: float) -> Given:
        end = self.clock.steady() + limit
        while True:
            reason = ""
            for address in self._addresses():
                try:
                    return self._asked(address)
                except (OSError, http.client.HTTPException, UserDataError) as error:
                    reason = reason or str(error)
            if self.clock.steady() >= end:
                raise UserDataError(
                    f"no config drive, and no answer of http://{SERVICE_ADDRESS}/{META_DATA}: {reason}",
                    hint="an image for machines outside OpenStack does not need heat-config-kubelet-user-data.service",
                )
            self.clock.sleep(_PAUSE_SECONDS)

    def _addresses(self) -> list[str]:
        names = [name for _, name in socket.if_nameindex() if name != "lo"]
        return [SERVICE_ADDRESS, *(f"{SERVICE_ADDRESS_IPV6}%{name}" for name in names)]

    def _asked(self, address: str) -> Given:
        status, data = self.ask(address, META_DATA)
        if status != 200:
            raise UserDataError(f"HTTP status {status}")
        meta_data = _parsed(data, f"http://{address}/{META_DATA}")
        status, user_data = self.ask(address, USER_DATA)
        if status not in (200, 404):
            raise UserDataError(f"HTTP status {status}")
        return Given(f"http://{address}", meta_data, user_data if status == 200 else b"")

    # --- putting it in its place

    def _take(self, given: Given) -> None:
        """Put all in its place; each file is whole or as before, so that this may be cut short and done again."""
        self._take_host_name(str(given.meta_data.get("hostname") or given.meta_data.get("name") or ""))
        known = given.meta_data.get("public_keys")
        keys = list(known.values()) if isinstance(known, dict) else []
        heat = self.place.at("/var/lib/heat-cfntools")
        make_folder(heat, 0o700)
        for part in parts(given.user_data):
            if part.content_type == "text/x-cfninitdata":
                if not _FILE_NAME.fullmatch(part.name):
                    self.log.warning("user data: a part's file name is none", name=part.name)
                    continue
                write_whole(heat / part.name, part.data)
            elif part.name in _HEATS_OWN or not part.data.strip():
                continue
            elif part.is_cloud_config:
                keys += self._take_cloud_config(part)
            else:
                self.log.warning(
                    "user data: nothing here runs this part, which needs cloud-init in the image",
                    type=part.content_type,
                    name=part.name,
                )
        self._take_keys([key.strip() for key in keys if isinstance(key, str)])

    def _take_host_name(self, full: str) -> None:
        short = full.split(".")[0]
        if not _HOST_NAME.fullmatch(short):
            if full:
                self.log.warning("the server's name is no host name", name=full)
            return
        self.set_host_name(short)
        write_whole(self.place.at("/etc/hostname"), f"{short}\n".encode(), mode=0o644)
        hosts = self.place.at("/etc/hosts")
        lines = hosts.read_text(encoding="utf-8").splitlines() if hosts.exists() else ["127.0.0.1 localhost"]
        kept = [line for line in lines if line.split()[:1] != ["127.0.1.1"]]
        names = " ".join(dict.fromkeys((full, short)))
        write_whole(hosts, "\n".join([*kept, f"127.0.1.1 {names}", ""]).encode(), mode=0o644)

    def _take_keys(self, keys: Sequence[str]) -> None:
        good = [key for key in dict.fromkeys(keys) if _KEY.fullmatch(key)]
        if not good:
            return
        try:
            user = pwd.getpwnam(self.user)
        except KeyError:
            self.log.warning("ssh keys: there is no such user", user=self.user)
            return
        folder = self.place.at(user.pw_dir) / ".ssh"
        file = folder / "authorized_keys"
        present = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        wanted = [*present, *(key for key in good if key not in present)]
        make_folder(folder, 0o700)
        write_whole(file, "\n".join([*wanted, ""]).encode())
        for path in (folder, file):
            os.chown(path, user.pw_uid, user.pw_gid)

    def _take_cloud_config(self, part: Part) -> list[Any]:
        """Write the files of a #cloud-config and give its ssh keys."""
        import yaml

        try:
            config = yaml.safe_load(part.data)
        except (yaml.YAMLError, UnicodeDecodeError):
            config = None
        if not isinstance(config, dict):
            self.log.warning("user data: a #cloud-config is no YAML map", name=part.name)
            return []
        others = sorted(str(key) for key in set(config) - {"write_files", "ssh_authorized_keys", "output"})
        if others:
            self.log.warning("user data: keys that need cloud-init in the image", keys=",".join(others))
        for number, item in enumerate(_list(config.get("write_files"))):
            try:
                path, data, mode = _file_of(item)
            except ValueError as error:
                self.log.warning("user data: a file is not written", number=number, reason=str(error))
                continue
            target = self.place.at(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data, mode=mode)
        return _list(config.get("ssh_authorized_keys"))


@dataclass(frozen=True)
class Part:
    """A part of user data."""

    content_type: str
    name: str
    data: bytes

    @property
    def is_cloud_config(self) -> bool:
        """Whether cloud-init takes it for one: it goes by the first line where the type says nothing."""
        typed = self.content_type in ("text/cloud-config", "text/plain")
        return typed and self.data.lstrip().startswith(b"#cloud-config")


def parts(user_data: bytes) -> Iterator[Part]:
    """Give the parts of user data, or the whole as one where it is no MIME message."""
    message = email.message_from_bytes(user_data, policy=email.policy.compat32)
    if not message.is_multipart():
        typed = message.get_content_type() if message.get("Content-Type") else "text/plain"
        whole = message.get_payload(decode=True) if message.get("Content-Type") else user_data
        yield Part(typed, message.get_filename() or "", whole if isinstance(whole, bytes) else b"")
        return
    for part in message.walk():
        if not part.is_multipart():
            data = part.get_payload(decode=True)
            yield Part(part.get_content_type(), part.get_filename() or "", data if isinstance(data, bytes) else b"")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _file_of(item: Any) -> tuple[str, bytes, int]:
    """Read an item of `write_files`: path, content and mode; ValueError says what is wrong."""
    path = item.get("path") if isinstance(item, dict) else None
    if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
        raise ValueError("path must be an absolute path")
    encoding = str(item.get("encoding", "text/plain"))
    content = item.get("content", "")
    data = content if isinstance(content, bytes) else str(content).encode()
    if encoding in ("b64", "base64"):
        try:
            data = base64.b64decode(data, validate=False)
        except binascii.Error as error:
            raise ValueError(f"content is not base64: {error}") from None
    elif encoding != "text/plain":
        raise ValueError(f"encoding {encoding}: must be text/plain or b64")
    mode = item.get("permissions", "0644")
    try:
        return path, data, (mode if isinstance(mode, int) else int(str(mode), 8)) & 0o7777
    except ValueError:
        raise ValueError("permissions must be an octal number") from None


def _parsed(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserDataError(f"{name}: is no JSON map")
    return value


# --- edges


def read_config_drive(labels: Path = Path("/dev/disk/by-label")) -> Given | None:
    """Read the server's config drive; None where there is none. UserDataError where it cannot be read."""
    device = _labelled(labels)
    if device is None:
        with contextlib.suppress(FileNotFoundError):  # an image without udev has all its devices from the start
            settle = ["udevadm", "settle", f"--timeout={_SETTLE_SECONDS}"]
            subprocess.run(settle, capture_output=True, check=False)
        device = _labelled(labels)
    if device is None:
        return None
    with tempfile.TemporaryDirectory(prefix="config-2-") as folder:
        mount = ["mount", "-o", "ro,nosuid,nodev,noexec", str(device), folder]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserDataError(f"{device}: cannot be mounted: {done.stderr.strip()}")
        try:
            file = Path(folder) / META_DATA
            if not file.is_file():
                raise UserDataError(f"{device}: has no {META_DATA}")
            meta_data = _parsed(file.read_bytes(), f"{device}: {META_DATA}")
            data = Path(folder) / USER_DATA
            return Given("config drive", meta_data, data.read_bytes() if data.is_file() else b"")
        finally:
            subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


def _labelled(labels: Path) -> Path | None:
    return next((labels / label for label in CONFIG_DRIVE_LABELS if (labels / label).exists()), None)


def ask_service(address: str, path: str, port: int = 80) -> tuple[int, bytes]:
    """Ask the metadata service, which is a neighbour: no proxy. HTTP status and body; OSError, HTTPException."""
    connection = http.client.HTTPConnection(address, port, timeout=_ATTEMPT_SECONDS)
    try:
        connection.request("GET", f"/{path}", headers={"Host": SERVICE_ADDRESS})
        answer = connection.getresponse()
        data = answer.read(MOST_BYTES + 1)
    finally:
        connection.close()
    if len(data) > MOST_BYTES:
        raise UserDataError(f"http://{address}/{path}: more than {MOST_BYTES} bytes")
    return answer.status, data


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder with this mode, or give it to the one that is there."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    folder.chmod(mode)
