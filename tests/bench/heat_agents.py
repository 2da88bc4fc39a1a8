"""The peer: heat-agents' own chain, 55-heat-config with a hook that does nothing, from its source on PyPI."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lab import deployments as heat
from lab import heat_agents
from lab.node import LabNode
from lab.progress import Progress

from .measure import Cost, timed_run

_HOOK = """#!/usr/bin/env python3
import json, sys
json.load(sys.stdin)
json.dump({"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}, sys.stdout)
"""


def chain(node: LabNode, count: int) -> Cost:
    """Run the chain with so many new deployments that nobody waits for; gives what it took."""
    element = heat_agents.get(Progress(quiet=True))
    hooks = node.folder / "peer-hooks"
    deployed = node.folder / "peer-deployed"
    for folder in (hooks, deployed):
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
    hook = hooks / "script"
    hook.write_text(_HOOK)
    hook.chmod(0o755)
    config = node.folder / "peer-heat-config.json"
    entries = [heat.deployment(f"d{number}", "", group="script") for number in range(count)]
    config.write_text(json.dumps(entries))
    start = node.folder / "peer-start"
    start.write_text(
        f"#!/bin/sh\nexport HEAT_CONFIG_HOOKS={hooks} HEAT_SHELL_CONFIG={config} HEAT_CONFIG_DEPLOYED={deployed}\n"
        f"export HEAT_CONFIG_NOTIFY={_notify(node, element)}\n"
        f"exec {sys.executable} {element}/os-refresh-config/configure.d/55-heat-config\n"
    )
    start.chmod(0o755)
    return timed_run(node, heat.metadata(*entries), command=(str(start),))


def _notify(node: LabNode, element: Path) -> Path:
    """Its notifier, run by the Python that has what it imports."""
    file = node.folder / "peer-notify"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {element}/bin/heat-config-notify "$@"\n')
    file.chmod(0o755)
    return file
