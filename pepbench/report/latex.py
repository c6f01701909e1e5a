"""The leaderboard as LaTeX, for ``booktabs``."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pepbench.analysis.frames import by_block
from pepbench.analysis.metrics import (
    METRICS,
    Metric,
    card_of,
    measured_delta,
    measured_figure,
    metric_of,
)
from pepbench.report.phrases import outcome, percent, with_interval
from pepbench.units import dataset_title

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def leaderboard_latex(frame: pd.DataFrame) -> str:
    r"""A table for each data set and backbone, with figures rounded by their intervals.

    The document needs ``\usepackage{booktabs}``. A star marks the front of few parameters and high
    AUC.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.
    """
    tables = []
    card = card_of(frame)
    difference = card.difference.replace("Δ", r"$\Delta$").replace("−", "$-$")
    headings = f"budget & method & parameters & share & test {card.name} & {difference} & verdict"
    for (dataset, backbone), block in by_block(frame):
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(dataset_title(dataset))} with {escape(backbone)}: "
            rf"test {card.name} and {difference} against the full table, $\pm$ half of a 95\,\% "
            r"interval over folds, or over rows or users and seeds of a single split; "
            r"$\star$: on the front.}",
            r"\begin{tabular}{llrrrrl}",
            r"\toprule",
            headings + r" \\",
        ]
        for _, group in block.groupby("budget", sort=False):
            lines.append(r"\midrule")
            lines += [
                _line(row, place == 0, metric_of(frame))
                for place, row in enumerate(group.to_dict("records"))
            ]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        tables.append("\n".join(lines))
    return "% Needs \\usepackage{booktabs}.\n" + "\n\n".join(tables) + "\n"


def escape(text: object) -> str:
    r"""Text that LaTeX shows as it is.

    >>> escape("50% of a_b")
    '50\\% of a\\_b'
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(str(text).split()))


def _line(row: dict[Any, Any], first: bool, metric: Metric) -> str:
    known = not pd.isna(row["parameters"])
    star = r" $\star$" if row["on_front"] else ""
    cells = [
        escape(row["budget"]) if first else "",
        escape(row["method"]) + star,
        f"{row['parameters']:,}" if known else "",
        escape(percent(row["share"])) if known else "",
        _figure(with_interval(*measured_figure(row, METRICS[metric]))),
        _figure(with_interval(*measured_delta(row, metric), sign=True)),
        escape(outcome(row)),
    ]
    return " & ".join(cells) + r" \\"


def _figure(text: str) -> str:
    return f"${text.replace('±', chr(92) + 'pm')}$" if text else ""
