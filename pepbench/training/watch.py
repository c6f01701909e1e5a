"""What a training tells those who watch it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Where a trial stands."""

    phase: str
    """Such as ``search`` or ``train``."""
    step: int
    """Updates made in this phase's present loop, from 1."""
    epoch: int
    """The pass over the rows that is under way or has just ended, from 1."""
    samples_per_second: float
    """Training rows per wall second since the trial began."""
    auc: float | None = None
    """Best validation AUC of this phase so far; None before it was measured."""


Watcher = Callable[[Moment], None]
"""Called after every epoch, and about once a second between; must return quickly."""

SECONDS_BETWEEN = 1.0
"""Between two moments within an epoch."""


def unwatched(moment: Moment) -> None:
    """Tell nobody."""


class Teller:
    """Tells a watcher where a trial stands, with its speed and its best score so far."""

    def __init__(self, watch: Watcher) -> None:
        self._watch = watch
        self._began = self._told = time.perf_counter()
        self._best: float | None = None

    def begin(self) -> None:
        """A training begins: scores of earlier ones no longer count."""
        self._best = None

    def after_step(self, phase: str, step: int, epoch: int, samples: int) -> None:
        """Tell, unless it is too soon. ``samples``: rows trained on since the trial began."""
        if time.perf_counter() - self._told >= SECONDS_BETWEEN:
            self._tell(phase, step, epoch, samples)

    def after_epoch(self, phase: str, step: int, epoch: int, samples: int, auc: float) -> None:
        """Tell, with the epoch's validation AUC."""
        self._best = auc if self._best is None else max(self._best, auc)
        self._tell(phase, step, epoch, samples)

    def _tell(self, phase: str, step: int, epoch: int, samples: int) -> None:
        self._told = time.perf_counter()
        speed = samples / max(self._told - self._began, 1e-9)
        self._watch(Moment(phase, step, epoch, speed, self._best))
