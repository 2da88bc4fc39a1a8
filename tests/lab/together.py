"""Tests of several workers (pytest-xdist, `--dist loadgroup`): those that share a set-up go to one worker.

A conftest.py has `pytest_collection_modifyitems = keep_together`.
"""

from __future__ import annotations

import pytest

_SHARED = ("class", "module", "package")
"""Scopes of fixtures that are set up once for several tests; those of the session each worker has for itself."""


@pytest.hookimpl(tryfirst=True)
def keep_together(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that share a fixture, and its parameter if it has one, as one group."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if isinstance(item, pytest.Function) and (shared := _shared(item)):
            values = item.callspec.params if hasattr(item, "callspec") else {}
            name = "-".join([item.path.stem, *(str(values[each]) for each in shared if each in values)])
            item.add_marker(pytest.mark.xdist_group(name))


def _shared(item: pytest.Function) -> list[str]:
    """The names of the fixtures that the test shares with others."""
    found = item._fixtureinfo.name2fixturedefs
    return sorted(name for name, each in found.items() if each and each[-1].scope in _SHARED)
