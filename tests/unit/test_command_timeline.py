"""`timeline`: the steps of a deployment, how long each took, and what it waits for; what happened last of all."""

from __future__ import annotations

import io
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
from support import START, make_entry, pod_map, raw_entry

from heat_config_kubelet import ledger
from heat_config_kubelet.commands.console import GREEN, RED, YELLOW, Console
from heat_config_kubelet.commands.timeline import Timeline, bars, timeline
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import Entry, Event


class StopError(BaseException):
    """The loop's process ends."""


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    found = Commanded(tmp_path, monkeypatch, capsys)
    yield found
    found.node.close()


def several(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


def work_for(case: Commanded, seconds: float) -> None:
    """Let the loop live so long, whatever is pending then."""

    def stop() -> None:
        raise StopError

    case.node.after(seconds, stop)
    with pytest.raises(StopError):
        case.node.work()


def steps(case: Commanded, name: str) -> list[tuple[str, str]]:
    """The steps that a deployment has taken or waits for, and their pods."""
    found = json.loads(case.run("timeline", name, "-o", "json").out)
    return [(each["step"] + ("" if each["at"] else "…"), each["pod"]) for each in found["steps"]]


def test_an_update_with_a_pod_that_is_replaced_and_one_that_is_kept(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", resource="front", config=several(pod_map("web"), pod_map("db"))))
    case.node.work()
    newer = several(pod_map("web", "registry.example/app:2"), pod_map("db"))
    case.node.collect(raw_entry("id-2", action="UPDATE", resource="front", config=newer))
    case.node.work()
    ran = case.run("timeline", "front")
    expected.check("timeline/updated", ran.out)
    assert (ran.status, ran.err) == (0, "")
    expected.check("timeline/vanished", case.run("timeline", "id-1").out)


def test_machines_get_each_step_with_its_times(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", config=pod_map("web")))
    case.node.work()
    text = case.run("timeline", "deploy", "-o", "json").out
    found = json.loads(text)
    assert yaml.safe_load(case.run("timeline", "deploy", "-o", "yaml").out) == found
    told = {key: found[key] for key in ("id", "stack", "resource", "action", "outcome")}
    assert told == {"id": "id-1", "stack": "shop", "resource": "deploy", "action": "CREATE", "outcome": "succeeded"}
    by_step = {each["step"]: each for each in found["steps"]}
    assert list(by_step) == [
        *("collected", "validated", "begun", "written", "sandbox", "image", "started", "ready"),
        *("succeeded", "signal delivered"),
    ]
    assert by_step["ready"]["pod"] == "default/web" and by_step["succeeded"]["pod"] == ""
    assert by_step["started"]["began"] == by_step["image"]["at"] and by_step["started"]["seconds"] == 0.5
    assert by_step["collected"]["at"] == "2026-11-18T11:06:40.000Z"
    assert found["seconds"] == pytest.approx(1.5, abs=0.01)


def test_a_failure_and_attempts_to_signal_it(case: Commanded) -> None:
    case.node.heat.answers["id-1"] = [Answer(AnswerKind.RETRY, "POST http://heat.example: 503 busy")] * 2
    case.node.collect(raw_entry("id-1", resource="absent", config=pod_map("absent", NEVER_PULL)))
    case.node.work()
    expected.check("timeline/failed", case.run("timeline", "absent").out)
    found = json.loads(case.run("timeline", "absent", "-o", "json").out)
    signals = [each for each in found["steps"] if each["step"].startswith("signal")]
    assert [each["step"] for each in signals] == ["signal pending", "signal pending", "signal delivered"]
    assert found["outcome"] == "failed" and signals[1]["began"] > signals[0]["at"]


@pytest.mark.parametrize(
    ("config", "seconds", "awaited"),
    [
        (pod_map("web"), 0.2, [("started…", "default/web")]),
        (pod_map("web"), 0.8, [("decided…", "")]),
        (several(pod_map("slow", NEVER_READY), pod_map("web")), 3, [("ready…", "default/slow")]),
    ],
)
def test_what_it_waits_for(
    case: Commanded, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], seconds: float, awaited: list[object]
) -> None:
    monkeypatch.setattr(ledger, "NOTES_SECONDS", 0.0)
    case.node.collect(raw_entry("id-1", config=config))
    work_for(case, seconds)
    assert [each for each in steps(case, "deploy") if each[0].endswith("…")] == awaited
    assert "pending for" in case.run("timeline", "deploy").out


def test_what_a_process_that_died_has_not_written_is_told_by_the_next(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1"))
    work_for(case, 0.8)
    assert steps(case, "deploy")[-1] == ("written…", "")
    case.node.work()
    assert [step for step, _ in steps(case, "deploy")][3:] == [
        *("written", "sandbox", "image", "started", "ready", "succeeded", "signal delivered")
    ]


def test_before_anything_was_done(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1"), raw_entry("id-2", resource="job", group="script", config="x"))
    assert steps(case, "deploy") == steps(case, "job") == [("collected", ""), ("begun…", "")]


def test_a_signal_that_waits(case: Commanded) -> None:
    case.node.heat.answers["id-1"] = [Answer(AnswerKind.RETRY, "503", retry_after=600.0)]
    case.node.collect(raw_entry("id-1"))
    work_for(case, 5)
    assert steps(case, "deploy")[-3:] == [("succeeded", ""), ("signal pending", ""), ("signal…", "")]


def test_a_hook_takes_its_time(case: Commanded) -> None:
    case.node.hooks.seconds["id-1"] = 30.0
    case.node.collect(raw_entry("id-1", resource="job", group="script", config="x"))
    work_for(case, 10)
    assert steps(case, "job") == [("collected", ""), ("begun", ""), ("decided…", "")]
    case.node.work()
    found = json.loads(case.run("timeline", "job", "-o", "json").out)
    assert found["outcome"] and [each["step"] for each in found["steps"]][:2] == ["collected", "begun"]


def test_what_happened_last_of_all(case: Commanded) -> None:
    assert case.run("timeline").out == "nothing has happened yet\n"
    case.node.collect(raw_entry("id-1"), raw_entry("id-2", resource="bad", config=pod_map("bad", colour="red")))
    case.node.work()
    ran = case.run("timeline")
    expected.check("timeline/all", ran.out)
    assert (ran.status, ran.err) == (0, "")
    found = json.loads(case.run("timeline", "--last", "2", "-o", "json").out)
    assert [(each["resource"], each["step"], each["text"]) for each in found] == [
        ("deploy", "sent", ""),
        ("deploy", "signal delivered", "200"),
    ]
    assert len(case.run("timeline", "-n", "3").out.splitlines()) == 4


def test_of_what_is_forgotten_only_the_id_is_known(case: Commanded) -> None:
    case.node.other.event("id-9", "collected", "CREATE from heat", START)
    assert "id-9" in case.run("timeline").out


@pytest.mark.parametrize("count", ["-1", "many", "1.5"])
def test_a_number_that_is_none(case: Commanded, count: str) -> None:
    ran = case.run("timeline", "--last", count)
    assert ran.status == 2 and "is no number of lines" in ran.err


def test_who_is_not_there(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1"))
    ran = case.run("timeline", "nobody")
    assert (ran.status, ran.out) == (1, "") and "there is no deployment nobody" in ran.err and "shop/deploy" in ran.err


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_without_a_store_there_is_nothing_to_tell(case: Commanded, content: bytes | None) -> None:
    case.node.close()
    case.node.settings.store_file.unlink()
    if content:
        case.node.settings.store_file.write_bytes(content)
    ran = case.run("timeline")
    assert (ran.status, ran.out) == (1, "") and "store.sqlite" in ran.err and "Traceback" not in ran.err


# --- which one is meant


def test_of_two_with_one_name_that_with_the_pods_is_meant(case: Commanded) -> None:
    """While Heat replaces a failed deployment, the DELETE of the old one comes last."""
    case.node.collect(
        raw_entry("new", created="2026-11-22T11:00:00Z"),
        raw_entry("old", action="DELETE", created="2026-11-22T12:00:00Z"),
    )
    case.node.work()
    told = {name: json.loads(case.run("timeline", name, "-o", "json").out)["id"] for name in ("deploy", "old", "new")}
    assert told == {"deploy": "new", "old": "old", "new": "new"}


# --- bars


def made(*events: tuple[float, str, str], state: str = "done", signal: str = "") -> Timeline:
    """A timeline of events given by time, kind and pod, looked at 100 s after the beginning."""
    entry: Entry = replace(make_entry(raw_entry("a"), state=state), signal=signal)
    told = [Event(START + at, "a", kind, "", pod, pod) for at, kind, pod in events]
    return timeline(entry, told, START + 100)


LIFE = (
    (0, "collected", ""),
    (1, "validated", ""),
    (2, "started", ""),
    (2, "written", "default/web"),
    (4, "sandbox", "default/web"),
    (8, "image", "default/web"),
)


def drawn(found: Timeline, width: int = 80, *, colour: bool = False) -> list[str]:
    return bars(found, Console(io.StringIO(), width=width, colour=colour))


def test_bars_are_as_long_as_the_steps_and_begin_where_the_last_has_ended() -> None:
    lines = drawn(made(*LIFE, (16, "failed", "")), 100)
    bar = {line.split()[0]: (line.find("█"), line.count("█")) for line in lines}
    second = bar["sandbox"][1] / 2
    assert [bar[step][1] for step in ("sandbox", "image", "failed")] == [2 * second, 4 * second, 8 * second]
    assert bar["image"][0] - bar["sandbox"][0] == 2 * second and bar["failed"][0] - bar["image"][0] == 4 * second
    assert lines[0].rstrip().endswith("16s") and "▏" in lines[1]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    long = (*LIFE, (9, "written", f"default/{'x' * 100}"), (16, "succeeded", ""), (17, "signal delivered", ""))
    lines = drawn(made(*long), width)
    assert max(map(len, lines)) <= max(width, 66) and len(lines) == 10


def test_what_is_under_way_reaches_until_now() -> None:
    found = made(*LIFE, state="working")
    assert (found.steps[-1].step, found.steps[-1].at, found.steps[-1].seconds, found.seconds) == (
        "started",
        None,
        92.0,
        100.0,
    )
    assert drawn(found)[-1].endswith("░") and "started…" in drawn(found)[-1]


def test_what_comes_days_later_does_not_make_the_bars_short() -> None:
    told = (*LIFE, (16, "failed", ""), (17, "signal refused", ""), (9000, "resend", ""), (9001, "signal delivered", ""))
    lines = drawn(made(*told))
    assert lines[0].rstrip().endswith("17s") and "█" in lines[-4] and not {"█", "▏"} & set(lines[-1])


def test_a_clock_that_was_set_back_makes_no_negative_times() -> None:
    found = made((0, "collected", ""), (-3600, "validated", ""), (-3599, "failed", ""))
    assert min(each.seconds for each in found.steps) == 0.0 and found.seconds == 0.0
    assert len(drawn(found)) == 4


def test_colours_tell_what_is_well() -> None:
    text = "\n".join(drawn(made(*LIFE, (16, "failed", "")), 100, colour=True))
    assert f"\x1b[{GREEN}m█" in text and f"\x1b[{RED}m█" in text
    assert f"\x1b[{YELLOW}m░" in "\n".join(drawn(made(*LIFE, state="working"), 100, colour=True))


def test_a_terminal_that_knows_no_such_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = "\n".join(drawn(made(*LIFE, state="working")))
    assert text.replace("…", "").isascii() and "##" in text and ".." in text


def test_events_that_are_not_known_any_more() -> None:
    assert drawn(made()) == ["its steps are not known any more"]


# --- secrets, and what it costs


def test_secrets_are_blanked(case: Commanded) -> None:
    secret = "planted-secret-7"
    url = f"http://heat.example/v1/signal/x?Signature={secret}"
    case.node.collect(raw_entry("id-1", inputs={"deploy_signal_id": url}))
    case.node.other.event("id-1", "signal pending", f"refused {url}", START)
    for form in ("table", "wide", "json", "yaml"):
        out = case.run("timeline", "deploy", "-o", form).out
        assert "signal pending" in out and secret not in out


def test_no_more_is_imported_than_needed(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1"))
    case.node.work()
    program = "import sys; from heat_config_kubelet import cli; cli.main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", program, "--settings", str(case.settings_file), "timeline", "deploy"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not {"requests", "yaml", "keystoneauth1", "kubernetes"} & set(out.split())
