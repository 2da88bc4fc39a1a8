"""The files that are shipped beside the code: settings, and os-apply-config's template."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

import heat_config_kubelet
from heat_config_kubelet.options import NAMES, Options, options_of
from heat_config_kubelet.settings import Settings, load

DATA = Path(heat_config_kubelet.__file__).parent / "data"
SHIPPED = DATA / "heat-config-kubelet.conf"
TEMPLATE = DATA / "os-apply-config" / "etc" / "os-collect-config.conf"
SETTING = re.compile(r"^#(\w+) =(.*)$", re.MULTILINE)


def uncommented(path: Path) -> Path:
    path.write_text(SETTING.sub(r"\1 =\2", SHIPPED.read_text()))
    return path


def test_all_that_is_shipped_is_a_comment() -> None:
    active = [line for line in SHIPPED.read_text().splitlines() if line and not line.startswith(("#", "["))]
    assert active == []


def test_what_it_shows_are_the_defaults(tmp_path: Path) -> None:
    file = uncommented(tmp_path / "all.conf")
    (tmp_path / "empty.conf").touch()
    shown, default = load(file), load(tmp_path / "empty.conf")
    for item in fields(Settings):
        if item.name not in ("file", "defaults"):
            assert getattr(shown, item.name) == getattr(default, item.name), item.name
    assert options_of({}, shown.defaults) == Options()


def test_every_setting_is_in_it(tmp_path: Path) -> None:
    names = [name for name, _ in SETTING.findall(SHIPPED.read_text())]
    settings = len(names) - len(NAMES)
    assert settings == len(fields(Settings)) - len(("file", "defaults"))
    assert set(NAMES) <= set(names)


def test_every_setting_has_a_sentence() -> None:
    lines = SHIPPED.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if SETTING.match(line):
            assert re.match(r"# .+[.\"]$", before), line


def rendered(metadata: dict[str, Any], present: Path) -> str:
    done = subprocess.run(
        [str(TEMPLATE)],
        input=json.dumps(metadata),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OS_COLLECT_CONFIG_FILE": str(present)},
    )
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "os-collect-config.conf"


def parsed(text: str, file: Path) -> cfg.ConfigOpts:
    file.write_text(text)
    found = cfg.ConfigOpts()
    found.register_opts(
        [cfg.StrOpt("command"), cfg.FloatOpt("polling_interval", default=30), cfg.MultiStrOpt("collectors")]
    )
    found.register_opts([cfg.StrOpt("password"), cfg.StrOpt("metadata_url")], group="zaqar")
    found(args=["--config-file", str(file)])
    return found


def test_the_metadatas_settings_arrive(config: Path) -> None:
    metadata = {
        "os-collect-config": {
            "polling_interval": 7,
            "collectors": ["zaqar", "local"],
            "zaqar": {"password": "a$b$$c#;%d", "metadata_url": None},
        }
    }
    found = parsed(rendered(metadata, config), config)
    assert found.command == "heat-config-kubelet run"
    assert found.polling_interval == 7
    assert found.collectors == ["zaqar", "local"]
    assert found.zaqar.password == "a$b$$c#;%d"
    assert found.zaqar.metadata_url is None


def test_without_a_word_in_the_metadata_the_file_stays(config: Path) -> None:
    config.write_text("[DEFAULT]\npolling_interval = 3\n")
    silent: list[dict[str, Any]] = [{}, {"os-collect-config": {}}, {"os-collect-config": None, "deployments": []}]
    for metadata in silent:
        assert rendered(metadata, config) == config.read_text()


def test_the_first_file_of_an_image(config: Path) -> None:
    assert rendered({}, config) == "[DEFAULT]\ncommand = heat-config-kubelet run\n"


def test_os_apply_config_takes_it(tmp_path: Path, config: Path) -> None:
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"os-collect-config": {"polling_interval": 5}}))
    program = str(Path(sys.executable).parent / "os-apply-config")
    command = [program, "-t", str(DATA / "os-apply-config"), "-o", str(tmp_path / "out"), "-m", str(metadata)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OS_COLLECT_CONFIG_FILE": str(config)})
    file = tmp_path / "out" / "etc" / "os-collect-config.conf"
    assert file.read_text() == "[DEFAULT]\ncommand = heat-config-kubelet run\npolling_interval = 5\n"
    assert file.stat().st_mode & 0o777 == 0o600


def image_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What the image was built with."""
    file = tmp_path / "image.json"
    file.write_text(text)
    monkeypatch.setenv("OS_COLLECT_CONFIG_IMAGE_FILE", str(file))


def test_the_metadatas_settings_win_over_the_images(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = {"polling_interval": 20, "collectors": ["heat_local"], "zaqar": {"password": "none", "queue_id": "q"}}
    image_file(tmp_path, monkeypatch, json.dumps(image))
    first = parsed(rendered({}, config), config)
    assert (first.polling_interval, first.collectors) == (20, ["heat_local"])
    config.unlink()
    metadata = {"os-collect-config": {"collectors": ["heat", "local"], "zaqar": {"password": "p"}}}
    text = rendered(metadata, config)
    found = parsed(text, config)
    assert (found.polling_interval, found.collectors, found.zaqar.password) == (20, ["heat", "local"], "p")
    assert "queue_id = q" in text, "of a section they say what they say, no more"


def test_an_image_file_that_is_broken_is_named(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_file(tmp_path, monkeypatch, "{")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        rendered({"os-collect-config": {"polling_interval": 1}}, config)
    assert "image.json" in failed.value.stderr and "Traceback" not in failed.value.stderr
