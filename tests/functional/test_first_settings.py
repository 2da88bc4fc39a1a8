"""A first boot's settings of os-collect-config are what os-apply-config would make of the same."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import heat_config_kubelet
from heat_config_kubelet import apply_config
from heat_config_kubelet.apply_config import ApplyConfig
from heat_config_kubelet.settings import Settings

OURS = Path(heat_config_kubelet.__file__).parent / "data" / "os-apply-config"
GIVEN = {
    "os-collect-config": {
        "collectors": ["heat_local", "request"],
        "request": {"metadata_url": "https://swift.example/v1/AUTH_a/b/c?temp_url_sig=d&temp_url_expires=2147483586"},
        "heat": {"password": "a$b%c {{d}} é", "auth_url": None},
        "polling_interval": 3,
    },
    "deployments": [],
}


def test_both_make_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    templates, local = tmp_path / "templates", tmp_path / "cfn-init-data"
    shutil.copytree(OURS, templates)
    (templates / "etc" / "os-collect-config.conf").chmod(0o755)
    local.write_text(json.dumps(GIVEN))
    monkeypatch.setattr(apply_config, "_LOCAL", str(local))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OS_COLLECT_CONFIG_FILE": "/none",
        "OS_COLLECT_CONFIG_IMAGE_FILE": str(tmp_path / "image.json"),
    }
    (tmp_path / "image.json").write_text('{"polling_interval": 30, "zaqar": {"ca_file": "/ca.crt"}}')
    made = []
    for name in ("first", "pass"):
        (tmp_path / name / "state").mkdir(parents=True)
        settings = replace(
            Settings(tmp_path / "agent.conf"),
            state_dir=tmp_path / name / "state",
            os_apply_config=f"os-apply-config -t {templates} -o {tmp_path / name}",
        )
        if name == "first":
            assert apply_config.render_first(settings, environment) == ""
        else:
            assert ApplyConfig(settings, {**environment, "OS_CONFIG_FILES": str(local)}).wait() == ""
        file = tmp_path / name / "etc" / "os-collect-config.conf"
        made.append((file.read_bytes(), file.stat().st_mode & 0o777))
    assert made[0] == made[1]
    assert "a$$b%c {{d}} é".encode() in made[0][0] and made[0][1] == 0o600
