"""The node's settings file: what holds without it, what it may say, and how a fault in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from heat_config_kubelet.errors import SettingsError
from heat_config_kubelet.settings import SETTINGS_VARIABLE, Settings, load


def written(folder: Path, text: str) -> Path:
    path = folder / "agent.conf"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heat_config_kubelet.settings.SETTINGS_FILE", tmp_path / "none.conf")
    found = load(environment={})
    assert found == Settings(tmp_path / "none.conf", node_name=found.node_name)
    assert found.node_name == found.node_name.lower() != ""
    assert found.store_file == Path("/var/lib/heat-config-kubelet/store.sqlite")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    with pytest.raises(SettingsError, match="none: no such settings file"):
        load(missing)
    with pytest.raises(SettingsError, match="none: no such settings file"):
        load(environment={SETTINGS_VARIABLE: str(missing)})


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "[agent]\nmode = Run\nstate_dir = /srv/state\nhooks_dirs = /a:/b\n"
        "[kubelet]\nport = 10250\nstart_timeout = 2.5\nnode_name = n1\n"
        "[signals]\nca = /etc/ca.pem\nmax_age = 0\n"
        "[defaults]\nimages_timeout = 5\n",
    )
    found = load(environment={SETTINGS_VARIABLE: str(path)})
    assert (found.file, found.mode, found.state_dir) == (path, "run", Path("/srv/state"))
    assert found.hooks_dirs == (Path("/a"), Path("/b"))
    assert (found.kubelet_port, found.kubelet_start_timeout, found.node_name) == (10250, 2.5, "n1")
    assert (found.signal_ca, found.signal_max_age) == (Path("/etc/ca.pem"), 0.0)
    assert found.defaults == {"images_timeout": "5"}


def test_a_percent_sign_is_only_a_percent_sign(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[kubelet]\ncommand = start 50%\n")).kubelet_command == "start 50%"


def test_an_empty_value_is_the_default(tmp_path: Path) -> None:
    found = load(written(tmp_path, "[agent]\nstate_dir =\nhooks_dirs =\n[kubelet]\nport =\ncgroup_root =\n"))
    base = Settings(found.file)
    assert (found.state_dir, found.hooks_dirs) == (base.state_dir, base.hooks_dirs)
    assert (found.kubelet_port, found.cgroup_root) == (None, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[agent]\nmode = both\n", r"\[agent\] mode = both: must be one of auto, run, hook"),
        ("[agent]\nstate_dir = var\n", r"\[agent\] state_dir = var: must be an absolute path"),
        ("[agent]\nhooks_dirs = /a:b\n", r"\[agent\] hooks_dirs = /a:b: must be absolute paths"),
        ("[kubelet]\nport = 0\n", r"\[kubelet\] port = 0: must be a port"),
        ("[kubelet]\nport = x\n", r"\[kubelet\] port = x: must be a port"),
        ("[kubelet]\nport = ²\n", r"\[kubelet\] port = ²: must be a port"),
        ("[signals]\ntimeout = nan\n", r"\[signals\] timeout = nan: must be a number of seconds"),
        ("[signals]\ntimeout = -1\n", r"\[signals\] timeout = -1: must be a number of seconds"),
        ("[agent]\nmodus = run\n", r"\[agent\] modus is no setting; there are .*mode"),
        ("[kublet]\nport = 1\n", r"\[kublet\] is no section; there are agent, defaults, kubelet, signals"),
        ("mode = run\n", "no section headers"),
        ("[defaults]\nimage_timeout = 5\n", r"\[defaults\] image_timeout is no option; there are images_timeout"),
        ("[defaults]\nstrict = maybe\n", r"\[defaults\] strict = 'maybe': must be true or false"),
        ("[agent]\nmode = run\nmode = hook\n", "already exists"),
    ],
)
def test_a_fault_is_told_with_file_section_and_setting(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError, match=told) as caught:
        load(path)
    assert str(path) in str(caught.value) and caught.value.status == 2


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "agent.conf"
    path.write_bytes(b"[agent]\nmode = \xff\n")
    with pytest.raises(SettingsError, match=r"agent\.conf: .*utf-8"):
        load(path)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detached loop is started with this path, in another directory."""
    path = written(tmp_path, "[agent]\nmode = run\n")
    monkeypatch.chdir(tmp_path)
    assert load(Path("agent.conf")).file == path
    assert load(environment={SETTINGS_VARIABLE: "agent.conf"}).file == path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("planted\n[agent]\n", "line 1"),
        ("[agent]\nplanted one\nplanted two\n", "line 2, 3"),
        ("[agent]\n[agent]\n", "line 2: [agent]"),
        ("[agent]\nmode = planted\nmode = planted\n", "line 3: [agent] mode"),
    ],
)
def test_what_does_not_parse_is_told_in_one_line_without_the_files_text(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    assert told in caught.value.message and "planted" not in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
