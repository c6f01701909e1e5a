"""Reuse the records of earlier versions of a leaderboard's plan.

Plans grow by methods, budgets or trials. A changed plan has a working folder of its own, which
starts with the finished records of earlier versions that the plan would make again.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell, Place
from pepbench.leaderboards.boards import Board
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import Record, RecordStore, write_atomically

_MAY_GROW = {
    "methods",
    "datasets",
    "backbones",
    "budgets",
    "trials",
    "seeds",
    "exceptions",
    "contrasts",
    "margin",
}
"""Keys of a plan that change which and how many trials there are, not how they are drawn."""


def reuse_records(board: Board, work: Path, plan: Plan, cells: Iterable[Cell]) -> int:
    """Copy the records of the same trials from earlier working folders into a new one.

    A cell with more tuning trials than the plan asks for is left out, so that no method gets more
    than the others; one with fewer is tuned further, so that only its tuning trials are copied. A
    working folder that exists is left unchanged, also one that another process makes meanwhile.

    Returns
    -------
    int
        Number of records copied.
    """
    folder = board.work_folder(work, plan)
    if folder.exists():
        return 0
    cells_by_place = {cell.place: cell for cell in cells}
    unfinished = work / f".{folder.name}-{uuid.uuid4().hex}"
    target, taken = RecordStore(unfinished), 0
    for earlier in sorted(work.glob(f"{board.work_stem}-{'[0-9a-f]' * 8}")):
        if not _grew_into(earlier, plan):
            continue
        source = RecordStore(earlier)
        for record in _fitting(source, cells_by_place):
            if target.get(record.key) is None:
                _copy(record, source, target)
                taken += 1
    if taken:
        write_atomically(unfinished / PLAN_FILE, plan.to_toml().encode())
        try:
            unfinished.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(unfinished)
            return 0
    return taken


def _grew_into(folder: Path, plan: Plan) -> bool:
    """Whether a folder's plan draws the trials of a cell as ``plan`` does."""
    try:
        earlier = Plan.load(folder / PLAN_FILE, {})
    except PepbenchError:
        return False
    return earlier.model_dump(exclude=_MAY_GROW) == plan.model_dump(exclude=_MAY_GROW)


def _fitting(store: RecordStore, cells_by_place: dict[Place, Cell]) -> Iterator[Record]:
    groups: dict[Place, list[Record]] = defaultdict(list)
    for record in store:
        place = record.spec.cell, record.spec.data.fold
        cell = cells_by_place.get(place)
        if cell is not None and record.status != "failed" and _made_alike(record, cell):
            groups[place].append(record)
    for place, records in groups.items():
        cell = cells_by_place[place]
        seeds = {cell.tuning_seed, *cell.finalist_seeds(), *cell.final_seeds()}
        could_be = [r for r in records if r.spec.role == "tuning" and r.status != "infeasible"]
        for record in records if len(could_be) <= cell.plan.trials else ():
            # Further trials may change the finalists, and so the choice among them.
            lasting = record.spec.role == "tuning" or len(could_be) == cell.plan.trials
            if lasting and record.spec.seed in seeds:
                yield record


def _made_alike(record: Record, cell: Cell) -> bool:
    """Whether data set, split and fold are the same, whatever their source, and the epochs are."""
    blank, training = {"source": ""}, record.spec.training
    same_rows = record.spec.data.model_copy(update=blank) == cell.data.model_copy(update=blank)
    epochs = training.epochs, training.patience
    return same_rows and epochs == (cell.plan.epochs, cell.plan.patience)


def _copy(record: Record, source: RecordStore, target: RecordStore) -> None:
    target.put(
        record,
        source.load_predictions(record.key) if record.predictions_sha256 else None,
        source.load_widths(record.key) if record.widths_sha256 else None,
    )
