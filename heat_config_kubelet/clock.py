"""The clock as a plain argument: the time of day for what is stored, a steady one for waits.

A node's first boot may correct its time of day by years; no limit may run out by that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`wall` gives seconds since the epoch, `steady` seconds that only ever go forward; `sleep` waits some."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def steady_since(self, wall: float) -> float:
        """Translate a stored time of day: the steady time that it was then, never in the future."""
        return self.steady() - max(0.0, self.wall() - wall)
