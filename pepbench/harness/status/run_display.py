"""A run on a terminal: a bar for the whole, a row for each running trial."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pepbench.harness.status.live_files import live_progress
from pepbench.harness.status.run_counts import RunningTrial, Snapshot
from pepbench.units import duration

BAR_WIDTH = 40
FIGURES_WIDTH = 56
"""Columns of a terminal that a trial's row needs besides its name."""
MIN_NAME_WIDTH = 12
LINES_BESIDE = 7
"""Lines of a terminal that running trials must leave free."""


def counts_text(snapshot: Snapshot) -> str:
    """Counts of a run in a line, such as ``14/40 runs, 5 reused, 1 failed``."""
    parts = [f"{snapshot.done:,}/{snapshot.trials:,} runs"]
    if snapshot.reused:
        parts.append(f"{snapshot.reused:,} reused")
    if snapshot.failed:
        parts.append(f"{snapshot.failed:,} failed")
    parts.append(f"{snapshot.cells_done:,}/{snapshot.cells:,} cells")
    return ", ".join(parts)


def snapshot_view(snapshot: Snapshot, live: Path, console: Console) -> RenderableType:
    """A run's progress bar, and a table of its running trials.

    Parameters
    ----------
    snapshot
        State of the run.
    live
        Folder in which running trials report their progress.
    console
        Where it is shown; rows that do not fit its height are left out.
    """
    share = snapshot.done / max(snapshot.trials, 1)
    left = "" if snapshot.seconds_left is None else f" · {duration(snapshot.seconds_left)} left"
    head = Table.grid(padding=(0, 1))
    head.add_row(
        ProgressBar(total=1.0, completed=share, width=BAR_WIDTH, pulse=False),
        Text(f"{share:.0%}{left}", style="bold"),
    )
    room = max(1, console.height - LINES_BESIDE)
    parts: list[RenderableType] = [head, Text(counts_text(snapshot))]
    if snapshot.running:
        parts.append(_trials(snapshot.running[:room], live, console.width))
    if len(snapshot.running) > room:
        parts.append(Text(f"… and {len(snapshot.running) - room} more", style="dim"))
    return Group(*parts)


def _trials(running: list[RunningTrial], live: Path, width: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    # Long names are cut, so that budgets and figures always fit. Methods come first: rows of a
    # plan differ in them more than in data sets.
    room = max(MIN_NAME_WIDTH, width - FIGURES_WIDTH)
    table.add_column("cell", no_wrap=True, overflow="ellipsis", max_width=room)
    for name in ("budget", "trial", "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("epoch", "score", "rows/s", "for"):
        table.add_column(name, no_wrap=True, justify="right")
    for trial in running:
        moment = live_progress(live, trial.key)
        score = None if moment is None else moment.score
        *data, method, budget = trial.cell.split(" ")
        table.add_row(
            Text(" ".join([method, *data])),
            budget,
            trial.trial,
            "starting" if moment is None else moment.phase[:8],
            "" if moment is None else str(moment.epoch),
            "" if score is None else f"{score:.4f}",
            "" if moment is None else f"{moment.samples_per_second / 1000:,.0f}k",
            duration(max(0.0, time.time() - trial.since)),
        )
    return table
