"""The peer: heat-agents' own scripts with a hook that does nothing, from their source on PyPI."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from lab import deployments as heat
from lab import heat_agents
from lab.node import LabNode
from lab.progress import Progress

from .measure import Cost, timed_run

GROUP = "script"
"""Of the deployments that the hook is for."""
_HOOK = """#!/usr/bin/env python3
import json, sys
json.load(sys.stdin)
json.dump({"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}, sys.stdout)
"""


def chain(node: LabNode, count: int) -> Cost:
    """Run 55-heat-config with so many new deployments that nobody waits for; gives what it took."""
    folder = _fresh(node.folder / "peer")
    entries = [heat.deployment(f"d{number}", "", group=GROUP) for number in range(count)]
    config = folder / "heat-config.json"
    config.write_text(json.dumps(entries))
    command = _write_program(folder / "start", *_variables(folder, config), f"exec {_heat_config()}")
    return timed_run(node, heat.metadata(*entries), command=(str(command),))


def write_whole_chain(folder: Path) -> Path:
    """Write the command that os-collect-config calls where heat-agents are: all that it needs is in a folder.

    It is os-refresh-config, as their template of os-collect-config.conf has it, with the scripts of their element
    heat-config: 20-os-apply-config, by their own templates, and 55-heat-config.
    """
    _fresh(folder)
    element, packages = _element(), heat_agents.refresh_config(Progress(quiet=True))
    scripts, root = folder / "configure.d", folder / "root"
    for each in (scripts, root):
        each.mkdir()
    apply_config = f"exec os-apply-config --templates {element}/os-apply-config --output {root}"
    _write_program(scripts / "20-os-apply-config", apply_config)
    config = root / "var" / "run" / "heat-config" / "heat-config"
    _write_program(scripts / "55-heat-config", *_variables(folder, config), f"exec {_heat_config()}")
    refresh = "import sys; from os_refresh_config import os_refresh_config as program; sys.exit(program.main())"
    return _write_program(
        folder / "start",
        f'export OS_REFRESH_CONFIG_BASE_DIR={folder} PYTHONPATH={packages} PATH={packages}/bin:"$PATH"',
        f"exec {sys.executable} -c '{refresh}' --lockfile {folder}/lock",
    )


def _variables(folder: Path, config: Path) -> list[str]:
    """Write the hook and the notifier; give the lines of a script that name them to 55-heat-config."""
    hooks, deployed = folder / "hooks", folder / "deployed"
    for each in (hooks, deployed):
        each.mkdir()
    hook = hooks / GROUP
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    # Run by the Python that has what it imports.
    notify = _write_program(folder / "notify", f'exec {sys.executable} {_element()}/bin/heat-config-notify "$@"')
    return [
        f"export HEAT_CONFIG_HOOKS={hooks} HEAT_CONFIG_DEPLOYED={deployed} HEAT_CONFIG_NOTIFY={notify}",
        f"export HEAT_SHELL_CONFIG={config}",
    ]


def _element() -> Path:
    return heat_agents.get(Progress(quiet=True))


def _heat_config() -> str:
    return f"{sys.executable} {_element()}/os-refresh-config/configure.d/55-heat-config"


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write_program(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    file.chmod(0o755)
    return file
