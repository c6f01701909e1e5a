"""What a person sees while a plan runs: a live display on terminals, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from pepbench.harness.cells import Cell
from pepbench.harness.live import live_moment
from pepbench.harness.run import Progress
from pepbench.records import Record, TrialSpec


def progress_on(console: Console, quiet: bool, verbose: bool, live: Path) -> Progress:
    """The reporter that suits ``console``, usually standard error.

    ``live`` is the folder in which running trials say where they stand.
    """
    if console.is_terminal and not quiet:
        return LiveProgress(console, verbose, live)
    return LineProgress(console, quiet, verbose)


def cell_label(cell: Cell) -> str:
    """A cell in one short line."""
    return " ".join(cell.name)


class _Counter:
    """What both reporters keep about a cell."""

    def __init__(self, cell: Cell) -> None:
        self.total = cell.plan.trials + cell.plan.seeds
        self.done = 0
        self.made_seconds: list[float] = []
        self.best: float | None = None
        self.speed: float | None = None
        self.reasons: list[str] = []
        self.started = time.monotonic()

    def add(self, record: Record, reused: bool) -> None:
        self.done += 1
        if record.validation is not None:
            self.best = max(self.best or 0.0, record.validation.auc)
        if not reused:
            self.made_seconds.append(sum(phase.wall for phase in record.seconds.values()))
            self.speed = record.samples_per_second or self.speed
        if record.reason is not None:
            self.reasons.append(record.reason)

    def seconds_left(self) -> float | None:
        """From the mean time of this cell's trials so far."""
        if not self.made_seconds:
            return None
        return (self.total - self.done) * sum(self.made_seconds) / len(self.made_seconds)

    def best_text(self) -> str:
        return "-" if self.best is None else f"{self.best:.4f}"

    def speed_text(self) -> str:
        return "" if self.speed is None else f"{self.speed / 1000:,.0f}k/s"


def duration(seconds: float) -> str:
    """A time in words: ``3 s``, ``2 min 05 s``, ``1 h 20 min``.

    >>> duration(125.4)
    '2 min 05 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


FIGURES_WIDTH = 72
"""Columns of a terminal that a line of the live display needs beside its name."""
MIN_LABEL_WIDTH = 12


def _figure(name: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{name}]}}", table_column=Column(no_wrap=True))


class _NowColumn(ProgressColumn):
    """Where a line's running trial stands: phase, epoch and speed, as its file says."""

    max_refresh = 0.5

    def __init__(self, live: Path) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._live = live

    def render(self, task: Task) -> Text:
        """Read the trial's file; its heading on the first line."""
        if task.fields["trial"] is None:
            return Text(task.fields["now"])
        moment = live_moment(self._live, task.fields["trial"])
        if moment is None:
            return Text("")
        speed = f"{moment.samples_per_second / 1000:,.0f}k/s"
        return Text(f"{moment.phase[:6]} {moment.epoch} {speed}")


class LiveProgress(Progress):
    """A bar for the whole plan and a line for each cell under way."""

    def __init__(self, console: Console, verbose: bool, live: Path) -> None:
        self.console = console
        self.verbose = verbose
        # Long names are cut, so that the figures beside them always have their room.
        room = max(MIN_LABEL_WIDTH, console.width - FIGURES_WIDTH)
        self._bars = RichProgress(
            TextColumn(
                "{task.description}",
                table_column=Column(no_wrap=True, overflow="ellipsis", max_width=room),
            ),
            _figure("budget"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _figure("best"),
            _NowColumn(live),
            _figure("left"),
            console=console,
            transient=True,
        )
        self._overall: TaskID | None = None
        self._tasks: dict[Cell, TaskID] = {}
        self._counters: dict[Cell, _Counter] = {}
        self._all: _Counter | None = None

    def start(self, cells: Sequence[Cell]) -> None:
        """Show the display."""
        total = sum(cell.plan.trials + cell.plan.seeds for cell in cells)
        self._common = len({cell.name[:2] for cell in cells}) == 1
        title = f"{len(cells)} cells"
        if self._common:
            title += f" of {' '.join(cells[0].name[:2])}"
        self._overall = self._bars.add_task(
            f"[bold]{escape(title)}[/bold]",
            total=total,
            budget="budget",
            best="best AUC",
            trial=None,
            now="epoch, speed",
            left="time left",
        )
        self._started = time.monotonic()
        self._made = 0
        self._bars.start()

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Show the cell's line, and in it the trial."""
        self._bars.update(self._line(cell), trial=spec.key())

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Advance the cell's line and the whole."""
        counter = self._counters.setdefault(cell, _Counter(cell))
        counter.add(record, reused)
        left = counter.seconds_left()
        self._bars.update(
            self._line(cell),
            completed=counter.done,
            best=counter.best_text(),
            left="" if left is None else duration(left),
        )
        assert self._overall is not None
        self._bars.advance(self._overall)
        self._made += not reused
        task = self._bars.tasks[0]
        if self._made and task.total is not None:
            pace = (time.monotonic() - self._started) / self._made
            self._bars.update(
                self._overall, left=f"{duration(pace * (task.total - task.completed))} left"
            )
        if record.status == "failed":
            self.warn(f"{cell_label(cell)}: failed: {record.reason}")

    def cell_done(self, cell: Cell) -> None:
        """Replace the cell's line by a summary above the display."""
        counter = self._counters.setdefault(cell, _Counter(cell))
        self._bars.remove_task(self._line(cell))
        if self._overall is not None and counter.done < counter.total:
            # Cells without a usable trial have no final runs.
            self._bars.advance(self._overall, counter.total - counter.done)
        self._bars.console.print(_summary(cell, counter), highlight=False)

    def warn(self, message: str) -> None:
        """Print a line above the display."""
        self._bars.console.print(f"[yellow]{escape(message)}[/yellow]", highlight=False)

    def stop(self) -> None:
        """Take the display away."""
        self._bars.stop()

    def _line(self, cell: Cell) -> TaskID:
        if cell not in self._tasks:
            counter = self._counters.setdefault(cell, _Counter(cell))
            *names, budget = cell.name[2:] if self._common else cell.name
            self._tasks[cell] = self._bars.add_task(
                escape(" ".join(names)),
                total=counter.total,
                budget=budget,
                best="-",
                trial="",
                left="",
            )
        return self._tasks[cell]


class LineProgress(Progress):
    """One line for each finished cell (``verbose``: each trial); ``quiet``: warnings only."""

    def __init__(self, console: Console, quiet: bool, verbose: bool) -> None:
        self.console = console
        self.quiet = quiet
        self.verbose = verbose
        self._counters: dict[Cell, _Counter] = {}
        self._cells = 0
        self._cells_done = 0

    def start(self, cells: Sequence[Cell]) -> None:
        """Note how much there is to do."""
        self._cells = len(cells)

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Say nothing."""

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Print failures; with ``verbose`` every trial."""
        counter = self._counters.setdefault(cell, _Counter(cell))
        counter.add(record, reused)
        if record.status == "failed":
            self.warn(f"{cell_label(cell)}: failed: {record.reason}")
        elif self.verbose:
            auc = "-" if record.validation is None else f"{record.validation.auc:.4f}"
            left = counter.seconds_left()
            self._print(
                f"{cell_label(cell)}: {record.spec.role} {counter.done}/{counter.total}"
                f" {'reused' if reused else record.status}, validation AUC {auc}"
                f"{', ' + counter.speed_text() if counter.speed else ''}"
                f"{'' if left is None else ', ' + duration(left) + ' left'}"
            )

    def cell_done(self, cell: Cell) -> None:
        """Print the cell's summary."""
        self._cells_done += 1
        counter = self._counters.setdefault(cell, _Counter(cell))
        self._print(f"[{self._cells_done}/{self._cells}] {_summary(cell, counter)}")

    def warn(self, message: str) -> None:
        """Print a line, quiet or not."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Nothing to take away."""

    def _print(self, line: str) -> None:
        if not self.quiet:
            stamp = time.strftime("%H:%M:%S")
            self.console.print(f"{stamp} {line}", markup=False, highlight=False, soft_wrap=True)


def _summary(cell: Cell, counter: _Counter) -> str:
    if counter.best is None:
        reason = counter.reasons[0] if counter.reasons else "no trial"
        return f"{cell_label(cell)}: no result: {reason}"
    made = len(counter.made_seconds)
    took = f"in {duration(time.monotonic() - counter.started)}" if made else "all reused"
    return f"{cell_label(cell)}: validation AUC {counter.best_text()}, {counter.done} runs {took}"
