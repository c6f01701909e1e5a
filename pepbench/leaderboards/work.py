"""Working folders, and records that an earlier state of a plan has left.

Plans grow: a method is added, a budget, more trials. A changed plan gets a working folder of its
own, and begins with the finished records of earlier ones that it would make again.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell, final_seeds
from pepbench.leaderboards.boards import Board
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import CellName, Record, RecordStore, write_atomically

_MAY_GROW = {
    "methods",
    "datasets",
    "backbones",
    "budgets",
    "trials",
    "seeds",
    "exceptions",
    "margin",
}
"""Keys of a plan that do not change how a cell's trials are drawn, only which and how many."""


def adopt(board: Board, work: Path, plan: Plan, cells: Iterable[Cell]) -> int:
    """Fill a new working folder with what earlier plans' folders hold of the same trials.

    A cell's records are taken only if no more tuning trials are there than the plan asks for, so
    that no method gets more than the others. A folder that exists already is left alone.

    Returns
    -------
    int
        The number of records taken over.
    """
    folder = board.work_folder(work, plan)
    if folder.exists():
        return 0
    wanted = {cell.name: cell for cell in cells}
    unfinished = work / f".{folder.name}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    target, taken = RecordStore(unfinished), 0
    for earlier in sorted(work.glob(f"{board.work_stem}-{'[0-9a-f]' * 8}")):
        if not _grew_into(earlier, plan):
            continue
        source = RecordStore(earlier)
        for record in _fitting(source, wanted):
            if target.get(record.key) is None:
                _copy(record, source, target)
                taken += 1
    if taken:
        write_atomically(unfinished / PLAN_FILE, plan.to_toml().encode())
        unfinished.replace(folder)
    return taken


def _grew_into(folder: Path, plan: Plan) -> bool:
    """Whether a folder's plan draws the trials of a cell as ``plan`` does."""
    try:
        earlier = Plan.load(folder / PLAN_FILE, {})
    except PepbenchError:
        return False
    return earlier.model_dump(exclude=_MAY_GROW) == plan.model_dump(exclude=_MAY_GROW)


def _fitting(store: RecordStore, wanted: dict[CellName, Cell]) -> Iterator[Record]:
    groups: dict[CellName, list[Record]] = defaultdict(list)
    for record in store:
        cell = wanted.get(record.spec.cell)
        if cell is not None and record.status != "failed" and record.spec.data == cell.data:
            groups[record.spec.cell].append(record)
    for name, records in groups.items():
        plan = wanted[name].plan
        # Final runs of what is no longer the best trial do no harm: tables leave them out.
        seeds = set(final_seeds(plan))
        if sum(record.spec.role == "tuning" for record in records) <= plan.trials:
            yield from (
                record
                for record in records
                if record.spec.role == "tuning" or record.spec.seed in seeds
            )


def _copy(record: Record, source: RecordStore, target: RecordStore) -> None:
    target.put(
        record,
        source.load_predictions(record.key) if record.predictions_sha256 else None,
        source.load_widths(record.key) if record.widths_sha256 else None,
    )
