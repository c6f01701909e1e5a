"""A report as Markdown (GitHub's) and as CSV."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from tabulate import tabulate

from pepbench.analysis.frames import INTERVALS, BlockName, by_block, of_block, written_columns
from pepbench.analysis.fronts import FrontTables
from pepbench.analysis.metrics import METRICS, metric_of
from pepbench.analysis.ranks import RankTables
from pepbench.records import MARGIN
from pepbench.report.how_to_read import how_to_read
from pepbench.report.phrases import (
    block_title,
    decimals,
    front_pictures,
    percent,
    summary,
    with_interval,
)
from pepbench.report.table_rows import (
    CHANCES,
    CONTRAST_TEXTS,
    chance,
    comparison_rows,
    contrast_sentence,
    contrast_table,
    hypervolume_sentence,
    not_compared,
    rank_pair_rows,
    rank_rows,
    rank_test_sentences,
    size_rows,
    units,
    width_reading,
    width_rows,
)
from pepbench.units import dataset_title

if TYPE_CHECKING:
    from pepbench.analysis.leaders import Lead

CONTRASTS_CSV = "contrasts.csv"
PAIRS_CSV = "pairs.csv"
LEADERBOARD_CSV = "leaderboard.csv"
LEADERBOARD_MD = "leaderboard.md"
WIDTHS_CSV = "widths.csv"
"""File names of a report and of a published leaderboard."""

_BY_INTERVAL = {
    "auc": ("auc_low", "auc_high", ""),
    "auc_low": ("auc_low", "auc_high", ""),
    "auc_high": ("auc_low", "auc_high", ""),
    "log_loss": ("auc_low", "auc_high", ""),
    **{f"delta_{metric}": ("delta_low", "delta_high", "+") for metric in METRICS},
    "delta_low": ("delta_low", "delta_high", "+"),
    "delta_high": ("delta_low", "delta_high", "+"),
}
"""Columns that are rounded, with the interval that says how far, and their sign."""
_DECIMALS = {
    "calibration": ".3f",
    "gauc": ".4f",
    "ndcg10": ".4f",
    "p_holm": ".2g",
    "cpu_seconds": ".1f",
    "search_seconds": ".1f",
    "train_seconds": ".1f",
    "peak_memory_mib": ".0f",
    "tuning_seconds": ".1f",
}
_TEXTS = ("dataset", "backbone", "method", "budget", "status", "reason", "verdict")

# Underscores within words (wide_deep) mean nothing in GitHub's Markdown and stay readable.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def csv_text(frame: pd.DataFrame, columns: list[str] | None = None) -> str:
    """A table in full precision; a missing figure is an empty field."""
    text: str = frame.to_csv(columns=columns, index=False, lineterminator="\n")
    return text


def leaderboard_csv(frame: pd.DataFrame) -> str:
    """Columns in full precision: reading it back gives the same floating-point numbers.

    Intervals that no cell has are left out.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.

    Returns
    -------
    str
        A header and a line per cell; a missing figure is an empty field, truth is ``True`` or
        ``False``.
    """
    return csv_text(frame, written_columns(frame))


def leaderboard_markdown(
    frame: pd.DataFrame,
    fronts: list[dict[str, Any]],
    leading: Sequence[Lead] = (),
    margin: float = MARGIN,
    contrasts: pd.DataFrame | None = None,
    goal: str = METRICS["auc"].name,
    volumes: bool = True,
) -> str:
    """The page of a leaderboard: contrasts, paired front, all cells, findings, how to read it.

    Parameters
    ----------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` returns them.
    leading
        Of :func:`pepbench.analysis.leaders.leads`.
    margin
        That they were computed with.
    contrasts
        Of :class:`pepbench.analysis.leaderboard.Analysis`.
    goal
        Validation figure that tuning went by, as
        :func:`pepbench.analysis.metrics.objective_name` gives it.
    volumes
        Whether findings name the hypervolume; :func:`detail_markdown` has it with its interval.
    """
    parts = [
        "# Leaderboard",
        *(() if contrasts is None else contrast_parts(contrasts)),
        *(f"![{what}]({name}.svg)" for name, what in front_pictures(frame).items()),
        "## All cells",
        markdown_table(frame),
        "## Findings",
        *_findings(frame, fronts, leading, margin, volumes),
        "## How to read it",
        how_to_read(margin, metric_of(frame), goal),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(frame: pd.DataFrame) -> str:
    """The leaderboard's table alone, figures rounded, text escaped."""
    columns = [column for column in map(str, frame) if column not in INTERVALS]
    rows = [[_cell(column, row) for column in columns] for row in frame.to_dict("records")]
    return github_table(rows, columns, _TEXTS)


def github_table(
    rows: Sequence[Sequence[str]], headings: Sequence[str], texts: Container[str]
) -> str:
    """A table in GitHub's Markdown; columns of ``texts`` are aligned left, figures right."""
    table: str = tabulate(
        rows,
        headers=headings,
        tablefmt="github",
        colalign=["left" if heading in texts else "right" for heading in headings],
        disable_numparse=True,
    )
    return table


def recovery_markdown(frame: pd.DataFrame, pictures: Iterable[str], folds: bool = False) -> str:
    """A section on learnt widths; empty where nothing is known.

    Parameters
    ----------
    frame
        Of :class:`pepbench.analysis.width_recovery.WidthRecovery`.
    pictures
        File names of :func:`pepbench.report.charts.widths.pictures`, without suffix.
    folds
        Whether there are several.
    """
    if frame.empty:
        return ""
    parts = ["## Learnt widths"]
    for name, block in by_block(frame):
        parts += [_heading(name), _table(width_rows(block), ("budget", "method"))]
    parts.append(width_reading(frame, folds=folds))
    parts += [f"![{name}]({name}.svg)" for name in pictures]
    return "\n\n".join(parts) + "\n"


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


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line, in a table too.

    >>> escape("<b> a|b *c* wide_deep _d_")
    '&lt;b&gt; a\\|b \\*c\\* wide_deep \\_d\\_'
    """
    one_line = " ".join(text.split())
    return html.escape(_SPECIAL.sub(r"\\\g<0>", one_line), quote=False)


def _cell(column: str, row: dict[Any, Any]) -> str:
    value = row[column]
    if column in _TEXTS:
        return escape(dataset_title(value) if column == "dataset" else value)
    if column == "on_front":
        return "yes" if value else ""
    if pd.isna(value):
        return ""
    if column == "share":
        return percent(value)
    if f"{column}_low" in INTERVALS and not math.isnan(row[f"{column}_low"]):
        return with_interval(value, row[f"{column}_low"], row[f"{column}_high"])
    if column in _BY_INTERVAL:
        low, high, sign = _BY_INTERVAL[column]
        digits = decimals((row[high] - row[low]) / 2)
        return f"{round(value, digits) + 0.0:{sign}.{digits}f}"
    if column in _DECIMALS:
        return format(value, _DECIMALS[column])
    return f"{value:,d}"


def _findings(
    frame: pd.DataFrame,
    fronts: list[dict[str, Any]],
    leading: Sequence[Lead],
    margin: float,
    volumes: bool,
) -> list[str]:
    known = {(front["dataset"], front["backbone"]): front for front in fronts}
    findings = []
    for (dataset, backbone), sentences in summary(frame, fronts, leading, margin).items():
        lines = [_heading((dataset, backbone)), ""]
        lines += [f"* {escape(sentence)}" for sentence in sentences]
        front = known.get((dataset, backbone))
        if volumes and front and math.isfinite(front["hypervolume"]):
            lines.append(
                f"* Hypervolume of the front: {front['hypervolume']:.4f} decades of parameters × "
                f"AUC, from the reference point of {front['reference_point']['parameters']:,d} "
                "parameters (the full table) and an "
                f"AUC of {front['reference_point']['auc']:g}."
            )
        findings.append("\n".join(lines))
    return findings


def contrast_parts(contrasts: pd.DataFrame, detail: bool = True) -> Iterator[str]:
    """Primary contrasts of each data set and backbone: a heading, a table, what they hold over.

    ``detail`` as in :func:`pepbench.report.table_rows.contrast_table`.
    """
    for name, block in by_block(contrasts):
        rows = contrast_table(block, detail)
        if rows:
            yield _heading(name)
            yield _table(rows, CONTRAST_TEXTS)
            yield from filter(None, (contrast_sentence(block), escape(not_compared(block))))


def _comparison_parts(comparisons: pd.DataFrame) -> Iterator[str]:
    for position, (name, block) in enumerate(by_block(comparisons)):
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
        points = of_block(tables.points, name)
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
            f"parameters and time, of {tables.summary['draws'].max():,} draws (over folds, from "
            "the distribution of the cells' means; else of seeds and of rows or users), without "
            "cells that never are. Second table: AUC interpolated at shares of the full table; "
            "compression at parity as shown by the tests of the cells, and as estimated by "
            "interpolation, with its interval."
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


def _heading(name: BlockName) -> str:
    return f"**{escape(block_title(name))}**"


def _table(rows: Sequence[dict[str, str]], texts: Container[str]) -> str:
    escaped = [[escape(value) for value in row.values()] for row in rows]
    return github_table(escaped, list(rows[0]), texts)
