"""The generated part of the page about the PEP paper: tables on its claims (a), (b), (c) and (f).

Claims (d) and (e) have leaderboards of their own, in ``paper/``. The verdict on each claim is
written by hand around the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from pepbench.analysis.leaderboard import compression_at_parity
from pepbench.leaderboards.board_page import markdown
from pepbench.leaderboards.board_results import BoardResults, margins
from pepbench.records import CELL_COLUMNS
from pepbench.report.markdown import escape
from pepbench.report.phrases import percent, times

SUBJECT = "pep"
RIVALS = ("uniform", "mgqe", "mde", "darts", "magnitude", "random-mask", "popularity-mask")
"""The paper's baselines, and controls that the literature leaves out."""

_BLOCK = ["dataset", "backbone"]

PAPER = "paper"
"""Folder of the page, and of the leaderboards about the paper."""


def claims_summary(published: Mapping[str, BoardResults]) -> str:
    """The generated part of the page on the paper, as Markdown.

    Parameters
    ----------
    published
        Results by name, of the leaderboards that count across them.
    """
    if not published:
        return "No leaderboard is published yet, so there are no figures."
    frame = pd.concat([one.frame for one in published.values()], ignore_index=True)
    compared = pd.concat([one.comparisons for one in published.values()], ignore_index=True)
    widths = pd.concat([one.widths for one in published.values()], ignore_index=True)
    sections = (
        (
            "(a) Fewer parameters at the full table's AUC",
            "Share of the table's parameters that can go with the AUC shown to be less than "
            f"{margins(published.values())} below the full table's; –: not shown at any budget.",
            _parity(compression_at_parity(compared)),
        ),
        (
            "(b) AUC beside others at the same budget",
            "Test AUC of PEP minus the other's, mean over seeds; empty: not run or not feasible. "
            "`pepbench compare` tests a pair.",
            _differences(frame),
        ),
        (
            "(c) Time",
            "CPU time of a final run of PEP, search and retraining, over that of the full table; "
            "the paper says 1.2 to 1.3.",
            _times(frame),
        ),
        (
            "(f) Frequency and width",
            "Spearman's ρ of learnt width and training frequency: mean over folds, and ± standard "
            "deviation over seeds where a split has several.",
            _widths(widths),
        ),
    )
    return "\n\n".join(f"### {title}\n\n{words}\n\n{table}" for title, words, table in sections)


def _is_subject(method: str) -> bool:
    return method.split(":")[0].split("+")[0] == SUBJECT


def _subjects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["method"].map(_is_subject).astype(bool)]


def _parity(parity: pd.DataFrame) -> str:
    rows = []
    for row in _subjects(parity).to_dict("records"):
        block = parity[
            (parity["dataset"] == row["dataset"])
            & (parity["backbone"] == row["backbone"])
            & ~parity["method"].map(_is_subject).astype(bool)
        ].dropna(subset=["compression"])
        best = block.sort_values(["compression", "method"], ascending=[False, True]).head(1)
        others = [f"{escape(one['method'])} {_saved(one)}" for one in best.to_dict("records")]
        rows.append([*_names(row, _BLOCK), escape(row["method"]), _saved(row), *(others or ["–"])])
    headings = ("data set", "backbone", "PEP", "parameters saved", "best other method")
    return markdown(rows, headings, texts=3)


def _saved(row: Mapping[Any, float]) -> str:
    return "–" if pd.isna(row["compression"]) else percent(1 - 1 / row["compression"])


def _differences(frame: pd.DataFrame) -> str:
    aucs = frame[frame["status"] == "ok"].set_index(CELL_COLUMNS)["auc"].to_dict()
    rows = []
    for row in _subjects(frame[frame["status"] == "ok"]).to_dict("records"):
        place = (row["dataset"], row["backbone"])
        others = [aucs.get((*place, rival, row["budget"])) for rival in RIVALS]
        figures = ["" if other is None else f"{row['auc'] - other:+.4f}" for other in others]
        rows.append([*_names(row, [*_BLOCK, "budget", "method"]), *figures])
    return markdown(rows, ("data set", "backbone", "budget", "PEP", *RIVALS), texts=4)


def _times(frame: pd.DataFrame) -> str:
    timed = frame[frame["status"] == "ok"]
    full = timed[timed["method"] == "full"].set_index(_BLOCK)["cpu_seconds"].to_dict()
    rows = []
    for (dataset, backbone, method), group in _subjects(timed).groupby([*_BLOCK, "method"]):
        if (dataset, backbone) in full:
            ratios = group["cpu_seconds"] / full[dataset, backbone]
            names = [escape(str(name)) for name in (dataset, backbone, method)]
            figures = [times(float(ratio)) for ratio in ratios.quantile([0.5, 0, 1])]
            rows.append([*names, *figures])
    headings = ("data set", "backbone", "PEP", "median over budgets", "least", "most")
    return markdown(rows, headings, texts=3)


def _widths(widths: pd.DataFrame) -> str:
    rows = [
        [
            *_names(row, [*_BLOCK, "budget", "method"]),
            f"{row['frequency_correlation']:.2f}"
            + ("" if pd.isna(row["frequency_spread"]) else f" ±{row['frequency_spread']:.2f}"),
        ]
        for row in _subjects(widths.dropna(subset=["frequency_correlation"])).to_dict("records")
    ]
    return markdown(rows, ("data set", "backbone", "budget", "PEP", "ρ"), texts=4)


def _names(row: Mapping[Any, object], columns: list[str]) -> Iterator[str]:
    return (escape(str(row[column])) for column in columns)
