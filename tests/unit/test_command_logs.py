"""`logs`: by the kubelet, else from the runtime's files; of one container or of several; following; what is said."""

from __future__ import annotations

import argparse
import io
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from commanded import Commanded
from fake_node import NEVER_PULL
from support import pod_map, raw_entry

from heat_config_kubelet.commands import logs
from heat_config_kubelet.errors import KubeletError
from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_config import own_file
from heat_config_kubelet.values import ContainerState

TIME = "2026-11-23T06:00:00.000000000Z"


@dataclass
class FakeLogs:
    """What the kubelet gives for each container, and what it was asked."""

    pieces: dict[str, list[bytes]]
    asked: list[tuple[str, dict[str, Any]]]
    errors: dict[str, str]

    def stream(
        self, _: KubeletApi, namespace: str, pod: str, container: str, take: Callable[[bytes], None], **query: Any
    ) -> None:
        """Stands for `KubeletApi.stream_log`."""
        name = f"{namespace}/{pod}/{container}"
        self.asked.append((name, query))
        for piece in self.pieces.get(name, []):
            take(piece)
        if name in self.errors:
            raise KubeletError(self.errors[name])


@dataclass
class Case:
    """A node with a deployment of two pods and another of one."""

    commanded: Commanded
    fake: FakeLogs
    folder: Path

    def run(self, *arguments: str) -> tuple[int, list[str], str]:
        """Exit status, lines, and what is said beside them."""
        ran = self.commanded.run("logs", *arguments)
        return ran.status, ran.out.splitlines(), ran.err

    def write(self, pod: str, *texts: str, run: int = 0, container: str = "c") -> Path:
        """Write a log as the runtime does; gives its file."""
        status = next(each for each in self.commanded.node.kubelet.pods() if each.name == pod)
        file = self.folder / f"default_{pod}_{status.uid}" / container / f"{run}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{TIME} stdout F {text}\n" for text in texts))
        return file


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Case]:
    commanded = Commanded(tmp_path, monkeypatch, capsys)
    pieces = {"default/web-node/c": [b"one\ntw", b"o\n"], "default/db-node/c": [b"three"]}
    fake = FakeLogs(pieces, [], {})
    monkeypatch.setattr(KubeletApi, "stream_log", lambda api, *given, **query: fake.stream(api, *given, **query))
    (tmp_path / "pod-logs").mkdir()
    fields = {"kind": "KubeletConfiguration", "podLogsDir": str(tmp_path / "pod-logs")}
    own_file(commanded.node.settings).write_text(json.dumps(fields))
    two = {"apiVersion": "v1", "kind": "List", "items": [pod_map("web"), pod_map("db")]}
    commanded.node.collect(
        raw_entry("id-1", resource="front", config=two),
        raw_entry("id-2", resource="absent", config=pod_map("never", NEVER_PULL)),
    )
    commanded.node.work()
    yield Case(commanded, fake, tmp_path / "pod-logs")
    commanded.node.close()


@pytest.fixture
def silent(case: Case, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Its kubelet does not answer."""

    def fails(_: KubeletApi) -> None:
        raise KubeletError("the kubelet does not answer at https://127.0.0.1:10250")

    case.write("web-node", "one", "two")
    case.write("db-node", "three")
    monkeypatch.setattr(KubeletApi, "pods", fails)
    return case


# --- whose


@pytest.mark.parametrize("name", ["front", "shop/front", "id-1"])
def test_of_a_deployment_each_line_has_its_container_before_it(case: Case, name: str) -> None:
    status, lines, said = case.run(name)
    assert sorted(lines) == ["default/db/c | three", "default/web/c | one", "default/web/c | two"]
    assert (status, said) == (0, "")


@pytest.mark.parametrize("name", ["default/web", "web", "web-node"])
def test_of_a_pod_the_lines_are_as_they_are(case: Case, name: str) -> None:
    assert case.run(name) == (0, ["one", "two"], "")


def test_by_its_uid(case: Case) -> None:
    assert case.run(case.commanded.node.uids()["db"])[1] == ["three"]


def test_of_a_pod_that_is_not_ours(case: Case) -> None:
    manifest = {"metadata": {"name": "proxy"}, "spec": {"containers": []}}
    (case.commanded.node.folder / "proxy.json").write_text(json.dumps(manifest))
    assert case.run("proxy") == (
        1,
        [],
        "heat-config-kubelet: default/proxy has no container yet\n  hint: show tells what it waits for\n",
    )


def test_one_container_of_several(case: Case) -> None:
    assert case.run("web", "-c", "c")[1] == ["one", "two"]
    status, lines, said = case.run("front", "-c", "nginx")
    assert (status, lines) == (1, []) and "has no container nginx" in said and "there are c" in said


def test_a_name_of_a_deployment_and_of_another_one_s_pod(case: Case) -> None:
    case.commanded.node.collect(raw_entry("id-3", resource="web", config=pod_map("other")), name="other")
    case.commanded.node.work()
    status, _, said = case.run("web")
    assert status == 1 and "web is the deployment shop/web and the pod default/web" in said
    assert case.run("default/web")[1] == ["one", "two"]


def test_who_is_not_there(case: Case) -> None:
    status, lines, said = case.run("nobody")
    assert (status, lines) == (1, []) and "there is no deployment or pod nobody" in said and "default/web" in said


def test_a_deployment_without_pods(case: Case) -> None:
    case.commanded.node.collect(raw_entry("id-9", resource="job", group="script", config="x"), name="other")
    case.commanded.node.work()
    status, _, said = case.run("job")
    assert status == 1 and "shop/job has no pod" in said and "show id-9" in said


# --- from the kubelet


def test_what_is_asked_of_the_kubelet(case: Case) -> None:
    case.run("web", "--tail", "7", "--previous")
    case.run("web", "-p", "-f")
    assert [query for _, query in case.fake.asked] == [
        {"tail": 7, "previous": True, "follow": False},
        {"tail": None, "previous": True, "follow": True},
    ]
    assert case.run("web", "--tail", "-1")[0] == 2


def test_a_container_that_has_not_run_is_named_and_not_asked_for(case: Case) -> None:
    status, lines, said = case.run("absent")
    assert (status, lines) == (1, []) and "default/never/c: it has not run yet: ErrImageNeverPull" in said
    assert not case.fake.asked


def test_a_container_that_crashed_has_a_log(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    (pod,) = (each for each in case.commanded.node.kubelet.pods() if each.name == "web-node")
    container = replace(
        pod.containers[0], state=ContainerState.WAITING, reason="CrashLoopBackOff", restart_count=3, last_exit_code=1
    )
    monkeypatch.setattr(KubeletApi, "pods", lambda _: (replace(pod, containers=(container,)),))
    assert case.run("web") == (0, ["one", "two"], "")


def test_what_the_kubelet_has_not_is_looked_for_in_the_files(case: Case) -> None:
    case.fake.pieces.clear()
    case.fake.errors["default/web-node/c"] = "the kubelet answers 400: previous container not found"
    status, lines, said = case.run("web", "--previous")
    assert (status, lines) == (1, []) and "previous container not found; the last run may be all that is left" in said
    case.write("web-node", "old", run=0)
    file = case.write("web-node", "new", run=1)
    status, lines, said = case.run("web")
    assert (status, lines) == (0, ["new"]) and f"from {file}" in said
    assert case.run("web", "--previous")[1] == ["old"]


def test_what_broke_off_is_not_begun_again(case: Case) -> None:
    case.write("web-node", "one")
    case.fake.errors["default/web-node/c"] = "the kubelet does not answer"
    status, lines, said = case.run("web")
    assert (status, lines) == (1, ["one", "two"]) and "does not answer" in said


def test_following_ends_with_the_containers(case: Case) -> None:
    status, lines, said = case.run("front", "-f")
    assert sorted(lines) == ["default/db/c | three", "default/web/c | one", "default/web/c | two"]
    assert (status, said) == (0, "")
    case.fake.errors["default/db-node/c"] = "the kubelet does not answer"
    status, lines, said = case.run("front", "-f")
    assert status == 1 and len(lines) == 3 and said.count("does not answer") == 1


def test_ctrl_c_ends_it_without_a_word(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    rounds = iter((queue.Empty, KeyboardInterrupt))

    def interrupted(_: object, timeout: float) -> None:
        assert waiting.wait(10) and timeout <= 1.0, "else one that comes as the wait begins is not seen"
        raise next(rounds)

    def stream(*_: object, **__: object) -> None:
        waiting.set()
        threading.Event().wait(0.01)

    monkeypatch.setattr(KubeletApi, "stream_log", stream)
    monkeypatch.setattr(queue.Queue, "get", interrupted)
    assert case.run("web", "-f") == (130, [], "")


# --- from the files


def test_where_the_kubelet_does_not_answer_the_files_tell(silent: Case) -> None:
    status, lines, said = silent.run("front")
    assert sorted(lines) == ["default/db/c | three", "default/web/c | one", "default/web/c | two"]
    assert status == 0 and "does not answer" in said and f"is from the files below {silent.folder}" in said
    assert silent.run("web", "--tail", "1")[1] == ["two"]


def test_following_the_files(silent: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    file = next(silent.folder.glob("default_web-node_*/c/0.log"))
    rounds = iter(range(3))

    def sleep(_: float) -> None:
        if next(rounds) == 2:
            raise KeyboardInterrupt
        with file.open("a") as stream:
            stream.write(f"{TIME} stdout F more\n")

    monkeypatch.setattr(time, "sleep", sleep)
    status, lines, _ = silent.run("web", "--tail", "1", "-f")
    assert (status, lines) == (130, ["two", "more", "more"])


def test_a_pod_that_is_gone_and_has_left_its_log(silent: Case) -> None:
    folder = silent.folder / "default_gone-node_uid-9" / "main"
    folder.mkdir(parents=True)
    (folder / "0.log").write_text(f"{TIME} stderr F last words\n")
    assert silent.run("default/gone")[1] == ["last words"]


def test_a_former_pod_of_the_name_does_not_hide_the_one_that_is(silent: Case) -> None:
    """The kubelet leaves its log for a while, and for as long as it does not run."""
    folder = silent.folder / "default_web-node_z-former" / "c"
    folder.mkdir(parents=True)
    (folder / "0.log").write_text(f"{TIME} stdout F of the former one\n")
    assert silent.run("web")[:2] == (0, ["one", "two"])
    assert silent.run("default/web")[:2] == (0, ["one", "two"])
    assert silent.run("z-former")[:2] == (0, ["of the former one"])


def test_the_pods_of_a_deployment_that_has_vanished_while_their_logs_are_there(case: Case) -> None:
    file = case.write("web-node", "last words")
    case.commanded.node.collect()
    case.commanded.node.work()
    assert case.run("id-1") == case.run("front") == (0, ["last words"], "")
    file.unlink()
    file.parent.rmdir()
    file.parent.parent.rmdir()
    status, _, said = case.run("front")
    assert status == 1 and "shop/front has no pod that has written anything" in said


def test_neither_kubelet_nor_files(silent: Case) -> None:
    for file in silent.folder.rglob("*.log"):
        file.unlink()
    status, lines, said = silent.run("web")
    assert (status, lines) == (1, []) and "there is no log of it in" in said
    assert "Traceback" not in said


def test_without_a_store_pods_have_their_names_all_the_same(case: Case) -> None:
    case.commanded.node.close()
    for left in case.commanded.node.settings.state_dir.glob("store.sqlite*"):
        left.unlink()
    assert case.run("default/web") == (0, ["one", "two"], "")


# --- how it is written


def test_a_reader_that_has_gone_is_no_fault(case: Case) -> None:
    case.write("web-node", *(f"line {number}" for number in range(50_000)))
    program = "import sys; from heat_config_kubelet import cli; sys.exit(cli.main())"
    command = [sys.executable, "-c", program, "--settings", str(case.commanded.settings_file), "logs", "web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0 and "Traceback" not in said and "BrokenPipe" not in said


def test_a_stream_in_memory_will_do(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.fake.pieces["default/web-node/c"] = [b"odd \xff\n"]
    out = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        given = argparse.Namespace(
            settings=case.commanded.settings_file, name="web", container=None, tail=None, previous=False, follow=False
        )
        assert logs.main(given) == 0
    assert out.getvalue() == "odd �\n"


def test_the_help_says_that_nothing_is_blanked(case: Case) -> None:
    ran = case.commanded.run("logs", "--help")
    assert ran.status == 0 and "with any secrets that they write" in " ".join(ran.out.split())
