"""Cells: a data set, backbone, method and budget, with their records and outcome."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.metrics import Figure
from pepbench.records import (
    CellName,
    ComponentSpec,
    DataSpec,
    Record,
    TrialSpec,
    final_runs,
    tuning_used,
)
from pepbench.units import FULL

CellStatus = Literal["ok", "infeasible", "failed", "incomplete"]

REFERENCE = "full"
"""Method that the others are compared with: the full table."""


@dataclass(frozen=True)
class Cell:
    """A data set, backbone, method and budget under one protocol.

    Attributes
    ----------
    dataset, backbone, method, budget
        As the plan writes them. Where a run holds several protocols for one data set and backbone,
        ``dataset`` says which, so that they are listed apart.
    protocol
        Digest of what must agree for two records to be compared: table, split, dim, backbone with
        its options, the objective, and the program's protocol.
    spec
        Of any of its records.
    full_parameters
        N·D; the mean over the protocol's folds, whose vocabularies differ a little.
    status
        ``ok`` if all final runs are; ``failed`` if one of them or all tuning failed; ``infeasible``
        likewise; ``incomplete`` if tuning succeeded but no final run is there yet, or fewer than in
        another fold.
    reason
        Of the first record that is not ok, on one line; empty for ``ok``.
    runs
        The final runs that are ok, by fold and seed.
    trained_alike
        For each fold, records of one setting and different seeds, setting by setting.
    tuning_trials, tuning_seconds
        Tuning trials and the CPU seconds they took: what tuning really used.
    """

    dataset: str
    backbone: str
    method: str
    budget: str
    protocol: str
    spec: TrialSpec
    full_parameters: int
    status: CellStatus
    reason: str
    runs: tuple[Record, ...]
    trained_alike: tuple[tuple[tuple[Record, ...], ...], ...]
    tuning_trials: int
    tuning_seconds: float

    @property
    def name(self) -> CellName:
        """As frames name it."""
        return CellName(self.dataset, self.backbone, self.method, self.budget)

    @property
    def trouble(self) -> str:
        """Why it cannot be compared; empty if it is ``ok``."""
        return "" if self.status == "ok" else f"{self.method} is {self.status}: {self.reason}"

    @property
    def block(self) -> tuple[str, str]:
        """Cells that may be compared and share a front: data set (under a protocol), backbone."""
        return self.dataset, self.backbone

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs, in their order."""
        return tuple(run.spec.seed for run in self.runs)

    @property
    def folds(self) -> int:
        """Number of folds that the report covers."""
        return len(self.spec.data.reported_folds)

    def size(self, figure: Callable[[Record], int | None]) -> int | None:
        """Of a count of its runs: the largest over seeds, and the mean of that over folds."""
        largest = [max(map(figure, part.runs), key=lambda n: n or 0) for part in self.by_fold()]
        known = [count for count in largest if count is not None]
        return round(np.mean(known)) if known else None

    def seed_variances(self, figure: Figure = "auc") -> NDArray[np.float64]:
        """Variance between seeds of a validation figure of one setting, pooled over settings.

        (J,), a variance for each fold; NaN where it is not known.
        """
        return np.array([_seed_variance(groups, figure) for groups in self.trained_alike])

    def by_fold(self) -> list[Cell]:
        """The cell with the runs of each fold that has any."""
        parts = map(self.in_fold, self.spec.data.reported_folds)
        return [part for part in parts if part.runs]

    def in_fold(self, fold: int) -> Cell:
        """The cell with the runs of one fold."""
        return replace(self, runs=tuple(r for r in self.runs if r.spec.data.fold == fold))


def cell_at(cells: Sequence[Cell], method: str, budget: str) -> Cell | None:
    """The cell of a method at a budget, or its only one if the method is of fixed size.

    A method of fixed size has one cell, at 100%. So has, where 100% is among the budgets that
    others ran, a method whose other cells are missing: of these only the full table is of fixed
    size.

    Parameters
    ----------
    cells
        All of a data set and backbone.
    method, budget
        As the plan writes them.
    """
    budgets: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        budgets[cell.method].add(cell.budget)
    at_choice = any(FULL in of_one and len(of_one) > 1 for of_one in budgets.values())
    for cell in cells:
        reference = cell.spec.method.name.partition("+")[0] == REFERENCE
        fixed = budgets[method] == {FULL} and (reference or not at_choice)
        if cell.method == method and (fixed or cell.budget == budget):
            return cell
    return None


def cells_of(records: Iterable[Record]) -> list[Cell]:
    """Group records into cells; the order of the records does not matter.

    Returns
    -------
    list of Cell
        By data set, backbone, budget (largest first), method.
    """
    groups: dict[tuple[CellName, str], list[Record]] = defaultdict(list)
    protocols: dict[tuple[str, str], set[str]] = defaultdict(set)
    full: dict[str, dict[int, int]] = defaultdict(dict)
    ordered = sorted(records, key=lambda r: (r.spec.data.fold, r.spec.seed, r.key))
    for record in ordered:
        protocol = protocol_digest(record.spec)
        groups[record.spec.cell, protocol].append(record)
        protocols[record.spec.data.spec, record.spec.backbone.spec].add(protocol)
        full[protocol][record.spec.data.fold] = record.spec.full_parameters
    cells = []
    for ((dataset, backbone, method, budget), protocol), members in groups.items():
        spec = members[0].spec
        mixed = len(protocols[dataset, backbone]) > 1
        folds = [
            [record for record in members if record.spec.data.fold == fold]
            for fold in spec.data.reported_folds
        ]
        status, reason, runs = _over_folds(folds, spec.data.reported_folds)
        tuning_trials, tuning_seconds = tuning_used(members)
        cells.append(
            Cell(
                dataset=f"{dataset} {_apart(spec, protocol)}" if mixed else dataset,
                backbone=backbone,
                method=method,
                budget=budget,
                protocol=protocol,
                spec=spec,
                full_parameters=mean_size(full[protocol]),
                status=status,
                reason=reason,
                runs=runs,
                trained_alike=tuple(map(_trained_alike, folds)),
                tuning_trials=tuning_trials,
                tuning_seconds=tuning_seconds,
            )
        )
    return sorted(
        cells,
        key=lambda cell: (
            cell.block,
            -cell.spec.budget_parameters,
            cell.budget,
            cell.method,
        ),
    )


def mean_size(by_fold: Mapping[int, int]) -> int:
    """The mean of a size over folds, as a whole number.

    >>> mean_size({0: 100, 1: 103})
    102
    """
    return round(np.mean([*by_fold.values()]))


def protocol_digest(spec: TrialSpec) -> str:
    """SHA-256 (hex) of what two records must share to be compared."""
    shared = (spec.dim, spec.training.objective, spec.protocol)
    return _digest(spec.data, spec.backbone.model_dump_json(), *shared)


@lru_cache
def _digest(data: DataSpec, backbone: str, *shared: object) -> str:
    untuned = ComponentSpec.model_validate_json(backbone).untuned().model_dump_json()
    shared = (data.without_fold().model_dump_json(), untuned, *shared)
    return hashlib.sha256(repr(shared).encode()).hexdigest()


def _apart(spec: TrialSpec, protocol: str) -> str:
    data = spec.data
    split = f"{data.folds} folds" if data.folds > 1 else f"split {data.split_fingerprint[:8]}"
    return f"[D={spec.dim}, {split}, protocol {protocol[:8]}]"


def _over_folds(
    folds: Sequence[Sequence[Record]], numbers: Sequence[int]
) -> tuple[CellStatus, str, tuple[Record, ...]]:
    """The worst outcome of any fold, with the first reason for it, and the runs of all folds."""
    outcomes = [_outcome(members) for members in folds]
    runs = tuple(run for _, _, of_fold in outcomes for run in of_fold)
    for status in ("failed", "infeasible", "incomplete"):
        for number, (of_fold, reason, _) in zip(numbers, outcomes, strict=True):
            if of_fold == status:
                where = f"fold {number + 1}: " if len(folds) > 1 else ""
                return status, where + reason, runs
    of_folds = [len(of_fold) for _, _, of_fold in outcomes]
    for number, count in zip(numbers, of_folds, strict=True):
        if count < max(of_folds):
            missing = f"{count} of {max(of_folds)} final runs are there; run the same command again"
            return "incomplete", f"fold {number + 1}: {missing}", runs
    return "ok", "", runs


def _trained_alike(members: Sequence[Record]) -> tuple[tuple[Record, ...], ...]:
    """Finalists' further seeds, since their trial was chosen for its figure; else final runs."""
    for role in ("finalist", "final"):
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in members:
            if record.spec.role == role and record.validation:
                groups[record.spec.settings()].append(record)
        several = tuple(tuple(group) for group in groups.values() if len(group) > 1)
        if several:
            return several
    return ()


def _seed_variance(groups: Sequence[Sequence[Record]], figure: Figure) -> float:
    if not groups:
        return math.nan
    values = [[getattr(record.validation, figure) for record in group] for group in groups]
    if any(value is None for group in values for value in group):
        return math.nan
    freedoms = [len(group) - 1 for group in values]
    return float(np.average([np.var(group, ddof=1) for group in values], weights=freedoms))


def _outcome(members: Sequence[Record]) -> tuple[CellStatus, str, tuple[Record, ...]]:
    finals = final_runs(members)
    runs = tuple(run for run in finals if run.status == "ok" and run.test is not None)
    if finals and len(runs) == len(finals):
        return "ok", "", runs
    if not members:
        return "incomplete", "none of its trials has run; run the same command again", ()
    ended = finals or [record for record in members if record.spec.role == "tuning"]
    unsuccessful = [record for record in ended if record.status != "ok"]
    if not unsuccessful or (not finals and len(unsuccessful) < len(ended)):
        return "incomplete", "its final runs are missing; run the same command again", runs
    failed = [record for record in unsuccessful if record.status == "failed"]
    first = (failed or unsuccessful)[0]
    reason = " ".join((first.reason or "no reason was recorded").split())
    return ("failed" if failed else "infeasible"), reason, runs
