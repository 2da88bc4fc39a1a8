"""`pods`: ours and others', whose each is and from which file; what cannot be seen is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commanded import Commanded
from fake_node import NEVER_READY
from lab import expected
from support import pod_map, raw_entry

from heat_config_kubelet import kubelet_config
from heat_config_kubelet.errors import KubeletError
from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_config import discover


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    """A deployment's pod that runs, one that does not become ready, a foreign one, and one that no file explains."""
    found = Commanded(tmp_path, monkeypatch, capsys)
    node = found.node
    node.folder.mkdir()
    (node.folder / "foreign.yaml").write_text(json.dumps(pod_map("proxy")))
    node.collect(
        raw_entry("id-1", resource="front", config=pod_map("web")),
        raw_entry("id-2", resource="slow", config=pod_map("slow", NEVER_READY), options={"containers_timeout": 3}),
    )
    node.work()
    pods = [replace(each, start_time="2026-11-18T11:06:40Z") for each in node.kubelet.pods()]
    stray = replace(pods[0], uid="uid-9", namespace="kube-system", name="stray-node", annotations={})
    monkeypatch.setattr(KubeletApi, "pods", lambda _: (*pods, stray))
    yield found
    node.close()


def test_each_pod_has_an_owner_and_a_file(case: Commanded) -> None:
    ran = case.run("pods")
    expected.check("pods/all", ran.out)
    assert (ran.status, ran.err) == (0, "")


def test_machines_get_a_list_of_maps(case: Commanded) -> None:
    found = {row["name"]: row for row in json.loads(case.run("pods", "-o", "json").out)}
    assert found.keys() == {"web", "slow", "proxy", "stray"}
    web = found["web"]
    assert (web["owner_kind"], web["owner"], web["ready"], web["restarts"]) == ("deployment", "shop/front", True, 0)
    assert (web["containers_ready"], web["containers"], web["started"]) == (1, 1, "2026-11-18T11:06:40Z")
    assert Path(web["file"]) == case.node.file("web")
    assert web["uid"] == json.loads(case.node.file("web").read_text())["metadata"]["uid"]
    assert (found["proxy"]["owner_kind"], Path(found["proxy"]["file"]).name) == ("foreign", "foreign.yaml")
    assert (found["stray"]["owner_kind"], found["stray"]["file"]) == ("none", "")
    assert found["slow"]["ready"] is False and "not ready" in found["slow"]["reason"]


def test_a_kubelet_that_is_down_leaves_the_files(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: KubeletApi) -> None:
        raise KubeletError("the kubelet does not answer", hint="start it")

    monkeypatch.setattr(KubeletApi, "pods", fails)
    ran = case.run("pods")
    expected.check("pods/kubelet-down", ran.out + ran.err)
    assert ran.status == 1


@pytest.mark.parametrize("command", ["pods", "status", "diff", "show"])
def test_where_the_runtime_is_gone_it_is_said_with_what_the_kubelet_still_tells(
    case: Commanded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    (tmp_path / "cri").mkdir()
    access = replace(discover(case.node.settings), runtime_endpoint=f"unix://{tmp_path}/cri/containerd.sock")
    monkeypatch.setattr(kubelet_config, "discover", lambda _: access)
    ran = case.run(command, *(["front"] if command == "show" else []))
    gone = f"the container runtime does not answer at {access.runtime_endpoint}: No such file or directory"
    assert gone in ran.out + ran.err and ("web" in ran.out or command == "status")
    (tmp_path / "cri").rmdir()
    ran = case.run(command, *(["front"] if command == "show" else []))
    assert "runtime does not answer" not in ran.out + ran.err, "in a container it cannot be seen"


def test_what_is_no_pod_is_named(case: Commanded) -> None:
    (case.node.folder / "notes.txt").write_text("not a pod")
    ran = case.run("pods")
    assert "notes.txt: holds no pod that can be read" in ran.out
