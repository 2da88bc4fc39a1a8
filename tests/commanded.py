"""Runs commands for a person on the fake node: its store, directory and kubelet, as `heat-config-kubelet` sees them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_node import Node

from heat_config_kubelet import cli
from heat_config_kubelet.kubelet_api import KubeletApi


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    status: int
    out: str
    err: str


class Commanded:
    """A fake node and its commands; `settings` are more of the node's own."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **settings: object
    ) -> None:
        cache = folder / "cache"
        cache.mkdir()
        self.settings_file = folder / "agent.conf"
        self._capsys = capsys
        self.node = Node(folder, os_collect_config_cache=cache, manifest_dir=folder / "manifests", **settings)
        found = self.node.settings
        self.settings_file.write_text(
            f"[agent]\nsystemd = no\nstate_dir = {found.state_dir}\nrun_dir = {found.run_dir}\n"
            f"os_collect_config_cache = {cache}\nos_apply_config =\nhooks_dirs = {self.node.hooks.folder}\n"
            f"[kubelet]\nmanifest_dir = {self.node.folder}\nnode_name = node\n"
        )
        monkeypatch.setenv("OS_COLLECT_CONFIG_FILE", str(folder / "os-collect-config.conf"))
        monkeypatch.setattr(KubeletApi, "pods", lambda _: self.node.kubelet.pods())

    def run(self, *arguments: str) -> Ran:
        """Run one command."""
        os.utime(self.node.settings.os_collect_config_cache)  # it has polled just now
        self._capsys.readouterr()
        try:
            status = cli.main(["--settings", str(self.settings_file), *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        shown = self._capsys.readouterr()
        return Ran(status, shown.out, shown.err)
