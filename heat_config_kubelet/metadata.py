"""Reads what os-collect-config collected: one `Source` for each of its cache files.

A source that did not answer is missing from `OS_CONFIG_FILES`, one that says nothing about
deployments has `deployments` None: from neither is anything removed.
The entries themselves are read in `deployments.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .errors import MetadataError
from .values import Source

FILES_VARIABLE = "OS_CONFIG_FILES"
FILES_LIST = "os_config_files.json"
KEY = "deployments"


def source_files(environment: Mapping[str, str], cache: Path) -> tuple[Path, ...]:
    """Give the files of the sources that answered.

    `$OS_CONFIG_FILES` (joined by ":") as os-collect-config sets it for its command, else the list
    that it keeps in its cache (os_collect_config/collect.py, cache.store_meta_list).
    Raises MetadataError where that list is there and cannot be read.
    """
    given = environment.get(FILES_VARIABLE)
    if given is not None:
        return tuple(Path(part) for part in given.split(":") if part)
    path = cache / FILES_LIST
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path}: {error}", hint="os-collect-config writes it anew at its next poll") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MetadataError(f"{path}: not a list of file names")
    return tuple(Path(name) for name in names)


def read_sources(files: tuple[Path, ...]) -> tuple[Source, ...]:
    """Read each file; one that cannot be read is a Source with a problem, never an error."""
    return tuple(_read(path) for path in files)


def _read(path: Path) -> Source:
    name = path.name.removesuffix(".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return Source(name, None, f"{path}: {error}")
    if not isinstance(content, dict) or KEY not in content:
        return Source(name, None)
    entries = content[KEY]
    if not isinstance(entries, list):
        return Source(name, None, f"{path}: {KEY}: is {type(entries).__name__}, not a list: ignored")
    return Source(name, tuple(entries))
