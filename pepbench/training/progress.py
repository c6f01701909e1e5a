"""Progress of a trial, reported while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a trial is."""

    phase: str
    """Such as ``search`` or ``train``."""
    step: int
    """Updates made in the current loop of this phase, from 1."""
    epoch: int
    """The pass over the rows that is running or has just ended, from 1."""
    samples_per_second: float
    """Training rows per wall second since the trial began."""
    score: float | None = None
    """Best of the objective on validation rows in this phase; None before it was measured."""


ProgressCallback = Callable[[Progress], None]
"""Called after every epoch, and about once a second within one; must return quickly."""

SECONDS_BETWEEN = 1.0
"""Between two reports within an epoch."""


def ignore_progress(progress: Progress) -> None:
    """Do nothing with a report."""


class ProgressReporter:
    """Reports how far a trial is, with its speed and its best score so far."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._began = self._reported = time.perf_counter()
        self._best: float | None = None

    def begin_training(self) -> None:
        """Forget the scores of earlier trainings."""
        self._best = None

    def report(
        self, phase: str, step: int, epoch: int, samples: int, score: float | None = None
    ) -> None:
        """Report after an epoch, which gives its ``score``, or after a step unless it is too soon.

        ``samples`` are the rows trained on since the trial began.
        """
        now = time.perf_counter()
        if score is not None:
            self._best = score if self._best is None else max(self._best, score)
        elif now - self._reported < SECONDS_BETWEEN:
            return
        self._reported = now
        speed = samples / max(now - self._began, 1e-9)
        self._callback(Progress(phase, step, epoch, speed, self._best))
