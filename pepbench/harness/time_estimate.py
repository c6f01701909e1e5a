"""How long a plan will take: from finished records, and from a short calibration on this machine.

A trial takes its search, at most as many steps as the method says, and one or two trainings. How
many epochs a training takes until it stops early is taken from records of the same data set and
backbone, or from a pilot: one training of the full table, with a limit of time. How long a step
takes is measured for each method.

The fixed costs are most of a small plan: starting the program and its workers, and drawing the
report. They are constants, in seconds on a machine that computes a yardstick in
``YARDSTICK_SECONDS``, and are scaled by what the yardstick takes here and now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from pydantic import ValidationError

from pepbench.cores import usable_cores
from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell, family
from pepbench.harness.pilot_timing import Pace, Pilot, pilot_of, pilot_pace, yardstick_seconds
from pepbench.harness.status.run_counts import most_runs
from pepbench.harness.tuning.study import STARTUP_TRIALS, draws_left
from pepbench.plan import Plan
from pepbench.records import CellName, Record, by_place, finalists, parse_record
from pepbench.records.segments import Segment

YARDSTICK_SECONDS = 0.1
"""Of the machine on which the constants below were measured."""
START_SECONDS = 3.0
"""Starting the program, or a worker."""
FIRST_STEP_SECONDS = 0.6
"""A process's first step, which loads compiled code."""
REPORT_SECONDS = 6.0
"""Drawing a report without cells. Reports of 2, 7 and 38 cells took 7, 12 and 32 s."""
CELL_SECONDS = 0.7
"""Drawing, for each cell."""


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
    shortest
        Wall time of the cell with as many workers as it can use.
    basis
        ``records``: of this cell; ``neighbours``: of the method at other budgets; ``calibration``.
    """

    cell: CellName
    runs: int
    seconds: float
    shortest: float
    basis: str


@dataclass(frozen=True)
class RunEstimate:
    """What is left to do for a plan."""

    cells: tuple[CellEstimate, ...]
    work: float
    """Wall time of the trials."""
    around: float
    """Wall time of what comes before and after them: starting programs, drawing the report."""

    @property
    def runs(self) -> int:
        """Trials and final runs without a record."""
        return sum(cell.runs for cell in self.cells)

    @property
    def seconds(self) -> float:
        """Wall time of the whole command."""
        return self.work + self.around


def estimate(cells: Sequence[Cell], records: Sequence[Record], jobs: int) -> RunEstimate:
    """Predict how long ``pepbench run`` takes to make the records that ``cells`` lack.

    Parameters
    ----------
    cells
        Of a plan.
    records
        Of the run's folder so far.
    jobs
        Worker processes; more than there are cores do not help.
    """
    by_cell = by_place(record for record in records if record.status != "failed")
    by_family: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    epochs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in records:
        name = record.spec.cell
        if record.status != "failed":
            by_family[name[:3]].append(record)
        if record.status == "ok":
            epochs[name[:2]].append(len(record.curve))
    relatives = Counter(map(family, cells))
    pilots: dict[tuple[str, str], Pilot] = {}
    paces: dict[tuple[str, str, str], Pace] = {}
    estimates = []
    for cell in cells:
        own, kin, block = by_cell.get(cell.place, []), cell.name[:3], cell.name[:2]
        basis = "records" if own else "neighbours" if by_family[kin] else "calibration"
        if basis == "calibration" and kin not in paces:
            if block not in pilots:
                pilots[block] = pilot_of(cell, epochs[block])
            paces[kin] = pilot_pace(cell, pilots[block])
        pace = paces[kin] if basis == "calibration" else _recorded_pace(own or by_family[kin])
        estimates.append(_of_cell(cell, own, pace, relatives[family(cell)], basis))
    workers = max(1, min(jobs, usable_cores()))
    total = sum(one.seconds for one in estimates)
    longest = max((one.shortest for one in estimates), default=0.0)
    slowness = yardstick_seconds() / YARDSTICK_SECONDS
    around = _fixed_seconds(len(cells), jobs if total else 0) * slowness
    return RunEstimate(tuple(estimates), max(total / workers, longest), around)


def _fixed_seconds(cells: int, jobs: int) -> float:
    """Time before and after the trials; without jobs nothing is left to run."""
    seconds = START_SECONDS + REPORT_SECONDS + CELL_SECONDS * cells
    if jobs:
        seconds += FIRST_STEP_SECONDS
    if jobs > 1:
        # Workers start side by side, on as many cores as there are.
        seconds += START_SECONDS * max(1.0, jobs / usable_cores())
    return seconds


def readable_records(folder: Path) -> list[Record]:
    """The records in a run's folder, packed ones included; what cannot be read is skipped.

    Changes no file, unlike a :class:`~pepbench.records.RecordStore`, which sets damaged ones aside.
    """
    found: dict[str, Record] = {}
    for path in sorted((folder / "segments").glob("*.parquet")):
        with suppress(PepbenchError):
            found |= _parsed(Segment(path).texts(), path)
    for path in sorted((folder / "records").glob("*.json")):
        with suppress(OSError):
            found |= _parsed([path.read_bytes()], path)
    return list(found.values())


def _parsed(texts: Iterable[bytes], path: Path) -> dict[str, Record]:
    found = {}
    for text in texts:
        with suppress(ValidationError, PepbenchError):
            record = parse_record(text, path)
            found[record.key] = record
    return found


def _of_cell(cell: Cell, own: list[Record], pace: Pace, relatives: int, basis: str) -> CellEstimate:
    plan = cell.plan
    trials = _trials_left(plan, own, pace)
    wanted = most_runs(plan)
    if not trials:
        chosen = finalists((r for r in own if r.spec.role == "tuning"), plan.finalists)
        wanted["finalist"] = len(chosen) * plan.finalist_seeds if len(chosen) > 1 else 0
        wanted["final"] = plan.seeds if chosen else 0
    made = Counter(record.spec.role for record in own)
    further = [max(0, wanted[role] - made[role]) for role in ("finalist", "final")]
    alone = pace.search + pace.train
    tuned = trials * alone
    shares = cell.default().method.shares_search
    if shares and plan.pruner == "none" and not plan.warm_start:
        served = min(trials, STARTUP_TRIALS if plan.sampler in ("tpe", "gp") else trials)
        tuned -= served * pace.search * (1 - 1 / relatives)
    side_by_side = min(plan.batch, trials) or 1
    return CellEstimate(
        cell=cell.name,
        runs=trials + sum(further),
        seconds=tuned + sum(further) * alone,
        shortest=tuned / side_by_side + alone * sum(left > 0 for left in further),
        basis=basis,
    )


def _trials_left(plan: Plan, own: list[Record], pace: Pace) -> int:
    """Tuning trials that a cell with these records lacks, if none of them is infeasible."""
    tuning = [record for record in own if record.spec.role == "tuning"]
    if len(tuning) < len(own) and (plan.sampler == "grid" or plan.tuning_time is not None):
        return 0  # Their tuning has ended, with however many trials.
    if plan.tuning_seconds is not None:
        left = plan.tuning_seconds - sum(record.cpu_seconds() for record in tuning)
        # The trial during which the time ends is half over then, on average.
        return round(left / (pace.search + pace.train) + 0.5) if left > 0 else 0
    return draws_left(plan.trials, tuning)


def _recorded_pace(records: list[Record]) -> Pace:
    return Pace(
        search=mean(record.search_seconds() for record in records),
        train=mean(record.train_seconds() for record in records),
    )
