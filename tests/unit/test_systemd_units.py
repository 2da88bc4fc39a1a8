"""What the shipped units promise beside being valid: each line that guards against a fault of os-collect-config."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import heat_config_kubelet
from heat_config_kubelet import collector
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.wake import Wake

UNITS = Path(heat_config_kubelet.__file__).parent / "data" / "systemd"
COLLECTOR = "os-collect-config.service"


def values(unit: str, name: str) -> list[str]:
    """Every value of a directive, in its order."""
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def environment() -> dict[str, str]:
    """What os-collect-config's unit sets."""
    return dict(line.split("=", 1) for line in values(COLLECTOR, "Environment"))


def command(line: str) -> list[str]:
    """A command of a unit as systemd gives it to the system: "$$" is a "$"."""
    return [part.replace("$$", "$") for part in shlex.split(line.removeprefix("-"))]


def test_the_local_collector_works_in_the_units_locale(tmp_path: Path) -> None:
    """In C.UTF-8 it ends with "unsupported locale setting"."""
    local = tmp_path / "local"
    local.mkdir(mode=0o700)
    for name in ("b", "a"):
        (local / name).write_text(f'{{"said": "by {name}"}}')
        (local / name).chmod(0o600)
    conf = tmp_path / "os-collect-config.conf"
    conf.write_text(
        f"[DEFAULT]\ncollectors = local\ncachedir = {tmp_path}/cache\nbackup_cachedir = {tmp_path}/backup\n"
        f"[local]\npath = {local}\n"
    )
    done = subprocess.run(
        [str(Path(sys.executable).parent / "os-collect-config"), "--print", "--config-file", str(conf)],
        env={"PATH": os.defpath, "LANG": "C.UTF-8", **environment()},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "by a" in done.stdout, "by b" in done.stdout) == (0, True, True), done.stderr


def test_nodes_that_boot_together_begin_to_poll_apart() -> None:
    """Which a drop-in changes; `collector.py` waits."""
    assert environment()[collector.SPLAY] == "5"
    assert [command(line)[0] for line in values(COLLECTOR, "ExecStart")] == [collector.NAME]


def test_a_first_boot_starts_os_collect_config_with_heats_settings() -> None:
    unit = "heat-config-kubelet-first-settings.service"
    before = {"cloud-init.service", "cloud-init-network.service"}
    assert {name for line in values(unit, "After") for name in line.split()} == before, "not the network"
    assert unit in {name for line in values(COLLECTOR, "After") for name in line.split()}
    assert values(unit, "ConditionPathExists") == ["/usr/bin/cloud-init"], "else it is done with the user data"


def test_what_os_collect_config_caches_is_for_root_alone() -> None:
    assert values(COLLECTOR, "UMask") == values("heat-config-kubelet.service", "UMask") == ["0077"]


def test_heats_copy_of_the_credentials_is_for_root_alone() -> None:
    """heat/cloudinit/part_handler.py writes it with the default mode, in a folder that all can enter."""
    unit = "heat-config-kubelet-first-settings.service"
    assert "-chmod --silent 0600 /var/lib/cloud/data/cfn-init-data" in values(unit, "ExecStartPre")


def test_a_boot_starts_the_loop_where_something_is_pending() -> None:
    """os-collect-config calls no command after a reboot with unchanged metadata; the flag file outlives it."""
    assert values("heat-config-kubelet.path", "PathExists") == [str(Wake(Settings(Path("/none")).state_dir).flag)]
    assert values("heat-config-kubelet.path", "WantedBy") == ["multi-user.target"]
    assert [command(line) for line in values("heat-config-kubelet.service", "ExecStart")] == [
        ["heat-config-kubelet", "loop"]
    ]


def test_the_host_name_and_user_data_are_there_before_kubelet_and_collector() -> None:
    """cloud-init.service became cloud-init-network.service in 24.3; without cloud-init it is a unit of ours."""
    first = {"cloud-init.service", "cloud-init-network.service", "heat-config-kubelet-user-data.service"}
    for unit in ("kubelet.service", COLLECTOR):
        assert first <= {name for line in values(unit, "After") for name in line.split()}, unit
    assert values("heat-config-kubelet-user-data.service", "ConditionPathExists") == ["!/usr/bin/cloud-init"]


def test_further_options_reach_the_kubelet() -> None:
    assert values("kubelet.service", "EnvironmentFile") == ["-/etc/default/kubelet", "-/etc/sysconfig/kubelet"]
    assert values("kubelet.service", "ExecStart")[0].endswith(" $KUBELET_EXTRA_ARGS")
