"""No secret of the metadata gets out: not by any command, log line, signal, error, or file that others may read.

They are planted where Heat and templates have theirs, and everything repeats them: the kubelet's messages, a hook, and
the service that is signalled. Every command of the parser is run; one that needs arguments is named in `ARGUMENTS`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from commanded import Commanded, Ran
from fake_node import FakeHeat, FakeKubelet
from requests.adapters import BaseAdapter
from samples import signal_inputs
from support import pod_map, raw_entry

from heat_config_kubelet import cli
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import Answer, Sender
from heat_config_kubelet.values import Deployment, PodStatus, Result
from heat_config_kubelet.wake import Wake

SECRETS = {
    name: f"planted-{name}-5a7b91c3"
    for name in ("input", "nested", "password", "cfn", "temp", "env", "init", "text", "tool")
}

ARGUMENTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "complete": (("deployments",), ("pods",), ("checks",)),
    "completion": (("bash",), ("zsh",)),
    "config": ((), ("-o", "wide")),
    "diff": ((), ("shop/echo",)),
    "doctor": (("--offline",), ("--list",)),
    "forget": (("echo", "--yes"), ("gone", "--yes")),
    "logs": (("shop/echo",),),
    "redeploy": (("text", "--yes"), ("echo",)),
    "resend": (("echo", "--yes"), ("tool", "--yes", "-o", "json")),
    "restart": (("default/echo", "--yes"),),
    "show": (("shop/echo",), ("shop/text",), ("shop/tool",), ("shop/broken",), ("shop/gone",)),
    "status": ((), ("shop/echo",), ("--wait", "--timeout", "0.1"), ("--watch", "--timeout", "0.1")),
    "validate": (("METADATA",), ("POD",)),
}
"""How each command is called, where it is not called by its name alone."""
NOT_RUN = {
    "loop": "its steps are the fake node's",
    "user-data": "takes nothing of deployments, and gives the machine a name",
    "kubelet-config": "takes nothing of deployments",
}


def metadata() -> list[dict[str, Any]]:
    """Deployments that have each secret somewhere."""
    env = [{"name": "API_TOKEN", "value": SECRETS["env"]}]
    config = pod_map("echo", "never-there:1", initContainers=[{"name": "i", "image": "never-there:1"}])
    config["spec"]["containers"][0]["env"] = env
    config["spec"]["initContainers"][0]["env"] = [{"name": "INIT_SECRET", "value": SECRETS["init"]}]
    inputs = {"db_password": SECRETS["input"], "keys": {"deep": {"private_key": [SECRETS["nested"]]}}}
    cfn = f"http://heat.example:8000/v1/signal/x?AWSAccessKeyId=AKID&Signature={SECRETS['cfn']}"
    temp = f"http://swift.example:8080/v1/AUTH_p/s/o?temp_url_sig={SECRETS['temp']}&temp_url_expires=4000000000"
    password = {**signal_inputs("HEAT_SIGNAL"), "deploy_password": SECRETS["password"]}
    text = f"""
apiVersion: v1
kind: Pod
metadata: {{name: text}}
spec:
  containers:
  - name: c
    image: never-there:1
    env:
    - value: {SECRETS["text"]}
      name: DB_PASSWORD
"""
    tool = {**inputs, "deploy_signal_id": temp, "tool_token": SECRETS["tool"]}
    outputs = ({"name": "said"}, {"name": "why", "error_output": True})
    return [
        raw_entry(
            "id-echo", resource="echo", config=config, inputs={**inputs, "deploy_signal_id": cfn}, outputs=outputs
        ),
        raw_entry("id-text", resource="text", config=text, transport="HEAT_SIGNAL", inputs=password),
        raw_entry("id-broken", resource="broken", config=text.replace("  containers:", "  containres:"), inputs=inputs),
        raw_entry(
            "id-tool",
            resource="tool",
            group="script",
            config="echo",
            transport="TEMP_URL_SIGNAL",
            inputs=tool,
            outputs=outputs,
        ),
        raw_entry("id-fine", resource="fine", config=_named(config, "fine"), inputs=inputs),
        raw_entry("id-gone", resource="gone", config=_named(config, "gone"), inputs=inputs),
    ]


def own(resource: str) -> list[str]:
    """The secrets of one deployment."""
    return planted_in(json.dumps(next(each for each in metadata() if each["name"] == resource)))


def told(resource: str) -> str:
    """A text that repeats them."""
    return "it has " + " and ".join(own(resource))


def planted_in(text: str) -> list[str]:
    """Those that are in a text."""
    return [secret for secret in SECRETS.values() if secret in text]


def _named(config: dict[str, Any], name: str) -> dict[str, Any]:
    spec = json.loads(json.dumps(config["spec"]).replace("never-there:1", "registry.example/app:1"))
    return {**config, "metadata": {"name": name}, "spec": spec}


class Repeating(BaseAdapter):
    """A service that does not take a signal at first, then refuses it, and repeats in its answer what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        self.asked += 1
        response = requests.Response()
        response.status_code = 503 if self.asked <= 6 else 404
        told = f"{request.url} {dict(request.headers)} {request.body!r}"
        response.headers.update({"Content-Type": "text/plain", "Location": str(request.url)})
        response.raw = io.BytesIO(told.encode())
        response.request, response.url, response.reason = request, str(request.url), "of no use"
        return response

    def close(self) -> None:
        """Nothing is open."""


class RealSignals(FakeHeat):
    """Sends as a node does, to the service that repeats everything."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        session = requests.Session()
        service = Repeating()
        session.mount("http://", service)
        self._sender = Sender(settings, lambda: session)

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        self.got.append((deployment.id, json.loads(body)))
        return self._sender.send(deployment, body)


def repeat(kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kubelet's messages tell a pod's secrets, as a container's last words may."""
    plain = kubelet.pods

    def repeating(status: PodStatus) -> PodStatus:
        said = told(status.name.removesuffix("-node"))
        containers = tuple(replace(each, message=said, last_message=said) for each in status.containers)
        return replace(status, message=said, containers=containers)

    monkeypatch.setattr(kubelet, "pods", lambda: tuple(map(repeating, plain())))
    monkeypatch.setattr(kubelet, "last_words", lambda _, pod, *__, **___: told(pod.removesuffix("-node")))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    """A node with all of these deployments behind it."""
    monkeypatch.setattr(Wake, "start_loop", lambda *_: None)
    found = Commanded(tmp_path, monkeypatch, capsys)
    node = found.node
    node.heat = RealSignals(node.settings)
    repeat(node.kubelet, monkeypatch)
    node.hooks.results["id-tool"] = Result(1, told("tool"), told("tool"), {"said": told("tool"), "why": told("tool")})
    node.collect(*metadata())
    node.work()
    node.collect(*(each for each in metadata() if each["id"] != "id-gone"))
    node.work()
    (tmp_path / "heat.json").write_text(json.dumps({"deployments": metadata()}))
    (tmp_path / "pod.yaml").write_text(str(metadata()[2]["config"]))
    monkeypatch.setenv("OS_CONFIG_FILES", str(tmp_path / "heat.json"))
    monkeypatch.setenv("COLUMNS", "500")
    yield found
    node.close()


def test_they_are_where_they_belong(case: Commanded) -> None:
    """Else nothing else here would prove anything: the store has them all, and the kubelet's messages repeat them."""
    stored = "".join(
        entry.deployment.config.__str__() + str(entry.deployment.inputs) for entry in case.node.entries.values()
    )
    assert planted_in(stored) == list(SECRETS.values())
    assert {*planted_in(str(case.node.kubelet.pods()))} == {*own("echo"), *own("text"), *own("fine")}


def test_no_signal_has_any_in_what_kubelet_deployments_say(case: Commanded) -> None:
    assert {entry_id for entry_id, _ in case.node.heat.got} >= {"id-echo", "id-text", "id-broken", "id-tool", "id-fine"}
    for entry_id, body in case.node.heat.got:
        if entry_id == "id-tool":
            body = {name: value for name, value in body.items() if name.startswith("deploy_")}  # outputs are its own
        assert planted_in(json.dumps(body)) == [], entry_id


def test_no_line_of_the_log_and_no_file_for_everybody_has_any(case: Commanded) -> None:
    assert "signal refused" in case.node.log.text and "signal not taken" in case.node.log.text
    assert planted_in(case.node.log.text) == []
    files = [file for file in case.node.settings.run_dir.rglob("*") if file.is_file()]
    assert files and planted_in("".join(file.read_text() for file in files)) == []


def calls() -> Iterator[tuple[str, ...]]:
    """Every command, each way in which it is called here, in each form in which it shows anything."""
    for name, parser in cli.commands_of(cli.parser()).items():
        if name in NOT_RUN:
            continue
        forms = next((action.choices for action in parser._actions if action.dest == "output" and action.choices), None)
        for arguments in ARGUMENTS.get(name, ((),)):
            yield (name, *arguments)
            if forms and "-o" not in arguments:
                yield from ((name, *arguments, "-o", form) for form in ("wide", "json", "yaml"))


def run(case: Commanded, call: tuple[str, ...], folder: Path) -> Ran:
    files = {"METADATA": str(folder / "heat.json"), "POD": str(folder / "pod.yaml")}
    return case.run(*(files.get(word, word) for word in call))


@pytest.mark.parametrize("call", list(calls()), ids=" ".join)
def test_no_command_shows_any(
    case: Commanded, call: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(metadata()[3])))
    ran = run(case, call, tmp_path)
    assert "usage:" not in ran.err, "its arguments belong into ARGUMENTS"
    assert ran.out or ran.err or call[0] in ("run", "resume", "check-cache", "first-settings", "health")
    assert planted_in(ran.out + ran.err) == []
    for file in folder.iterdir():
        with tarfile.open(file) as packed:
            members = [packed.extractfile(member) for member in packed if member.isfile()]
            contents = [member.read().decode("latin-1") for member in members if member]
        assert contents and planted_in("".join(contents)) == []
