"""One pass of os-collect-config's command: what is recorded, what is started, and when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import FakeTime, identity, live, raw_entry

from heat_config_kubelet.apply_config import APPLY_SECONDS
from heat_config_kubelet.errors import MetadataError, ModeError, SettingsError, StoreError
from heat_config_kubelet.run import run
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import APPLIED, SCHEMA_VERSION, Store
from heat_config_kubelet.wake import Wake


class FakeProgram:
    """Stands for os-apply-config's process."""

    def __init__(self, case: Case, command: Sequence[str]) -> None:
        self._case = case
        self.returncode = case.code
        case.ran.append(list(command))
        case.steps.append("os-apply-config begins")

    def communicate(self, timeout: float) -> tuple[bytes, None]:
        assert timeout == APPLY_SECONDS
        self._case.steps.append("os-apply-config ends")
        self._case.while_applying()
        return self._case.told, None


class Case:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.time = FakeTime()
        self.settings = Settings(folder / "agent.conf", state_dir=folder / "state", run_dir=folder / "run", **settings)
        self.files: list[Path] = []
        self.ran: list[list[str]] = []
        self.steps: list[str] = []
        self.code = 0
        self.told = b""
        self.missing = False

    def while_applying(self) -> None:
        """Something happens meanwhile."""

    def popen(self, command: Sequence[str], **given: Any) -> FakeProgram:
        assert given["env"] == {"OS_CONFIG_FILES": ":".join(map(str, self.files))}
        if self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        return FakeProgram(self, command)

    def answer(self, *entries: Any, name: str = "heat") -> None:
        """A source's file."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"deployments": list(entries)}))
        if path not in self.files:
            self.files.append(path)

    def run(self) -> int:
        return run(self.settings, {"OS_CONFIG_FILES": ":".join(map(str, self.files))}, self.time.clock)

    def store(self) -> Store:
        return Store.open(self.settings.store_file)

    def applied(self) -> Any:
        store = self.store()
        found = json.loads(store.get(APPLIED) or "null")
        store.close()
        return found

    @property
    def flag(self) -> Path:
        return self.settings.state_dir / "pending"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    made = Case(tmp_path)

    def start_loop(wake: Wake, settings: Settings) -> None:
        assert wake.flag.exists() and settings is made.settings
        made.steps.append("loop")

    monkeypatch.setattr(Wake, "start_loop", start_loop)
    monkeypatch.setattr("subprocess.Popen", made.popen)
    yield made
    assert not (tmp_path / "loop.log").exists()


def test_a_pass_records_what_is_wanted_and_starts_the_loop_without_waiting(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pods begin while os-apply-config still runs."""
    case.answer(raw_entry("a"))
    assert case.run() == 0
    assert case.steps == ["os-apply-config begins", "loop", "os-apply-config ends", "loop"]
    store = case.store()
    assert list(live(store)) == ["a"] and store.get("mode") == "run"
    store.close()
    assert f"deployment recorded deployment={identity()}" in capsys.readouterr().err and case.time.slept == []


def test_what_went_is_told(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.answer(raw_entry("a"))
    case.run()
    case.answer()
    assert case.run() == 0 and "deployment vanished" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", '{"deployments": 5}', '{"deployments": [5]}'])
def test_metadata_that_makes_no_sense_is_logged_and_no_exit_status(
    case: Case, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """os-collect-config would run the command again at every poll, with the same data."""
    case.answer(raw_entry("a"))
    case.run()
    case.files[0].write_text(content)
    assert case.run() == 0 and "metadata ignored" in capsys.readouterr().err
    store = case.store()
    assert list(live(store)) == ["a"]
    store.close()


def test_without_any_source_nothing_is_removed(case: Case) -> None:
    case.answer(raw_entry("a"))
    case.run()
    case.files.clear()
    assert case.run() == 0
    store = case.store()
    assert list(live(store)) == ["a"]
    store.close()


def test_what_a_failed_pass_was_given_is_known_to_the_next(case: Case) -> None:
    """Reading a message of Zaqar's takes it off its queue: at the next poll that source has nothing to say."""
    case.answer(raw_entry("a"), name="zaqar")
    case.code = 2
    assert case.run() == 1
    case.files.clear()
    case.answer(name="heat_local")
    case.code = 0
    assert case.run() == 0
    store = case.store()
    assert list(live(store)) == ["a"]
    store.close()


# --- os-apply-config


@pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 0), (2, 1), (127, 1), (-9, 1)])
def test_only_a_failure_that_a_second_try_can_mend_is_an_exit_status(case: Case, code: int, status: int) -> None:
    """1 is its word for templates or metadata that do not fit."""
    case.answer(raw_entry("a"))
    case.code = code
    assert case.run() == status
    assert case.applied() == [case.time.wall, "" if code == 0 else f"exit status {code}: no message of its own"]


def test_its_failure_is_logged_in_its_own_words_without_what_a_template_printed(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    case.answer(raw_entry("a"))
    case.code, case.told = 1, b"planted-secret\n[2026] [ERROR] no key x\nmore planted-secret\n\xff"
    assert case.run() == 0
    log = capsys.readouterr().err
    assert "os-apply-config failed" in log and "no key x" in log and "planted" not in log
    assert "planted" not in case.applied()[1]


def test_a_missing_program_is_logged_and_no_exit_status(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.answer(raw_entry("a"))
    case.missing = True
    assert case.run() == 0
    assert "[agent] os_apply_config" in capsys.readouterr().err and "No such file" in case.applied()[1]


def test_the_command_of_the_settings_is_run_as_it_is_and_none_where_there_is_none(case: Case) -> None:
    case.answer(raw_entry("a"))
    case.settings = replace(case.settings, os_apply_config="/x/oac --os 'a b'")
    case.run()
    assert case.ran == [["/x/oac", "--os", "a b"]]
    case.settings = replace(case.settings, os_apply_config="")
    assert case.run() == 0 and len(case.ran) == 1


def test_a_command_with_an_open_quote_is_a_fault_of_the_settings(case: Case) -> None:
    case.answer(raw_entry("a"))
    case.settings = replace(case.settings, os_apply_config="oac 'a b")
    with pytest.raises(
        SettingsError, match=r"agent\.conf: \[agent\] os_apply_config = oac 'a b: .*no closing quotation"
    ):
        case.run()
    assert case.ran == []


def test_one_that_does_not_end_is_killed_with_what_it_started_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wake, "start_loop", lambda *_: None)
    monkeypatch.setattr("heat_config_kubelet.apply_config.APPLY_SECONDS", 0.3, raising=False)
    case = Case(tmp_path, os_apply_config=f"/bin/sh -c 'sleep 5 & echo $! >{tmp_path}/child; sleep 5'")
    case.answer(raw_entry("a"))
    begun = time.monotonic()
    assert case.run() == 1 and time.monotonic() - begun < 4
    assert case.applied()[1] == "did not end within 0.3 s and was killed"
    stat = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while stat.exists() and stat.read_text().split()[2] not in "ZX":
        assert time.monotonic() - begun < 4
        time.sleep(0.01)


def test_a_clock_corrected_meanwhile_leaves_no_config_without_its_answer(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.answer(raw_entry("u", group="Heat::Ungrouped", config={"x": 1}))
    monkeypatch.setattr(case, "while_applying", lambda: case.time.jump(-1e8))
    case.run()
    store = case.store()
    assert case.applied()[0] >= live(store)["u"].seen_at
    store.close()


# --- faults


def test_both_ways_in_on_one_node_are_refused(case: Case) -> None:
    case.answer(raw_entry("a"))
    store = case.store()
    store.put("mode", "hook")
    store.close()
    with pytest.raises(ModeError, match="`run` was called on a node that uses `hook`") as caught:
        case.run()
    assert "[agent] mode" in caught.value.hint and case.steps[-1] == "os-apply-config ends"
    assert not case.flag.exists()
    store = case.store()
    assert live(store) == {}
    store.close()


def test_the_settings_say_which_way_in_is_meant(case: Case) -> None:
    case.answer(raw_entry("a"))
    store = case.store()
    store.put("mode", "hook")
    store.close()
    case.settings = replace(case.settings, mode="run")
    assert case.run() == 0
    case.settings = replace(case.settings, mode="hook")
    with pytest.raises(ModeError, match="mode = hook, but `run` was called"):
        case.run()


def test_a_store_of_a_newer_release_is_an_error_and_os_apply_config_is_waited_for(case: Case) -> None:
    case.answer(raw_entry("a"))
    case.run()
    store = case.store()
    store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    with pytest.raises(StoreError, match="this release knows"):
        case.run()
    assert case.steps[-1] == "os-apply-config ends"


def test_a_damaged_store_is_set_aside_and_the_pass_goes_on(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.answer(raw_entry("a"))
    case.run()
    case.settings.store_file.write_bytes(b"x" * 5000)
    assert case.run() == 0 and "store damaged" in capsys.readouterr().err
    store = case.store()
    assert list(live(store)) == ["a"]
    store.close()


def test_a_list_of_files_that_cannot_be_read_is_an_error(case: Case, tmp_path: Path) -> None:
    (tmp_path / "os_config_files.json").write_text("{")
    case.settings = replace(case.settings, os_collect_config_cache=tmp_path, os_apply_config="")
    with pytest.raises(MetadataError, match=r"os_config_files\.json"):
        run(case.settings, {}, case.time.clock)
