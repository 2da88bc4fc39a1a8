"""All secrets that a node has been given, wherever they were left: for what packs texts of every kind.

A broken part (no store, an unreadable file) gives none of its secrets and hides nothing else's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from .deployments import read
from .errors import AgentError, MetadataError, PodError
from .metadata import KEY
from .secrets import Blanker
from .strict_yaml import documents
from .values import Deployment

_MOST_FILES = 500


def known(
    deployments: Iterable[Deployment],
    *,
    cache: Path,
    deployed_dir: Path,
    manifest_dir: Path | None,
    collector: Mapping[str, Mapping[str, tuple[str, ...]]],
    environment: Mapping[str, str],
) -> Blanker:
    """Give a Blanker that knows them.

    `deployments` are the store's; `cache` holds what os-collect-config collected, `deployed_dir` the deployments that
    hooks ran; `collector` are os-collect-config's settings by section; of `environment` the proxies are looked at.
    """
    found = Blanker()
    for deployment in deployments:
        found += Blanker.of(deployment)
    for content in _contents(cache):
        found += _of_metadata(content)
    for content in _contents(deployed_dir):
        found += _of_entry(content)
    for content in _contents(manifest_dir):
        found += Blanker.pairs(content)
    proxies = {name: value for name, value in environment.items() if name.lower().endswith("_proxy")}
    return found + Blanker.under_names(dict(collector)) + Blanker.under_names(proxies)


def _contents(folder: Path | None) -> Iterator[Any]:
    """What the files of a folder hold, as far as they can be read as JSON or YAML."""
    files: list[Path] = []
    with contextlib.suppress(OSError):
        files = sorted(folder.iterdir()) if folder else []
    for file in islice(files, _MOST_FILES):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            text = file.read_text(encoding="utf-8")
            try:
                yield json.loads(text)
            except ValueError:
                with contextlib.suppress(PodError):
                    yield documents(text)


def _of_metadata(content: Any) -> Blanker:
    if not isinstance(content, dict):
        return Blanker()
    entries = content.get(KEY)
    found = Blanker.under_names({name: value for name, value in content.items() if name != KEY})
    for entry in entries if isinstance(entries, list) else ():
        found += _of_entry(entry)
    return found


def _of_entry(entry: Any) -> Blanker:
    try:
        return Blanker.of(read(entry, ""))
    except (MetadataError, AgentError, TypeError, AttributeError):
        return Blanker.under_names(entry)
