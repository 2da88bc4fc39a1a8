"""What a deployment may change, in its `options`, over the node's own defaults.

`images_timeout`, `containers_timeout` and `poll_period` are the names that kubelet configs have always used
(openstack/heat-templates, example-kubelet-template.yaml); the others are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import PodError, SettingsError

_TRUE = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Options:
    """How one deployment waits and what it reports. Times are seconds."""

    images_timeout: float = 600.0
    """From the manifest's writing until all images are there."""
    containers_timeout: float = 120.0
    """From then until all pods are ready."""
    poll_period: float = 1.0
    """The longest pause between two looks at the kubelet; after a change the looks are closer."""
    min_ready_seconds: float = 1.0
    """How long a pod must have stayed ready."""
    log_lines: int = 20
    """Last lines of a failed container in the result; 0 keeps logs out of signals."""
    fail_fast: bool = True
    """Fail as soon as it is certain; false waits for the limits always."""
    strict: bool = True
    """An unknown field of a pod is an error; false makes it a warning, for kubelets newer than the schema."""


NAMES = tuple(item.name for item in fields(Options))


def options_of(given: Mapping[str, Any], defaults: Mapping[str, str]) -> Options:
    """Read a deployment's `options`; names that are not ours belong to other tools and are left alone.

    Raises PodError with a fault for each bad value.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    for name in NAMES:
        value = given.get(name)
        value = defaults.get(name) if value is None else value
        if value is None:
            continue
        try:
            values[name] = _read(name, value)
        except ValueError as error:
            faults.append(f"options.{name}: {_shown(value)}: {error}")
    if faults:
        raise PodError(tuple(faults))
    return Options(**values)


def check_defaults(defaults: Mapping[str, str], file: object) -> None:
    """Raise SettingsError where the settings file's [defaults] hold an unknown name or a bad value."""
    for name, value in defaults.items():
        if name not in NAMES:
            raise SettingsError(f"{file}: [defaults] {name} is no option; there are " + ", ".join(NAMES))
        try:
            _read(name, value)
        except ValueError as error:
            raise SettingsError(f"{file}: [defaults] {name} = {_shown(value)}: {error}") from None


def _read(name: str, value: object) -> bool | float | int:
    if name in ("fail_fast", "strict"):
        truth = value if isinstance(value, bool) else _TRUE.get(str(value).strip().lower())
        if truth is None:
            raise ValueError("must be true or false")
        return truth
    least = 0.05 if name == "poll_period" else 0.0
    wanted = f"must be a number of {'lines' if name == 'log_lines' else 'seconds'}, {least:g} or more"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wanted)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(wanted) from None
    if not least <= number < float("inf") or (name == "log_lines" and number != int(number)):
        raise ValueError(wanted)
    return int(number) if name == "log_lines" else number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
