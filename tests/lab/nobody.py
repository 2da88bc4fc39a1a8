"""The agent's command as a user without root sees it, wherever the interpreter is.

The command is run as root first, so that all is imported before: the environment of the tests may be in a home that
only root can read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

_ID = 65534
_PROGRAM = f"""
import contextlib, io, json, os, sys
from heat_config_kubelet import cli
arguments = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    cli.main(arguments)
os.setgroups([]), os.setgid({_ID}), os.setuid({_ID})
sys.exit(cli.main(arguments))
"""


def agent(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, which must not change anything, as nobody."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
