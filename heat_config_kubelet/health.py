"""Whether the agent does its work, for a container's health check and for monitors: `heat-config-kubelet health`.

By the traces that work leaves, so that what hangs is seen as well as what has ended: os-collect-config renames a file
within its cache at each poll that any source answers (os_collect_config/cache.py, store), and the loop touches its
lock (`wake.py`). Nothing here waits or is changed.
Not for: deployments that have failed (`overview.py`), a kubelet that does not answer; both are told to Heat.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

from .errors import StoreError
from .settings import Settings
from .store import Store
from .wake import Wake

_COLLECTOR_FILE = "/etc/os-collect-config.conf"
"""os-collect-config's own settings, unless the variable OS_COLLECT_CONFIG_FILE says it, as for their template."""
_POLLING_INTERVAL = 30.0
"""os-collect-config's default, seconds (os_collect_config/collect.py)."""


def faults(settings: Settings, environment: Mapping[str, str], now: float, patience: float) -> tuple[str, ...]:
    """Say what does not work, a line each; nothing where all is well.

    `now` is seconds since the epoch; `patience` how many seconds a poll or a step of the loop may take, which several
    services in a row that do not answer make long. Raises sqlite3.Error where the store is locked for as long.
    """
    return (*idle(settings, environment, now, patience), *filter(None, (_store(settings.store_file),)))


def idle(settings: Settings, environment: Mapping[str, str], now: float, patience: float) -> tuple[str, ...]:
    """Say which of os-collect-config and the loop do nothing though they should, a line each; as `faults` does."""
    collector_file = Path(environment.get("OS_COLLECT_CONFIG_FILE", _COLLECTOR_FILE))
    found = (
        _polls(settings.os_collect_config_cache, now, 2 * _polling_interval(collector_file) + patience),
        _loop(Wake(settings.state_dir), now, patience),
    )
    return tuple(filter(None, found))


def _polls(cache: Path, now: float, limit: float) -> str:
    polled = _changed(cache)
    if polled is None:
        return f"os-collect-config: {cache} is not there: it has never collected anything"
    if now - polled <= limit:
        return ""
    return f"os-collect-config: no source was collected for {now - polled:.0f} s; does it run, and does any answer?"


def _store(file: Path) -> str:
    if not file.exists():
        return ""  # there was never any metadata
    try:
        store = Store.open(file, create=False)
        try:
            store.check()
        finally:
            store.close()
    except StoreError as error:
        return f"store: {error}"
    return ""


def _loop(wake: Wake, now: float, limit: float) -> str:
    pending, worked = _changed(wake.flag), _changed(wake.lock_file)
    if pending is None:
        return ""
    idle = now - max(pending, worked or 0.0)
    return f"loop: something is pending, and it has not worked on it for {idle:.0f} s" if idle > limit else ""


def _changed(path: Path) -> float | None:
    """When a file or what is in a folder was last changed; None where it is not there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _polling_interval(file: Path) -> float:
    """How long os-collect-config pauses at most between polls; its default where its settings do not say."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)  # a setting with several values is repeated
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        return parser.getfloat("DEFAULT", "polling_interval", fallback=_POLLING_INTERVAL)
    except (OSError, ValueError, configparser.Error):
        return _POLLING_INTERVAL
