"""Locks of single trials, by which several coordinators divide the work in a shared folder.

A lock is a file named after the trial's key that names its holder. The holder touches it every few
seconds; a lock that nobody touches any more is taken over. Two coordinators may still run the same
trial if one wakes from a long sleep: both then write the same record.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

BEAT_SECONDS = 5.0
"""Between two touches of a lock."""
STALE_SECONDS = 30.0
"""A lock that nobody has touched for so long has lost its holder.

Measured by this process's monotonic clock from when it first saw the file's time stamp, so that
clocks that jump or differ, here or on a file server, do no harm.
"""

TORN_SECONDS = 1.0
"""A lock that cannot be read for so long is not being written: a power failure cut it short."""


class TrialLocks:
    """The locks of a coordinator; use it as a context manager.

    Parameters
    ----------
    folder
        Of the lock files.
    at_beat
        Called whenever locks are touched.
    """

    def __init__(self, folder: Path, at_beat: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._at_beat = at_beat
        self._mine: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._over = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._beat.join()
        for key in list(self._mine):
            self.release(key)

    def take(self, key: str) -> bool:
        """Lock a trial; False if somebody else has it."""
        path = self._path(key)
        if self._is_abandoned(key):
            # Of several coordinators that find it abandoned, one moves it away.
            away = path.with_suffix(f".{os.getpid()}.tmp")
            with suppress(FileNotFoundError):
                path.rename(away)
                away.unlink()
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
        except FileExistsError:
            return False
        self._mine.add(key)
        return True

    def release(self, key: str) -> None:
        """Unlock a trial, after its record was written."""
        if key in self._mine:
            self._mine.discard(key)
            with suppress(OSError):
                self._path(key).unlink()

    def is_free(self, key: str) -> bool:
        """Whether :meth:`take` would probably succeed."""
        return not self._path(key).exists() or self._is_abandoned(key)

    def others(self) -> bool:
        """Whether another coordinator has a lock and may still be working."""
        keys = {path.stem for path in self._folder.glob("*.lock")} - self._mine
        held = {key for key in keys if not self._is_abandoned(key)}
        if any(self._holder(key) is None for key in held):
            time.sleep(TORN_SECONDS)
            held = {key for key in held if not self._is_abandoned(key)}
        return bool(held)

    def _is_abandoned(self, key: str) -> bool:
        try:
            touched = self._path(key).stat().st_mtime_ns
        except OSError:
            return False
        holder = self._holder(key)
        match holder:
            case {"host": host, "pid": int(pid)} if host == socket.gethostname():
                if not psutil.pid_exists(pid):
                    return True
        last, since = self._seen.get(key, (None, 0.0))
        if last != touched:
            self._seen[key] = (touched, time.monotonic())
            return False
        patience = TORN_SECONDS if holder is None else STALE_SECONDS
        return time.monotonic() - since > patience

    def _holder(self, key: str) -> dict[str, object] | None:
        """Process and host in a lock file; None if it is not complete (yet)."""
        try:
            holder = json.loads(self._path(key).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return holder if isinstance(holder, dict) else None

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            for key in list(self._mine):
                with suppress(OSError):
                    os.utime(self._path(key))
            self._at_beat()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.lock"
