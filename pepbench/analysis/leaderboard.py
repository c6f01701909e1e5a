"""The leaderboard: one row per cell, verdicts against the full table, fronts, parity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pepbench.analysis.blocks import Block, Load, LoadUsers, blocks_of, no_users
from pepbench.analysis.cells import Cell, cells_of
from pepbench.analysis.comparisons import Judged, Rules, against_reference, all_pairs
from pepbench.analysis.pareto import CHANCE_AUC, hypervolume, on_front
from pepbench.analysis.significance import ALPHA, MARGIN
from pepbench.records import Record

REFERENCE = "full"
"""The method that the others are compared with, unless told otherwise."""

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


@dataclass(frozen=True)
class Analysis:
    """All that is said about a run.

    Attributes
    ----------
    frame
        The leaderboard: columns ``COLUMNS``, a row per cell.
    comparisons
        Columns ``COMPARISON_COLUMNS``.
    pairs
        Columns ``PAIR_COLUMNS``.
    """

    frame: pd.DataFrame
    comparisons: pd.DataFrame
    pairs: pd.DataFrame


def leaderboard(
    records: Iterable[Record],
    load_predictions: Load,
    load_labels: Load,
    reference: str = REFERENCE,
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """The frame of :func:`analyse`."""
    return analyse(records, load_predictions, load_labels, reference, alpha, margin).frame


def analyse(
    records: Iterable[Record],
    load_predictions: Load,
    load_labels: Load,
    reference: str = REFERENCE,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    load_users: LoadUsers = no_users,
) -> Analysis:
    """Summarise a run's records and compare its methods with the reference and with each other.

    Parameters
    ----------
    records
        In any order.
    load_predictions
        From a record's key to its test predictions, in test order.
    load_labels
        From a split's fingerprint to its test labels.
    reference
        Name or spec of a method. It stands at the same budget or else its largest: ``full``, a
        single cell, is the reference of every budget of its data set and backbone.
    alpha, margin
        Level of tests and intervals; margin of equivalence and non-inferiority, in AUC.
    load_users
        From a split's fingerprint to the user of each test row, or None where no user is declared;
        where there are users, they and not their rows are taken to be independent.

    Returns
    -------
    Analysis
        Rows by data set, backbone, budget (largest first), AUC (highest first), method.

        AUC and log loss are means over final runs; parameters, bytes and memory their maximum
        (what one has to provide for); seconds their mean. Where some final runs failed, the
        figures describe the others and the cell is not compared: runs that survive are no fair
        sample. p-values are Holm's, over the methods of one data set × backbone × budget.
    """
    cells, rules = cells_of(records), Rules(alpha, margin)
    rows, compared, pairs = [], [], []
    for block in blocks_of(cells, load_predictions, load_labels, load_users):
        for judged in against_reference(block, reference, rules):
            rows.append(_row(block, judged, alpha))
            if judged.pair.auc is not None or judged.pair.note:
                compared.append(_comparison_row(block, judged))
        pairs += [_pair_row(block, judged) for judged in all_pairs(block, rules)]
    frame = _frame(rows, COLUMNS)
    return Analysis(
        _sorted(_with_fronts(frame), cells),
        _frame(compared, COMPARISON_COLUMNS),
        _frame(pairs, PAIR_COLUMNS),
    )


def compression_at_parity(comparisons: pd.DataFrame, alpha: float = ALPHA) -> pd.DataFrame:
    """How far each method can compress and still be shown to hold the reference's AUC.

    Parameters
    ----------
    comparisons
        Of :func:`analyse`.
    alpha
        Level of the one-sided test of non-inferiority (its margin is that of :func:`analyse`).
        Each budget is tested at this level, without adjustment for the number of budgets.

    Returns
    -------
    pandas.DataFrame
        dataset, backbone, method, parameters, compression: a row for each method that was
        compared; the fewest parameters that are non-inferior and N·D / parameters, both NaN where
        no budget is shown to be.
    """
    compared = comparisons[comparisons["difference"].notna()]
    rows = []
    for (dataset, backbone, method), group in compared.groupby(["dataset", "backbone", "method"]):
        shown = group[group["p_noninferior"] < alpha]
        parameters, compression = math.nan, math.nan
        if len(shown):
            parameters = float(shown["parameters"].min())
            compression = float(shown["full_parameters"].max()) / max(parameters, 1.0)
        rows.append((dataset, backbone, method, parameters, compression))
    return pd.DataFrame(
        rows, columns=["dataset", "backbone", "method", "parameters", "compression"]
    )


def fronts(
    frame: pd.DataFrame, comparisons: pd.DataFrame, alpha: float = ALPHA
) -> list[dict[str, Any]]:
    """The front of each data set and backbone, ready for JSON.

    Parameters
    ----------
    frame, comparisons
        Of :func:`analyse`.
    alpha
        As :func:`compression_at_parity`.

    Returns
    -------
    list of dict
        ``dataset``, ``backbone``; ``points``: objects with method, budget, parameters and auc, by
        parameters; ``hypervolume`` and its ``reference_point`` (parameters, auc), see
        :func:`~pepbench.analysis.pareto.hypervolume`; ``parity``: objects with method, parameters
        and compression, the highest compression first, None where parity is not shown.
    """
    parity = compression_at_parity(comparisons, alpha)
    described: list[dict[str, Any]] = []
    for (dataset, backbone), group in frame.groupby(["dataset", "backbone"]):
        front = group[group["on_front"]].sort_values(["parameters", "auc", "method"])
        full = int(group["full_parameters"].max())
        here = (parity["dataset"] == dataset) & (parity["backbone"] == backbone)
        described.append(
            {
                "dataset": str(dataset),
                "backbone": str(backbone),
                "points": [
                    {
                        "method": str(method),
                        "budget": str(budget),
                        "parameters": int(parameters),
                        "auc": float(auc),
                    }
                    for method, budget, parameters, auc in zip(
                        *(front[name] for name in ("method", "budget", "parameters", "auc")),
                        strict=True,
                    )
                ],
                "hypervolume": hypervolume(
                    front["parameters"].to_numpy(dtype=np.float64),
                    front["auc"].to_numpy(dtype=np.float64),
                    full,
                ),
                "reference_point": {"parameters": full, "auc": CHANCE_AUC},
                "parity": _parity_entries(parity[here]),
            }
        )
    return described


def _parity_entries(parity: pd.DataFrame) -> list[dict[str, Any]]:
    ranked = parity.sort_values(
        ["compression", "method"], ascending=[False, True], na_position="last"
    )
    return [
        {
            "method": str(method),
            "parameters": None if math.isnan(parameters) else int(parameters),
            "compression": None if math.isnan(compression) else float(compression),
        }
        for method, parameters, compression in zip(
            ranked["method"], ranked["parameters"], ranked["compression"], strict=True
        )
    ]


def _row(block: Block, judged: Judged, alpha: float) -> dict[str, object]:
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


def _comparison_row(block: Block, judged: Judged) -> dict[str, object]:
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


def _pair_row(block: Block, judged: Judged) -> dict[str, object]:
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


def _frame(rows: Iterable[dict[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
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


def _with_fronts(frame: pd.DataFrame) -> pd.DataFrame:
    candidates = frame[(frame["status"] == "ok") & frame["parameters"].notna()]
    members: list[int] = []
    for _, group in candidates.groupby(["dataset", "backbone"]):
        mask = on_front(
            group["parameters"].to_numpy(dtype=np.float64), group["auc"].to_numpy(dtype=np.float64)
        )
        members += list(group.index[mask])
    return frame.assign(on_front=frame.index.isin(members))


def _sorted(frame: pd.DataFrame, cells: list[Cell]) -> pd.DataFrame:
    """Rows of cells that are in the leaderboard's order, by AUC within each budget."""
    budgets = [-cell.spec.budget_parameters for cell in cells]
    return (
        frame.assign(_budget=budgets, _auc=-frame["auc"])
        .sort_values(
            ["dataset", "backbone", "_budget", "budget", "_auc", "method"],
            kind="stable",
            na_position="last",
        )
        .drop(columns=["_budget", "_auc"])
        .reset_index(drop=True)
    )
