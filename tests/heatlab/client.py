"""The command `openstack` against a lab, as its ordinary user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab.progress import Progress

from . import services_environment
from .plan import PROJECT, REGION, USER, Plan

_SECONDS = 300.0


def commands(progress: Progress) -> Path:
    """Give the folder that has the command alone, to be put on a PATH. Raises CommandError."""
    return services_environment.folder(progress) / "commands"


def variables(plan: Plan) -> dict[str, str]:
    """Give the variables of the environment that it is told its user and cloud by."""
    return {
        "OS_AUTH_URL": f"{plan.url('keystone')}/v3",
        "OS_USERNAME": USER,
        "OS_PASSWORD": plan.password,
        "OS_PROJECT_NAME": PROJECT,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": REGION,
        "OS_IDENTITY_API_VERSION": "3",
        **({"OS_CACERT": str(plan.ca)} if plan.ca else {}),
    }


class Client:
    """Runs the command in a folder."""

    def __init__(self, plan: Plan, progress: Progress, folder: Path) -> None:
        self._environment = {**os.environ, **variables(plan)}
        self._program = str(commands(progress) / "openstack")
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `openstack` with these arguments to its end, whatever that is."""
        return subprocess.run(
            [self._program, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
