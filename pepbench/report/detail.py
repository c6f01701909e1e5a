"""Comparisons, fronts and ranks in full: the rows of tables, as Markdown and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from pepbench.analysis.fronts import FrontTables
from pepbench.analysis.ranks import RankTables
from pepbench.analysis.significance import ALPHA
from pepbench.report.markdown import escape
from pepbench.report.phrases import NOT_COMPARED, percent, times, verdict_note, with_interval

Row = dict[str, str]
Block = tuple[str, str]

CHANCES = {
    "front_probability": "parameters",
    "bytes_front_probability": "bytes",
    "time_front_probability": "parameters and time",
}
"""Columns of the points' frame that say how often a cell is on a front, and of what beside AUC."""


def chance(share: float) -> str:
    """A share of the bootstrap's draws, in whole percent, never rounded to 0 or 1 that it is not.

    >>> [chance(share) for share in (0.0, 0.0005, 0.524, 0.9985, 1.0)]
    ['0%', '<1%', '52%', '>99%', '100%']
    """
    if math.isnan(share):
        return ""
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{share:.0%}"


def comparison_rows(block: pd.DataFrame) -> list[Row]:
    """Comparisons of one data set and backbone with the reference, in words."""
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            "ΔAUC": with_interval(row["difference"], row["low"], row["high"], sign=True),
            "p": _p(row["p_holm"]),
            "p equivalent": _p(row["p_equivalent_holm"]),
            "p non-inferior": _p(row["p_noninferior_holm"]),
            "verdict": row["verdict"] or NOT_COMPARED,
            "note": row["note"]
            or verdict_note(row["verdict"], row["direction"], row["seeds_to_decide"], row["basis"]),
        }
        for row in block.to_dict("records")
    ]


def units(block: pd.DataFrame) -> str:
    """Over what the statements about some comparisons hold, as in ``users and seeds``."""
    return ", ".join(dict.fromkeys(basis for basis in block["basis"] if basis))


def units_sentences(words: str) -> list[str]:
    """What :func:`units` means; nothing where nothing was compared.

    >>> units_sentences("users and seeds")[0][:47]
    'Intervals and tests hold over users and seeds: '
    """
    if not words:
        return []
    independent = (
        "rows of one user belong together, and users are taken to be independent"
        if words.startswith("users")
        else "test rows are taken to be independent, since no user is declared"
    )
    return [f"Intervals and tests hold over {words}: {independent}."]


def size_rows(tables: FrontTables, parity: pd.DataFrame, name: Block) -> list[Row]:
    """AUC at given sizes, and compression at parity, of each method of a data set and backbone.

    Parameters
    ----------
    tables
        Of the analysis.
    parity
        Of :func:`pepbench.analysis.leaderboard.compression_at_parity`.
    name
        Data set and backbone.
    """
    sizes, crossings, shown = (
        _of(frame, name) for frame in (tables.at_sizes, tables.crossings, parity)
    )
    factors = dict(zip(shown["method"], shown["compression"], strict=True))
    falls = {row["method"]: row for row in crossings.to_dict("records")}
    shares = sorted(set(sizes["share"]), reverse=True)
    figures = {
        (row["method"], row["share"]): with_interval(row["auc"], row["low"], row["high"])
        for row in sizes.to_dict("records")
    }
    methods = sorted({*sizes["method"], *falls, *factors})
    return [
        {
            "method": method,
            **{f"at {percent(share)}": figures.get((method, share), "") for share in shares},
            "parity shown to": _factor(factors[method]) if method in factors else "",
            "parity estimated to": _crossing(falls.get(method)),
        }
        for method in methods
    ]


def hypervolume_sentence(row: dict[Any, Any], alpha: float = ALPHA) -> str:
    """A row of the summary of fronts, in words."""
    volume = with_interval(row["hypervolume"], row["low"], row["high"]).split(" ")[0]
    digits = len(volume.partition(".")[2])
    return (
        f"Hypervolume of the front: {volume} ({100 * (1 - alpha):g}% interval "
        f"{row['low']:.{digits}f} to {row['high']:.{digits}f}) decades of parameters × AUC, from "
        f"{row['reference_parameters']:,} parameters and an AUC of {row['reference_auc']:g}."
    )


def rank_rows(ranks: RankTables, descriptive: bool) -> list[Row]:
    """Mean ranks over two data sets or more: of the budgets that were tested, or of the others."""
    kept = ranks.ranks[(ranks.ranks["descriptive"] == descriptive) & (ranks.ranks["blocks"] > 1)]
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            "mean rank": f"{row['mean_rank']:.2f}",
            "mean AUC": f"{row['mean_auc']:.4f}",
            "data sets": str(row["blocks"]),
        }
        for row in kept.to_dict("records")
    ]


def rank_test_sentences(tests: pd.DataFrame) -> list[str]:
    """What was tested over data sets, a sentence for each budget."""
    return [
        f"At {row['budget']}, {row['methods']} methods on {row['blocks']} data sets: Friedman's "
        f"p = {row['p']:.2g}, critical difference {row['critical_difference']:.2f} (Nemenyi)."
        for row in tests.to_dict("records")
    ]


def rank_pair_rows(ranks: RankTables) -> list[Row]:
    """Pairs of methods over the data sets of the tested budgets."""
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            "other": row["other"],
            "Δ rank": f"{row['rank_difference']:+.2f}",
            "p Nemenyi": _p(row["p_nemenyi"]),
            "p Wilcoxon": _p(row["p_wilcoxon_holm"]),
            "worse": chance(row["chance_worse"]),
            "equivalent": chance(row["chance_equivalent"]),
            "better": chance(row["chance_better"]),
        }
        for row in ranks.pairs.to_dict("records")
    ]


def detail_markdown(
    comparisons: pd.DataFrame, tables: FrontTables, ranks: RankTables, parity: pd.DataFrame
) -> str:
    """Sections that follow the leaderboard; empty where nothing could be compared or ranked."""
    parts = [
        *_comparison_parts(comparisons),
        *_front_parts(tables, parity),
        *_rank_parts(ranks),
    ]
    return "\n\n".join(parts) + "\n" if parts else ""


def _comparison_parts(comparisons: pd.DataFrame) -> Iterator[str]:
    for position, (name, block) in enumerate(_blocks(comparisons)):
        if position == 0:
            yield "## Comparisons with the full table"
        yield f"{_heading(name)}, over {units(block) or 'nothing'}"
        yield _table(comparison_rows(block), ("budget", "method", "verdict", "note"))
    if len(comparisons):
        yield (
            "p-values are adjusted (Holm) over the methods of one data set, backbone and budget. "
            "Seeds that would decide: with the estimated difference and variances taken as true, "
            "for a chance of 80%."
        )


def _front_parts(tables: FrontTables, parity: pd.DataFrame) -> Iterator[str]:
    for position, row in enumerate(tables.summary.to_dict("records")):
        name = row["dataset"], row["backbone"]
        if position == 0:
            yield "## Fronts and their uncertainty"
        yield _heading(name)
        yield hypervolume_sentence(row)
        points = _of(tables.points, name)
        candidates = points[(points[list(CHANCES)] > 0).any(axis=1)]
        rows = [
            {
                "budget": point["budget"],
                "method": point["method"],
                **{what: chance(point[column]) for column, what in CHANCES.items()},
            }
            for point in candidates.to_dict("records")
        ]
        if rows:
            yield _table(rows, ("budget", "method"))
        sizes = size_rows(tables, parity, name)
        if sizes:
            yield _table(sizes, ("method",))
    if len(tables.summary):
        yield (
            "First table: how often a cell is on the front of AUC and parameters, bytes, or "
            f"parameters and time, of {tables.summary['draws'].max():,} bootstrap draws of seeds "
            "and of rows or users, without cells that never are. Second table: AUC interpolated "
            "at shares of the full table; compression at parity as shown by the tests of the "
            "cells, and as estimated by interpolation, with its interval."
        )


def _rank_parts(ranks: RankTables) -> Iterator[str]:
    tested, others = rank_rows(ranks, False), rank_rows(ranks, True)
    if tested or others:
        yield "## Across data sets"
    if tested:
        yield "![Mean ranks](critical-difference.svg)"
        yield "\n".join(f"* {escape(words)}" for words in rank_test_sentences(ranks.tests))
        yield _table(tested, ("budget", "method"))
        yield _table(rank_pair_rows(ranks), ("budget", "method", "other"))
        yield (
            "Wilcoxon's p is adjusted (Holm) over the pairs of a budget. Worse, equivalent, "
            "better: what the Bayesian signed-rank test finds likeliest on another data set."
        )
    if others:
        yield "Descriptive: too few data sets or methods for a test."
        yield _table(others, ("budget", "method"))


def _blocks(frame: pd.DataFrame) -> Iterator[tuple[Block, pd.DataFrame]]:
    for (dataset, backbone), block in frame.groupby(["dataset", "backbone"], sort=False):
        yield (str(dataset), str(backbone)), block


def _of(frame: pd.DataFrame, name: Block) -> pd.DataFrame:
    return frame[(frame["dataset"] == name[0]) & (frame["backbone"] == name[1])]


def _heading(name: Block) -> str:
    return f"**{escape(name[0])} · {escape(name[1])}**"


def _table(rows: Sequence[Row], texts: Sequence[str]) -> str:
    columns = list(rows[0])
    table: str = tabulate(
        [[escape(row[column]) for column in columns] for row in rows],
        headers=columns,
        tablefmt="github",
        colalign=["left" if column in texts else "right" for column in columns],
        disable_numparse=True,
    )
    return table


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _factor(value: float) -> str:
    return "not shown" if math.isnan(value) else times(value)


def _crossing(row: dict[Any, Any] | None) -> str:
    if row is None:
        return ""
    least = "at least " if row["at_smallest"] else ""
    value, low, high = (
        f"{row[f'compression_{which}']:.3g}x" for which in ("estimate", "low", "high")
    )
    return f"{least}{value} ({low} to {high})"
