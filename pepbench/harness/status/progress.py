"""What a person sees while a plan runs: a live display on terminals, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape

from pepbench.harness.cells import Cell
from pepbench.harness.status.events import Progress
from pepbench.harness.status.run_counts import CellCount, RunCounts
from pepbench.harness.status.run_display import counts_text, snapshot_view
from pepbench.harness.status.status_file import StatusFile
from pepbench.records import Record, TrialSpec
from pepbench.units import duration

REFRESHES_PER_SECOND = 2


def progress_on(console: Console, quiet: bool, verbose: bool, live: Path) -> Progress:
    """The reporter that suits ``console``, usually standard error.

    Parameters
    ----------
    console
        Where to report.
    quiet
        Report nothing but failures and warnings.
    verbose
        On a terminal too, print a line for each finished trial.
    live
        Folder in which running trials say where they stand; the run itself does, too.
    """
    overview = RunCounts()
    if quiet:
        view: View = Lines(console, cells=False, trials=False)
    elif console.is_terminal:
        view = Display(console, overview, live, verbose)
    else:
        view = Lines(console, cells=True, trials=True)
    return Reporter(overview, view, StatusFile(live, overview))


class View(Protocol):
    """One way of showing what happens."""

    def open(self) -> None:
        """Work begins."""

    def line(self, text: str, of_trial: bool) -> None:
        """Say something, about a trial or about a cell."""

    def warn(self, text: str) -> None:
        """Say something that must not be missed."""

    def close(self) -> None:
        """Work ended."""


class Reporter(Progress):
    """Counts what happens, and passes it on to a view and to the run's status file."""

    def __init__(self, overview: RunCounts, view: View, status: StatusFile) -> None:
        self._overview = overview
        self._view = view
        self._status = status

    def start(self, cells: Sequence[Cell]) -> None:
        """Begin to report."""
        self._overview.start(cells)
        self._status.write(at_once=True)
        self._view.open()

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Add a running trial."""
        self._overview.trial_started(cell, spec)
        self._status.write()

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Count a trial; say how it came out."""
        self._overview.trial_done(cell, record, reused)
        self._status.write()
        if record.status == "failed":
            self._view.warn(f"{cell.name}: failed: {record.reason}")
        elif not reused:
            auc = "-" if record.validation is None else f"{record.validation.auc:.4f}"
            count = self._overview.count(cell)
            speed = record.samples_per_second
            self._view.line(
                f"{cell.name}: {record.spec.role} {count.done}/{count.total} "
                f"{record.status}, validation AUC {auc}"
                f"{'' if speed is None else f', {speed / 1000:,.0f}k rows/s'}"
                f" ({counts_text(self._overview.snapshot())})",
                of_trial=True,
            )

    def cell_done(self, cell: Cell) -> None:
        """Say what a cell came to."""
        count = self._overview.cell_done(cell)
        self._status.write()
        number = f"[{self._overview.cells_done}/{self._overview.cells}]"
        self._view.line(f"{number} {_summary(cell, count)}", of_trial=False)

    def tick(self) -> None:
        """Give a sign of life to those who read the status file."""
        self._status.write()

    def warn(self, message: str) -> None:
        """Say it at once."""
        self._view.warn(message)

    def stop(self) -> None:
        """End the report."""
        done = self._overview.cells_done == self._overview.cells
        self._overview.state = "finished" if done else "interrupted"
        self._overview.running.clear()
        self._status.write(at_once=True)
        self._view.close()


class Display(View):
    """A bar for the whole run and a row for each running trial, below the lines."""

    def __init__(self, console: Console, overview: RunCounts, live: Path, trials: bool) -> None:
        self._console = console
        self._overview = overview
        self._folder = live
        self._trials = trials
        self._live = Live(
            console=console,
            get_renderable=self._look,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def open(self) -> None:
        """Show the display."""
        self._live.start()

    def line(self, text: str, of_trial: bool) -> None:
        """Print above the display; trials if wanted."""
        if self._trials or not of_trial:
            self._console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Print above the display."""
        self._console.print(f"[yellow]{escape(text)}[/yellow]", highlight=False)

    def close(self) -> None:
        """Take the display away."""
        self._live.stop()

    def _look(self) -> RenderableType:
        return snapshot_view(self._overview.snapshot(), self._folder, self._console)


class Lines(View):
    """Lines with a time stamp, for files and pipes."""

    def __init__(self, console: Console, cells: bool, trials: bool) -> None:
        self._console = console
        self._cells = cells
        self._trials = trials

    def open(self) -> None:
        """Nothing to show yet."""

    def line(self, text: str, of_trial: bool) -> None:
        """Print a line, if it is wanted."""
        if self._trials if of_trial else self._cells:
            self._print(f"{time.strftime('%H:%M:%S')} {text}")

    def warn(self, text: str) -> None:
        """Print a line, quiet or not."""
        self._print(text)

    def close(self) -> None:
        """Nothing to take away."""

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _summary(cell: Cell, count: CellCount) -> str:
    if count.best is None:
        reason = count.reasons[0] if count.reasons else "no trial"
        return f"{cell.name}: no result: {reason}"
    took = f"in {duration(time.monotonic() - count.started)}" if count.made else "all reused"
    return f"{cell.name}: validation AUC {count.best:.4f}, {count.done} runs {took}"
