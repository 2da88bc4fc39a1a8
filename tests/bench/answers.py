"""How soon commands for a person answer on a node with many deployments whose pods run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lab import deployments as heat
from lab.node import LabNode

from . import measure

COUNT = 50
GOAL = 0.3
"""Seconds, of wall time, from the program's start to its end."""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("status", "-o", "json"),
    ("pods",),
    ("config",),
    ("show", "DEPLOYMENT"),
    ("timeline", "DEPLOYMENT"),
    ("diff",),
    ("logs", "DEPLOYMENT"),
    ("validate", "FILE"),
    ("complete", "deployments"),
)
"""Those that neither wait nor follow, probe or pack. DEPLOYMENT is one of the node's, FILE its pod."""
_TRIES = 3


def answers(node: LabNode) -> dict[tuple[str, ...], float]:
    """Deploy so many, wait until all run, and give the middle of a few answers of each command, in seconds."""
    names = measure.names(COUNT)
    pods = [measure.pod(name, host_network=True) for name in names]
    measure.timed_run(node, heat.metadata(*(heat.deployment(name, pod) for name, pod in zip(names, pods, strict=True))))
    measure.wait_idle(node, timeout=300)
    file = node.folder / "pod.json"
    file.write_text(json.dumps(pods[0]))
    words = {"DEPLOYMENT": names[0], "FILE": str(file)}
    return {
        command: statistics.median(_seconds(node, [words.get(word, word) for word in command]) for _ in range(_TRIES))
        for command in COMMANDS
    }


def _seconds(node: LabNode, arguments: list[str]) -> float:
    program = str(Path(sys.executable).with_name("heat-config-kubelet"))
    began = time.monotonic()
    done = subprocess.run([program, *arguments], env=node.environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if "usage:" in done.stderr or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(arguments)} did not answer (exit status {done.returncode}): {done.stderr}")
    return seconds
