"""What a coordinator reports while it works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pepbench.harness.cells import Cell
from pepbench.records import Record, TrialSpec


class Progress(Protocol):
    """Who is told of all that happens."""

    def start(self, cells: Sequence[Cell]) -> None:
        """Work on ``cells`` begins."""

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """A trial was handed to a worker."""

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """A trial has its record, new or reused."""

    def cell_done(self, cell: Cell) -> None:
        """Nothing is left to do for a cell."""

    def tick(self) -> None:
        """Nothing has happened for a moment; work goes on."""

    def warn(self, message: str) -> None:
        """Something that the user should know, in one line."""

    def stop(self) -> None:
        """Work ended, or was interrupted."""
