"""Whether one small cell, run again from its plan, comes out as it was published."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pepbench import api
from pepbench.catalog import Catalog
from pepbench.data.adding import add_named
from pepbench.data.dataset import Dataset
from pepbench.data.manage import is_added
from pepbench.harness.environment import environment
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.leaderboards.board_summary import worker_seconds
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.verify import Check
from pepbench.plan import Plan
from pepbench.records import CellName, Record, RecordStore, final_runs

TOLERANCE = 1e-6
"""Of a test AUC on another platform than that of the record."""

DATA_VARIABLE = "PEPBENCH_DATA_DIR"
"""Environment variable that names a folder of raw data sets, one folder each."""


@dataclass(frozen=True)
class Candidate:
    """A cell that may be run again.

    Attributes
    ----------
    board
        Whose it is.
    records
        The cell's tuning trials and the final runs of the best, every one ok.
    seconds
        Wall time that they took.
    """

    board: Board
    records: tuple[Record, ...]
    seconds: float

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.board.folder}: {', '.join(self.records[0].spec.cell)}"

    @property
    def final(self) -> list[Record]:
        """Its final runs."""
        return [record for record in self.records if record.spec.role == "final"]


def candidates(board: Board, records: Iterable[Record]) -> Iterator[Candidate]:
    """The cells of a leaderboard all of whose trials went well.

    Without final runs of a trial that was the best before the plan asked for more: a plan run from
    its beginning does not make them.
    """
    cells: dict[CellName, list[Record]] = defaultdict(list)
    for record in records:
        cells[record.spec.cell].append(record)
    for members in cells.values():
        final = final_runs(members)
        if final and all(record.status == "ok" for record in members):
            made = (*(record for record in members if record.spec.role == "tuning"), *final)
            yield Candidate(board, made, worker_seconds(made))


def check_cell(found: Sequence[Candidate], catalog: Catalog, jobs: int) -> Check:
    """Run the cheapest cell again whose data are at hand.

    On the platform of its records (processor and its vector units, Python, torch, numpy, threads)
    the whole cell is run from its plan, tuning included, and its predictions must have the recorded
    checksums. Elsewhere sums come out in another order, and tuning may take another turn; the
    recorded final runs are repeated, and their test AUCs must agree within 1e-6.
    """
    for candidate in sorted(found, key=lambda one: (one.seconds, one.name)):
        if at_hand(candidate.records[0].spec.data.spec, catalog):
            break
    else:
        return Check(None, "no cell was run again: the data of none are at hand")
    recorded = candidate.final[0].environment
    here = environment(recorded.threads)
    same = recorded.alike(here) and recorded.instructions == here.instructions
    problems = list(_from_plan(candidate, jobs) if same else _final_runs(candidate))
    alike = "predictions have the recorded checksums" if same else "AUCs agree within 1e-6"
    where = "same platform" if same else "another platform"
    return Check(
        not problems, f"{candidate.name}: run again ({where}): {'; '.join(problems) or alike}"
    )


def at_hand(spec: str, catalog: Catalog) -> bool:
    """Whether a data set is generated or in the cache; raw files named by a variable are added."""
    dataset = cast(Dataset, catalog.select("dataset", spec).default())
    if dataset.generated or is_added(dataset):
        return True
    root = os.environ.get(DATA_VARIABLE)
    folders = sorted(Path(root).iterdir()) if root and Path(root).is_dir() else []
    # ml-100k-ids is another reading of the folder ml-100k.
    fitting = [folder for folder in folders if dataset.name.startswith(folder.name)]
    if not fitting:
        return False
    add_named(catalog, spec, max(fitting, key=lambda folder: len(folder.name)), None, {})
    return True


def _from_plan(candidate: Candidate, jobs: int) -> Iterator[str]:
    dataset, backbone, method, budget = candidate.records[0].spec.cell
    only = {"datasets": dataset, "backbones": backbone, "methods": method, "budgets": budget}
    plan = Plan.load(candidate.board.plan_path, {key: (name,) for key, name in only.items()})
    with tempfile.TemporaryDirectory() as folder:
        threads = candidate.final[0].environment.threads
        run = api.run(plan, out=Path(folder) / "run", jobs=jobs, threads=threads)
        again = {record.key: record for record in RecordStore(run.folder)}
    for record in candidate.records:
        other = again.get(record.key)
        if other is None:
            yield f"the plan no longer makes run {record.key[:12]}"
        elif other.predictions_sha256 != record.predictions_sha256:
            yield f"run {record.key[:12]} gave other predictions"


def _final_runs(candidate: Candidate) -> Iterator[str]:
    for record in candidate.final:
        again = run_trial(record.spec, TrialContext(threads=record.environment.threads)).record
        if again.test is None or record.test is None:
            yield f"run {record.key[:12]} is {again.status}: {again.reason}"
        elif abs(again.test.auc - record.test.auc) > TOLERANCE:
            yield (
                f"run {record.key[:12]} gave AUC {again.test.auc:.7f}, "
                f"recorded is {record.test.auc:.7f}"
            )
