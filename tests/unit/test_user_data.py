"""The first boot without cloud-init: what Nova gives a server comes to its place, once for each server."""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import pwd
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet import user_data
from heat_config_kubelet.clock import Clock
from heat_config_kubelet.log import Log
from heat_config_kubelet.user_data import FirstBoot, Given, Place, UserDataError, parts

UUID = "6a1e0c54-95a2-4a4c-9a5b-2d5f0a1b7c11"
OTHER = "0b9b6a8e-6c1f-4b0e-8a53-0f8d6a4c2d77"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXI user@host"
INIT_DATA = {"os-collect-config": {"heat": {"password": "geheim-ü"}}, "deployments": []}


def heats_user_data(own: str = "", metadata: dict[str, Any] | None = None) -> bytes:
    """User data as Heat makes them (heat/engine/clients/os/nova.py, build_userdata)."""

    def part(content: str, filename: str, subtype: str) -> MIMEText:
        charset = "us-ascii" if content.isascii() else "utf-8"
        made = MIMEText(content, _subtype=subtype, _charset=charset) if subtype else MIMEText(content, _charset=charset)
        made.add_header("Content-Disposition", "attachment", filename=filename)
        return made

    texts = [
        ("\n\noutput: {all: '| tee -a /var/log/cloud-init-output.log'}\n", "cloud-config", "cloud-config"),
        ("#!/bin/bash\nexit 0\n", "boothook.sh", "cloud-boothook"),
        ("# part-handler\n", "part-handler.py", "part-handler"),
        (own, "", ""),
        (json.dumps(INIT_DATA if metadata is None else metadata, ensure_ascii=False), "cfn-init-data", "x-cfninitdata"),
    ]
    return MIMEMultipart(_subparts=[part(*each) for each in texts]).as_bytes()


class Server:
    """A first boot on a machine below a folder, whose drive, service, clock and host name are the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = io.StringIO()
        self.now = 100.0
        self.host_name = ""
        self.given: Given | None = None
        self.answers: list[tuple[int, bytes] | Exception] = []
        self.asked: list[tuple[str, str]] = []
        for folder in ("etc", "sys/class/dmi/id", "root", "var/lib"):
            (root / folder).mkdir(parents=True)

    def openstack(self, uuid: str = UUID) -> None:
        (self.root / "sys/class/dmi/id/product_name").write_text("OpenStack Nova\n")
        (self.root / "sys/class/dmi/id/product_uuid").write_text(uuid.upper() + "\n")

    def give(self, user_data: bytes = b"", **meta_data: Any) -> None:
        self.given = Given("config drive", {"uuid": UUID, "hostname": "web-1.novalocal", **meta_data}, user_data)

    def boot(self, limit: float = 30.0, user: str = "root") -> None:
        clock = Clock(steady=lambda: self.now, sleep=self._sleep)
        log = Log(out=self.said, journal=False)
        place = Place(self.root)
        first = FirstBoot(self.root / "state", log, clock, user, place, lambda: self.given, self._ask, self._named)
        first.run(limit)

    def file(self, path: str) -> str:
        return (self.root / path).read_text()

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _named(self, name: str) -> None:
        self.host_name = name

    def _ask(self, address: str, path: str) -> tuple[int, bytes]:
        self.asked.append((address, path))
        if address != user_data.SERVICE_ADDRESS:
            raise OSError("no such neighbour")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    account = pwd.struct_passwd(("root", "x", os.getuid(), os.getgid(), "", "/root", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"root": account}.__getitem__)
    return Server(tmp_path)


def test_what_heat_gives_is_where_the_collectors_look(server: Server) -> None:
    server.give(heats_user_data())
    server.boot()
    assert json.loads(server.file("var/lib/heat-cfntools/cfn-init-data")) == INIT_DATA
    assert stat.S_IMODE((server.root / "var/lib/heat-cfntools/cfn-init-data").stat().st_mode) == 0o600
    assert stat.S_IMODE((server.root / "var/lib/heat-cfntools").stat().st_mode) == 0o700
    assert "geheim" not in server.said.getvalue() and "warn" not in server.said.getvalue().lower()


def test_host_name_and_keys(server: Server) -> None:
    (server.root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 debian\n")
    (server.root / "root/.ssh").mkdir(mode=0o755)
    (server.root / "root/.ssh/authorized_keys").write_text("ssh-rsa AAAA first\n")
    server.give(public_keys={"mine": KEY + "\n", "bad": 'command="x"\nssh-rsa AAAA'})
    server.boot()
    assert (server.host_name, server.file("etc/hostname")) == ("web-1", "web-1\n")
    assert server.file("etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 web-1.novalocal web-1\n"
    assert server.file("root/.ssh/authorized_keys") == f"ssh-rsa AAAA first\n{KEY}\n"
    assert stat.S_IMODE((server.root / "root/.ssh").stat().st_mode) == 0o700


def test_a_user_who_is_not_there_is_told(server: Server) -> None:
    server.give(public_keys={"mine": KEY})
    server.boot(user="debian")
    assert "no such user" in server.said.getvalue() and not (server.root / "root/.ssh").exists()


def test_a_name_that_is_no_host_name_changes_nothing(server: Server) -> None:
    server.give(hostname="../etc", name="x")
    server.boot()
    assert server.host_name == "" and "no host name" in server.said.getvalue()


def test_files_and_keys_of_a_cloud_config(server: Server) -> None:
    content = base64.b64encode(b"binary\0").decode()
    own = f"""#cloud-config
ssh_authorized_keys: ["{KEY}"]
write_files:
- {{path: /etc/containerd/certs.d/docker.io/hosts.toml, content: "server = 1", permissions: "0600"}}
- {{path: /opt/tool, content: {content}, encoding: b64, permissions: '0755'}}
- {{path: etc/relative, content: x}}
- {{path: /etc/../x, content: x}}
- {{path: /etc/gz, content: x, encoding: gz}}
packages: [nginx]
"""
    server.give(heats_user_data(own))
    server.boot()
    assert server.file("etc/containerd/certs.d/docker.io/hosts.toml") == "server = 1"
    assert (server.root / "opt/tool").read_bytes() == b"binary\0" and os.access(server.root / "opt/tool", os.X_OK)
    assert server.file("root/.ssh/authorized_keys") == KEY + "\n"
    assert server.said.getvalue().count("a file is not written") == 3
    assert "keys=packages" in server.said.getvalue()


@pytest.mark.parametrize("raw", [b"#!/bin/sh\nsecret", b"Content-Type: text/x-shellscript\n\n#!/bin/sh\nsecret"])
def test_a_script_is_not_run_and_that_is_told(server: Server, raw: bytes) -> None:
    server.give(raw)
    server.boot()
    assert "needs cloud-init" in server.said.getvalue() and "secret" not in server.said.getvalue()


def test_a_part_cannot_leave_its_folder(server: Server) -> None:
    server.give(heats_user_data().replace(b'filename="cfn-init-data"', b'filename="../../../etc/cron.d/x"'))
    server.boot()
    assert list((server.root / "var/lib/heat-cfntools").iterdir()) == []
    assert not (server.root / "etc/cron.d").exists()


def test_it_is_taken_once_for_each_server(server: Server) -> None:
    server.openstack()
    server.give(heats_user_data())
    server.boot()
    (server.root / "etc/hostname").write_text("chosen\n")
    server.given = None
    server.boot()
    assert server.file("etc/hostname") == "chosen\n" and server.asked == [], "known by the machine's own UUID"
    server.openstack(OTHER)
    server.give(heats_user_data(), uuid=OTHER)
    server.boot()
    assert server.file("etc/hostname") == "web-1\n", "an image made of a server is another server"


def test_cut_short_it_is_done_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.give(heats_user_data(), public_keys={"mine": KEY})
    with monkeypatch.context() as patch:
        patch.setattr(FirstBoot, "_take_keys", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError):
            server.boot()
    server.boot()
    assert server.file("root/.ssh/authorized_keys") == KEY + "\n"


# --- the metadata service


def test_the_service_is_asked_until_it_answers(server: Server) -> None:
    server.openstack()
    server.answers = [
        OSError(101, "Network is unreachable"),
        (404, b"no such port yet"),
        (200, b"<html>"),
        (200, json.dumps({"uuid": UUID, "name": "web-1"}).encode()),
        (200, heats_user_data()),
    ]
    server.boot()
    assert json.loads(server.file("var/lib/heat-cfntools/cfn-init-data")) == INIT_DATA
    assert server.host_name == "web-1"


def test_a_server_without_user_data(server: Server) -> None:
    server.answers = [(200, json.dumps({"uuid": UUID, "hostname": "bare"}).encode()), (404, b"")]
    server.boot()
    assert server.host_name == "bare" and list((server.root / "var/lib/heat-cfntools").iterdir()) == []


@pytest.mark.parametrize(("openstack", "waited"), [(True, 30.0), (False, 5.0)])
def test_nobody_is_waited_for_in_vain(server: Server, openstack: bool, waited: float) -> None:
    if openstack:
        server.openstack()
    server.answers = [OSError(113, "No route to host")]
    with pytest.raises(UserDataError, match="No route to host"):
        server.boot()
    assert server.now - 100 == pytest.approx(waited)
    server.answers = [(200, json.dumps({"uuid": UUID, "hostname": "late"}).encode()), (404, b"")]
    server.boot()
    assert server.host_name == "late", "the next try is as good as the first"


def test_the_neighbour_of_an_ipv6_link_is_asked_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    server.answers = [OSError(101, "Network is unreachable")]
    with pytest.raises(UserDataError):
        server.boot(limit=0)
    assert [address for address, _ in server.asked] == ["169.254.169.254", "fe80::a9fe:a9fe%eth0"]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A real HTTP server on loopback, and a proxy in the environment that must not be used."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"x" * 100 if self.path == "/small" else b"x" * (user_data.MOST_BYTES + 2)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            del format, arguments

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served.server_port
        served.shutdown()
        thread.join()


def test_a_real_question(service: int) -> None:
    assert user_data.ask_service("127.0.0.1", "small", service) == (200, b"x" * 100)
    with pytest.raises(UserDataError, match="more than"):
        user_data.ask_service("127.0.0.1", "large", service)


# --- the config drive


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Instead of mounting, the files of the test's folder are copied; gives the commands."""
    commands: list[list[str]] = []

    class Done:
        def __init__(self, returncode: int) -> None:
            self.returncode = returncode
            self.stderr = "mount: wrong fs type\n"

    def run(command: list[str], **_: Any) -> Done:
        commands.append(command)
        if command[0] == "udevadm":
            raise FileNotFoundError
        if command[0] == "mount":
            if (tmp_path / "broken").exists():
                return Done(32)
            for name in ("meta_data.json", "user_data"):
                source, target = tmp_path / name, Path(command[-1]) / "openstack/latest" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.exists():
                    target.write_bytes(source.read_bytes())
        return Done(0)

    monkeypatch.setattr("subprocess.run", run)
    return commands


def test_the_config_drive_is_read(tmp_path: Path, mounted: list[list[str]]) -> None:
    (tmp_path / "CONFIG-2").touch()
    (tmp_path / "meta_data.json").write_text('{"uuid": "1"}')
    found = user_data.read_config_drive(tmp_path)
    assert found == Given("config drive", {"uuid": "1"}, b"")
    assert mounted[0][:3] == ["mount", "-o", "ro,nosuid,nodev,noexec"] and mounted[-1][0] == "umount"
    (tmp_path / "user_data").write_bytes(b"data")
    again = user_data.read_config_drive(tmp_path)
    assert again is not None and found is not None and again == replace(found, user_data=b"data")


def test_no_config_drive(tmp_path: Path, mounted: list[list[str]]) -> None:
    assert user_data.read_config_drive(tmp_path) is None


@pytest.mark.parametrize(("there", "told"), [("broken", "wrong fs type"), ("user_data", "has no openstack/latest")])
def test_a_config_drive_that_cannot_be_read(tmp_path: Path, mounted: list[list[str]], there: str, told: str) -> None:
    (tmp_path / "config-2").touch()
    (tmp_path / there).touch()
    with pytest.raises(UserDataError, match=told):
        user_data.read_config_drive(tmp_path)


def test_parts_of_what_is_no_message() -> None:
    assert [part.data for part in parts(b"#cloud-config\nusers: []\n")] == [b"#cloud-config\nusers: []\n"]
    assert [part.data for part in parts(b"")] == [b""]
