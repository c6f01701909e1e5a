"""The leaderboard: one row per cell, verdicts against the full table, fronts, parity.

References
----------
Bretz, Maurer, Brannath & Posch, "A graphical approach to sequentially rejective multiple test
procedures", Statistics in Medicine 28 (2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pepbench.analysis.blocks import LoadArray, LoadUsers, blocks_of, no_users
from pepbench.analysis.bootstrap import DRAWS
from pepbench.analysis.cells import REFERENCE, Cell, cells_of
from pepbench.analysis.comparisons import against_reference, all_pairs
from pepbench.analysis.frames import (
    COMPARISON_COLUMNS,
    PAIR_COLUMNS,
    by_block,
    cell_row,
    columns_for,
    comparison_row,
    frame_of,
    of_block,
    pair_row,
)
from pepbench.analysis.fronts import FrontTables, front_tables
from pepbench.analysis.metrics import METRICS, Metric, MetricCard, card_of
from pepbench.analysis.pareto import CHANCE_AUC, hypervolume, on_front
from pepbench.analysis.primary import (
    CONTRAST_COLUMNS,
    Contrast,
    as_primary,
    contrast_rows,
    primaries,
)
from pepbench.analysis.ranks import RankTables, rank_tables, sources_of
from pepbench.analysis.significance import ALPHA, NOT_INFERIOR
from pepbench.records import MARGIN, Record


@dataclass(frozen=True)
class Analysis:
    """Everything that is computed from a run's records and predictions.

    Attributes
    ----------
    frame
        The leaderboard: columns ``COLUMNS``, a row per cell.
    comparisons
        Columns ``COMPARISON_COLUMNS``.
    pairs
        Columns ``PAIR_COLUMNS``.
    fronts
        See :mod:`pepbench.analysis.fronts`.
    ranks
        See :mod:`pepbench.analysis.ranks`.
    contrasts
        See :mod:`pepbench.analysis.primary`.
    """

    frame: pd.DataFrame
    comparisons: pd.DataFrame
    pairs: pd.DataFrame
    fronts: FrontTables
    ranks: RankTables
    contrasts: pd.DataFrame


def analyse(
    records: Iterable[Record],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    margin: float = MARGIN,
    load_users: LoadUsers = no_users,
    contrasts: Sequence[Contrast] = (),
    metric: Metric = "auc",
    draws: int = DRAWS,
) -> Analysis:
    """Summarise a run's records and compare its methods with the full table and with each other.

    Parameters
    ----------
    records
        In any order.
    load_predictions
        From a record's key to its test predictions, in test order.
    load_labels
        From a split's fingerprint to its test labels.
    margin
        Of equivalence and non-inferiority, in the metric.
    load_users
        From a split's fingerprint to the user of each test row, or None where no user is declared;
        where there are users, they and not their rows are taken to be independent.
    contrasts
        The primary ones, as the plan names them.
    metric
        What comparisons and verdicts are about, and orders the cells of a budget. Fronts and ranks
        are about AUC always, these with the default margin where the metric is another one.
    draws
        Of the fronts' uncertainty, which takes most of the time.

    Returns
    -------
    Analysis
        Rows by data set, backbone, budget (largest first), metric (best first), method.

        AUC and the other figures of test rows are means over folds, each of its final runs.
        Parameters and bytes are the maximum over a fold's final runs (what one has to provide for),
        and the mean of that over folds; memory is the maximum over all, seconds the mean. Where
        some final runs failed, the figures describe the others, but are unknown if a fold has no
        other, and the cell is not compared: runs that survive are no fair sample. p-values are
        Holm's, over the methods of one data set × backbone × budget; but those of a primary
        contrast with the full table are over all primary contrasts.
    """
    cells = cells_of(records)
    measured = blocks_of(cells, load_predictions, load_labels, load_users, metric)
    named = [(block, primaries(block, contrasts, margin)) for block in measured]
    blocks = [
        (block, as_primary(against_reference(block, REFERENCE, margin), found))
        for block, found in named
    ]
    compared = [(block, one) for block, members in blocks for one in members]
    rows_of_cells = (cell_row(block, one) for block, one in compared)
    frame = frame_of(rows_of_cells, columns_for(metric))
    comparisons = [
        comparison_row(block, one) for block, one in compared if one.main is not None or one.note
    ]
    pairs = [pair_row(block, one) for block, _ in blocks for one in all_pairs(block, margin)]
    sources = sources_of((cell.dataset, cell.spec.data) for cell in cells)
    rows = (row for block, found in named for row in contrast_rows(block, found, margin))
    frame = _sorted(_with_fronts(frame), cells, METRICS[metric])
    return Analysis(
        frame,
        frame_of(comparisons, COMPARISON_COLUMNS),
        frame_of(pairs, PAIR_COLUMNS),
        front_tables(blocks, margin, draws),
        rank_tables(frame, sources, margin if metric == "auc" else MARGIN),
        frame_of(rows, CONTRAST_COLUMNS),
    )


def compression_at_parity(comparisons: pd.DataFrame) -> pd.DataFrame:
    """How far each method can compress and still be shown to hold the reference's AUC.

    A method's budgets are tested one-sided, by the margin of :func:`analyse`, from the largest down
    until one is not shown to be non-inferior. Each is tested at the full level of its method, which
    is ``ALPHA`` divided by the number of methods that have not passed all of their budgets: those
    that have leave their share to the others, as in Holm's procedure (Bretz et al. 2009). So the
    chance that any budget of any method is passed wrongly is at most ``ALPHA`` for a data set and
    backbone. A budget is passed only where the verdict says no less, so that no page contradicts
    its table.

    Parameters
    ----------
    comparisons
        Of :func:`analyse`.

    Returns
    -------
    pandas.DataFrame
        dataset, backbone, method, parameters, compression: a row for each method that was
        compared; the fewest parameters that are non-inferior, as are all larger budgets of the
        method that could be compared, and N·D / parameters, infinite without any; both NaN where
        not even the largest budget is shown to be.
    """
    compared = comparisons[comparisons["difference"].notna()]
    rows = []
    for (dataset, backbone), block in compared.groupby(["dataset", "backbone"]):
        falling = block.sort_values("parameters", ascending=False, kind="stable")
        for method, passed in _passed(dict(iter(falling.groupby("method")))).items():
            parameters, compression = math.nan, math.nan
            if len(passed):
                parameters = float(passed["parameters"].min())
                full = float(passed["full_parameters"].iloc[0])
                compression = full / parameters if parameters else math.inf
            rows.append((dataset, backbone, method, parameters, compression))
    return pd.DataFrame(
        rows, columns=["dataset", "backbone", "method", "parameters", "compression"]
    )


def _passed(chains: Mapping[Any, pd.DataFrame]) -> dict[Any, pd.DataFrame]:
    """Of each method's budgets, in the order of their tests, those that it passes."""
    unfinished = len(chains)
    while True:
        level, passed = ALPHA / max(1, unfinished), {}
        for method, chain in chains.items():
            shown = (chain["p_noninferior"] < level) & chain["verdict"].isin(NOT_INFERIOR)
            passed[method] = chain[shown.cummin()]
        left = sum(len(passed[method]) < len(chain) for method, chain in chains.items())
        if left == unfinished:
            return passed
        unfinished = left


def fronts(frame: pd.DataFrame, comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """The front of each data set and backbone, ready for JSON.

    Parameters
    ----------
    frame, comparisons
        Of :func:`analyse`.

    Returns
    -------
    list of dict
        ``dataset``, ``backbone``; ``figure`` that parity is about; ``points``: objects with method,
        budget, parameters and auc, by parameters; ``hypervolume`` and its ``reference_point``
        (parameters, auc), see :func:`~pepbench.analysis.pareto.hypervolume`; ``parity``: objects
        with method, parameters and compression, the highest compression first; both None where
        parity is not shown, compression also where there are no parameters.
    """
    parity = compression_at_parity(comparisons)
    described: list[dict[str, Any]] = []
    for name, group in by_block(frame):
        measured = group[group["status"] == "ok"]
        front = group[group["on_front"]].sort_values(["parameters", "auc", "method"])
        full = int(group["full_parameters"].iloc[0])
        ranked = of_block(parity, name).sort_values(
            ["compression", "method"], ascending=[False, True]
        )
        described.append(
            {
                "dataset": name[0],
                "backbone": name[1],
                "figure": card_of(frame).name,
                "points": [
                    {
                        "method": row["method"],
                        "budget": row["budget"],
                        "parameters": int(row["parameters"]),
                        "auc": row["auc"],
                    }
                    for row in front.to_dict("records")
                ],
                "hypervolume": hypervolume(measured["parameters"], measured["auc"], full),
                "reference_point": {"parameters": full, "auc": CHANCE_AUC},
                "parity": [
                    {
                        "method": row["method"],
                        "parameters": int(row["parameters"]) if row["parameters"] >= 0 else None,
                        "compression": (
                            row["compression"] if math.isfinite(row["compression"]) else None
                        ),
                    }
                    for row in ranked.to_dict("records")
                ],
            }
        )
    return described


def _with_fronts(frame: pd.DataFrame) -> pd.DataFrame:
    candidates = frame[(frame["status"] == "ok") & frame["parameters"].notna()]
    members: list[int] = []
    for _, group in by_block(candidates):
        members += list(group.index[on_front(group["parameters"], group["auc"])])
    return frame.assign(on_front=frame.index.isin(members))


def _sorted(frame: pd.DataFrame, cells: list[Cell], card: MetricCard) -> pd.DataFrame:
    """Rows of cells that are in the leaderboard's order, best first within each budget."""
    budgets = [-cell.spec.budget_parameters for cell in cells]
    return (
        frame.assign(_budget=budgets, _worse=-card.sign * frame[card.figure])
        .sort_values(
            ["dataset", "backbone", "_budget", "budget", "_worse", "method"],
            kind="stable",
            na_position="last",
        )
        .drop(columns=["_budget", "_worse"])
        .reset_index(drop=True)
    )
