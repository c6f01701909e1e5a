"""Primary contrasts, which a plan names beforehand, and all other pairs, which are exploratory.

The primary contrasts of one data set and backbone are one family of tests; the exploratory pairs of
each budget are another. Verdicts of exploratory pairs are adjusted for each other, not for having
been looked at because of the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pepbench.analysis.blocks import Block
from pepbench.analysis.cells import cell_at
from pepbench.analysis.comparisons import CellComparison, adjusted, all_pairs, compared
from pepbench.analysis.significance import ALPHA

Contrast = tuple[str, str, str]
"""Two methods and a budget; the difference is the first minus the second."""

CONTRAST_COLUMNS = (
    "dataset",
    "backbone",
    "budget",
    "method",
    "other",
    "primary",
    "difference",
    "standard_error",
    "low",
    "high",
    "p",
    "p_holm",
    "verdict",
    "metric",
    "basis",
    "folds",
    "folds_won",
    "folds_won_low",
    "folds_won_high",
    "chance_of_improvement",
    "share_rows",
    "share_seeds",
    "share_tuning_and_split",
    "note",
)
"""Columns of the contrasts' frame: a row for each primary contrast of which a method has run, and
for every other two methods at the same budget. ``difference`` is ``method`` minus ``other`` in the
``metric``, signed so that positive is better; ``verdict`` is about ``method``. ``folds_won``: share
of the folds in which the difference is above 0, with its interval; ``chance_of_improvement``:
predictive probability that it is in a further fold. ``share_…``: of the variance between folds. NaN
for a single split. ``note``: why there is no comparison."""


@dataclass(frozen=True)
class Primary:
    """A primary contrast in one data set and backbone.

    Attributes
    ----------
    contrast
        As the plan names it.
    pair
        Its cells, compared, with conclusions adjusted for all primary contrasts of the block; None
        if one of the methods has not run.
    """

    contrast: Contrast
    pair: CellComparison | None


def primaries(block: Block, contrasts: Sequence[Contrast], margin: float) -> list[Primary]:
    """The primary contrasts of a data set and backbone, in the plan's order.

    Two cells that are named twice count once in the family. A contrast of which neither method has
    run is left out, since it may be about other data.
    """
    named: dict[frozenset[object], tuple[Contrast, CellComparison | None]] = {}
    for contrast in contrasts:
        method, other, budget = contrast
        a, b = _place(block, method, budget), _place(block, other, budget)
        if a is not None and b is not None:
            if frozenset((a, b)) not in named:
                named[frozenset((a, b))] = contrast, compared(block, a, b, margin)
        elif (a, b) != (None, None):
            named.setdefault(frozenset(contrast), (contrast, None))
    family = adjusted([pair for _, pair in named.values() if pair is not None], margin)
    return [
        Primary(contrast, None if pair is None else next(family))
        for contrast, pair in named.values()
    ]


def as_primary(
    compared: Sequence[CellComparison], found: Sequence[Primary]
) -> list[CellComparison]:
    """Comparisons, each in the place of which a primary contrast of the same cells stands.

    So that one question has one answer on all pages.
    """
    pairs = {(one.pair.cell, one.pair.other): one.pair for one in found if one.pair is not None}
    return [pairs.get((one.cell, one.other), one) for one in compared]


def contrast_rows(
    block: Block, found: Sequence[Primary], margin: float
) -> Iterator[dict[str, object]]:
    """The rows of a data set and backbone: primary contrasts in the plan's order, then the rest."""
    for one in found:
        if one.pair is None:
            yield _not_run(block, one.contrast)
        else:
            yield _row(block, one.contrast[2], one.pair, primary=True)
    named = {frozenset((one.pair.cell, one.pair.other)) for one in found if one.pair is not None}
    for pair in all_pairs(block, margin, named):
        yield _row(block, block.cells[pair.cell].budget, pair, primary=False)


def _place(block: Block, method: str, budget: str) -> int | None:
    """Where the method's cell is, as :func:`cell_at` finds it."""
    found = cell_at(block.cells, method, budget)
    return next((n for n, cell in enumerate(block.cells) if cell is found), None)


def _not_run(block: Block, contrast: Contrast) -> dict[str, object]:
    method, other, budget = contrast
    missing = other if _place(block, other, budget) is None else method
    (dataset, backbone), folds = block.cells[0].block, block.cells[0].folds
    return {
        **{"dataset": dataset, "backbone": backbone, "budget": budget},
        **{"method": method, "other": other, "primary": True, "folds": folds},
        **{"verdict": "", "metric": block.metric, "basis": "", "note": f"{missing} has not run"},
    }


def _row(block: Block, budget: str, pair: CellComparison, *, primary: bool) -> dict[str, object]:
    cell, other = block.cells[pair.cell], block.cells[pair.other or 0]
    row: dict[str, object] = {
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "budget": budget,
        "method": cell.method,
        "other": other.method,
        "primary": primary,
        "p_holm": pair.p_holm,
        "verdict": pair.verdict,
        "metric": block.metric,
        "note": pair.note or ("" if pair.main else cell.trouble),
        "basis": "",
        "folds": cell.folds,
    }
    found = pair.main
    if found is None:
        return row
    row |= {
        name: getattr(found, name)
        for name in ("difference", "standard_error", "low", "high", "p", "basis")
    }
    figures = found.folds
    if figures is None:
        return row
    rows, seeds, rest = figures.shares
    low, high = figures.won_interval(ALPHA)
    return row | {
        "folds_won": figures.won / len(figures.values),
        "folds_won_low": low,
        "folds_won_high": high,
        "chance_of_improvement": figures.chance_of_improvement,
        "share_rows": rows,
        "share_seeds": seeds,
        "share_tuning_and_split": rest,
    }


def widest_source(row: Mapping[Any, Any]) -> str:
    """What most of the variance between folds is due to: ``rows``, ``seeds``, …; empty if to none.

    >>> widest_source({"share_rows": 0.2, "share_seeds": 0.1, "share_tuning_and_split": 0.7})
    'tuning and split'
    >>> widest_source({"share_rows": 0.4, "share_seeds": 0.3, "share_tuning_and_split": 0.3})
    ''
    """
    shares = {name: row[f"share_{name}"] for name in ("rows", "seeds", "tuning_and_split")}
    return next((name.replace("_", " ") for name, share in shares.items() if share > 0.5), "")
