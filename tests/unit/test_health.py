"""Whether the agent does its work: what hangs or has ended is told, what only waits is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import START, raw_entry, source, take_in

from heat_config_kubelet import cli
from heat_config_kubelet.health import faults
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import Store
from heat_config_kubelet.wake import Wake

PATIENCE = 300.0
INTERVAL = 30.0
"""os-collect-config's own."""


class Agent:
    """The traces of an agent whose last poll, and last step, were at START."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            folder / "agent.conf", state_dir=folder / "state", os_collect_config_cache=folder / "cache"
        )
        self.collector_file = folder / "os-collect-config.conf"
        self.settings.state_dir.mkdir()
        self.cache.mkdir()
        self.was_changed(self.cache)

    @property
    def cache(self) -> Path:
        return self.settings.os_collect_config_cache

    def was_changed(self, path: Path, at: float = START) -> None:
        os.utime(path, (at, at))

    def is_pending(self, since: float = START) -> Wake:
        wake = Wake(self.settings.state_dir)
        wake.raise_flag()
        self.was_changed(wake.flag, since)
        return wake

    def faults(self, now: float = START) -> tuple[str, ...]:
        return faults(self.settings, {"OS_COLLECT_CONFIG_FILE": str(self.collector_file)}, now, PATIENCE)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_node_without_any_metadata_yet_is_well(agent: Agent) -> None:
    assert agent.faults() == ()


@pytest.mark.parametrize(
    ("settings", "pause"),
    [
        ("", INTERVAL),
        ("[DEFAULT]\ncollectors = heat\ncollectors = local\npolling_interval = 600.0\n", 600),
        ("[DEFAULT]\npolling_interval = often\n", INTERVAL),
        ("no settings", INTERVAL),
    ],
)
def test_an_os_collect_config_that_polls_no_more_is_told(agent: Agent, settings: str, pause: float) -> None:
    agent.collector_file.write_text(settings)
    last = START + 2 * pause + PATIENCE
    assert agent.faults(last) == ()
    (fault,) = agent.faults(last + 1)
    assert f"no source was collected for {2 * pause + PATIENCE + 1:.0f} s" in fault


def test_an_os_collect_config_that_never_polled_is_told(agent: Agent) -> None:
    agent.cache.rmdir()
    assert agent.faults() == (f"os-collect-config: {agent.cache} is not there: it has never collected anything",)


def test_a_damaged_store_is_told(agent: Agent) -> None:
    store = Store.open(agent.settings.store_file)
    take_in(store, source(raw_entry("one")))
    store.close()
    assert agent.faults() == ()
    agent.settings.store_file.write_bytes(b"no database" * 1000)
    (fault,) = agent.faults()
    assert fault.startswith(f"store: {agent.settings.store_file}: file is not a database")


def test_something_pending_that_no_loop_works_on_is_told(agent: Agent) -> None:
    agent.is_pending()
    assert agent.faults(START + PATIENCE) == ()
    agent.was_changed(agent.cache, START + PATIENCE)
    assert agent.faults(START + PATIENCE + 1) == ("loop: something is pending, and it has not worked on it for 301 s",)


def test_a_loop_that_works_for_hours_is_well_and_one_that_hangs_is_not(agent: Agent) -> None:
    wake = agent.is_pending()
    assert wake.hold()
    wake.wait(0.0)  # leaves its trace, as of now
    wake.let_go(clear_flag=False)
    now = wake.lock_file.stat().st_mtime
    assert now > START + PATIENCE
    agent.was_changed(agent.cache, now + PATIENCE)
    assert agent.faults(now + PATIENCE) == ()
    (fault,) = agent.faults(now + PATIENCE + 1)
    assert fault.startswith("loop: ")


def test_a_loop_does_not_touch_its_lock_at_every_step(agent: Agent) -> None:
    wake = agent.is_pending()
    assert wake.hold()
    wake.wait(0.0)
    agent.was_changed(wake.lock_file)
    wake.wait(0.0)
    assert wake.lock_file.stat().st_mtime == START
    wake.let_go(clear_flag=True)


def test_the_command_tells_what_is_wrong_by_its_exit_status(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.settings.file.write_text(
        f"[agent]\nstate_dir = {agent.settings.state_dir}\nos_collect_config_cache = {agent.cache}\n"
    )
    monkeypatch.setenv("OS_COLLECT_CONFIG_FILE", str(agent.collector_file))
    command = ["--settings", str(agent.settings.file), "health"]
    os.utime(agent.cache)
    assert (cli.main(command), *capsys.readouterr()) == (0, "", "")
    agent.was_changed(agent.cache)
    assert cli.main([*command, "--patience", "1e12"]) == 0
    assert cli.main(command) == 1
    assert capsys.readouterr().err.startswith("heat-config-kubelet: os-collect-config: no source was collected for ")
