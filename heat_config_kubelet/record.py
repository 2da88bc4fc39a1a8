"""Records what is now wanted, for both ways in (`run.py`, `hook_mode.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from .clock import Clock
from .errors import ModeError
from .log import Log
from .metadata import read_sources, source_files
from .settings import Settings
from .store import Recorded, Store
from .wake import Wake


def record(
    settings: Settings, store: Store, mode: str, environment: Mapping[str, str], clock: Clock, log: Log
) -> Recorded:
    """Take in what the sources answered and start the loop. Raises ModeError, MetadataError."""
    claim_mode(settings, store, mode)
    sources = read_sources(source_files(environment, settings.os_collect_config_cache))
    wake = Wake(settings.state_dir)
    with store.transaction():
        recorded = store.record(sources, mode, clock.wall())
        wake.raise_flag()
    wake.start_loop(settings)
    for problem in recorded.problems:
        log.warning("metadata ignored", problem=problem)
    for identity in recorded.added:
        log.info("deployment recorded", deployment=identity)
    for identity in recorded.vanished:
        log.info("deployment vanished", deployment=identity)
    return recorded


def claim_mode(settings: Settings, store: Store, mode: str) -> None:
    """Let only one of the ways in, `run` and `hook`, be used on a node. Raises ModeError."""
    if settings.mode not in ("auto", mode):
        raise ModeError(
            f"{settings.file}: [agent] mode = {settings.mode}, but `{mode}` was called",
            hint="a node uses os-collect-config's command `run` or heat-agents' 55-heat-config with `hook`, not both",
        )
    before = store.get("mode")
    if settings.mode == "auto" and before and before != mode:
        raise ModeError(
            f"`{mode}` was called on a node that uses `{before}`",
            hint=f"take one of them away, and say which one stays: [agent] mode = run or hook in {settings.file}",
        )
    if before != mode:
        store.put("mode", mode)
