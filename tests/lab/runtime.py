"""What containerd and CNI are told in a node of the lab: everything below the node's own folder.

Sources: containerd 2.4's `containerd config default`, configuration version 3; the CNI specification 1.0.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .images import PAUSE

_SYS_RESOURCE = 24
"""CAP_SYS_RESOURCE in linux/capability.h: without it no process can lower its oom_score_adj."""

_CNI_PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def write_containerd(file: Path, *, folder: Path, socket: Path, cni: Path, registries: Path) -> None:
    """Write containerd's configuration for a node whose data are in `folder`; `registries`: of its host files."""
    can_lower = bool(_effective_capabilities() >> _SYS_RESOURCE & 1)
    plugins = next((path for path in _CNI_PLUGINS if path.is_dir()), _CNI_PLUGINS[0])
    file.write_text(
        f"""\
version = 3
root = '{folder}/lib/containerd'
state = '{folder}/run/containerd-state'
imports = []
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp']

[grpc]
  address = '{socket}'

[ttrpc]
  address = '{socket}.ttrpc'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = '{snapshotter(folder)}'

  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE}'

  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '{registries}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {"false" if can_lower else "true"}
  netns_mounts_under_state_dir = true

  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      Root = '{folder}/run/runc'
      SystemdCgroup = false

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{plugins}']
    conf_dir = '{cni}'
"""
    )


def write_cni(folder: Path, *, bridge: str, subnet: str, data: Path) -> None:
    """Write a network of one bridge, its addresses kept in `data`."""
    folder.mkdir(parents=True, exist_ok=True)
    network = {
        "cniVersion": "1.0.0",
        "name": bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(data),
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (folder / "10-lab.conflist").write_text(json.dumps(network, indent=2))


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def snapshotter(folder: Path) -> str:
    """Give overlayfs, or native where the folder is on a file system that overlays cannot be put on."""
    probe = folder / "probe"
    parts = {name: probe / name for name in ("lower", "upper", "work", "merged")}
    for path in parts.values():
        path.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    mount = ["mount", "-t", "overlay", "lab", "-o", options, str(parts["merged"])]
    done = subprocess.run(["unshare", "--mount", *mount], capture_output=True, check=False)
    return "native" if done.returncode else "overlayfs"
