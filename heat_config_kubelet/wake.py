"""One loop at a time, started when something is pending, with no wake-up lost between its last look and its end.

How: whoever adds work does so in a store transaction that also sets the flag file; the loop ends in a store
transaction that looks once more, clears the flag and lets go of its lock. Those transactions exclude each other:
either the loop's last look saw the work, or its lock was free when the adder looked for a running loop.

Under systemd the flag starts the loop's unit (a path unit); elsewhere the loop is started detached, and has the lock
from its first moment: whoever starts it takes the lock and hands it on.
Not for: what the loop does (`loop.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import stat
import subprocess
import sys
import time
from pathlib import Path

from .settings import Settings

_HOLD_TRIES = 10
"""Somebody who only looks whether a loop runs (`_lock_is_free`) has the lock for an instant."""
_BEAT_SECONDS = 10.0
"""How often, about, a loop that works touches its lock, for `health.py`."""
_RUNNING_SYSTEMD = Path("/run/systemd/system")
_UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


def under_systemd(settings: Settings) -> bool:
    """Whether units are to be used: the setting, or whether systemd runs this machine (sd_booted(3))."""
    return settings.systemd == "yes" or (settings.systemd == "auto" and _RUNNING_SYSTEMD.is_dir())


class Wake:
    """The flag, the lock and the bell of the loop, all in the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.flag = state_dir / "pending"
        self.lock_file = state_dir / "loop.lock"
        """Held by the loop; changed while it works (`_beat`)."""
        self._bell_file = state_dir / "bell"
        self._state_dir = state_dir
        self._lock: int | None = None
        self._bell: int | None = None
        self._selector: selectors.BaseSelector | None = None
        self._beaten_at = float("-inf")

    # --- for those who add work

    def raise_flag(self) -> None:
        """Say that something is pending; inside the store transaction that adds it."""
        os.close(os.open(self.flag, os.O_CREAT | os.O_WRONLY, 0o600))

    def ring(self) -> bool:
        """Wake a loop that runs; gives whether one does. After the transaction."""
        self._ring_bell()
        return not self._lock_is_free()

    def is_held(self) -> bool:
        """Whether a loop runs, found out without making, ringing or taking anything from it for longer than an instant.

        Raises PermissionError for who may not look.
        """
        try:
            handle = os.open(self.lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def _ring_bell(self) -> None:
        with contextlib.suppress(OSError):
            bell = os.open(self._bell_file, os.O_WRONLY | os.O_NONBLOCK)
            with contextlib.suppress(BlockingIOError):
                os.write(bell, b"!")
            os.close(bell)

    def start_loop(self, settings: Settings) -> None:
        """See to it that a loop runs now."""
        self._ring_bell()
        if under_systemd(settings) and _path_unit_installed(settings):
            return
        lock = self._take_lock()
        if lock is None:
            return
        try:
            self._spawn(settings, lock)
        finally:
            os.close(lock)

    def _spawn(self, settings: Settings, lock: int) -> None:
        log = os.open(self._state_dir / "loop.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            named = ["--settings", str(settings.file)] if settings.file.exists() else []
            subprocess.Popen(
                [sys.executable, "-m", "heat_config_kubelet", *named, "loop", "--lock", str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(log)

    def log_place(self, settings: Settings) -> str:
        """Where a person finds the log of the loop that `start_loop` starts."""
        if under_systemd(settings) and _path_unit_installed(settings):
            return f"journalctl -u {settings.loop_unit}"
        return str(self._state_dir / "loop.log")

    def _lock_is_free(self) -> bool:
        try:
            lock = self._take_lock()
        except OSError:
            return True
        if lock is None:
            return False
        os.close(lock)
        return True

    def _take_lock(self) -> int | None:
        """Give the lock as a descriptor that has it until it is closed; None where another has it."""
        handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return handle

    # --- for the loop

    def hold(self, lock: int | None = None) -> bool:
        """Become the one loop; gives False where another one is. `lock` is the one that `start_loop` hands on."""
        if lock is not None and self._is_held_by(lock):
            os.set_inheritable(lock, False)
            self._lock = lock
        for _ in range(_HOLD_TRIES):
            if self._lock is None:
                self._lock = self._take_lock()
            if self._lock is not None:
                self._hang_bell()
                return True
            time.sleep(0.02)
        return False

    def _is_held_by(self, handle: int) -> bool:
        """Whether a descriptor from elsewhere is the lock, and has it."""
        try:
            if not os.path.samestat(os.fstat(handle), self.lock_file.stat()):
                return False
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _hang_bell(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISFIFO(self._bell_file.lstat().st_mode):
                self._bell_file.unlink()
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._bell_file, 0o600)
        self._bell = os.open(self._bell_file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)

    def watch(self, handle: int) -> None:
        """Wake up for this file descriptor too, until `unwatch`."""
        if self._selector:
            self._selector.register(handle, selectors.EVENT_READ)

    def unwatch(self, handle: int) -> None:
        """No longer wake up for it."""
        if self._selector:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(handle)

    def notify(self) -> None:
        """Ring our own bell, from another thread of the loop."""
        if self._bell is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._bell, b"!")

    def wait(self, seconds: float) -> None:
        """Sleep until somebody rings, a watched descriptor is ready, or the time is over."""
        if self._selector is None or self._bell is None:
            raise RuntimeError("wait() without hold()")
        self._beat()
        self._selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._bell, 4096)) == 4096:
                pass

    def _beat(self) -> None:
        """Leave a trace of this step."""
        now = time.monotonic()
        if self._lock is not None and now - self._beaten_at >= _BEAT_SECONDS:
            self._beaten_at = now
            with contextlib.suppress(OSError):
                os.utime(self._lock)

    def let_go(self, *, clear_flag: bool) -> None:
        """Cease to be the loop; with `clear_flag` inside the store transaction of the last look."""
        if clear_flag:
            self.flag.unlink(missing_ok=True)
        if self._selector:
            self._selector.close()
            self._selector = None
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # whoever started us may still have it open
        for handle in (self._bell, self._lock):
            if handle is not None:
                os.close(handle)
        self._bell = self._lock = None


def _path_unit_installed(settings: Settings) -> bool:
    name = settings.loop_unit.removesuffix(".service") + ".path"
    return any((folder / name).exists() for folder in _UNIT_FOLDERS)
