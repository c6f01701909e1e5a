"""The leaderboard as Markdown (GitHub's) and as CSV."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from tabulate import tabulate

from pepbench.analysis.leaderboard import COLUMNS
from pepbench.analysis.significance import ALPHA, MARGIN
from pepbench.report.phrases import decimals, percent, summary

if TYPE_CHECKING:
    from pepbench.analysis.leaders import Lead

_BY_INTERVAL = {
    "auc": ("auc_low", "auc_high", ""),
    "auc_low": ("auc_low", "auc_high", ""),
    "auc_high": ("auc_low", "auc_high", ""),
    "log_loss": ("auc_low", "auc_high", ""),
    "delta_auc": ("delta_low", "delta_high", "+"),
    "delta_low": ("delta_low", "delta_high", "+"),
    "delta_high": ("delta_low", "delta_high", "+"),
}
"""Columns that are rounded, with the interval that says how far, and their sign."""
_DECIMALS = {
    "p_holm": ".2g",
    "search_seconds": ".1f",
    "train_seconds": ".1f",
    "peak_memory_mib": ".0f",
    "tuning_seconds": ".1f",
}
_TEXTS = ("dataset", "backbone", "method", "budget", "status", "reason", "verdict")

# Underscores within words (wide_deep) mean nothing in GitHub's Markdown and stay readable.
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


def leaderboard_csv(frame: pd.DataFrame) -> str:
    """All columns in full precision: reading it back gives the same floating-point numbers.

    Parameters
    ----------
    frame
        As :func:`pepbench.analysis.leaderboard.leaderboard` returns it.

    Returns
    -------
    str
        A header and a line per cell; a missing figure is an empty field, truth is ``True`` or
        ``False``.
    """
    text: str = frame.to_csv(columns=list(COLUMNS), index=False, lineterminator="\n")
    return text


def leaderboard_markdown(
    frame: pd.DataFrame,
    fronts: list[dict[str, Any]],
    leading: Sequence[Lead] = (),
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> str:
    """A page: what is shown about parity, the table with all columns, how to read it.

    Parameters
    ----------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` returns them.
    leading
        Of :func:`pepbench.analysis.leaders.leads`.
    alpha, margin
        Those that they were computed with.
    """
    parts = [
        "# Leaderboard",
        *_findings(frame, fronts, leading, margin),
        "![AUC against parameters](pareto.svg)",
        "## All cells",
        markdown_table(frame),
        "## How to read it",
        _reading(alpha, margin),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(frame: pd.DataFrame) -> str:
    """The table alone, figures rounded, text escaped."""
    rows = [[_cell(column, row) for column in COLUMNS] for row in frame.to_dict("records")]
    alignment = ["left" if column in _TEXTS else "right" for column in COLUMNS]
    table: str = tabulate(
        rows, headers=COLUMNS, tablefmt="github", colalign=alignment, disable_numparse=True
    )
    return table


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
        return escape(value)
    if column == "on_front":
        return "yes" if value else ""
    if pd.isna(value):
        return ""
    if column == "share":
        return percent(value)
    if column in _BY_INTERVAL:
        low, high, sign = _BY_INTERVAL[column]
        digits = decimals((row[high] - row[low]) / 2)
        return f"{round(value, digits) + 0.0:{sign}.{digits}f}"
    if column in _DECIMALS:
        return format(value, _DECIMALS[column])
    return f"{value:,d}"


def _findings(
    frame: pd.DataFrame, fronts: list[dict[str, Any]], leading: Sequence[Lead], margin: float
) -> list[str]:
    known = {(front["dataset"], front["backbone"]): front for front in fronts}
    findings = []
    for (dataset, backbone), sentences in summary(frame, fronts, leading, margin).items():
        lines = [f"**{escape(dataset)} · {escape(backbone)}**", ""]
        lines += [f"* {escape(sentence)}" for sentence in sentences]
        front = known.get((dataset, backbone))
        if front and math.isfinite(front["hypervolume"]):
            lines.append(
                f"* Hypervolume of the front: {front['hypervolume']:.4f} decades of parameters × "
                f"AUC, from the reference point of {front['reference_point']['parameters']:,d} "
                "parameters (the full table) and an "
                f"AUC of {front['reference_point']['auc']:g}."
            )
        findings.append("\n".join(lines))
    return findings


def _reading(alpha: float, margin: float) -> str:
    level = f"{100 * (1 - alpha):g}%"
    return f"""\
* **Protocol.** The hyper-parameters of each cell (data set, backbone, method, budget) are tuned on
  validation AUC, with as many trials and epochs for every method; the best are trained again with
  fresh seeds, stopping early on validation. Test rows are read once per final run. Only results on
  the same split, dimension and backbone settings are compared.
* **parameters** counts the trained numbers that are needed to produce every feature's vector;
  **share** is parameters / full_parameters (N·D); **bytes** is all that must be stored to serve the
  table. The largest over seeds.
* **auc**, **log_loss**: test figures, mean over **seeds**. **auc_low** to **auc_high** and
  **delta_low** to **delta_high** are {level} intervals over test rows (DeLong), or over users
  where the data set has them, and seeds; with one seed, over rows or users only.
* **delta_auc** is the method's AUC minus the full table's, on the same test rows. **p_holm** is its
  two-sided p-value, adjusted (Holm) over the methods of one data set, backbone and budget.
* **verdict**: *equivalent* if the difference is shown to be within ±{margin:g} (two one-sided
  tests), even where it is also shown not to be zero; else *better* or *worse* if
  p_holm < {alpha:g}; else *non-inferior* if the AUC is shown to be less than {margin:g} below the
  full table's (one-sided); else *undecided*, which means that the data do not tell, not that the
  methods are the same. Each kind of test is adjusted (Holm) over the methods of one data set,
  backbone and budget.
* **Leads** of one method over the next are adjusted (Holm) over all pairs of methods of one data
  set, backbone and budget.
* **Parity**: the fewest parameters at which the AUC is shown to be less than {margin:g} below the
  full table's (one-sided at {alpha:g}, from the largest budget down until one is not).
* **on_front**: no other cell of the data set and backbone is at least as good in both
  parameters and AUC, and better in one.
* **search_seconds**, **train_seconds**: wall time of a final run, mean over seeds;
  **peak_memory_mib**: the largest over seeds."""
