"""resend, redeploy, forget, restart: what they say they will do, when they refuse, what they leave for the loop."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import Node
from lab import expected
from samples import TEMP_URL, TOKEN_INPUTS
from support import pod_map, raw_entry

from heat_config_kubelet.commands import change, forget, redeploy, resend, restart
from heat_config_kubelet.commands.change import NotAskedError, RefusedError
from heat_config_kubelet.commands.names import UnknownNameError
from heat_config_kubelet.errors import StoreError
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import DELIVERED, DONE, DROPPED, PENDING, REFUSED, UNSENT, WANTED
from heat_config_kubelet.values import Result
from heat_config_kubelet.wake import Wake

T1, T2, T3 = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"
COMMANDS = {"resend": resend.main, "redeploy": redeploy.main, "forget": forget.main, "restart": restart.main}


class Case:
    """A played node, and a person at its terminal, or none."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.node = Node(folder)
        self.settings_file = folder / "agent.conf"
        self.settings_file.write_text(
            f"[agent]\nstate_dir = {folder}\nsystemd = no\ndeployed_dir = {self.node.settings.deployed_dir}\n"
            f"[kubelet]\nmanifest_dir = {self.node.folder}\n"
        )
        self.started = 0
        self.when_started: Any = lambda: None
        patch.setattr(Wake, "start_loop", self._start_loop)
        self._patch = patch
        self._capsys = capsys
        self.out = self.err = ""

    def _start_loop(self, *_: object) -> None:
        self.started += 1
        assert (self.node.settings.state_dir / "pending").exists()
        self.when_started()

    def do(self, command: str, name: str, *, answer: str | None = None, **options: Any) -> int:
        """Run a command; `answer` is what the person types, None where there is no terminal."""
        given = {"yes": answer is None, "wait": False, "timeout": None, "output": "table", "signal": False, **options}
        names = {"deployment": name, "pod": name, "settings": self.settings_file}
        if answer is not None:
            self._patch.setattr("sys.stdin", Terminal(answer))
            self._patch.setattr("sys.stderr.isatty", lambda: True)
        try:
            return COMMANDS[command](argparse.Namespace(**given, **names))
        finally:
            self.out, self.err = self._capsys.readouterr()

    def events(self, entry_id: str = "a") -> list[str]:
        return [event.kind for event in self.node.other.events(entry_id)]


class Terminal(io.StringIO):
    """Somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Case]:
    made = Case(tmp_path, monkeypatch, capsys)
    yield made
    made.node.close()


@pytest.fixture
def ran(case: Case) -> Case:
    """A node on which two deployments ran."""
    case.node.collect(raw_entry("a"), raw_entry("b", resource="other", config=pod_map("other")))
    case.node.work()
    return case


# --- asking


def test_without_a_terminal_and_without_yes_nothing_is_done(ran: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    for command in ("resend", "redeploy", "restart"):
        with pytest.raises(NotAskedError, match="nothing was done") as caught:
            ran.do(command, "web" if command == "restart" else "deploy", yes=False)
        assert caught.value.status == 2 and "--yes" in caught.value.hint
        assert ran.err and not ran.out, "what would be done is said"
    assert ran.started == 0 and ran.node.entries["a"].signal == DELIVERED


@pytest.mark.parametrize(
    ("answer", "done"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_it_asks_and_takes_no_for_an_answer(ran: Case, answer: str, done: bool) -> None:
    assert ran.do("resend", "deploy", answer=answer) == (0 if done else 1)
    assert "Go on? [y/N]" in ran.err and ("nothing was done" in ran.err) is not done
    assert ran.node.entries["a"].signal == (PENDING if done else DELIVERED) and ran.started == done


def test_what_changes_while_it_asks_is_not_done(ran: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Terminal):
        def readline(self, *_: object) -> str:  # type: ignore[override]
            ran.node.collect(raw_entry("c", action="UPDATE", created=T3))
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with pytest.raises(RefusedError, match="no result yet"):
        ran.do("resend", "shop/deploy", yes=False)
    assert ran.started == 0 and PENDING not in {entry.signal for entry in ran.node.entries.values()}


def test_there_must_be_a_store(case: Case) -> None:
    case.node.close()
    for path in case.node.settings.state_dir.glob("store.sqlite*"):
        path.unlink()
    with pytest.raises(StoreError, match="there is no store yet"):
        case.do("resend", "deploy")


@pytest.mark.parametrize("command", COMMANDS)
def test_what_nobody_knows_is_named_with_what_there_is(ran: Case, command: str) -> None:
    with pytest.raises(UnknownNameError, match="there is no") as caught:
        ran.do(command, "absent")
    assert ("default/web" if command == "restart" else "shop/deploy") in caught.value.hint


def test_the_change_is_left_for_the_loop_with_the_flag_in_one_transaction(ran: Case) -> None:
    assert not ran.node.wake.flag.exists()
    assert ran.do("redeploy", "deploy", output="json") == 0
    assert ran.started == 1 and ran.node.wake.flag.exists()
    told = json.loads(ran.out)
    assert told["done"] is True and told["succeeded"] is None and told["id"] == "a" and told["name"] == "shop/deploy"
    ran.node.work()
    assert ran.node.entries["a"].state == DONE


def test_with_wait_it_ends_with_what_came_of_it(ran: Case) -> None:
    ran.when_started = ran.node.work
    assert ran.do("redeploy", "deploy", wait=True) == 0 and ran.out.endswith("shop/deploy: succeeded\n")
    assert ran.do("resend", "deploy", wait=True) == 0 and "signal delivered: 200" in ran.out
    ran.node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "404 not found")]
    assert ran.do("resend", "deploy", wait=True, output="json") == 1
    told = json.loads(ran.out)
    assert told["succeeded"] is False and "signal refused: 404 not found" in told["outcome"]


def test_with_wait_and_a_limit_it_ends_in_time(ran: Case) -> None:
    assert ran.do("resend", "deploy", wait=True, timeout=0.0) == 1
    assert "not within 0 s" in ran.out and ran.node.entries["a"].signal == PENDING


def test_what_vanishes_while_it_waits_is_said(ran: Case) -> None:
    ran.when_started = lambda: ran.node.collect(raw_entry("b", resource="other", config=pod_map("other")))
    assert ran.do("resend", "deploy", wait=True) == 1 and "vanished from the metadata meanwhile" in ran.out


def test_what_they_say(case: Case) -> None:
    said = []
    swift = {"deploy_signal_id": TEMP_URL, "deploy_signal_verb": "PUT"}
    zaqar = {**TOKEN_INPUTS, "deploy_queue_id": "q"}
    case.node.collect(
        raw_entry("a"),
        raw_entry("b", resource="swift", config=pod_map("swift"), transport="TEMP_URL_SIGNAL", inputs=swift),
        raw_entry("c", resource="zaqar", config=pod_map("zaqar"), transport="ZAQAR_SIGNAL", inputs=zaqar),
        raw_entry("d", resource="refused", config=pod_map("refused")),
        raw_entry("e", resource="gone", config=pod_map("gone")),
        raw_entry("f", resource="script", group="script", config="true"),
        raw_entry("g", resource="quiet", config=pod_map("quiet")),
        raw_entry("h", resource="told", config=pod_map("told")),
    )
    case.node.heat.answers["d"] = [Answer(AnswerKind.REFUSED, "POST http://heat.example: 404: no such stack")]
    case.node.work()
    live = [raw for raw in (entry.deployment.raw for entry in case.node.entries.values()) if raw["id"] != "e"]
    case.node.collect(*live)
    case.node.work()
    asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("resend", "shop/deploy", {}),
        ("resend", "swift", {}),
        ("resend", "zaqar", {}),
        ("resend", "refused", {}),
        ("redeploy", "shop/quiet", {}),
        ("redeploy", "shop/refused", {}),
        ("redeploy", "told", {"signal": True}),
        ("redeploy", "script", {}),
        ("forget", "gone", {}),
        ("restart", "quiet", {}),
    )
    for command, name, options in asked:
        assert case.do(command, name, **options) == 0
        flags = "".join(f" --{option}" for option in options)
        said.append(f"$ heat-config-kubelet {command} {name}{flags} --yes\n{case.out}")
    expected.check("change/what-they-say", "\n".join(said))


# --- resend


def test_one_that_is_still_sent_is_sent_at_once(case: Case) -> None:
    case.node.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 4
    case.node.collect(raw_entry("a"))
    case.node.after(4, lambda: case.do("resend", "deploy"))
    case.node.work()
    assert "tried at once" in case.out and "resend" in case.events()
    assert case.node.entries["a"].signal == DELIVERED


@pytest.mark.parametrize(
    ("fields", "mode", "why"),
    [
        ({"transport": "NO_SIGNAL"}, "run", "NO_SIGNAL: Heat waits for nothing"),
        ({}, "hook", "heat-agents signal results"),
    ],
)
def test_what_we_never_signal_is_not_sent(case: Case, fields: dict[str, Any], mode: str, why: str) -> None:
    case.node.collect(raw_entry("a", **fields), mode=mode)
    case.node.work()
    commands: dict[str, dict[str, Any]] = {"resend": {}, "redeploy": {"signal": True}}
    for command, options in commands.items():
        with pytest.raises(RefusedError, match=why):
            case.do(command, "deploy", **options)
    assert case.do("redeploy", "deploy") == 0
    case.node.work()
    assert case.node.entries["a"].signal == UNSENT and case.node.heat.codes() == []


def test_one_without_a_result_is_not_sent(case: Case) -> None:
    case.node.collect(raw_entry("a"))
    with pytest.raises(RefusedError, match="no result yet"):
        case.do("resend", "deploy")


def test_a_superseded_one_is_not_sent_and_its_name_means_its_successor(case: Case) -> None:
    case.node.collect(raw_entry("old", created=T1))
    case.node.work()
    case.node.collect(raw_entry("old", created=T1), raw_entry("new", created=T2))
    case.node.work()
    for command in ("resend", "redeploy"):
        with pytest.raises(RefusedError, match="superseded by new") as caught:
            case.do(command, "old")
        assert "name new" in caught.value.hint
    assert case.do("resend", "shop/deploy") == 0 and case.node.entries["new"].signal == PENDING


def test_the_delete_of_a_replaced_one_is_sent_and_the_resources_name_means_the_owner(case: Case) -> None:
    case.node.heat.answers["gone"] = [Answer(AnswerKind.REFUSED, "404")]
    case.node.collect(raw_entry("new", created=T2), raw_entry("gone", action="DELETE", created=T3))
    case.node.work()
    assert case.do("resend", "gone") == 0 and case.node.entries["gone"].signal == PENDING
    with pytest.raises(RefusedError, match="after which nothing is to run"):
        case.do("redeploy", "gone")
    assert case.do("redeploy", "deploy") == 0 and case.node.entries["new"].state == WANTED


def test_a_vanished_one_is_not_sent(ran: Case) -> None:
    ran.node.collect(raw_entry("b", resource="other", config=pod_map("other")))
    ran.node.work()
    with pytest.raises(RefusedError, match="has vanished from the metadata") as caught:
        ran.do("resend", "shop/deploy")
    assert "forget a" in caught.value.hint
    ran.node.collect(raw_entry("c", created=T3), raw_entry("b", resource="other", config=pod_map("other")))
    with pytest.raises(RefusedError, match="superseded by c"):
        ran.do("resend", "a")


# --- redeploy


def is_quiet(case: Case) -> bool:
    return case.node.entries["a"].quiet


def test_heat_is_told_where_it_waits_or_where_that_is_asked_for(ran: Case) -> None:
    assert ran.do("redeploy", "deploy") == 0 and "is not told" in ran.out
    assert is_quiet(ran)
    assert ran.do("redeploy", "deploy", signal=True) == 0 and not is_quiet(ran)
    ran.node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "404")]
    ran.node.work()
    assert ran.node.entries["a"].signal == REFUSED
    assert ran.do("redeploy", "deploy") == 0 and "still waits" in ran.out and not is_quiet(ran)


def test_a_second_redeploy_of_a_quiet_one_is_quiet_too(ran: Case) -> None:
    assert ran.do("redeploy", "deploy") == 0 and ran.do("redeploy", "deploy") == 0
    assert ran.node.entries["a"].quiet
    ran.node.work()
    assert ran.do("redeploy", "deploy") == 0 and ran.node.entries["a"].quiet


def test_a_failure_is_the_outcome_with_its_reason(case: Case) -> None:
    case.node.collect(raw_entry("a", config=pod_map(image="bad image")))
    case.node.work()
    case.when_started = case.node.work
    assert case.do("redeploy", "deploy", wait=True) == 1
    assert "shop/deploy: failed: " in case.out and "image" in case.out


def test_a_hook_is_called_again(case: Case) -> None:
    case.node.collect(raw_entry("a", group="script", config="true"))
    case.node.work()
    case.node.hooks.results["a"] = Result(3, "", "it broke")
    case.when_started = case.node.work
    assert case.do("redeploy", "deploy", wait=True) == 1 and "it broke" in case.out
    assert case.node.hooks.ran == ["a", "a"] and case.node.heat.codes() == [("a", 0)]


@pytest.mark.parametrize(
    ("fields", "mode", "why"),
    [
        ({"group": "script", "config": "true"}, "run", "its hook runs now, or is about to"),
        ({"group": "script", "config": "true"}, "hook", "heat-agents run its hook"),
        ({"group": "os-apply-config", "config": {}}, "run", "os-apply-config applies it"),
        ({"action": "SUSPEND"}, "run", "its action is SUSPEND"),
        ({"group": "component", "config": {"configs": []}}, "run", "no config for CREATE"),
    ],
)
def test_what_cannot_be_run_again_is_refused(case: Case, fields: dict[str, Any], mode: str, why: str) -> None:
    case.node.collect(raw_entry("a", **fields), mode=mode)
    with pytest.raises(RefusedError, match=why):
        case.do("redeploy", "deploy")
    assert case.started == 0


# --- forget


def test_a_live_one_is_not_forgotten(ran: Case) -> None:
    with pytest.raises(RefusedError, match=r"a is in the metadata \(source heat\)") as caught:
        ran.do("forget", "deploy")
    assert "removed from the stack" in caught.value.hint


def test_a_vanished_one_is_forgotten_once_its_pods_are_gone(ran: Case) -> None:
    ran.node.collect(raw_entry("b", resource="other", config=pod_map("other")))
    with pytest.raises(RefusedError, match="its pods are still being removed: default/web"):
        ran.do("forget", "deploy")
    ran.node.work()
    assert ran.do("forget", "deploy") == 0 and ran.out.endswith("forgotten\n")
    assert [entry.deployment.id for entry in ran.node.other.entries(vanished=True)] == ["b"]
    assert ran.events("a") == []


def test_an_older_action_of_a_live_one_is_forgotten_by_its_id_alone(ran: Case) -> None:
    ran.node.collect(raw_entry("c", action="UPDATE"), raw_entry("b", resource="other", config=pod_map("other")))
    ran.node.work()
    with pytest.raises(RefusedError, match="c is in the metadata"):
        ran.do("forget", "shop/deploy")
    assert ran.do("forget", "a") == 0
    assert [entry.deployment.id for entry in ran.node.other.entries(vanished=True)] == ["b", "c"]


# --- restart


def test_a_pod_is_named_by_its_name_namespace_or_uid(ran: Case) -> None:
    uid = ran.node.uids()["web"]
    for name in ("web", "default/web", uid):
        assert ran.do("restart", name) == 0
    assert [row.outgoing for row in ran.node.other.pods()] == [False, True]
    ran.node.work()
    assert ran.node.uids()["web"] != uid and ran.node.heat.codes() == [("a", 0), ("b", 0)]


def test_a_pod_that_could_not_be_created_anew_is_left_alone(ran: Case) -> None:
    ran.node.collect(
        raw_entry("c", action="UPDATE", config=pod_map(image="bad image")),
        raw_entry("b", resource="other", config=pod_map("other")),
    )
    ran.node.work()
    with pytest.raises(RefusedError, match="the config that shop/deploy has now is refused") as caught:
        ran.do("restart", "web")
    assert "show shop/deploy" in caught.value.hint and not any(row.outgoing for row in ran.node.other.pods())


def test_a_pod_that_nobody_wants_is_left_alone(ran: Case) -> None:
    ran.node.collect(raw_entry("c", action="SUSPEND"), raw_entry("b", resource="other", config=pod_map("another")))
    with pytest.raises(RefusedError, match="no deployment wants it any more"):
        ran.do("restart", "web")
    with pytest.raises(RefusedError, match="shop/other does not want it any more"):
        ran.do("restart", "default/other")


def test_a_pod_of_others_is_said_to_be_one(ran: Case) -> None:
    (ran.node.folder / "proxy.yaml").write_text(json.dumps(pod_map("proxy")))
    with pytest.raises(UnknownNameError, match=r"pod default/proxy is not ours: its manifest is proxy.yaml"):
        ran.do("restart", "proxy")


def test_nothing_secret_is_said(case: Case) -> None:
    planted = "planted-in-the-reason-1"
    env = [{"name": "DB_PASSWORD", "value": planted}]
    config = pod_map(containers=[{"name": "c", "image": f"bad {planted}", "env": env}])
    case.node.collect(raw_entry("a", config=config))
    case.node.work()
    case.when_started = case.node.work
    assert case.do("redeploy", "deploy", wait=True, output="json") == 1
    assert planted not in case.out + case.err and "***" in case.out


def test_where_no_loop_can_be_kept_running_it_does_not_wait_for_ever(
    ran: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change, "_LOOP_SECONDS", 0.0)
    assert ran.do("resend", "deploy", wait=True) == 1
    assert "the agent's loop does not run, however often it is started; see" in ran.out
    assert ran.started > 5, "it was started again and again"


def test_a_dropped_signal_is_named_in_what_is_said(case: Case) -> None:
    case.node.heat.answers["a"] = [Answer(AnswerKind.EXPIRED, "expired: 403")]
    case.node.collect(raw_entry("a"))
    case.node.work()
    assert case.node.entries["a"].signal == DROPPED
    assert case.do("resend", "deploy") == 0 and "So far: dropped: expired: 403" in case.out


def test_nothing_that_is_heavy_is_imported_before_it_is_needed(ran: Case) -> None:
    """A person waits for the question."""
    heavy = ["requests", "yaml", "keystoneauth1", "heat_config_kubelet.loop", "heat_config_kubelet.doctor"]
    for command, name in (("resend", "deploy"), ("redeploy", "deploy"), ("restart", "web"), ("forget", "deploy")):
        program = (
            "import sys; from heat_config_kubelet import cli; "
            f"status = cli.main(['--settings', {str(ran.settings_file)!r}, {command!r}, {name!r}]); "
            f"print(status, [name for name in {heavy} if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.stdout == ("1 []\n" if command == "forget" else "2 []\n"), done.stderr
