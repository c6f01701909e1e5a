"""Every cell's interval, and its comparison with the reference of its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.cells import Cell
from pepbench.analysis.placements import Placements, placements
from pepbench.analysis.significance import (
    AucInterval,
    Comparison,
    compare_placements,
    holm,
    placements_interval,
    verdict,
)
from pepbench.errors import PepbenchError

Load = Callable[[str], NDArray[Any]]
"""From a record's key to its test predictions, or from a split's fingerprint to its labels."""


@dataclass(frozen=True)
class Assessment:
    """What the test predictions say about a cell.

    Attributes
    ----------
    cell
        The cell.
    interval
        Of its AUC; None if it has no run or its predictions or labels cannot be used.
    reference
        The cell it is compared with; itself if it is the reference; None if there is none.
    comparison
        None for the reference itself, and where one of the two is not ``ok`` or cannot be used.
    p_holm, p_equivalent_holm
        Adjusted within the family (data set × backbone × budget); NaN without comparison.
    verdict
        ``better``, ``worse``, ``equivalent``, ``undecided``, ``reference``, or empty.
    note
        Why an interval or a comparison is missing although the runs are there; else empty.
    """

    cell: Cell
    interval: AucInterval | None
    reference: Cell | None
    comparison: Comparison | None
    p_holm: float
    p_equivalent_holm: float
    verdict: str
    note: str


@dataclass(frozen=True)
class _Measured:
    """A cell before its family is known."""

    cell: Cell
    interval: AucInterval | None
    reference: Cell | None
    comparison: Comparison | None
    note: str


def assess(
    cells: Sequence[Cell],
    load_predictions: Load,
    load_labels: Load,
    reference: str,
    alpha: float,
    margin: float,
) -> list[Assessment]:
    """Intervals and comparisons of all cells, in the order given.

    Each score vector is sorted once, and no more than the placements of one cell and of the
    references of its data set and backbone are held at a time.

    Parameters
    ----------
    cells
        As :func:`~pepbench.analysis.cells.cells_of` returns them.
    load_predictions, load_labels
        A file that cannot be loaded costs the comparisons that need it, nothing else.
    reference
        Name or spec of the method that the others are compared with. Its cell of the same budget
        is taken, or else its largest (``full`` has one cell, at 100%).
    alpha, margin
        As :func:`~pepbench.analysis.significance.compare`.
    """
    assessments: list[Assessment] = []
    for _, block in groupby(cells, key=lambda cell: cell.block):
        measured = _measure_block(
            list(block), load_predictions, load_labels, reference, alpha, margin
        )
        for _, family in groupby(measured, key=lambda member: member.cell.budget):
            assessments += _judge(list(family), alpha)
    return assessments


def _measure_block(
    members: Sequence[Cell],
    load_predictions: Load,
    load_labels: Load,
    reference: str,
    alpha: float,
    margin: float,
) -> Iterable[_Measured]:
    references = [
        cell for cell in members if reference in (cell.spec.method.name, cell.spec.method.spec)
    ]
    placed = {
        (cell.method, cell.budget): _placements_of(cell, load_predictions, load_labels)
        for cell in references
    }
    for cell in members:
        known = placed.get((cell.method, cell.budget))
        own, note = known or _placements_of(cell, load_predictions, load_labels)
        interval, note = _interval(own, alpha, note)
        base = cell if known else _reference_for(cell, references)
        comparison = None
        if base is not None and base is not cell and cell.status == "ok":
            theirs, their_note = placed[base.method, base.budget]
            if base.status != "ok":
                note = note or f"the reference {base.method} is {base.status}"
            elif own is None or theirs is None:
                note = note or f"the reference {base.method}: {their_note}"
            elif not note:
                paired = cell.seeds == base.seeds
                comparison = compare_placements(own, theirs, alpha, margin, paired)
        yield _Measured(cell, interval, base, comparison, note)


def _reference_for(cell: Cell, references: Sequence[Cell]) -> Cell | None:
    same_budget = [other for other in references if other.budget == cell.budget]
    ranked = same_budget or sorted(references, key=lambda other: -other.spec.budget_parameters)
    return ranked[0] if ranked else None


def _placements_of(
    cell: Cell, load_predictions: Load, load_labels: Load
) -> tuple[Placements | None, str]:
    """A cell's placements, or None with the reason; no reason is needed where nothing ran."""
    if not cell.runs:
        return None, ""
    try:
        labels = load_labels(cell.spec.data.split_fingerprint)
    except (OSError, ValueError, KeyError, PepbenchError):
        return None, "the test labels are missing or damaged"
    lines = []
    for run in cell.runs:
        try:
            lines.append(load_predictions(run.key))
        except (OSError, ValueError, KeyError, PepbenchError):
            return None, f"the predictions of run {run.key[:12]} are missing or damaged"
    if len({np.shape(line) for line in lines}) > 1:
        return None, "the runs' predictions differ in length"
    try:
        return placements(labels, np.stack(lines)), ""
    except PepbenchError as error:
        return None, str(error)


def _interval(placed: Placements | None, alpha: float, note: str) -> tuple[AucInterval | None, str]:
    if placed is None:
        return None, note
    try:
        return placements_interval(placed, alpha), ""
    except PepbenchError as error:
        return None, str(error)


def _judge(family: Sequence[_Measured], alpha: float) -> Iterable[Assessment]:
    compared = [member.comparison for member in family if member.comparison is not None]
    p_holm = iter(holm([comparison.p for comparison in compared]))
    p_equivalent = iter(holm([comparison.p_equivalent for comparison in compared]))
    for member in family:
        adjusted, equivalent, words = math.nan, math.nan, ""
        if member.comparison is not None:
            adjusted, equivalent = float(next(p_holm)), float(next(p_equivalent))
            words = verdict(member.comparison.difference, adjusted, equivalent, alpha)
        elif member.reference is member.cell and member.cell.status == "ok":
            words = "reference"
        yield Assessment(
            cell=member.cell,
            interval=member.interval,
            reference=member.reference,
            comparison=member.comparison,
            p_holm=adjusted,
            p_equivalent_holm=equivalent,
            verdict=words,
            note=member.note,
        )
