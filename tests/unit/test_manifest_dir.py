"""The manifest directory: whole files or none, ours known by their mark, foreign ones only read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from samples import pod
from support import identity

from heat_config_kubelet.errors import ManifestError
from heat_config_kubelet.manifest_dir import STAGING, Found, ManifestDir, Mark, file_name, render
from heat_config_kubelet.values import Identity, PodKey

KEY = PodKey("default", "web")
MARK = Mark(identity(), "heat", "0" * 64, "7", "5f1c0000-0000-4000-8000-000000000000")
FILE = file_name(identity(), KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "manifests"


@pytest.fixture
def directory(folder: Path) -> ManifestDir:
    made = ManifestDir(folder)
    made.prepare()
    return made


def found(directory: ManifestDir) -> dict[str, Found]:
    return {each.file: each for each in directory.scan()}


# --- names and content


def test_a_file_name_is_readable_unique_and_safe() -> None:
    assert FILE.startswith("heat-web-") and FILE.endswith(".json")
    others = {
        file_name(identity("other"), KEY),
        file_name(identity(stack="shop/other"), KEY),
        file_name(identity(), PodKey("kube-system", "web")),
        file_name(identity(), PodKey("default", "db")),
    }
    assert len(others | {FILE}) == 5
    odd = file_name(Identity("../x", "/"), PodKey("n/..", "../../etc/passwd\0\n" + "é" * 300))
    assert "/" not in odd and not odd.startswith(".") and odd.isascii() and len(odd) < 120


def test_two_ways_to_cut_a_name_give_two_files() -> None:
    assert file_name(Identity("a", "b/c"), KEY) != file_name(Identity("a/b", "c"), KEY)
    assert file_name(Identity("a", "bc"), KEY) != file_name(Identity("ab", "c"), KEY)


def test_a_manifest_is_the_pod_with_our_mark_and_the_creations_uid() -> None:
    wanted = pod()
    wanted.manifest["metadata"]["annotations"] = {"team": "shop"}
    written = json.loads(render(wanted, MARK))
    assert (written["apiVersion"], written["kind"]) == ("v1", "Pod")
    assert written["spec"] == wanted.manifest["spec"]
    assert written["metadata"]["uid"] == MARK.uid
    assert written["metadata"]["annotations"] == {
        "team": "shop",
        "heat-config-kubelet/stack": MARK.identity.stack_id,
        "heat-config-kubelet/resource": MARK.identity.resource_name,
        "heat-config-kubelet/source": "heat",
        "heat-config-kubelet/hash": "0" * 64,
        "heat-config-kubelet/generation": "7",
    }
    assert "uid" not in wanted.manifest["metadata"], "the pod itself is not changed"


def test_a_status_is_not_written() -> None:
    wanted = pod()
    wanted.manifest["status"] = {"phase": "Running"}  # type: ignore[index]
    assert "status" not in json.loads(render(wanted, MARK))


# --- writing


def test_a_manifest_comes_into_place_whole_with_mode_0600(directory: ManifestDir, folder: Path) -> None:
    content = render(pod(), MARK)
    assert directory.write(FILE, content) == hashlib.sha256(content).hexdigest()
    directory.sync()
    assert (folder / FILE).read_bytes() == content
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / STAGING).stat().st_mode) == 0o700
    assert list((folder / STAGING).iterdir()) == []


def test_a_shorter_manifest_keeps_nothing_of_the_longer_one_before(directory: ManifestDir, folder: Path) -> None:
    directory.write(FILE, b'{"a": "' + b"x" * 5000 + b'"}')
    directory.write(FILE, b"{}")
    assert (folder / FILE).read_bytes() == b"{}"


def test_nothing_half_written_is_ever_seen_by_the_kubelet(
    directory: ManifestDir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet reads every file whose name does not begin with a dot, as soon as it is there."""
    seen: list[list[str]] = []
    real = os.fsync

    def watched(handle: int) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        real(handle)

    monkeypatch.setattr("os.fsync", watched)
    directory.write(FILE, b"{}")
    assert seen == [[STAGING]], "written and synced outside the kubelet's sight, then renamed"


def test_what_an_interrupted_write_left_is_dropped(directory: ManifestDir, folder: Path) -> None:
    (folder / STAGING / FILE).write_bytes(b"{half")
    ManifestDir(folder).prepare()
    assert list((folder / STAGING).iterdir()) == []


def test_a_link_in_the_way_is_not_written_through(directory: ManifestDir, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("theirs")
    (folder / STAGING / FILE).symlink_to(target)
    with pytest.raises(ManifestError, match=FILE):
        directory.write(FILE, b"{}")
    assert target.read_text() == "theirs"


def test_removing_what_is_gone_already_is_well(directory: ManifestDir, folder: Path) -> None:
    directory.write(FILE, b"{}")
    directory.remove(FILE)
    directory.remove(FILE)
    assert not (folder / FILE).exists()


def test_faults_of_the_disk_name_the_place_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = ManifestDir(tmp_path / "file")
    gone = ManifestDir(tmp_path / "none")
    for failing in (blocked.prepare, blocked.scan, gone.sync, lambda: gone.write(FILE, b"{}")):
        with pytest.raises(ManifestError, match=str(tmp_path)) as caught:
            failing()
        assert "must be writable and have room" in caught.value.hint
    folder = tmp_path / "dirs"
    directory = ManifestDir(folder)
    directory.prepare()
    (folder / FILE).mkdir()
    with pytest.raises(ManifestError, match=FILE):
        directory.remove(FILE)


# --- reading


def test_our_manifest_is_known_again_by_its_mark(directory: ManifestDir) -> None:
    content = render(pod(terminationGracePeriodSeconds=3), MARK)
    directory.write(FILE, content)
    assert directory.scan() == (Found(FILE, KEY, MARK, 3.0, hashlib.sha256(content).hexdigest()),)
    assert directory.scan()[0].ours


def test_a_copy_of_our_manifest_under_another_name_is_foreign(directory: ManifestDir, folder: Path) -> None:
    directory.write(FILE, render(pod(), MARK))
    (folder / "web.json.bak").write_bytes((folder / FILE).read_bytes())
    both = found(directory)
    assert both[FILE].ours and not both["web.json.bak"].ours
    assert both["web.json.bak"].key == KEY


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n", KEY),
        ("metadata: {name: web, namespace: kube-system}\n---\nmetadata: {name: other}\n", PodKey("kube-system", "web")),
        ('{"metadata": {"name": "web", "annotations": "odd"}}', KEY),
        ('{"metadata": {"name": 5}}', None),
        ('{"metadata": []}', None),
        ("[1]", None),
        ("{", None),
        ("\x00", None),
        ("&a [*a]", None),
        ("", None),
    ],
)
def test_a_foreign_file_is_read_as_the_kubelet_would(
    directory: ManifestDir, folder: Path, text: str, key: PodKey | None
) -> None:
    """Only the first document counts; the extension does not."""
    (folder / "theirs.txt").write_text(text)
    each = found(directory)["theirs.txt"]
    assert (each.key, each.mark, each.ours) == (key, None, False)


def test_a_binary_file_is_only_not_a_pod(directory: ManifestDir, folder: Path) -> None:
    (folder / "core").write_bytes(b"\xff\xfe\x00")
    assert found(directory)["core"].key is None


def test_a_mark_that_is_not_whole_is_none(directory: ManifestDir) -> None:
    manifest: dict[str, Any] = json.loads(render(pod(), MARK))
    del manifest["metadata"]["annotations"]["heat-config-kubelet/hash"]
    directory.write(FILE, json.dumps(manifest).encode())
    assert found(directory)[FILE].mark is None


def test_what_the_kubelet_passes_over_we_do_too(directory: ManifestDir, folder: Path) -> None:
    (folder / ".hidden").write_text("{}")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to(folder / "nothing")
    assert directory.scan() == ()


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert ManifestDir(tmp_path / "none").scan() == ()


def test_a_file_that_goes_while_the_directory_is_read_hides_no_other(
    directory: ManifestDir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's own file comes and goes; ours after it would else seem to be gone, and their pods restart."""
    directory.write(FILE, render(pod(), MARK))
    (folder / "aaa.swp").write_text("x")
    real = os.scandir

    class Vanishing:
        name = "aaa.swp"

        def is_file(self) -> bool:
            return True

        def stat(self) -> os.stat_result:
            raise FileNotFoundError(2, "No such file or directory")

    class Listing:
        def __init__(self, path: Path) -> None:
            self.items = [Vanishing() if item.name == "aaa.swp" else item for item in real(path)]

        def __enter__(self) -> list[Any]:
            return self.items

        def __exit__(self, *_: object) -> None:
            self.items = []

    monkeypatch.setattr("heat_config_kubelet.manifest_dir.os.scandir", Listing)
    assert [each.file for each in directory.scan()] == [FILE]


def test_unchanged_files_are_read_once_and_changed_ones_anew(
    directory: ManifestDir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.write(FILE, render(pod(), MARK))
    first = directory.scan()
    opened: list[str] = []
    real = ManifestDir._read

    def counted(self: ManifestDir, file: str) -> Found:
        opened.append(file)
        return real(self, file)

    monkeypatch.setattr(ManifestDir, "_read", counted)
    assert directory.scan() == first and opened == []
    (folder / FILE).write_bytes((folder / FILE).read_bytes() + b" ")
    assert directory.scan() != first and opened == [FILE]


def test_a_file_that_may_not_be_read_is_there_all_the_same(
    directory: ManifestDir, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "theirs").write_text("{}")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert directory.scan() == (Found("theirs", None, None, 0, ""),)


@pytest.mark.parametrize(("spec", "grace"), [({}, 30.0), ({"terminationGracePeriodSeconds": True}, 30.0), (None, 30.0)])
def test_a_grace_period_that_makes_no_sense_is_the_kubelets_default(
    directory: ManifestDir, folder: Path, spec: Any, grace: float
) -> None:
    (folder / "theirs").write_text(json.dumps({"metadata": {"name": "web"}, "spec": spec}))
    assert found(directory)["theirs"].grace == grace


def test_a_foreign_grace_period_of_any_size_is_read(directory: ManifestDir, folder: Path) -> None:
    for name, value in (("many", "9" * 400), ("inf", "1e999"), ("nan", "NaN"), ("less", "-1")):
        text = f'{{"metadata": {{"name": "web"}}, "spec": {{"terminationGracePeriodSeconds": {value}}}}}'
        (folder / name).write_text(text)
    assert {each.grace for each in directory.scan()} == {30.0}


def test_foreign_names_and_marks_that_are_no_text_are_nobodys(directory: ManifestDir, folder: Path) -> None:
    odd = "\ud800"
    marked = json.loads(render(pod(), MARK))
    marked["metadata"]["annotations"]["heat-config-kubelet/stack"] = odd
    (folder / FILE).write_text(json.dumps(marked))
    (folder / "name").write_text(json.dumps({"metadata": {"name": odd}, "spec": {}}))
    assert found(directory)["name"].key is None
    assert found(directory)[FILE].mark is None and not found(directory)[FILE].ours


@pytest.mark.parametrize(
    "change", ["list", "no metadata", "no annotations", "null", "no mark", "no JSON", "deep", "odd"]
)
def test_a_manifest_that_was_replaced_by_hand_is_not_nudged(directory: ManifestDir, folder: Path, change: str) -> None:
    odd = json.loads(render(pod(), MARK))
    odd["spec"]["hostname"] = "\ud800"
    content = {
        "list": "[]",
        "no metadata": "{}",
        "no annotations": '{"metadata": {}}',
        "null": '{"metadata": {"annotations": null}}',
        "no mark": '{"metadata": {"uid": "u", "annotations": {"team": "shop"}}}',
        "no JSON": "kind: Pod\n",
        "deep": "[" * 100_000,
        "odd": json.dumps(odd),
    }[change]
    (folder / FILE).write_text(content)
    directory.nudge(FILE, 1)
    assert (folder / FILE).read_text() == content
