"""The time that a training takes, by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall and CPU seconds by phase; a phase within another counts for itself only."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}
        self._running: list[str] = []
        self._since = (0.0, 0.0)

    @property
    def running(self) -> str:
        """The phase that time is accounted to now; empty outside any."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Account the time within to ``name``."""
        self._settle()
        self._running.append(name)
        try:
            yield
        finally:
            self._settle()
            self._running.pop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Account the time within, but forget it afterwards."""
        self._settle()
        held = dict(self.seconds)
        try:
            yield
        finally:
            self._settle()
            self.seconds = held

    def _settle(self) -> None:
        moment = (time.perf_counter(), time.process_time())
        if self._running:
            wall, cpu = self.seconds.get(self._running[-1], (0.0, 0.0))
            self.seconds[self._running[-1]] = (
                wall + moment[0] - self._since[0],
                cpu + moment[1] - self._since[1],
            )
        self._since = moment
