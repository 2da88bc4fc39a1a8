"""The real os-collect-config as our unit starts it: the same daemon, without what its collectors do not need."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heat_config_kubelet.collector import LATE, NAME

PROGRAMS = Path(sys.executable).parent
IMPORTED = f"""
import sys
from heat_config_kubelet.late_imports import late_imports
with late_imports(*{LATE!r}):
    from os_collect_config import collect
print(*(name for name, module in sys.modules.items() if getattr(module, "__file__", None)))
"""
ALL = """
import sys
from os_collect_config import collect
print(*sys.modules)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings for one pass of the collector "local"; its command writes what it is given to "told"."""
    local = tmp_path / "local"
    local.mkdir(mode=0o700)
    (local / "one").write_text('{"said": "so"}')
    (local / "one").chmod(0o600)
    file = tmp_path / "os-collect-config.conf"
    file.write_text(
        f"[DEFAULT]\ncollectors = local\ncachedir = {tmp_path}/cache\nbackup_cachedir = {tmp_path}/backup\n"
        f"command = echo $$OS_CONFIG_FILES > {tmp_path}/told\n[local]\npath = {local}\n"
    )
    return file


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs beside Python's."""
    return subprocess.run(
        [str(PROGRAMS / program), *arguments],
        env={"PATH": os.defpath, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def modules(script: str) -> set[str]:
    """The modules that a script has imported at its end."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_it_prints_what_os_collect_config_prints(config: Path) -> None:
    ours, theirs = (run(each, "--config-file", str(config), "--print") for each in (NAME, "os-collect-config"))
    assert (ours.returncode, theirs.returncode) == (0, 0), ours.stderr + theirs.stderr
    assert json.loads(ours.stdout) == {"one": {"said": "so"}}
    assert ours.stdout == theirs.stdout


def test_it_calls_its_command_and_gives_its_exit_status(config: Path) -> None:
    done = run(NAME, "--config-file", str(config), "--one-time")
    assert done.returncode == 0, done.stderr
    assert str(config.parent / "cache") in (config.parent / "told").read_text()
    config.write_text(config.read_text().replace("command = ", "command = exit 7; "))
    assert run(NAME, "--config-file", str(config), "--force").returncode == 7


def test_it_takes_os_collect_configs_arguments() -> None:
    done = run(NAME, "--version")
    assert done.returncode == 0
    assert done.stdout == run("os-collect-config", "--version").stdout
    done = run(NAME, "--config-file", "/none")
    assert done.returncode != 0
    assert "/none" in done.stderr


def test_clients_of_services_are_imported_when_they_are_needed() -> None:
    packages = {name.partition(".")[0] for name in LATE}
    eager, late = modules(ALL), modules(IMPORTED)
    assert set(LATE) <= eager, "each is one that os-collect-config imports"
    assert {name for name in late if name.partition(".")[0] in packages} == set()
    for name in LATE:
        assert importlib.import_module(name).__name__ == name


def test_a_signature_is_not_logged_where_nobody_answers(config: Path) -> None:
    url = "https://127.0.0.1:1/v1/AUTH_x/c/o?temp_url_sig=planted-5a7b&temp_url_expires=2147483586"
    text = config.read_text().replace("collectors = local\n", "collectors = request\n")
    config.write_text(f"{text}[request]\nmetadata_url = {url}\n")
    ours, theirs = (run(each, "--config-file", str(config), "--print") for each in (NAME, "os-collect-config"))
    assert "planted-5a7b" in theirs.stderr, "else there is nothing to be blanked any more"
    assert "temp_url_sig=***" in ours.stderr
    assert "planted-5a7b" not in ours.stderr + ours.stdout
