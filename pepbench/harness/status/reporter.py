"""What a run reports while it works: a live display on terminals, lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from pepbench.harness.cells import Cell
from pepbench.harness.status.run_counts import CellCount, RunCounts
from pepbench.harness.status.run_display import counts_text, snapshot_view
from pepbench.harness.status.status_file import StatusFile
from pepbench.objective import GOALS
from pepbench.records import Record, TrialSpec, validation_goal
from pepbench.units import duration

REFRESHES_PER_SECOND = 2


class Reporter:
    """Counts what happens, keeps the run's status file up to date, and prints.

    Parameters
    ----------
    live
        Folder in which running trials report their progress; the run itself does, too.
    console
        Where to print; None: nowhere, and warnings are only collected.
    quiet
        Print nothing but failures and warnings.
    verbose
        On a terminal too, print a line for each finished trial.

    Attributes
    ----------
    warnings
        All warnings so far, failed trials among them.
    """

    def __init__(
        self, live: Path, console: Console | None, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.warnings: list[str] = []
        self._counts = RunCounts()
        self._status = StatusFile(live, self._counts)
        self._console = console
        terminal = console is not None and console.is_terminal
        self._cells = console is not None and not quiet
        self._trials = self._cells and (verbose or not terminal)
        self._timed = not terminal
        """Whether lines have a time stamp: in files and pipes."""
        self._display: Live | None = None
        if console is not None and terminal and not quiet:
            self._display = Live(
                console=console,
                get_renderable=lambda: snapshot_view(self._counts.snapshot(), live, console),
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )

    def start(self, cells: Sequence[Cell]) -> None:
        """Begin to report on these cells."""
        self._counts.start(cells)
        self._status.write(at_once=True)
        if self._display is not None:
            self._display.start()

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Add a running trial."""
        self._counts.trial_started(cell, spec)
        self._status.write()

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Count a trial, and print how it ended."""
        self._counts.trial_done(cell, record, reused)
        self._status.write()
        if record.status == "failed":
            self.warn(f"{cell}: failed: {record.reason}")
        elif self._trials and not reused:
            score = "-" if record.validation is None else f"{validation_goal(record):.4f}"
            count = self._counts.count(cell)
            speed = record.samples_per_second
            self._line(
                f"{cell}: {record.spec.role} {count.done}/{count.total} "
                f"{record.status}, validation {GOALS[cell.plan.objective]} {score}"
                f"{'' if speed is None else f', {speed / 1000:,.0f}k rows/s'}"
                f" ({counts_text(self._counts.snapshot())})"
            )

    def cell_done(self, cell: Cell) -> None:
        """Print a summary of the cell."""
        count = self._counts.cell_done(cell)
        self._status.write()
        if self._cells:
            number = f"[{self._counts.now.cells_done}/{self._counts.now.cells}]"
            self._line(f"{number} {_summary(cell, count)}")

    def tick(self) -> None:
        """Keep the status file fresh while nothing happens."""
        self._status.write()

    def warn(self, message: str) -> None:
        """Print something that the user should know, quiet or not."""
        self.warnings.append(message)
        if self._console is not None and self._display is not None:
            self._console.print(f"[yellow]{escape(message)}[/yellow]", highlight=False)
        elif self._console is not None:
            self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """End the report: work ended, or was interrupted."""
        self._counts.stop()
        self._status.write(at_once=True)
        if self._display is not None:
            self._display.stop()

    def _line(self, text: str) -> None:
        assert self._console is not None  # else nothing is printed
        stamp = f"{time.strftime('%H:%M:%S')} " if self._timed else ""
        self._console.print(stamp + text, markup=False, highlight=False, soft_wrap=self._timed)


def _summary(cell: Cell, count: CellCount) -> str:
    if count.best is None:
        reason = count.reasons[0] if count.reasons else "no trial"
        return f"{cell}: no result: {reason}"
    took = f"in {duration(time.monotonic() - count.started)}" if count.made else "all reused"
    figure = f"validation {GOALS[cell.plan.objective]} {count.best:.4f}"
    return f"{cell}: {figure}, {count.done} runs {took}"
