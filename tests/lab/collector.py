"""A node's os-collect-config: the real one, fed from the node's own folders and from a URL.

Its settings go the way they go on a real node: they are metadata (source heat_local, as user data bring it), which
os-apply-config renders by the package's own template; the file that it starts with is that same rendering.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import heat_config_kubelet
from heat_config_kubelet import collector

if TYPE_CHECKING:
    from .node import LabNode

TEMPLATE = Path(heat_config_kubelet.__file__).parent / "data" / "os-apply-config" / "etc" / "os-collect-config.conf"


class Collector:
    """os-collect-config on one node; the node ends it together with the rest of the agent."""

    def __init__(self, node: LabNode) -> None:
        base = node.folder / "collect"
        self.cache = base / "cache"
        self.local = base / "local-data"
        self.root = base / "root"
        """Where os-apply-config's templates are rendered to, in place of /."""
        self.config_file = self.root / "etc" / "os-collect-config.conf"
        self.boot_file = base / "cfn-init-data"
        self.log = node.log / "os-collect-config.log"
        self.polling_interval = 1.0
        self.metadata_url = ""
        """Polled too (collector request) where set before `start`."""
        self.program = collector.NAME
        """As our unit has it; os-collect-config as it comes where that is what a test is about."""
        self.variables: dict[str, str] = {}
        """Of its environment, beside those of the node's agent, as a drop-in of its unit sets them."""
        self.wrapper: list[str] = []
        """What its command line begins with: a command that becomes the one after it."""
        self._backup = base / "backup"
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """What is removed when the node is emptied."""
        return (self.cache, self.local, self.root, self._backup)

    def prepare(self) -> None:
        """Make its folders."""
        for folder in (self.cache, self.local, self.config_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.cache, self.local):
            folder.chmod(0o700)

    def start(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Start it; `metadata` is the boot copy that it has from the start (source heat_local), by default empty."""
        if self._process and self._process.poll() is None:
            raise RuntimeError("os-collect-config runs already")
        self.prepare()
        settings = {**self._settings(), **dict(metadata or {}).get("os-collect-config", {})}
        boot = {**(metadata or {}), "os-collect-config": settings}
        write_private(self.boot_file, boot)
        done = subprocess.run(
            [str(TEMPLATE)], input=json.dumps(boot), capture_output=True, text=True, check=True, env=self._environment
        )
        self.config_file.write_text(done.stdout)
        self.config_file.chmod(0o600)
        self.resume()

    def resume(self) -> None:
        """Start it with the files as they are, as after a reboot."""
        program = str(Path(sys.executable).parent / self.program)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *self._node.slot.cgroup.joining("agent"),
                    *self.wrapper,
                    program,
                    "--config-file",
                    str(self.config_file),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=self._environment,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it, if it runs; a loop of the agent that it has started goes on."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def forget(self) -> None:
        """End it without warning, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def process(self) -> int:
        """Its process id; RuntimeError where it does not run."""
        if not self._process or self._process.poll() is not None:
            raise RuntimeError("os-collect-config does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def set(self, metadata: Mapping[str, Any], source: str = "lab") -> Path:
        """Make `metadata` what the local source of this name says from now on; give its cache file's path."""
        self.prepare()
        write_private(self.local / source, metadata)
        return self.cache / f"{source}.json"

    def unset(self, source: str = "lab") -> None:
        """Let the local source of this name say nothing any more."""
        (self.local / source).unlink(missing_ok=True)

    @property
    def _environment(self) -> dict[str, str]:
        return {**self._node.environment, **self.variables}

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "collectors": ["heat_local", *(["request"] if self.metadata_url else []), "local"],
            "cachedir": str(self.cache),
            "backup_cachedir": str(self._backup),
            "min_polling_interval": min(self.polling_interval, 1),
            "polling_interval": self.polling_interval,
            "heat_local": {"path": str(self.boot_file)},
            "local": {"path": str(self.local)},
        }
        if self.metadata_url:
            settings["request"] = {"metadata_url": self.metadata_url, "timeout": 5}
        return settings


def write_private(file: Path, content: Mapping[str, Any]) -> None:
    """Replace `file` (0600) as a whole by `content` as JSON."""
    aside = file.parent.parent / f"{file.name}.{os.getpid()}"
    aside.touch(mode=0o600)
    aside.write_text(json.dumps(content, indent=1))
    aside.rename(file)
