"""Frames of a run's cells and comparisons: their columns, and a row of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from pepbench.analysis.blocks import Block, fold_means
from pepbench.analysis.cells import Cell
from pepbench.analysis.comparisons import CellComparison
from pepbench.analysis.metrics import Figure, Metric
from pepbench.records import CELL_COLUMNS

BlockName = tuple[str, str]
"""A data set and a backbone."""

OTHER_FIGURES: tuple[Figure, ...] = ("log_loss", "calibration", "gauc", "ndcg10")
"""Figures beside AUC."""

INTERVALS = tuple(f"{figure}_{end}" for figure in OTHER_FIGURES for end in ("low", "high"))
"""Columns of their intervals."""

COLUMNS = (
    *CELL_COLUMNS,
    "status",
    "reason",
    "full_parameters",
    "parameters",
    "share",
    "bytes",
    "folds",
    "seeds",
    "auc",
    "auc_low",
    "auc_high",
    "log_loss",
    "calibration",
    "gauc",
    "ndcg10",
    *INTERVALS,
    "delta_auc",
    "delta_low",
    "delta_high",
    "p_holm",
    "verdict",
    "on_front",
    "cpu_seconds",
    "search_seconds",
    "train_seconds",
    "peak_memory_mib",
    "tuning_trials",
    "tuning_seconds",
)
"""Columns of the leaderboard; ``delta_auc`` is ``delta_gauc``, … where another metric decides.

``auc`` and the other figures are means over ``folds``, NaN where one has no run that knows it."""

_MAIN_FIGURES = (
    "difference",
    "standard_error",
    "degrees_of_freedom",
    "low",
    "high",
    "p",
    "p_noninferior",
    "p_equivalent",
)
"""Of a :class:`~pepbench.analysis.significance.Comparison`, under their own names."""

_LOG_LOSS_FIGURES = {
    "log_loss_difference": "difference",
    "log_loss_standard_error": "standard_error",
    "log_loss_low": "low",
    "log_loss_high": "high",
    "p_log_loss": "p",
}
"""Likewise of log losses, by column."""

_CONCLUSIONS = (
    "p_holm",
    "p_noninferior_holm",
    "p_equivalent_holm",
    "verdict",
    "direction",
    "seeds_to_decide",
    "p_log_loss_holm",
)
"""Of a :class:`~pepbench.analysis.comparisons.CellComparison`, under their own names."""

_TESTS = (
    *_MAIN_FIGURES[:6],
    "p_holm",
    "p_noninferior",
    "p_noninferior_holm",
    "p_equivalent",
    "p_equivalent_holm",
    "verdict",
    "direction",
    "seeds_to_decide",
    *_LOG_LOSS_FIGURES,
    "p_log_loss_holm",
)

COMPARISON_COLUMNS = (
    *CELL_COLUMNS,
    "reference",
    "reference_budget",
    "full_parameters",
    "parameters",
    *_TESTS,
    "seeds",
    "reference_seeds",
    "paired",
    "metric",
    "basis",
    "note",
)
"""Columns of the comparisons' frame: a row for each cell that was compared with the
reference, or should have been.

``difference`` is method minus reference in the ``metric``, signed so that positive is better, with
``standard_error``, Satterthwaite's ``degrees_of_freedom``, the interval ``low`` to ``high`` and the
two-sided ``p``. ``p_noninferior``: one-sided, worse by the margin or more. ``p_equivalent``: two
one-sided tests. ``…_holm``: adjusted within data set × backbone × budget, but over all primary
contrasts where one of them is the comparison. ``verdict``: better, worse, equivalent, non-inferior
or undecided; ``direction``: higher or lower where the difference is shown not to be zero, also
beside ``equivalent``. ``seeds_to_decide``: for undecided ones, seeds of
each method that would probably decide; infinite where only more rows can; NaN with one seed.
``log_loss_…`` likewise for the difference of log losses (less is better), NaN where predictions are
no probabilities. ``basis``: ``rows and seeds``, ``users and seeds``, ``rows only`` or ``users
only`` (one seed each: about these trained models, not the methods). ``note``: why there is no
comparison although there are runs."""

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
    "metric",
    "basis",
)
"""Columns of the frame of all pairs: a row for every two methods that are ok at the same
data set, backbone and budget. ``difference`` is ``method`` minus ``other``; Holm's family is all
pairs of the budget; ``verdict`` is about ``method``. Else as ``COMPARISON_COLUMNS``."""

_WHOLE_NUMBERS = (
    "full_parameters",
    "parameters",
    "bytes",
    "folds",
    "seeds",
    "reference_seeds",
    "other_seeds",
    "tuning_trials",
)
_TEXTS = (
    *CELL_COLUMNS,
    "other",
    "status",
    "reason",
    "verdict",
    "direction",
    "reference",
    "reference_budget",
    "metric",
    "basis",
    "note",
)
_KINDS = {
    **dict.fromkeys(_WHOLE_NUMBERS, "Int64"),
    **dict.fromkeys(_TEXTS, "object"),
    **dict.fromkeys(("on_front", "paired", "primary"), "bool"),
}
"""Type of each column that is not a float."""


def columns_for(metric: Metric) -> tuple[str, ...]:
    """``COLUMNS`` of a leaderboard whose verdicts are about a metric."""
    return tuple(f"delta_{metric}" if name == "delta_auc" else name for name in COLUMNS)


def written_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of a leaderboard's files: without intervals that no cell has."""
    return [name for name in map(str, frame) if name not in INTERVALS or frame[name].notna().any()]


def cell_row(block: Block, compared: CellComparison) -> dict[str, object]:
    """A row of the leaderboard; columns that are not known are left out."""
    cell = block.cells[compared.cell]
    row: dict[str, object] = {
        **cell.name._asdict(),
        "status": cell.status,
        "reason": cell.reason,
        "full_parameters": cell.full_parameters,
        "folds": cell.folds,
        "seeds": len(cell.runs),
        "p_holm": compared.p_holm,
        "verdict": compared.verdict,
        "on_front": False,
        "tuning_trials": cell.tuning_trials,
        "tuning_seconds": cell.tuning_seconds,
        **_figures(cell),
    }
    for figure in ("auc", *OTHER_FIGURES):
        interval = block.interval(compared.cell, figure)
        if interval is not None:
            row |= {f"{figure}_low": interval.low, f"{figure}_high": interval.high}
    if compared.main is not None:
        row |= {
            f"delta_{block.metric}": compared.main.difference,
            "delta_low": compared.main.low,
            "delta_high": compared.main.high,
        }
    return row


def _figures(cell: Cell) -> dict[str, object]:
    if not cell.runs:
        return {}
    parameters = cell.size(lambda run: run.n_parameters)
    return {
        "parameters": parameters,
        "share": None if parameters is None else parameters / cell.full_parameters,
        "bytes": cell.size(lambda run: run.n_bytes),
        **{name: float(fold_means(cell, name).mean()) for name in ("auc", *OTHER_FIGURES)},
        "cpu_seconds": float(np.mean([run.cpu_seconds() for run in cell.runs])),
        "search_seconds": float(np.mean([run.search_seconds() for run in cell.runs])),
        "train_seconds": float(np.mean([run.train_seconds() for run in cell.runs])),
        "peak_memory_mib": _largest(run.peak_memory_mib for run in cell.runs),
    }


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def comparison_row(block: Block, compared: CellComparison) -> dict[str, object]:
    """A row of the comparisons with the reference."""
    cell = block.cells[compared.cell]
    reference = None if compared.other is None else block.cells[compared.other]
    return {
        **cell.name._asdict(),
        "reference": "" if reference is None else reference.method,
        "reference_budget": "" if reference is None else reference.budget,
        "full_parameters": cell.full_parameters,
        "parameters": cell.size(lambda run: run.n_parameters),
        "seeds": len(cell.runs),
        "reference_seeds": 0 if reference is None else len(reference.runs),
        "note": compared.note,
        "metric": block.metric,
        **_tests(compared),
    }


def pair_row(block: Block, compared: CellComparison) -> dict[str, object]:
    """A row of all pairs."""
    cell, other = block.cells[compared.cell], block.cells[compared.other or 0]
    return {
        **cell.name._asdict(),
        "other": other.method,
        "seeds": len(cell.runs),
        "other_seeds": len(other.runs),
        "metric": block.metric,
        **_tests(compared),
    }


def _tests(compared: CellComparison) -> dict[str, object]:
    main, log_loss = compared.main, compared.log_loss
    row: dict[str, object] = {name: getattr(compared, name) for name in _CONCLUSIONS}
    row |= {"paired": main is not None and main.paired, "basis": "" if main is None else main.basis}
    if main is not None:
        row |= {name: getattr(main, name) for name in _MAIN_FIGURES}
    if log_loss is not None:
        row |= {column: getattr(log_loss, name) for column, name in _LOG_LOSS_FIGURES.items()}
    return row


def frame_of(rows: Iterable[dict[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a frame with these columns; whole numbers may be missing, as may all figures."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    return frame.astype({column: _KINDS.get(column, "float64") for column in columns})


def by_block(frame: pd.DataFrame) -> Iterator[tuple[BlockName, pd.DataFrame]]:
    """The rows of each data set and backbone, with their names, in the order of the frame."""
    for (dataset, backbone), rows in frame.groupby(["dataset", "backbone"], sort=False):
        yield (str(dataset), str(backbone)), rows


def of_block(frame: pd.DataFrame, name: BlockName) -> pd.DataFrame:
    """The rows of a data set and backbone."""
    return frame[(frame["dataset"] == name[0]) & (frame["backbone"] == name[1])]
