"""Reuse the records of earlier versions of a leaderboard's plan, and of what is published.

Plans grow by methods, budgets, folds or trials. A changed plan has a working folder of its own,
which starts with the finished records of earlier versions that the plan would make again. On
another machine it starts with the published ones. These lack test predictions, so that the final
runs are made again.
"""

from __future__ import annotations

import errno
import shutil
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.record_packing import RECORDS_FILE, plan_of, unpacked
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import Place, Record, RecordStore, by_place, write_atomically

_MAY_GROW = {
    "methods",
    "datasets",
    "backbones",
    "budgets",
    "only_folds",
    "trials",
    "seeds",
    "exceptions",
    "contrasts",
    "margin",
}
"""Keys of a plan that change which and how many trials there are, not how they are drawn."""


def reuse_records(board: Board, work: Path, plan: Plan, cells: Iterable[Cell]) -> int:
    """Copy the records of the same trials into a new working folder.

    They are taken from earlier working folders, then from what is published.

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
    for made_by in sorted(work.glob(f"{board.work_stem}-{'[0-9a-f]' * 8}/{PLAN_FILE}")):
        if not _grew_into(made_by.read_bytes(), plan):
            continue
        source = RecordStore(made_by.parent)
        for record in _fitting(source, cells_by_place):
            if target.get(record.key) is None:
                _copy(record, source, target)
                taken += 1
    for record in _fitting(_published(board, plan), cells_by_place):
        if record.spec.role != "final" and target.get(record.key) is None:
            target.put(record)
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


def _published(board: Board, plan: Plan) -> list[Record]:
    """The published records, if they were drawn as ``plan`` draws them."""
    path = board.folder / RECORDS_FILE
    text = plan_of(path) if path.is_file() else None
    return unpacked(path) if text is not None and _grew_into(text, plan) else []


def _grew_into(earlier: bytes, plan: Plan) -> bool:
    """Whether a plan, as TOML, draws the trials of a cell as ``plan`` does."""
    try:
        made_by = Plan.load(None, tomllib.loads(earlier.decode()))
    except (PepbenchError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return made_by.model_dump(exclude=_MAY_GROW) == plan.model_dump(exclude=_MAY_GROW)


def _fitting(store: Iterable[Record], cells_by_place: dict[Place, Cell]) -> Iterator[Record]:
    usable = (
        record
        for record in store
        if (cell := cells_by_place.get(record.spec.place)) is not None
        if record.status != "failed" and _made_alike(record, cell)
    )
    for place, records in by_place(usable).items():
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
    training = record.spec.training
    same_rows = record.spec.data.deciding() == cell.data.deciding()
    epochs = training.epochs, training.patience
    return same_rows and epochs == (cell.plan.epochs, cell.plan.patience)


def _copy(record: Record, source: RecordStore, target: RecordStore) -> None:
    target.put(
        record,
        source.load_predictions(record.key) if record.predictions_sha256 else None,
        source.load_widths(record.key) if record.widths_sha256 else None,
    )
