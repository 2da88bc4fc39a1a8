"""`show`: a deployment whole, in each state; what cannot be seen is said, and nothing secret is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from commanded import Commanded
from fake_node import NEVER_PULL, NEVER_READY
from lab import expected
from support import START, pod_map, raw_entry

from heat_config_kubelet.errors import KubeletError
from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_log import KubeletLog
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.values import ContainerState, PodStatus, Result


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    found = Commanded(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr(KubeletLog, "last", lambda *_: ())
    yield found
    found.node.close()


def several(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


@pytest.fixture
def healthy(case: Commanded) -> Commanded:
    """A deployment of two pods, one of which was replaced by an update."""
    case.node.collect(raw_entry("id-1", resource="front", config=several(pod_map("web"), pod_map("db"))))
    case.node.work()
    newer = several(pod_map("web", "registry.example/app:2"), pod_map("db"))
    case.node.collect(raw_entry("id-2", action="UPDATE", resource="front", config=newer))
    case.node.work()
    return case


def shown(case: Commanded, name: str) -> dict[str, Any]:
    """What machines get."""
    found: dict[str, Any] = json.loads(case.run("show", name, "-o", "json").out)
    return found


def pod_of(case: Commanded, name: str) -> dict[str, Any]:
    """The one pod of a deployment."""
    (pod,) = shown(case, name)["pods"]
    return dict(pod)


def see(case: Commanded, monkeypatch: pytest.MonkeyPatch, *pods: PodStatus) -> None:
    """Let the kubelet show these pods."""
    monkeypatch.setattr(KubeletApi, "pods", lambda _: pods)


def crashed(status: PodStatus) -> PodStatus:
    """The same pod after its container has ended three times."""
    container = replace(
        status.containers[0],
        ready=False,
        restart_count=2,
        state=ContainerState.WAITING,
        reason="CrashLoopBackOff",
        message="back-off 20s restarting failed container",
        last_exit_code=7,
        last_reason="Error",
        last_message="no room left",
        started_at=START,
        ended_at=START + 1,
    )
    return replace(status, ready=False, containers=(container,))


# --- whole


def test_one_where_all_is_well(healthy: Commanded) -> None:
    ran = healthy.run("show", "front")
    expected.check("show/healthy", ran.out)
    assert (ran.status, ran.err) == (0, "")
    wide = healthy.run("show", "front", "-o", "wide").out
    assert healthy.node.file("web").name in wide and healthy.node.uids()["web"] in wide


def test_machines_get_all_of_it(healthy: Commanded) -> None:
    found = shown(healthy, "front")
    assert yaml.safe_load(healthy.run("show", "front", "-o", "yaml").out) == found
    assert (found["status"]["id"], found["status"]["state"], found["status"]["health"]) == ("id-2", "succeeded", "well")
    assert [(each["pod"], each["wanted"], each["written"], each["ready"], each["why"]) for each in found["pods"]] == [
        ("default/web", True, "written", True, ""),
        ("default/db", True, "written", True, ""),
    ]
    (container,) = found["pods"][0]["containers"]
    assert (container["image"], container["state"], container["restarts"]) == ("registry.example/app:2", "running", 0)
    assert container["image_id"] == "sha256:1"
    assert found["timeline"] == json.loads(healthy.run("timeline", "front", "-o", "json").out)
    assert found["signal"]["attempts"][-1]["state"] == "delivered"
    assert [(each["id"], each["action"]) for each in found["others"]] == [("id-1", "CREATE")]
    assert found["result"]["status_code"] == 0 and "default/web" in found["result"]["stdout"]
    assert found["metadata"]["config"]["items"][0]["metadata"] == {"name": "web"}
    assert found["unseen"] == {} and found["vanished_at"] is None


def test_one_that_has_vanished_by_its_id(healthy: Commanded) -> None:
    ran = healthy.run("show", "id-1")
    expected.check("show/vanished", ran.out)
    found = shown(healthy, "id-1")
    assert found["owner"] == "id-2" and found["pods"] == [] and found["vanished_at"]
    healthy.node.collect()
    healthy.node.work()
    assert shown(healthy, "front")["status"]["id"] == "id-2" and shown(healthy, "id-2")["pods"] == []


def test_a_config_that_cannot_be_run(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", resource="wrong", config=pod_map("wrong", colour="red", nodeName=7)))
    case.node.work()
    expected.check("show/refused", case.run("show", "wrong").out)
    assert len(shown(case, "wrong")["faults"]) == 2


def test_one_that_waits_for_its_pod(case: Commanded) -> None:
    class StopError(BaseException):
        pass

    def stop() -> None:
        raise StopError

    case.node.collect(raw_entry("id-1", resource="slow", config=pod_map("slow", NEVER_READY)))
    case.node.after(6, stop)
    with pytest.raises(StopError):
        case.node.work()
    expected.check("show/pending", case.run("show", "slow").out)
    assert shown(case, "slow")["timeline"]["steps"][-1]["at"] is None


def test_a_pod_that_crashed_after_it_was_well(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    case.node.collect(raw_entry("id-1", config=pod_map("web")))
    case.node.work()
    see(case, monkeypatch, *(crashed(each) for each in case.node.kubelet.pods()))
    expected.check("show/crashed", case.run("show", "deploy").out)
    container = pod_of(case, "deploy")["containers"][0]
    assert (container["last_exit_code"], container["last_reason"], container["restarts"]) == (7, "Error", 2)
    assert (
        container["why"] == "exited with code 7: no room left" and container["ended_at"] == "2026-11-18T11:06:41.000Z"
    )


def test_each_attempt_to_signal_with_its_answer(case: Commanded) -> None:
    answers = [Answer(AnswerKind.RETRY, "POST http://heat.example:8000/v1/signal/x: 503 busy")]
    case.node.heat.answers["id-1"] = [*answers, Answer(AnswerKind.REFUSED, "403 no such stack")]
    case.node.collect(raw_entry("id-1", resource="absent", config=pod_map("absent", NEVER_PULL)))
    case.node.work()
    expected.check("show/signal-refused", case.run("show", "absent").out)
    signal = shown(case, "absent")["signal"]
    assert [(each["state"], each["answer"]) for each in signal["attempts"]] == [
        ("pending", "POST http://heat.example:8000/v1/signal/x: 503 busy"),
        ("refused", "403 no such stack"),
    ]
    assert (signal["state"], signal["transport"]) == ("refused", "CFN_SIGNAL")


def test_a_hook_of_another_group(case: Commanded) -> None:
    case.node.hooks.results["id-1"] = Result(2, "", "no such host\x1b[2J", {"made": ["a", 1]})
    case.node.collect(raw_entry("id-1", resource="job", group="script", config="make it", outputs=({"name": "made"},)))
    case.node.work()
    out = case.run("show", "job").out
    expected.check("show/hook", out)
    assert "\x1b" not in out


def test_one_that_was_not_begun(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", config=pod_map("web")))
    pod = pod_of(case, "deploy")
    assert (pod["written"], pod["why"], pod["containers"][0]["image"]) == (
        "",
        "its manifest is not written",
        "registry.example/app:1",
    )


def test_who_is_not_there(healthy: Commanded) -> None:
    ran = healthy.run("show", "nobody")
    assert (ran.status, ran.out) == (1, "") and "there is no deployment nobody" in ran.err
    assert healthy.run("show").status == 2


# --- why what runs is not what is wanted


def written(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", config=pod_map("web")))
    case.node.work()


def test_a_manifest_that_somebody_has_changed_or_removed(case: Commanded) -> None:
    written(case)
    file = case.node.file("web")
    file.write_text(file.read_text() + "\n")
    assert pod_of(case, "deploy")["why"] == f"somebody has changed its manifest {file.name}"
    file.rename(case.node.folder.parent / "aside")
    assert pod_of(case, "deploy")["why"] == (
        f"its manifest {file.name} is not in the kubelet's directory; the kubelet does not show it"
    )


def test_a_newer_content_that_is_not_written_yet(case: Commanded) -> None:
    written(case)
    case.node.collect(raw_entry("id-2", action="UPDATE", config=several(pod_map("web", "x:2"), pod_map("db"))))
    told = [(each["pod"], each["why"]) for each in shown(case, "deploy")["pods"]]
    assert told == [
        ("default/web", "what is written is not what is wanted now"),
        ("default/db", "its manifest is not written"),
    ]
    case.node.collect(raw_entry("id-3", action="UPDATE", config=pod_map("db")))
    assert shown(case, "deploy")["pods"][1]["why"] == "it is not wanted any more"
    case.node.collect(raw_entry("id-4", action="DELETE"))
    assert pod_of(case, "deploy")["why"] == "it is not wanted any more"


def test_a_pod_that_is_being_ended(case: Commanded) -> None:
    written(case)
    row = case.node.other.pods()[0]
    case.node.other.set_phase(row, "removing", START)
    assert pod_of(case, "deploy")["why"] == "it is being ended"


def test_the_kubelets_own_words_on_a_manifest_that_it_refuses(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    written(case)
    file = case.node.file("web")
    line = f'"Can\'t process manifest file" path="{file}" err="invalid pod: spec.x: Forbidden"'
    monkeypatch.setattr(KubeletLog, "last", lambda *_: (f"E1123 06:00:00.000000 1 file.go:149] {line}",))
    see(case, monkeypatch)
    assert "the kubelet refuses the manifest" in pod_of(case, "deploy")["why"]


# --- parts that are broken hide nothing of the rest


def test_a_kubelet_that_does_not_answer(healthy: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: KubeletApi) -> None:
        raise KubeletError("the kubelet does not answer at https://127.0.0.1:10250", hint="does it run?")

    monkeypatch.setattr(KubeletApi, "pods", fails)
    ran = healthy.run("show", "front")
    expected.check("show/kubelet-down", ran.out)
    assert ran.status == 0
    found = shown(healthy, "front")
    assert {each["ready"] for each in found["pods"]} == {None} and "does not answer" in found["unseen"]["kubelet"]


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_without_a_store_manifests_and_kubelet_tell(healthy: Commanded, content: bytes | None) -> None:
    healthy.node.close()
    for left in healthy.node.settings.state_dir.glob("store.sqlite*"):
        left.unlink()
    if content:
        healthy.node.settings.store_file.write_bytes(content)
    found = shown(healthy, "front")
    assert (found["status"]["state"], found["status"]["stack"]) == ("unknown", "shop")
    assert sorted((each["pod"], each["wanted"], each["ready"]) for each in found["pods"]) == [
        ("default/db", None, True),
        ("default/web", None, True),
    ]
    assert "store.sqlite" in found["unseen"]["store"]
    if not content:
        expected.check("show/without-store", healthy.run("show", "front").out)
    assert healthy.run("show", "nobody").status == 1


def test_with_neither_store_nor_manifests_the_reason_is_told(case: Commanded) -> None:
    case.node.close()
    case.node.settings.store_file.unlink()
    ran = case.run("show", "front")
    assert (ran.status, ran.out) == (1, "") and "there is no store yet" in ran.err


def test_without_root_it_says_so(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    written(case)

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(case.node.settings.store_file))

    monkeypatch.setattr("heat_config_kubelet.commands.node_view.Store.open", closed)
    monkeypatch.setattr("heat_config_kubelet.manifest_dir.ManifestDir.scan", closed)
    ran = case.run("show", "deploy")
    assert ran.status == 1 and "Permission denied" in ran.err and "Traceback" not in ran.err


# --- secrets, and what it costs


def test_no_secret_is_shown(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [f"planted-{name}" for name in ("signature", "env", "input", "password", "token")]
    signature, env, given, password, token = secrets
    inputs = {
        "deploy_signal_id": f"https://swift.example:8080/v1/AUTH_x/c/o?temp_url_sig={signature}&temp_url_expires=9",
        "deploy_password": password,
        "db_password": given,
        "api": {"token": token},
    }
    pod = pod_map("web", containers=[{"name": "c", "image": "x:1", "env": [{"name": "DB_PASSWORD", "value": env}]}])
    case.node.heat.answers["id-1"] = [Answer(AnswerKind.RETRY, "503"), Answer(AnswerKind.ACCEPTED, "200")]
    case.node.collect(raw_entry("id-1", config=pod, transport="TEMP_URL_SIGNAL", inputs=inputs))
    case.node.work()
    status = crashed(case.node.kubelet.pods()[0])
    container = replace(status.containers[0], last_message=f"cannot log in with {env} at {given}")
    see(case, monkeypatch, replace(status, containers=(container,), message=token))
    for form in ("table", "wide", "json", "yaml"):
        out = case.run("show", "deploy", "-o", form).out
        assert not [secret for secret in secrets if secret in out], form
        assert "https://swift.example:8080/v1/AUTH_x/c/o?***" in out and "cannot log in with *** at ***" in out


def test_no_more_is_imported_than_needed(healthy: Commanded) -> None:
    """Who asks the kubelet needs `requests`; who shows JSON needs no YAML."""
    program = "import sys; from heat_config_kubelet import cli; cli.main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", program, "--settings", str(healthy.settings_file), "show", "front", "-o", "json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not {"yaml", "keystoneauth1", "kubernetes"} & set(out.split())
