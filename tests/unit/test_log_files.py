"""Containers' logs as the runtime writes them: parts of lines, rotated and packed files, restarts, and following."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from heat_config_kubelet.log_files import Follower, PodLogs, files, lines, pods

TIME = "2026-11-23T06:00:00.123456789Z"


def cri(*texts: str, stream: str = "stdout", tag: str = "F") -> bytes:
    """Lines as the runtime writes them."""
    return "".join(f"{TIME} {stream} {tag} {text}\n" for text in texts).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "default_web-node_uid-1" / "c"
    made.mkdir(parents=True)
    return made


def test_pods_are_told_by_their_folders(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "some_other").mkdir()
    (tmp_path / "default_db-node_uid-2").write_text("no folder")
    (found,) = pods(tmp_path)
    assert found == PodLogs("default", "web-node", "uid-1", folder.parent) and found.containers() == ("c",)
    assert PodLogs("default", "gone", "uid-3", tmp_path / "gone").containers() == ()
    with pytest.raises(FileNotFoundError):
        pods(tmp_path / "none")


def test_a_run_s_files_are_those_that_were_rotated_and_the_one_that_is_written(folder: Path) -> None:
    for name in ("0.log", "10.log", "2.log", "10.log.20261123-060000.gz", "10.log.20261123-070000", "10.log.tmp~", "x"):
        (folder / name).touch()
    names = [path.name for path in files(folder)]
    assert names == ["10.log.20261123-060000.gz", "10.log.20261123-070000", "10.log"]
    assert [path.name for path in files(folder, previous=True)] == ["2.log"]
    assert files(folder / "none") == []


def test_there_is_no_run_before_the_first(folder: Path) -> None:
    (folder / "0.log").touch()
    assert files(folder, previous=True) == []


def test_parts_of_lines_are_joined_stream_by_stream(folder: Path) -> None:
    file = folder / "0.log"
    file.write_bytes(
        cri("one ")
        + cri("two-", tag="P")
        + cri("err-", stream="stderr", tag="P")
        + cri("two", tag="P:x")
        + cri("-two")
        + cri("or", stream="stderr")
        + cri("")
        + b"odd\n"
        + cri("never ended", tag="P")
    )
    assert list(lines([file])) == [b"one ", b"two-two-two", b"err-or", b"", b"odd"]


def test_what_is_no_text_is_given_as_it_is(folder: Path) -> None:
    file = folder / "0.log"
    file.write_bytes(f"{TIME} stdout F ".encode() + b"\xff\x00\x1b\n")
    assert list(lines([file])) == [b"\xff\x00\x1b"]


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        (None, ["a", "b", "c", "d", "e", "f"]),
        (0, []),
        (1, ["f"]),
        (3, ["d", "e", "f"]),
        (5, ["b", "c", "d", "e", "f"]),
        (100, ["a", "b", "c", "d", "e", "f"]),
    ],
)
def test_the_last_lines_may_be_in_older_files(folder: Path, tail: int | None, found: list[str]) -> None:
    with gzip.open(folder / "0.log.20261123-060000.gz", "wb") as packed:
        packed.write(cri("a", "b"))
    (folder / "0.log.20261123-070000").write_bytes(cri("c", "d"))
    (folder / "0.log").write_bytes(cri("e", "f"))
    assert [line.decode() for line in lines(files(folder), tail)] == found


def test_older_files_are_not_read_for_lines_that_are_not_wanted(folder: Path) -> None:
    (folder / "0.log.20261123-060000.gz").write_bytes(b"\x1f\x8b no such file")
    (folder / "0.log").write_bytes(cri("e", "f"))
    assert list(lines(files(folder), 1)) == [b"f"]
    assert list(lines(files(folder), 3)) == [b"e", b"f"], "a damaged one gives what it has"


def test_a_line_that_began_in_the_file_before(folder: Path) -> None:
    (folder / "0.log.20261123-070000").write_bytes(cri("x") + cri("be", tag="P"))
    (folder / "0.log").write_bytes(cri("gun", "e"))
    assert list(lines(files(folder), 2)) == [b"begun", b"e"]


def test_following_goes_on_over_rotation_and_restart(folder: Path) -> None:
    file = folder / "0.log"
    follower = Follower(folder)
    assert list(follower.added()) == [], "nothing is there yet"
    file.write_bytes(cri("one"))
    follower.skip()
    with file.open("ab") as stream:
        stream.write(cri("two") + cri("thr", tag="P") + cri("ee")[:20])
        stream.flush()
        assert list(follower.added()) == [b"two"]
        stream.write(cri("ee")[20:])
    file.rename(folder / "0.log.20261123-070000")
    file.write_bytes(cri("four"))
    assert list(follower.added()) == [b"three", b"four"]
    (folder / "1.log").write_bytes(cri("five"))
    assert list(follower.added()) == [b"five"] and list(follower.added()) == []
    follower.close()
