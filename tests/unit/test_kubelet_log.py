"""Reading the kubelet's log, and what its real lines (kubelet 1.37.2, in data/kubelet-logs) say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from heat_config_kubelet import kubelet_log
from heat_config_kubelet.kubelet_log import (
    KubeletLog,
    LogPosition,
    last_lines,
    pod_trouble,
    probe_failure,
    records,
    refusal,
    run_text,
)
from heat_config_kubelet.settings import Settings

DATA = Path(__file__).parent / "data" / "kubelet-logs"
MANIFESTS = Path("/etc/kubernetes/manifests")


def lines_of(name: str) -> list[str]:
    return (DATA / f"{name}.log").read_text().splitlines()


# --- why a manifest is refused


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("secret.json", "static pods may not reference secrets"),
        ("sa.json", "static pods may not reference serviceaccounts"),
        ("nocontainers.json", "invalid pod: spec.containers: Required value"),
        (
            "subpath.json",
            "invalid pod: spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
        ),
        ("noname.yaml", "invalid pod: name is needed for the pod"),
        (
            "yaml.json",
            "couldn't get version/kind; json parse error: invalid character 'o' looking for beginning of object key"
            " string",
        ),
        (
            "type.yaml",
            "json: cannot unmarshal array into Go struct field Container.spec.containers.image of type string",
        ),
        ("kind.yaml", "Object 'apiVersion' is missing"),
        ("v1beta.yaml", "Object 'Kind' is missing"),
        ("list.yaml", "not a v1 Pod but a List"),
    ],
)
def test_refusals(file: str, reason: str) -> None:
    assert refusal(lines_of("refusals"), MANIFESTS / file) == reason


def test_refusal_by_validation_is_one_line_without_its_regex() -> None:
    said = refusal(lines_of("refusals"), MANIFESTS / "bad name.yaml")
    assert said.startswith('invalid pod: metadata.name: Invalid value: "A_B-node-a": a lowercase RFC 1123 subdomain')
    assert said.endswith("spec.containers[1].image: Required value")
    assert "regex" not in said


def test_both_of_the_kubelet_s_ways_to_say_it() -> None:
    lines = lines_of("refusals")
    for words in ("Unable to process watch event", "Could not process manifest file"):
        chosen = [line for line in lines if words in line]
        assert refusal(chosen, MANIFESTS / "secret.json") == "static pods may not reference secrets"


@pytest.mark.parametrize("file", ["other.json", "secret.jso", "ecret.json", "x-secret.json"])
def test_no_refusal_of_another_file(file: str) -> None:
    assert refusal(lines_of("refusals"), MANIFESTS / file) == ""


def test_refusal_in_the_log_s_json_format() -> None:
    assert refusal(lines_of("json"), MANIFESTS / "secret.json") == "static pods may not reference secrets"


def test_the_latest_refusal_counts() -> None:
    lines = lines_of("refusals")
    later = next(line for line in lines if "secret.json" in line).replace("secrets", "configmaps")
    assert refusal([*lines, later], MANIFESTS / "secret.json") == "static pods may not reference configmaps"


# --- what keeps a pod from starting

HOSTPATH = "c2bd8be9-72e3-4eca-b247-20c371229613"


def test_a_mount_that_fails() -> None:
    said = pod_trouble(lines_of("mount"), HOSTPATH, "hostpath-node-a")
    assert said == (
        'MountVolume.SetUp failed for volume "v": hostPath type check failed, /nonexistent/x is not a directory, '
        'unable to determine its type: path "/nonexistent/x" does not exist'
    )


def test_the_kubelet_s_mere_timeout_where_nothing_better_is_known() -> None:
    only = [line for line in lines_of("mount") if "unmounted volumes" in line]
    assert len(only) == 1
    assert pod_trouble(only, HOSTPATH, "hostpath-node-a").startswith("unmounted volumes=[v]")


def test_a_sandbox_that_fails() -> None:
    said = pod_trouble(lines_of("sandbox"), "c46c4e67-7b43-4141-87d9-a8b7240c2967", "cni-node-a")
    assert said == (
        'sandbox: failed to setup network: plugin type="brudge" failed (add): failed to find plugin "brudge" in path'
        " [/usr/lib/cni]"
    )


def test_no_network() -> None:
    said = pod_trouble(lines_of("network"), "b8905c82-ec73-42e7-b251-61069109c7cc", "cni-node-a")
    assert said.startswith("network is not ready: container runtime network not ready: NetworkReady=false")


def test_another_pod_s_trouble_is_not_ours() -> None:
    lines = [*lines_of("mount"), *lines_of("sandbox"), *lines_of("network")]
    assert pod_trouble(lines, "00000000-0000-0000-0000-000000000000", "web-node-a") == ""


def test_the_former_pod_of_that_name_is_not_this_one() -> None:
    told = [line for line in lines_of("sandbox") if "podUID" in line]
    assert told
    assert pod_trouble(told, "00000000-0000-0000-0000-000000000000", "cni-node-a") == ""


def test_an_image_s_trouble_is_none_of_the_sandbox() -> None:
    line = (
        'E1123 00:31:06.077441    4280 pod_workers.go:1338] "Error syncing pod, skipping" err="failed to '
        '\\"StartContainer\\" for \\"main\\" with ErrImagePull: \\"no volume mounts, not found\\"" '
        f'pod="default/hostpath-node-a" podUID="{HOSTPATH}"'
    )
    assert pod_trouble([line], HOSTPATH, "hostpath-node-a") == ""


# --- why the kubelet does not run


PROBES = [
    'I1123 03:36:01.068922   10144 prober.go:123] "Probe failed" probeType="Readiness" pod="default/web-few"'
    ' podUID="u-1" containerName="c" probeResult="failure" output="Get \\"http://198.18.0.16:8080/health\\": dial tcp '
    '198.18.0.16:8080: connect: connection refused"',
    'I1123 03:36:02.068922   10144 prober.go:123] "Probe failed" probeType="Liveness" pod="default/web-few"'
    ' podUID="u-1" containerName="d" probeResult="failure" output=<',
    "\tno such file",
    "\tat all",
    " >",
    'I1123 03:36:03.068922   10144 prober.go:123] "Probe failed" probeType="Readiness" pod="default/web-few"'
    ' podUID="u-2" containerName="c" probeResult="failure" output="HTTP probe failed with statuscode: 404"',
]


@pytest.mark.parametrize(
    ("uid", "container", "said"),
    [
        (
            "u-1",
            "c",
            'readiness probe: Get "http://198.18.0.16:8080/health": dial tcp 198.18.0.16:8080: connect: connection'
            " refused",
        ),
        ("u-1", "d", "liveness probe: no such file at all"),
        ("u-2", "c", "readiness probe: HTTP probe failed with statuscode: 404"),
        ("u-2", "d", ""),
        ("u-3", "c", ""),
    ],
)
def test_the_latest_words_of_a_probe(uid: str, container: str, said: str) -> None:
    assert probe_failure(PROBES, uid, container) == said


def test_last_lines_of_a_bad_configuration() -> None:
    (said,) = last_lines(lines_of("bad-config"), 3)
    assert said.startswith("command failed: failed to load kubelet config file, path: bad.yaml")
    assert "Object 'apiVersion' is missing" in said


def test_last_lines_without_a_runtime() -> None:
    said = last_lines(lines_of("no-runtime"), 3)
    assert said[-1].startswith("command failed: failed to run Kubelet: validate service connection")
    assert "/run/containerd/containerd.sock: connect: no such file or directory" in said[-1]


def test_last_lines_of_a_panic_leave_the_traceback_out() -> None:
    said = last_lines(lines_of("panic"), 2)
    assert said == (
        "Observed a panic",
        "panic: runtime error: invalid memory address or nil pointer dereference [recovered, repanicked]",
    )


def test_last_lines_without_any_error() -> None:
    lines = ['I1123 00:25:08.703722    2183 a.go:1] "one"', "plain two", "", "plain three"]
    assert last_lines(lines, 2) == ("plain two", "plain three")
    assert last_lines(lines, 0) == ()
    assert last_lines([], 5) == ()


def test_values_with_brackets_braces_and_escapes() -> None:
    (record,) = records(
        ['I1123 00:21:13.046651   17128 kubelet.go:2760] "a \\"b\\"" pods=["x/y"] event={"ID":"1"} n=3 s="t\\nu"']
    )
    assert record.message == 'a "b"'
    assert record.values == {"pods": '["x/y"]', "event": '{"ID":"1"}', "n": "3", "s": "t\nu"}


def test_a_long_log_is_read_quickly() -> None:
    lines = lines_of("mount") * 300
    began = time.perf_counter()
    assert pod_trouble(lines, HOSTPATH, "hostpath-node-a")
    assert refusal(lines, MANIFESTS / "x.json") == ""
    assert time.perf_counter() - began < 2.0


# --- a file


def test_only_what_was_written_since(tmp_path: Path) -> None:
    file = tmp_path / "kubelet.log"
    log = KubeletLog(file=file)
    nothing = log.position()
    assert log.lines_since(nothing) == ()
    file.write_text("one\ntwo\n")
    position = log.position()
    assert log.lines_since(nothing) == ("one", "two")
    with file.open("a") as out:
        out.write("three\nhalf a li")
    lines, after = log.read(position)
    assert lines == ("three",)
    with file.open("a") as out:
        out.write("ne\n")
    assert log.read(after)[0] == ("half a line",)
    assert log.last(1) == ("half a line",)


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    file = tmp_path / "kubelet.log"
    file.write_text("a long first line\n")
    log = KubeletLog(file=file)
    position = log.position()
    file.write_text("new\n")
    assert log.lines_since(position) == ("new",)


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_was_rotated(tmp_path: Path, kept: bool) -> None:
    file = tmp_path / "kubelet.log"
    file.write_text("old\n")
    log = KubeletLog(file=file)
    position = log.position()
    with file.open("a") as out:
        out.write("last of the old\n")
    file.rename(tmp_path / ("kubelet.log.1" if kept else "kubelet.log-20261123"))
    file.write_text("first of the new, and longer than the old one\n")
    expected = ("first of the new, and longer than the old one",)
    lines, after = log.read(position)
    assert lines == (("last of the old", *expected) if kept else expected)
    assert log.lines_since(after) == ()


def test_a_huge_file_costs_no_more_than_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet_log, "MOST_BYTES", 100)
    file = tmp_path / "kubelet.log"
    file.write_text("".join(f"line {number}\n" for number in range(1000)))
    lines = KubeletLog(file=file).lines_since(LogPosition())
    assert lines[-1] == "line 999"
    assert len(lines) < 15


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "kubelet.log"
    file.write_bytes(b"\xff\xfe broken\nfine\n")
    assert KubeletLog(file=file).lines_since(LogPosition())[1] == "fine"


@pytest.mark.parametrize("position", [LogPosition(7, 8), LogPosition(), LogPosition(cursor="s=1;i=2:3")])
def test_a_position_can_be_kept(position: LogPosition) -> None:
    assert LogPosition.parse(str(position)) == position


# --- the journal


class Journal:
    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(" ".join(command))
        return self.answers.pop(0)


def test_the_journal_is_read_after_a_cursor() -> None:
    journal = Journal("-- cursor: s=a;i=1\n", "one\ntwo\n-- cursor: s=a;i=3\n", "-- cursor: s=a;i=3\n", "")
    log = KubeletLog(file=None, unit="kubelet.service", run=journal)
    position = log.position()
    lines, after = log.read(position)
    assert lines == ("one", "two")
    assert log.read(after) == ((), after)
    assert log.read(after) == ((), after), "a journal that says nothing at all moves nothing"
    first, second, third, _ = journal.commands
    base = "journalctl --unit kubelet.service --output=cat --quiet --no-pager --show-cursor"
    assert first == f"{base} --lines=0"
    assert second == f"{base} --after-cursor=s=a;i=1 --lines=4000"
    assert third == f"{base} --after-cursor=s=a;i=3 --lines=4000"


def test_a_unit_that_has_written_nothing_yet() -> None:
    journal = Journal("", "one\n-- cursor: s=a;i=3\n", "one\n-- cursor: s=a;i=3\n")
    log = KubeletLog(file=None, unit="kubelet.service", run=journal)
    assert log.lines_since(log.position()) == ("one",)
    assert "--boot" in journal.commands[1]
    assert log.last(5) == ("one",)


def test_the_settings_choose(tmp_path: Path) -> None:
    file = tmp_path / "kubelet.log"
    assert KubeletLog.of(Settings(file=tmp_path, kubelet_log=file)).file == file
    log = KubeletLog.of(Settings(file=tmp_path, kubelet_unit="my.service"))
    assert (log.file, log.unit) == (None, "my.service")


def test_no_journalctl_is_no_line() -> None:
    assert run_text(["/nonexistent/journalctl"]) == ""
