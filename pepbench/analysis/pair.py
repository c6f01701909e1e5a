"""One pair of methods in full: the same test rows, seed by seed and fold by fold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from pepbench.analysis.blocks import blocks_of
from pepbench.analysis.cells import Cell, cell_at, cells_of
from pepbench.analysis.comparisons import adjusted, compared
from pepbench.analysis.metrics import Figure, Metric
from pepbench.analysis.runs import Runs
from pepbench.analysis.significance import Comparison
from pepbench.errors import PlanError, RecordError, unknown_name
from pepbench.records import MARGIN


@dataclass(frozen=True)
class MethodPair:
    """Two cells of one data set, backbone and protocol, compared on their predictions.

    Attributes
    ----------
    a, b
        The cells.
    comparison
        a minus b in the metric, positive where a is better; None if it cannot be made.
    verdict
        Of a against b, not adjusted for other pairs; empty without comparison.
    rows, positives
        Of the test split; 0 if its labels are not there.
    note
        Why there is no comparison; else empty.
    direction
        As :func:`~pepbench.analysis.significance.direction`.
    seeds_to_decide
        As :func:`~pepbench.analysis.power.seeds_to_decide`, where the verdict is ``undecided``.
    metric
        What is compared.
    """

    a: Cell
    b: Cell
    comparison: Comparison | None = None
    verdict: str = ""
    rows: int = 0
    positives: int = 0
    note: str = ""
    direction: str = ""
    seeds_to_decide: float = math.nan
    metric: Metric = "auc"


def seed_figures(cell: Cell, figure: Figure = "auc") -> list[float]:
    """A test figure of each final run of a cell, by seed."""
    return [getattr(run.test, figure) for run in cell.runs if run.test is not None]


def compare_cells(
    runs: Runs, a: Cell, b: Cell, margin: float = MARGIN, metric: Metric = "auc"
) -> MethodPair:
    """Compare two cells that share data set, backbone and protocol."""
    for cell in (a, b):
        if cell.status != "ok":
            note = f"{cell.method} at {cell.budget} is {cell.status}: {cell.reason}"
            return MethodPair(a, b, note=note, metric=metric)
    loaders = runs.load_predictions, runs.load_labels, runs.load_users
    (block,) = blocks_of([a, b], *loaders, metric)
    tested = compared(block, 0, 1, margin)
    (found,) = adjusted([tested], margin)
    pair = MethodPair(
        a,
        b,
        found.main,
        found.verdict,
        note=found.note,
        direction=found.direction,
        seeds_to_decide=found.seeds_to_decide,
        metric=metric,
    )
    splits = {run.spec.data.split_fingerprint for run in a.runs}
    try:
        labels = [np.asarray(runs.load_labels(split)) for split in sorted(splits)]
    except (OSError, ValueError):
        return pair
    return replace(pair, rows=sum(map(len, labels)), positives=int(sum(x.sum() for x in labels)))


def chosen_pairs(
    runs: Runs,
    methods: tuple[str, str],
    dataset: str | None,
    budget: str | None,
    backbone: str | None,
    margin: float = MARGIN,
    metric: Metric = "auc",
) -> list[MethodPair]:
    """Compare two methods wherever both have a cell.

    A method with one cell, at 100%, such as ``full``, is compared at every budget of the other.

    Parameters
    ----------
    runs
        The records.
    methods
        Specs, as in the leaderboard.
    dataset, budget, backbone
        Restrict the comparison; None takes all there are.
    margin
        Of equivalence and non-inferiority, in the metric.
    metric
        What is compared.

    Raises
    ------
    PlanError
        For a name that no record has, with those that there are, and for one method twice.
    RecordError
        If the two have no data set, backbone and budget in common.
    """
    if methods[0] == methods[1]:
        raise PlanError(f"{methods[0]!r} is compared with itself; name two methods")
    cells = cells_of(runs.records)
    for kind, name, known in (
        ("method", methods[0], {cell.method for cell in cells}),
        ("method", methods[1], {cell.method for cell in cells}),
        ("data set", dataset, {cell.dataset for cell in cells}),
        ("budget", budget, {cell.budget for cell in cells}),
        ("backbone", backbone, {cell.backbone for cell in cells}),
    ):
        if name is not None and name not in known:
            raise PlanError(unknown_name(kind, name, sorted(known)))
    pairs: list[MethodPair] = []
    for (name, network), block in groupby(cells, key=lambda cell: cell.block):
        if dataset in (None, name) and backbone in (None, network):
            pairs += [
                compare_cells(runs, one, other, margin, metric)
                for one, other in _in_block(list(block), methods, budget)
            ]
    if not pairs:
        raise RecordError(
            f"{methods[0]} and {methods[1]} have no cell to compare there; "
            "see which cells there are: pepbench report FOLDER"
        )
    return pairs


def _in_block(
    block: Sequence[Cell], methods: tuple[str, str], budget: str | None
) -> list[tuple[Cell, Cell]]:
    found: dict[tuple[str, str], tuple[Cell, Cell]] = {}
    for size in dict.fromkeys(cell.budget for cell in block if cell.method in methods):
        one, other = (cell_at(block, method, size) for method in methods)
        if budget in (None, size) and one is not None and other is not None:
            found[one.budget, other.budget] = (one, other)
    return list(found.values())
