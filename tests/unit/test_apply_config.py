"""When a pass runs os-apply-config, and when it would only write once more what it has written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet import apply_config
from heat_config_kubelet.apply_config import ApplyConfig
from heat_config_kubelet.settings import Settings

OURS = Path(apply_config.__file__).parent / "data" / "os-apply-config"
POLLED = {"polling_interval": 30, "cfn": {"path": "web.Metadata"}}


class Program:
    """Stands for os-apply-config's process, which renders the one template."""

    def __init__(self, node: Node) -> None:
        self.returncode = node.code
        if not node.code:
            node.render()

    def communicate(self, timeout: float) -> tuple[bytes, None]:
        del timeout
        return b"", None


class Node:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = 0
        self.code = 0
        self.templates = folder / "templates"
        shutil.copytree(OURS, self.templates)
        self.options = f"-t {self.templates} -o {folder / 'root'}"
        self.target = folder / "root" / "etc" / "os-collect-config.conf"
        self.target.parent.mkdir(parents=True)
        (folder / "state").mkdir()
        self.image_file = folder / "image.json"
        self.environment = {
            "OS_CONFIG_FILES": f"{folder / 'heat.json'}:{folder / 'local.json'}",
            "OS_COLLECT_CONFIG_IMAGE_FILE": str(self.image_file),
        }
        self.answer("heat", {"os-collect-config": POLLED, "deployments": []})
        self.answer("local", {"deployments": []})

    def answer(self, source: str, content: Any) -> None:
        (self.folder / f"{source}.json").write_text(json.dumps(content))

    def render(self) -> None:
        aside = self.target.with_suffix(".new")
        aside.write_text("rendered\n")
        aside.rename(self.target)

    def popen(self, command: Sequence[str], **given: Any) -> Program:
        del command, given
        self.ran += 1
        return Program(self)

    @property
    def settings(self) -> Settings:
        command = f"/usr/bin/os-apply-config {self.options}"
        return Settings(self.folder / "a.conf", state_dir=self.folder / "state", os_apply_config=command)

    def runs(self) -> bool:
        """Whether a pass runs it."""
        before = self.ran
        ApplyConfig(self.settings, self.environment).wait()
        return self.ran > before


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    found = Node(tmp_path)
    monkeypatch.setattr("subprocess.Popen", found.popen)
    return found


def test_a_changed_deployment_alone_needs_no_second_run(node: Node) -> None:
    assert node.runs()
    assert not node.runs()
    node.answer("heat", {"os-collect-config": POLLED, "deployments": [{"id": "new"}], "other": 1})
    assert not node.runs()
    assert (node.folder / "state" / "rendered").stat().st_mode & 0o777 == 0o600


def test_changed_settings_of_os_collect_config_are_applied(node: Node) -> None:
    assert node.runs()
    node.answer("heat", {"os-collect-config": {**POLLED, "polling_interval": 5}, "deployments": []})
    assert node.runs()
    node.answer("local", {"os-collect-config": {"splay": 3}})
    assert node.runs()
    assert not node.runs()


def test_an_image_may_have_our_template_in_another_folder(node: Node) -> None:
    """So that it renders where the file system of a container may be written."""
    node.target = node.folder / "root" / "var" / "lib" / "os-collect-config.conf"
    node.target.parent.mkdir(parents=True)
    shutil.move(node.templates / "etc", node.templates / "var" / "lib")
    assert node.runs() and not node.runs()
    node.target.unlink()
    assert node.runs()
    (node.templates / "etc").mkdir()
    shutil.move(node.templates / "var" / "lib" / "os-collect-config.conf.oac", node.templates / "etc")
    assert node.runs() and node.runs()


def test_changed_settings_of_the_image_are_applied(node: Node) -> None:
    assert node.runs()
    node.image_file.write_text('{"splay": 3}')
    assert node.runs() and not node.runs()


def test_a_source_that_is_silent_now_is_a_change(node: Node) -> None:
    assert node.runs()
    node.environment["OS_CONFIG_FILES"] = str(node.folder / "local.json")
    assert node.runs()


def test_what_failed_is_run_again(node: Node) -> None:
    node.code = 1
    assert node.runs() and node.runs()
    node.code = 0
    assert node.runs() and not node.runs()


def test_a_file_that_somebody_has_changed_is_rendered_again(node: Node) -> None:
    assert node.runs()
    node.target.write_text("by hand\n")
    assert node.runs() and not node.runs()
    node.target.chmod(0o640)
    assert node.runs() and not node.runs()
    node.target.unlink()
    assert node.runs() and not node.runs()


@pytest.mark.parametrize("name", ["etc/motd", "etc/motd.oac", "root/etc/os-collect-config.conf"])
def test_other_templates_may_use_anything_and_are_always_rendered(node: Node, name: str) -> None:
    (node.templates / name).parent.mkdir(parents=True, exist_ok=True)
    (node.templates / name).write_text("{{anything}}")
    assert node.runs() and node.runs()


def test_our_template_changed_by_somebody_is_always_rendered(node: Node) -> None:
    with (node.templates / "etc" / "os-collect-config.conf").open("a") as stream:
        stream.write("# theirs\n")
    assert node.runs() and node.runs()


@pytest.mark.parametrize("options", ["--validate", "-t", "-s os -o /", "--templates /absent -o /"])
def test_options_that_we_do_not_know_are_left_to_it(node: Node, options: str) -> None:
    node.options = options
    assert node.runs() and node.runs()


def test_the_variable_names_the_templates(node: Node) -> None:
    node.options = f"--output {node.folder / 'root'}"
    node.environment["OS_CONFIG_APPLIER_TEMPLATES"] = str(node.templates)
    assert node.runs() and not node.runs()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_metadata_that_cannot_be_read_are_left_to_it(node: Node, content: str) -> None:
    (node.folder / "heat.json").write_text(content)
    assert node.runs() and node.runs()


def test_without_a_list_of_files_it_looks_for_itself(node: Node) -> None:
    node.environment.clear()
    assert node.runs() and node.runs()


def test_a_note_that_cannot_be_kept_costs_a_run_only(node: Node) -> None:
    os.rmdir(node.folder / "state")
    assert node.runs() and node.runs()


class TestFirstBoot:
    """Before os-collect-config starts for the first time."""

    @pytest.fixture
    def given(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What Heat gave the server; the template is rendered by itself."""
        found = node.folder / "cfn-init-data"
        found.write_text(json.dumps({"os-collect-config": POLLED, "deployments": []}))

        def run(command: Sequence[str], **given: Any) -> subprocess.CompletedProcess[bytes]:
            assert command == [str(node.templates / "etc" / "os-collect-config.conf")]
            assert given["input"] == found.read_bytes()
            return subprocess.CompletedProcess(command, node.code, b"of the template\n")

        monkeypatch.setattr(apply_config, "_LOCAL", str(found))
        monkeypatch.setattr("subprocess.run", run)
        return found

    def test_what_heat_gave_is_rendered_and_the_first_pass_need_not(self, node: Node, given: Path) -> None:
        (node.folder / "state").rmdir()
        assert apply_config.render_first(node.settings, node.environment) == ""
        assert (node.target.read_text(), node.target.stat().st_mode & 0o777) == ("of the template\n", 0o600)
        assert (node.folder / "state").stat().st_mode & 0o777 == 0o700
        shutil.copy(given, node.folder / "heat_local.json")
        node.environment["OS_CONFIG_FILES"] = f"{node.folder / 'heat_local.json'}:{node.environment['OS_CONFIG_FILES']}"
        assert not node.runs()
        node.answer("heat", {"os-collect-config": {**POLLED, "polling_interval": 5}})
        assert node.runs()

    def test_what_heat_has_said_since_is_not_undone(self, node: Node, given: Path) -> None:
        """By a later boot: the credentials of the first one may not hold any more."""
        assert node.runs()
        assert node.target.read_text() == "rendered\n"
        assert apply_config.render_first(node.settings, node.environment) == ""
        assert node.target.read_text() == "rendered\n"
        os.utime(given, (given.stat().st_atime, given.stat().st_mtime + 60))
        assert apply_config.render_first(node.settings, node.environment) == ""
        assert node.target.read_text() == "of the template\n", "a server made of this one's disk has its own"

    def test_where_heat_gave_nothing_nothing_is_done(self, node: Node, given: Path) -> None:
        given.unlink()
        assert apply_config.render_first(node.settings, node.environment) == ""
        assert not node.target.exists() and node.ran == 0

    @pytest.mark.usefixtures("given")
    def test_with_other_templates_os_apply_config_does_it(self, node: Node) -> None:
        (node.templates / "another").touch()
        assert apply_config.render_first(node.settings, node.environment) == ""
        assert node.ran == 1

    @pytest.mark.usefixtures("given")
    def test_in_hook_mode_it_is_heat_agents_affair(self, node: Node) -> None:
        assert apply_config.render_first(replace(node.settings, mode="hook"), node.environment) == ""
        assert not node.target.exists()

    @pytest.mark.usefixtures("given")
    def test_what_fails_is_told_and_left_to_the_first_pass(self, node: Node) -> None:
        node.code = 1
        assert "etc/os-collect-config.conf: exit status 1" in apply_config.render_first(node.settings, node.environment)
        assert not node.target.exists()
        node.code = 0
        assert node.runs()
