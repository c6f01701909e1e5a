"""How long a plan will take: from finished records, and from a short calibration on this machine.

A run of a method takes its search, at most as many steps as the method says, and one or two
trainings. How many epochs a training takes until it stops early is seen from records of the same
data set and backbone, or from a pilot: one training of the full table, with a limit of time. How
long a step takes is measured for each method.

What is not training counts too, for it is most of a small plan: programs that start, and the report
that is drawn. Both are told in starts of the program, a time that the caller has just measured.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from pydantic import ValidationError

from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell, family
from pepbench.harness.pilot_timing import Pace, Pilot, overhead_seconds, pilot_of, rehearsed_pace
from pepbench.harness.tuning.study import STARTUP_TRIALS
from pepbench.records import CellName, Record, parse_record

START_SECONDS = 3.0
"""What starting the program is taken to last where nobody has measured it."""

FIRST_STEP_STARTS = 0.4
"""torch's first optimizer, in starts of the program: it imports a compiler."""
REPORT_STARTS = 2.0
"""Drawing the report of no cell, likewise. Measured in CPU time of reports with 2, 7 and 38 cells:
2.4, 4.1 and 10.7 starts."""
CELL_STARTS = 0.23
"""What drawing takes more for each cell."""


@dataclass(frozen=True)
class CellEstimate:
    """What is left to do for a cell.

    Attributes
    ----------
    cell
        Its name.
    runs
        Trials and final runs without a record; with a tuning time, as many as fit into it.
    seconds
        Wall time of all of them, one after the other.
    chain
        Wall time of the cell by itself, with as many workers as it can use.
    basis
        ``records``: of this cell; ``neighbours``: of the method at other budgets; ``calibration``.
    """

    cell: CellName
    runs: int
    seconds: float
    chain: float
    basis: str


@dataclass(frozen=True)
class Estimate:
    """What is left to do for a plan."""

    cells: tuple[CellEstimate, ...]
    work: float
    """Wall time of the trials with the workers at hand."""
    around: float
    """Wall time of what comes before and after them: programs start, the report is drawn."""

    @property
    def seconds(self) -> float:
        """Wall time of the whole command."""
        return self.work + self.around


def estimate(
    cells: Sequence[Cell],
    records: Iterable[Record],
    jobs: int,
    start_seconds: float = START_SECONDS,
) -> Estimate:
    """Predict how long the command takes that makes what is missing of ``cells``.

    Parameters
    ----------
    cells
        Of a plan.
    records
        Of the run's folder so far.
    jobs
        Worker processes; more than there are cores do not help.
    start_seconds
        Wall time of starting the program on this machine, as busy as it is.
    """
    by_cell: dict[CellName, list[Record]] = defaultdict(list)
    for record in records:
        if record.status != "failed":
            by_cell[record.spec.cell].append(record)
    by_block: dict[tuple[str, str], list[int]] = defaultdict(list)
    by_family: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for name, members in by_cell.items():
        by_block[name[:2]] += [len(one.curve) for one in members if one.status == "ok"]
        by_family[name[:3]] += members
    members_of: dict[tuple[str, str, str], int] = defaultdict(int)
    for cell in cells:
        members_of[family(cell)] += 1
    pilots: dict[tuple[str, str], Pilot] = {}
    paces: dict[tuple[str, str, str], Pace] = {}
    overhead = overhead_seconds()
    estimates = []
    for cell in cells:
        own, near = by_cell[cell.name], by_family[family(cell)]
        seen = own or near
        if seen:
            pace = _recorded_pace(seen)
        else:
            if cell.name[:2] not in pilots:
                pilots[cell.name[:2]] = pilot_of(cell, by_block[cell.name[:2]])
            if family(cell) not in paces:
                paces[family(cell)] = rehearsed_pace(cell, pilots[cell.name[:2]])
            pace = paces[family(cell)]
        basis = "records" if own else "neighbours" if near else "calibration"
        estimates.append(_of_cell(cell, own, pace, overhead, members_of[family(cell)], basis))
    workers = max(1, min(jobs, len(os.sched_getaffinity(0))))
    total = sum(one.seconds for one in estimates)
    longest = max((one.chain for one in estimates), default=0.0)
    around = start_seconds * _starts(len(cells), workers=jobs if total else 0)
    return Estimate(tuple(estimates), max(total / workers, longest), around)


def _starts(cells: int, workers: int) -> float:
    """Time around the trials of a command, in starts of the program."""
    begins = 1.0
    if workers:
        begins += FIRST_STEP_STARTS
    if workers > 1:
        # Workers start side by side, on as many cores as there are.
        begins += max(1.0, workers / len(os.sched_getaffinity(0)))
    return begins + REPORT_STARTS + CELL_STARTS * cells


def readable_records(folder: Path) -> list[Record]:
    """The records in a run's folder; what cannot be read is left where it is."""
    found = []
    for path in sorted((folder / "records").glob("*.json")):
        with suppress(ValidationError, PepbenchError, OSError):
            found.append(parse_record(path.read_bytes(), path))
    return found


def _of_cell(
    cell: Cell, own: list[Record], pace: Pace, overhead: float, relatives: int, basis: str
) -> CellEstimate:
    plan = cell.plan
    tuning = [record for record in own if record.spec.role == "tuning"]
    finals = max(0, plan.seeds - (len(own) - len(tuning)))
    alone = pace.search + pace.train + overhead
    trials = max(0, plan.trials - len(tuning))
    if plan.tuning_seconds is not None:
        left = plan.tuning_seconds - sum(record.cpu_seconds() for record in tuning)
        # The trial during which the time ends is half over then, on average.
        trials = round(left / (pace.search + pace.train) + 0.5) if left > 0 else 0
    tuned = trials * alone
    if _shares(cell):
        served = min(trials, STARTUP_TRIALS if plan.sampler in ("tpe", "gp") else trials)
        tuned -= served * pace.search * (1 - 1 / relatives)
    side_by_side = min(plan.batch, trials) or 1
    return CellEstimate(
        cell=cell.name,
        runs=trials + finals,
        seconds=tuned + finals * alone,
        chain=tuned / side_by_side + (alone if finals else 0.0),
        basis=basis,
    )


def _shares(cell: Cell) -> bool:
    plan = cell.plan
    shares = cell.default().method.shares_search
    return shares and plan.pruner == "none" and not plan.warm_start


def _recorded_pace(records: list[Record]) -> Pace:
    return Pace(
        search=mean(record.search_seconds() for record in records),
        train=mean(record.train_seconds() for record in records),
    )
