"""How a person names a deployment or a pod: by any part of its name that is the only one's, or by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..errors import AgentError
from ..store import Entry

Thing = TypeVar("Thing")

_SHOWN = 8


class UnknownNameError(AgentError):
    """What a person named is not there, or is more than one thing."""


def names_of(entry: Entry) -> tuple[str, ...]:
    """Give all that an entry is called: stack/resource, the resource, its id, the stack's id with the resource."""
    identity = entry.deployment.identity
    return (str(identity), identity.resource_name, entry.deployment.id, "/".join(identity))


def find(name: str, things: Sequence[Thing], names: Callable[[Thing], Iterable[str]], kind: str) -> Thing:
    """Give the one thing that is called `name`, wholly or in part; of several that are, the last if it is wholly.

    Raises UnknownNameError with what there is instead.
    """
    exact = [thing for thing in things if name in tuple(names(thing))]
    if exact and (len(exact) == 1 or len({next(iter(names(thing))) for thing in exact}) == 1):
        return exact[-1]
    found = exact or [thing for thing in things if any(name in called for called in names(thing))]
    if len({next(iter(names(thing))) for thing in found}) == 1:
        return found[-1]
    there = sorted({next(iter(names(thing))) for thing in (found or things)})
    shown = ", ".join(there[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
    if found:
        raise UnknownNameError(f"{name} is more than one {kind}: {shown}", hint="give more of its name, or its id")
    raise UnknownNameError(
        f"there is no {kind} {name}", hint=f"there are {shown}" if there else f"there is no {kind} at all"
    )


def deployment(name: str, entries: Sequence[Entry]) -> Entry:
    """Give the entry that a person means: the newest of its stack and resource. Raises UnknownNameError."""
    return find(name, entries, names_of, "deployment")
