"""Which final run of a folder is exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pepbench.errors import PlanError, unknown_name
from pepbench.export.writing import ExportError
from pepbench.records import CellName, Record, final_runs


@dataclass(frozen=True)
class CellFilter:
    """What the user said about the run; None leaves it open."""

    dataset: str | None = None
    backbone: str | None = None
    method: str | None = None
    budget: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Choice:
    """A final run, and how many there were to choose from."""

    record: Record
    n_candidates: int


def choose(records: Iterable[Record], wanted: CellFilter) -> Choice:
    """The final run that fits; of several seeds the one with the best validation AUC.

    Never by the test AUC: the rows that judge a table must not choose it.

    Raises
    ------
    PlanError
        If an option fits no run, or several cells are left: names what to add.
    ExportError
        If the cell has no final run that came out well.
    """
    cells = _matching_cells(list(records), wanted)
    if len(cells) > 1:
        raise PlanError(_ambiguous(list(cells)))
    (name, of_cell) = next(iter(cells.items()))
    finals = final_runs(of_cell)
    good = [run for run in finals if run.status == "ok" and run.validation is not None]
    if not good:
        reasons = [run.reason or run.status for run in finals or of_cell]
        raise ExportError(f"{' '.join(name)}: no final run to export ({reasons[0]})")
    if wanted.seed is not None:
        good = [run for run in good if run.spec.seed == wanted.seed]
        if not good:
            seeds = ", ".join(str(run.spec.seed) for run in finals)
            raise PlanError(f"--seed {wanted.seed}: no such final run; there are {seeds}")
    best = max(good, key=lambda run: (_validation_auc(run), -run.spec.seed))
    return Choice(best, len(good))


def _matching_cells(records: list[Record], wanted: CellFilter) -> dict[CellName, list[Record]]:
    cells: dict[CellName, list[Record]] = {}
    for record in records:
        cells.setdefault(record.spec.cell, []).append(record)
    if not cells:
        raise ExportError("the run has no records; give a folder that pepbench run has filled")
    for position, option in enumerate(CellName._fields):
        value = getattr(wanted, option)
        if value is None:
            continue
        known = {name[position] for name in cells}
        if value not in known:
            raise PlanError(f"--{option}: {unknown_name(option, value, known)}")
        cells = {name: found for name, found in cells.items() if name[position] == value}
    return cells


def _ambiguous(names: list[CellName]) -> str:
    """Which options tell the cells apart that are left."""
    for position, option in enumerate(CellName._fields):
        values = sorted({name[position] for name in names})
        if len(values) > 1:
            return f"{len(names)} cells fit; add --{option}, one of {', '.join(values)}"
    raise AssertionError("cells differ in one of their names")


def _validation_auc(record: Record) -> float:
    assert record.validation is not None
    return record.validation.auc
