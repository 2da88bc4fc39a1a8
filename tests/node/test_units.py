"""systemd accepts the units that are shipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import heat_config_kubelet

UNITS = Path(heat_config_kubelet.__file__).parent / "data" / "systemd"
PROGRAMS = ("heat-config-kubelet", "heat-config-kubelet-collector", "kubelet")


def verified(root: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", *names]
    return subprocess.run(command, capture_output=True, text=True, cwd=root / "etc/systemd/system")


def test_units_are_valid(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(UNITS, root / "etc/systemd/system")
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "usr/bin").mkdir()
    (root / "bin").symlink_to("usr/bin")
    for program in PROGRAMS:
        (root / "bin" / program).write_text("#!/bin/sh\n")
        (root / "bin" / program).chmod(0o755)
    names = sorted(path.name for path in UNITS.iterdir())
    assert names == [
        "heat-config-kubelet-first-settings.service",
        "heat-config-kubelet-user-data.service",
        "heat-config-kubelet.path",
        "heat-config-kubelet.service",
        "kubelet.service",
        "os-collect-config.service",
    ]
    done = verified(root, names)
    assert (done.returncode, done.stderr) == (0, "")
    (root / "usr/bin/kubelet").unlink()
    assert "kubelet is not executable" in verified(root, names).stderr
