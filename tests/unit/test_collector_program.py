"""os-collect-config as our unit runs it: what is done before it begins."""

from __future__ import annotations

import logging
import os
import random
import sys
from pathlib import Path

import pytest

from heat_config_kubelet import collector


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file, whose cache is the folder "cache" beside it."""
    (tmp_path / "cache").mkdir()
    file = tmp_path / "settings.conf"
    file.write_text(f"[agent]\nos_collect_config_cache = {tmp_path}/cache\n")
    return file


def test_a_damaged_cache_is_mended(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = settings.parent / "cache" / "cfn.json.last"
    damaged.write_text('{"deploy')
    collector.mend_cache(settings)
    assert not damaged.exists()
    said = f"heat-config-kubelet: {damaged}: damaged, removed; its source will count as changed\n"
    assert capsys.readouterr().err == said
    collector.mend_cache(settings)
    assert capsys.readouterr().err == ""


def test_settings_that_cannot_be_read_are_no_reason_not_to_poll(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text("[agent\n")
    collector.mend_cache(settings)
    assert str(settings) in capsys.readouterr().err


@pytest.mark.parametrize("given", ["5", "0.5", "99999"])
def test_nodes_that_boot_together_wait_apart(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: (least, most))
    waits: list[object] = []
    environment = {collector.SPLAY: given}
    collector.wait(environment, waits.append)
    assert waits == [(0, float(given))]
    collector.wait(environment, waits.append)
    assert len(waits) == 1, "not again when it executes itself again"


def test_without_a_splay_nobody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    waits: list[float] = []
    for environment in ({}, {collector.SPLAY: "0"}):
        collector.wait(environment, waits.append)
    assert (waits, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("given", ["", "soon", "-1", "100000", "nan", "inf"])
def test_a_splay_that_is_none_is_told(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    waits: list[float] = []
    collector.wait({collector.SPLAY: given}, waits.append)
    assert waits == []
    assert f"SPLAY={given}: must be a number of seconds from 0 to 99999" in capsys.readouterr().err


def test_one_of_another_environment_is_run_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [collector.NAME, "--config-file", "/x"])
    assert collector.run_another() == 1
    assert "there is no os-collect-config\n  hint: pip install" in capsys.readouterr().err
    program = tmp_path / "os-collect-config"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    executed: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "execv", lambda *given: executed.append(given))
    collector.run_another()
    assert executed == [(str(program), [str(program), "--config-file", "/x"])]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("Max retries exceeded with url: /v1/a?temp_url_sig=65c6&temp_url_expires=21 (Caused by x)",),
         "Max retries exceeded with url: /v1/a?temp_url_sig=***&temp_url_expires=*** (Caused by x)"),
        ((OSError("https://h/v1/a?Signature=a%3D&b=c"),), "https://h/v1/a?Signature=***&b=***"),
        (("%s for %s", 404, "https://h/?sig=x"), "404 for https://h/?sig=***"),
        (("Source [%s] Unavailable.", "cfn"), "Source [cfn] Unavailable."),
        (("100 % sure",), "100 % sure"),
    ],
)  # fmt: skip
def test_no_signature_is_logged(given: tuple[object, ...], told: str) -> None:
    record = collector.blanked("name", logging.WARNING, "file.py", 1, given[0], given[1:], None)
    assert record.getMessage() == told
