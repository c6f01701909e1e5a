"""Frames of a run's cells and comparisons: their columns, and a row of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from pepbench.analysis.blocks import Block
from pepbench.analysis.cells import Cell
from pepbench.analysis.comparisons import Judged

COLUMNS = (
    "dataset",
    "backbone",
    "method",
    "budget",
    "status",
    "reason",
    "full_parameters",
    "parameters",
    "share",
    "bytes",
    "seeds",
    "auc",
    "auc_low",
    "auc_high",
    "log_loss",
    "delta_auc",
    "delta_low",
    "delta_high",
    "p_holm",
    "verdict",
    "on_front",
    "search_seconds",
    "train_seconds",
    "peak_memory_mib",
    "tuning_trials",
    "tuning_seconds",
)
"""Of the leaderboard, in this order."""

_TESTS = (
    "difference",
    "standard_error",
    "degrees_of_freedom",
    "low",
    "high",
    "p",
    "p_holm",
    "p_noninferior",
    "p_noninferior_holm",
    "p_equivalent",
    "p_equivalent_holm",
    "verdict",
    "direction",
    "seeds_to_decide",
    "log_loss_difference",
    "log_loss_standard_error",
    "log_loss_low",
    "log_loss_high",
    "p_log_loss",
    "p_log_loss_holm",
)

COMPARISON_COLUMNS = (
    "dataset",
    "backbone",
    "method",
    "budget",
    "reference",
    "reference_budget",
    "full_parameters",
    "parameters",
    *_TESTS,
    "seeds",
    "reference_seeds",
    "paired",
    "basis",
    "note",
)
"""Of the comparisons' frame, in this order: a row for each cell that was compared with the
reference, or should have been.

``difference`` is method minus reference in AUC, with ``standard_error``, Satterthwaite's
``degrees_of_freedom``, the interval ``low`` to ``high`` and the two-sided ``p``. ``p_noninferior``:
one-sided, worse by the margin or more. ``p_equivalent``: two one-sided tests. ``…_holm``: adjusted
within data set × backbone × budget. ``verdict``: better, worse, equivalent, non-inferior or
undecided; ``direction``: higher or lower where the difference is shown not to be zero, also beside
``equivalent``. ``seeds_to_decide``: for undecided ones, seeds of each method that would probably
decide; infinite where only more rows can; NaN with one seed. ``log_loss_…`` likewise for the
difference of log losses (less is better), NaN where predictions are no probabilities. ``basis``:
``rows and seeds``, ``users and seeds``, ``rows only`` or ``users only`` (one seed each: about these
trained models, not the methods). ``note``: why there is no comparison although there are runs."""

PAIR_COLUMNS = (
    "dataset",
    "backbone",
    "budget",
    "method",
    "other",
    *_TESTS,
    "seeds",
    "other_seeds",
    "paired",
    "basis",
)
"""Of the frame of all pairs, in this order: a row for every two methods that are ok at the same
data set, backbone and budget. ``difference`` is ``method`` minus ``other``; Holm's family is all
pairs of the budget; ``verdict`` is about ``method``. Else as ``COMPARISON_COLUMNS``."""

_WHOLE_NUMBERS = (
    "full_parameters",
    "parameters",
    "bytes",
    "seeds",
    "reference_seeds",
    "other_seeds",
    "tuning_trials",
)
_TEXTS = (
    "dataset",
    "backbone",
    "method",
    "other",
    "budget",
    "status",
    "reason",
    "verdict",
    "direction",
    "reference",
    "reference_budget",
    "basis",
    "note",
)
_TRUTHS = ("on_front", "paired")


def cell_row(block: Block, judged: Judged, alpha: float) -> dict[str, object]:
    """A row of the leaderboard; columns that are not known are left out."""
    position, comparison = judged.pair.cell, judged.pair.auc
    cell, interval = block.cells[position], block.interval(position, alpha)
    row: dict[str, object] = {
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "method": cell.method,
        "budget": cell.budget,
        "status": cell.status,
        "reason": cell.reason,
        "full_parameters": cell.spec.full_parameters,
        "seeds": len(cell.runs),
        "p_holm": judged.p_holm,
        "verdict": judged.verdict,
        "on_front": False,
        "tuning_trials": cell.tuning_trials,
        "tuning_seconds": cell.tuning_seconds,
        **_figures(cell),
    }
    if interval is not None:
        row |= {"auc_low": interval.low, "auc_high": interval.high}
    if comparison is not None:
        row |= {
            "delta_auc": comparison.difference,
            "delta_low": comparison.low,
            "delta_high": comparison.high,
        }
    return row


def _figures(cell: Cell) -> dict[str, object]:
    if not cell.runs:
        return {}
    tests = [run.test for run in cell.runs if run.test is not None]
    parameters = _largest(run.n_parameters for run in cell.runs)
    share = None if parameters is None else parameters / cell.spec.full_parameters
    return {
        "parameters": parameters,
        "share": share,
        "bytes": _largest(run.n_bytes for run in cell.runs),
        "auc": float(np.mean([test.auc for test in tests])),
        "log_loss": float(np.mean([test.log_loss for test in tests])),
        "search_seconds": float(np.mean([run.search_seconds() for run in cell.runs])),
        "train_seconds": float(np.mean([run.train_seconds() for run in cell.runs])),
        "peak_memory_mib": _largest(run.peak_memory_mib for run in cell.runs),
    }


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def comparison_row(block: Block, judged: Judged) -> dict[str, object]:
    """A row of the comparisons with the reference."""
    pair = judged.pair
    cell = block.cells[pair.cell]
    base = None if pair.other is None else block.cells[pair.other]
    return {
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "method": cell.method,
        "budget": cell.budget,
        "reference": "" if base is None else base.method,
        "reference_budget": "" if base is None else base.budget,
        "full_parameters": cell.spec.full_parameters,
        "parameters": _largest(run.n_parameters for run in cell.runs),
        "seeds": len(cell.runs),
        "reference_seeds": 0 if base is None else len(base.runs),
        "note": pair.note,
        **_tests(judged),
    }


def pair_row(block: Block, judged: Judged) -> dict[str, object]:
    """A row of all pairs."""
    pair = judged.pair
    cell, other = block.cells[pair.cell], block.cells[pair.other or 0]
    return {
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "budget": cell.budget,
        "method": cell.method,
        "other": other.method,
        "seeds": len(cell.runs),
        "other_seeds": len(other.runs),
        **_tests(judged),
    }


def _tests(judged: Judged) -> dict[str, object]:
    auc, log_loss = judged.pair.auc, judged.pair.log_loss
    row: dict[str, object] = {
        "p_holm": judged.p_holm,
        "p_noninferior_holm": judged.p_noninferior_holm,
        "p_equivalent_holm": judged.p_equivalent_holm,
        "p_log_loss_holm": judged.p_log_loss_holm,
        "verdict": judged.verdict,
        "direction": judged.direction,
        "seeds_to_decide": judged.seeds_to_decide,
        "paired": auc is not None and auc.paired,
        "basis": "" if auc is None else auc.basis,
    }
    if auc is not None:
        row |= {
            "difference": auc.difference,
            "standard_error": auc.standard_error,
            "degrees_of_freedom": auc.degrees_of_freedom,
            "low": auc.low,
            "high": auc.high,
            "p": auc.p,
            "p_noninferior": auc.p_noninferior,
            "p_equivalent": auc.p_equivalent,
        }
    if log_loss is not None:
        row |= {
            "log_loss_difference": log_loss.difference,
            "log_loss_standard_error": log_loss.standard_error,
            "log_loss_low": log_loss.low,
            "log_loss_high": log_loss.high,
            "p_log_loss": log_loss.p,
        }
    return row


def frame_of(rows: Iterable[dict[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows as a frame; whole numbers may be missing, as may all figures."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    kinds = {
        column: "Int64"
        if column in _WHOLE_NUMBERS
        else "object"
        if column in _TEXTS
        else "bool"
        if column in _TRUTHS
        else "float64"
        for column in columns
    }
    return frame.astype(kinds)


def by_block(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each data set and backbone, with their names, in the order of the frame."""
    for (dataset, backbone), rows in frame.groupby(["dataset", "backbone"], sort=False):
        yield (str(dataset), str(backbone)), rows
