"""`config`: what is in force and where it comes from; no secret."""

from __future__ import annotations

import configparser
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from commanded import Commanded
from lab import expected
from support import raw_entry

from heat_config_kubelet import cli
from heat_config_kubelet.settings import SETTINGS_VARIABLE, Settings, load, origins


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OS_CONFIG_FILES"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    found = Commanded(tmp_path, monkeypatch, capsys)
    yield found
    found.node.close()


def rows(case: Commanded) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(case.run("config", "-o", "json").out)}


def test_each_setting_says_where_it_comes_from(case: Commanded) -> None:
    case.node.collect(raw_entry("a"))
    ran = case.run("config", "-o", "wide")
    expected.check("config/all", ran.out, also={r"unix://\S+": "unix://SOCKET", r"/run/\S+": "RUN"})
    assert (ran.status, ran.err) == (0, "")


def test_the_settings_file_and_who_named_it(case: Commanded) -> None:
    case.node.collect(raw_entry("a"))
    found = rows(case)
    assert found["settings file"]["source"] == "argument" and found["node.mode"]["value"] == "run"
    assert (found["agent.systemd"]["value"], found["agent.systemd"]["source"]) == ("no", "file")
    assert (found["signals.timeout"]["value"], found["signals.timeout"]["source"]) == (30.0, "default")
    assert found["node.manifest_dir"]["value"] == str(case.node.folder)


def test_a_settings_file_of_the_environment(
    case: Commanded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SETTINGS_VARIABLE, str(case.settings_file))
    assert cli.main(["config", "-o", "json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["name"], first["value"], first["source"]) == ("settings file", str(case.settings_file), "environment")


def test_proxies_are_shown_without_their_passwords(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://node:planted@proxy.example:3128")
    assert rows(case)["HTTPS_PROXY"]["value"] == "http://node:***@proxy.example:3128"


@pytest.mark.parametrize("command", ["start --token planted -v 2", "start --token=planted -v 2", "TOKEN=planted start"])
def test_a_command_is_shown_without_its_secrets(case: Commanded, command: str) -> None:
    with case.settings_file.open("a") as file:
        file.write(f"command = {command}\n")
    assert rows(case)["kubelet.command"]["value"] == command.replace("planted", "***")


def test_what_cannot_be_found_is_said_and_the_rest_is_shown(case: Commanded) -> None:
    text = case.settings_file.read_text()
    case.settings_file.write_text(text.replace(f"manifest_dir = {case.node.folder}\n", ""))
    ran = case.run("config")
    assert ran.status == 0 and "no configuration of a kubelet is found" in ran.err and "agent.state_dir" in ran.out


def test_every_setting_is_told_under_its_own_name(tmp_path: Path) -> None:
    """By a file that gives each of them."""
    file = tmp_path / "agent.conf"
    shipped = configparser.ConfigParser(interpolation=None)
    data = Path(__file__).parents[2] / "heat_config_kubelet" / "data" / "heat-config-kubelet.conf"
    shipped.read_string(
        "\n".join(
            line.lstrip("#") if " = " in line or line.endswith(" =") else line
            for line in data.read_text().splitlines()
            if not line.startswith("# ")
        )
    )
    found = origins(load(_written(file, shipped)))
    assert [each.name.rpartition(".")[2] for each in found] == [
        item.name.removeprefix("kubelet_").removeprefix("signal_")
        for item in fields(Settings)
        if item.name not in ("file", "defaults")
    ]
    assert {each.name for each in found} == {
        f"{section}.{name}" for section in shipped.sections() if section != "defaults" for name in shipped[section]
    }


def _written(file: Path, parser: configparser.ConfigParser) -> Path:
    with file.open("w") as handle:
        parser.write(handle)
    return file
