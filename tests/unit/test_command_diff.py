"""`diff`: the same, or what is missing on which side and why; differences in YAML, without marks and secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commanded import Commanded, Ran
from fake_node import NEVER_PULL
from lab import expected
from support import pod_map, raw_entry

from heat_config_kubelet.errors import KubeletError
from heat_config_kubelet.image_names import same_image
from heat_config_kubelet.kubelet_api import KubeletApi


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    found = Commanded(tmp_path, monkeypatch, capsys)
    with found.settings_file.open("a") as settings:
        settings.write(f"log = {tmp_path}/kubelet.log\n")
    yield found
    found.node.close()


def listed(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


@pytest.fixture
def healthy(case: Commanded) -> Commanded:
    """A deployment with two pods that run, one with one, and a hook's."""
    env = [{"name": "PASSWORD", "value": "planted-secret"}, {"name": "COLOUR", "value": "blue"}]
    db = pod_map("db")
    db["spec"]["containers"][0]["env"] = env
    case.node.collect(
        raw_entry("id-1", resource="front", config=listed(pod_map("web"), pod_map("cache"))),
        raw_entry("id-2", resource="db", config=db, inputs={"deploy_password": "other-secret"}),
        raw_entry("id-3", resource="job", group="script", config="exit 0"),
    )
    case.node.work()
    return case


def pods(ran: Ran) -> dict[str, dict[str, Any]]:
    """Every pod of JSON, by its name without the namespace."""
    return {pod["pod"].split("/")[1]: pod for each in json.loads(ran.out) for pod in each["pods"]}


def edit(case: Commanded, pod: str, **fields: Any) -> None:
    """Change a manifest's first container by hand."""
    file = case.node.file(pod)
    manifest = json.loads(file.read_text())
    manifest["spec"]["containers"][0].update(fields)
    file.write_text(json.dumps(manifest, indent=4))


def test_nothing_differs(healthy: Commanded) -> None:
    ran = healthy.run("diff")
    expected.check("diff/same", ran.out)
    assert (ran.status, ran.err) == (0, "")
    found = json.loads(healthy.run("diff", "-o", "json").out)
    assert [(each["deployment"], each["id"], each["same"]) for each in found] == [
        ("shop/front", "id-1", True),
        ("shop/db", "id-2", True),
    ]
    assert {pod["written"] for pod in found[0]["pods"]} == {"same"} == {pod["running"] for pod in found[0]["pods"]}


def test_a_file_that_was_changed_by_hand(healthy: Commanded) -> None:
    edit(healthy, "web", image="nginx:2", command=["sleep", "1"])
    ran = healthy.run("diff", "front")
    expected.check("diff/changed-by-hand", ran.out)
    assert ran.status == 1
    assert healthy.run("diff", "db").status == 0


def test_a_secret_that_was_changed_by_hand_is_not_told(healthy: Commanded) -> None:
    env = [{"name": "PASSWORD", "value": "another-secret"}, {"name": "COLOUR", "value": "blue"}]
    edit(healthy, "db", env=env)
    ran = healthy.run("diff", "db")
    assert ran.status == 1 and "it differs in a value that is secret" in ran.out
    edit(healthy, "db", env=[*env, {"name": "SIZE", "value": "7"}])
    ran = healthy.run("diff", "db")
    assert "+    - name: SIZE" in ran.out and "value: '***'" in ran.out
    for form in ("table", "json", "yaml"):
        ran = healthy.run("diff", "-o", form)
        assert not any(secret in ran.out + ran.err for secret in ("planted-secret", "another-secret", "other-secret"))


def test_a_file_that_was_written_in_another_form_alone(healthy: Commanded) -> None:
    file = healthy.node.file("web")
    file.write_text(json.dumps(json.loads(file.read_text())))
    ran = healthy.run("diff", "front")
    assert ran.status == 1 and "it differs in its form alone" in ran.out


@pytest.mark.parametrize("content", ["", "{", "[1]", "a: b: c", "\ud83d"])
def test_a_file_that_holds_no_pod(healthy: Commanded, content: str) -> None:
    healthy.node.file("web").write_bytes(content.encode("utf-8", "surrogatepass"))
    healthy.node.kubelet.folder = healthy.node.folder / "none"  # a kubelet that has read nothing
    ran = healthy.run("diff", "front")
    assert ran.status == 1 and "changed by hand" in ran.out and not ran.err


def test_a_file_that_is_missing_and_its_pod_ends(healthy: Commanded) -> None:
    healthy.node.file("web").unlink()
    ran = healthy.run("diff", "front")
    expected.check("diff/missing", ran.out)
    assert ran.status == 1


def test_a_pod_that_the_kubelet_refuses(healthy: Commanded, tmp_path: Path) -> None:
    file = healthy.node.file("web")
    log = tmp_path / "kubelet.log"
    log.write_text(
        'E1123 06:00:00.000000       7 file.go:187] "Could not process manifest file" err="can\'t process config file '
        f'\\"{file}\\": invalid pod: [spec.containers[0].name: Required value]" path="{file}"\n'
    )
    hidden = healthy.node.uids()["web"]
    kubelet = healthy.node.kubelet
    shown = tuple(status for status in kubelet.pods() if status.uid != hidden)
    healthy.node.kubelet.pods = lambda: shown  # type: ignore[method-assign]
    ran = healthy.run("diff", "front")
    expected.check("diff/refused", ran.out)
    assert ran.status == 1
    assert pods(healthy.run("diff", "front", "-o", "json"))["web"]["running"] == "missing"


def test_a_pod_of_the_name_with_another_uid(healthy: Commanded) -> None:
    first, *rest = healthy.node.kubelet.pods()
    strange = replace(first, uid="somebody-elses")
    healthy.node.kubelet.pods = lambda: (strange, *rest)  # type: ignore[method-assign]
    ran = healthy.run("diff")
    assert "a pod of that name with another UID, somebody-elses" in ran.out and ran.status == 1


def test_other_images_and_containers_than_were_written(healthy: Commanded) -> None:
    statuses = healthy.node.kubelet.pods()
    (web,) = (each for each in statuses if each.name == "web-node")
    (container,) = web.containers
    old = replace(container, image="registry.example/app:0")
    extra = replace(container, name="left", image="left:1", init=True)
    shown = (replace(web, containers=(extra, old)), *(each for each in statuses if each is not web))
    healthy.node.kubelet.pods = lambda: shown  # type: ignore[method-assign]
    ran = healthy.run("diff", "front")
    expected.check("diff/other-containers", ran.out)
    assert ran.status == 1


def test_a_pod_that_cannot_start(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", config=pod_map("web", NEVER_PULL)))
    case.node.work()
    ran = case.run("diff")
    assert ran.status == 1 and "running: not yet: " in ran.out and "ErrImageNeverPull" in ran.out
    assert pods(case.run("diff", "-o", "json"))["web"]["running"] == "starting"


def test_a_config_that_was_refused_keeps_what_ran(healthy: Commanded) -> None:
    healthy.node.collect(
        raw_entry("id-9", resource="front", action="UPDATE", config={"kind": "Pod"}, created="2026-11-22T11:00:00Z"),
        raw_entry("id-2", resource="db", config=pod_map("db")),
    )
    healthy.node.work()
    ran = healthy.run("diff", "front")
    expected.check("diff/refused-config", ran.out)
    assert ran.status == 1


def test_an_action_without_a_tool_keeps_what_ran(case: Commanded) -> None:
    def component(action: str, entry_id: str) -> dict[str, Any]:
        config = {"configs": [{"actions": ["CREATE"], "tool": "kubelet", "config": json.dumps(pod_map("web"))}]}
        return raw_entry(entry_id, group="component", action=action, config=config, created=f"2026-{entry_id}")

    case.node.collect(component("CREATE", "11-01"))
    case.node.work()
    case.node.collect(component("UPDATE", "11-02"))
    case.node.work()
    ran = case.run("diff")
    assert (ran.status, ran.out) == (0, "shop/deploy UPDATE: the same\n  pod default/web: the same\n")
    assert pods(case.run("diff", "-o", "json"))["web"]["wanted"] == "kept"
    case.node.file("web").unlink()
    ran = case.run("diff")
    assert ran.status == 1 and "pod default/web: kept; written: missing; running: missing" in ran.out


def test_a_newer_config_that_is_not_written_yet(healthy: Commanded) -> None:
    healthy.node.collect(
        raw_entry("id-9", resource="front", action="UPDATE", config=pod_map("web", "registry.example/app:2"))
    )
    ran = healthy.run("diff")
    expected.check("diff/newer-config", ran.out)
    assert ran.status == 1


def test_a_pod_whose_name_is_a_foreign_files(case: Commanded) -> None:
    case.node.folder.mkdir(exist_ok=True)
    (case.node.folder / "theirs.json").write_text(json.dumps(pod_map("web")))
    case.node.collect(raw_entry("id-1", config=pod_map("web")))
    case.node.work()
    ran = case.run("diff")
    expected.check("diff/foreign", ran.out)
    assert ran.status == 1


def test_deployments_that_want_nothing_any_more(healthy: Commanded) -> None:
    healthy.node.collect(raw_entry("id-8", resource="front", action="SUSPEND", created="2026-11-22T11:00:00Z"))
    healthy.node.work()
    assert healthy.run("diff").out == "shop/front SUSPEND: the same\n  its action is SUSPEND: it wants no pods\n"
    assert healthy.run("diff").status == 0


def test_a_node_without_deployments_for_pods(case: Commanded) -> None:
    case.node.collect(raw_entry("id-3", resource="job", group="script", config="exit 0"))
    case.node.work()
    assert case.run("diff").out == "no deployment has pods on this node\n"
    ran = case.run("diff", "nobody")
    assert ran.status == 1 and "there is no deployment nobody" in ran.err
    ran = case.run("diff", "job")
    assert (ran.status, ran.out) == (0, "shop/job CREATE: the same\n  the group script has no pods\n")


# --- what cannot be seen


def test_without_the_kubelet_the_rest_is_told(healthy: Commanded) -> None:
    healthy.node.kubelet.problem = KubeletError("it does not answer")
    ran = healthy.run("diff")
    assert ran.status == 1 and "kubelet: not seen: it does not answer" in ran.err
    assert "pod default/web: wanted; written: same; running: unknown" in ran.out
    assert "CREATE: not known" in ran.out and "differs" not in ran.out


def test_without_the_store_the_rest_is_told(healthy: Commanded) -> None:
    healthy.node.settings.store_file.write_bytes(b"no database" * 100)
    for name in ("-wal", "-shm"):
        Path(f"{healthy.node.settings.store_file}{name}").unlink(missing_ok=True)
    ran = healthy.run("diff", "front")
    assert ran.status == 1 and "store: not seen:" in ran.err
    assert "pod default/web: unknown; written: unknown; running: same" in ran.out and "db" not in ran.out


def test_with_nothing_at_all_the_reason_is_the_error(case: Commanded) -> None:
    case.node.settings.store_file.unlink()
    ran = case.run("diff")
    assert ran.status == 1 and ran.out == "" and "there is no store yet" in ran.err


def test_a_manifest_directory_that_cannot_be_read(healthy: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Permission denied", str(healthy.node.folder))

    monkeypatch.setattr(os, "scandir", refuse)
    ran = healthy.run("diff")
    assert ran.status == 1 and "manifests: not seen:" in ran.err and "Permission denied" in ran.err
    assert "written: unknown" in ran.out


def test_the_kubelet_is_asked_once(healthy: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(_: object) -> Any:
        asked.append(1)
        return healthy.node.kubelet.pods()

    monkeypatch.setattr(KubeletApi, "pods", answer)
    healthy.run("diff")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("written", "running", "same"),
    [
        ("nginx", "docker.io/library/nginx:latest", True),
        ("nginx:1.27", "docker.io/library/nginx:1.27", True),
        ("nginx:1.27", "docker.io/library/nginx:1.28", False),
        ("bitnami/nginx", "docker.io/bitnami/nginx:latest", True),
        ("registry:5000/a", "registry:5000/a:latest", True),
        ("localhost/a:1", "localhost/a:1", True),
        ("index.docker.io/a/b:1", "docker.io/a/b:1", True),
        ("a:1@sha256:0", "docker.io/library/a@sha256:0", True),
        ("a@sha256:0", "docker.io/library/a@sha256:1", False),
        ("a:1", "sha256:0123", True),
        ("a:1", "", True),
    ],
)
def test_an_image_may_be_named_in_short(written: str, running: str, same: bool) -> None:
    assert same_image(written, running) is same
