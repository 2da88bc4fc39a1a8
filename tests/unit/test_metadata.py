"""What os-collect-config's files say, and what a file that cannot be read says: nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import raw_entry

from heat_config_kubelet.errors import MetadataError
from heat_config_kubelet.metadata import read_sources, source_files


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_files_are_those_that_os_collect_config_names(tmp_path: Path) -> None:
    assert source_files({"OS_CONFIG_FILES": "/a/heat.json:/a/local.json:"}, tmp_path) == (
        Path("/a/heat.json"),
        Path("/a/local.json"),
    )
    assert source_files({"OS_CONFIG_FILES": ""}, tmp_path) == ()


def test_without_the_variable_they_are_those_of_its_cache(tmp_path: Path) -> None:
    assert source_files({}, tmp_path) == ()
    written(tmp_path, "os_config_files.json", ["/c/cfn.json"])
    assert source_files({}, tmp_path) == (Path("/c/cfn.json"),)


@pytest.mark.parametrize(
    "content", ["[", '{"a": 1}', "[1]", "\udcff".encode("utf-8", "surrogateescape").decode("latin1")]
)
def test_a_list_of_files_that_cannot_be_read_is_an_error(tmp_path: Path, content: str) -> None:
    written(tmp_path, "os_config_files.json", content)
    with pytest.raises(MetadataError, match=r"os_config_files\.json"):
        source_files({}, tmp_path)


def test_a_source_is_named_after_its_file(tmp_path: Path) -> None:
    entry = raw_entry("a")
    (found,) = read_sources((written(tmp_path, "heat.json", {"deployments": [entry]}),))
    assert (found.name, found.deployments, found.problem) == ("heat", (entry,), "")


def test_an_empty_list_is_an_answer_and_no_list_is_none(tmp_path: Path) -> None:
    """The boot copy of the metadata says `deployments: []`; other sources say nothing about deployments."""
    local = written(tmp_path, "heat_local.json", {"deployments": []})
    ec2 = written(tmp_path, "ec2.json", {"instance-id": "i-1"})
    first, second = read_sources((local, ec2))
    assert (first.deployments, second.deployments) == ((), None)
    assert first.problem == second.problem == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"deployments": [', "heat.json"),
        ("[" * 100_000, "heat.json"),
        ({"deployments": {"a": 1}}, "deployments: is dict, not a list"),
        ({"deployments": None}, "deployments: is NoneType, not a list"),
    ],
)
def test_a_file_that_makes_no_sense_says_nothing_and_why(tmp_path: Path, content: Any, told: str) -> None:
    (found,) = read_sources((written(tmp_path, "heat.json", content),))
    assert found.deployments is None and told in found.problem


def test_a_file_that_is_gone_or_no_text_says_nothing_and_why(tmp_path: Path) -> None:
    binary = tmp_path / "cfn.json"
    binary.write_bytes(b"\xff\x00")
    for found in read_sources((tmp_path / "none.json", binary)):
        assert found.deployments is None and found.problem


def test_metadata_that_is_no_map_says_nothing(tmp_path: Path) -> None:
    (found,) = read_sources((written(tmp_path, "heat.json", ["deployments"]),))
    assert (found.deployments, found.problem) == (None, "")
