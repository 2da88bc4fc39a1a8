"""os-collect-config's cache after a power loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from heat_config_kubelet.collector_cache import damaged, drop_damaged
from heat_config_kubelet.errors import MetadataError


def fill(cache: Path, **files: str) -> None:
    cache.mkdir()
    for name, content in files.items():
        (cache / name.replace("__", ".")).write_text(content)


def test_what_does_not_parse_goes_and_the_rest_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fill(cache, cfn__json="{}", cfn__json__last='{"depl', heat__json__last="{}", local__json__orig="", tmpab12="{")
    (cache / "zaqar.json.last").write_bytes(b"\xff\x00")
    assert [path.name for path in damaged(cache)] == ["cfn.json.last", "local.json.orig", "zaqar.json.last"]
    gone = [path.name for path in drop_damaged(cache)]
    assert gone == ["cfn.json.last", "local.json.orig", "zaqar.json.last", "tmpab12"]
    assert sorted(path.name for path in cache.iterdir()) == ["cfn.json", "heat.json.last"]
    assert drop_damaged(cache) == ()


def test_no_cache_yet_is_well(tmp_path: Path) -> None:
    assert drop_damaged(tmp_path / "none") == ()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fill(cache, notes="not JSON")
    (cache / "local-data").mkdir()
    assert drop_damaged(cache) == ()
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "cfn.json").mkdir()
    with pytest.raises(MetadataError, match="cache cannot be mended"):
        drop_damaged(cache)
