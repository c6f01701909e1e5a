"""What was found out about learnt widths, as a table: terminal, Markdown, CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from pepbench.analysis.width_recovery import RECOVERY_COLUMNS
from pepbench.report.markdown import escape
from pepbench.report.terminal.leaderboard_view import Symbols, symbols_for

_COLUMNS = (
    ("width", "mean_width", "", ".1f"),
    ("planted", "planted_correlation", "planted_spread", ".3f"),
    ("at most", "planted_ceiling", "", ".3f"),
    ("partial", "partial_correlation", "", ".3f"),
    ("freq.", "frequency_correlation", "", ".3f"),
    ("Bayes gap", "bayes_gap", "gap_spread", ".3f"),
)
"""Heading, figure, its spread if it is shown, format."""


@dataclass(frozen=True)
class RecoveryView:
    """What ``Console.print`` shows about learnt widths: nothing where nothing is known.

    Parameters
    ----------
    frame
        Of :class:`pepbench.analysis.width_recovery.Recovery`.
    """

    frame: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table for each data set and backbone, best agreement first within a budget."""
        symbols = symbols_for(options)
        for (dataset, backbone), block in self.frame.groupby(["dataset", "backbone"], sort=False):
            heading = f"learnt widths: {dataset} {symbols.dot} {backbone}"
            yield Text()
            yield Text(symbols.text(heading), "bold")
            yield _terminal_table(_ranked(block), symbols)
        if len(self.frame):
            yield Text(_reading(self.frame, symbols.plus_minus), style="dim")


def recovery_markdown(frame: pd.DataFrame, pictures: Iterable[str]) -> str:
    """A section on learnt widths; empty where nothing is known.

    Parameters
    ----------
    frame
        Of :class:`pepbench.analysis.width_recovery.Recovery`.
    pictures
        File names of :func:`pepbench.report.charts.widths.pictures`, without suffix.
    """
    if frame.empty:
        return ""
    parts = ["## Learnt widths"]
    for (dataset, backbone), block in frame.groupby(["dataset", "backbone"], sort=False):
        parts += [
            f"**{escape(str(dataset))} · {escape(str(backbone))}**",
            _markdown_table(_ranked(block)),
        ]
    parts.append(_reading(frame, "±"))
    parts += [f"![{name}]({name}.svg)" for name in pictures]
    return "\n\n".join(parts) + "\n"


def recovery_csv(frame: pd.DataFrame) -> str:
    """All columns in full precision; a missing figure is an empty field."""
    text: str = frame.to_csv(columns=list(RECOVERY_COLUMNS), index=False, lineterminator="\n")
    return text


def _ranked(block: pd.DataFrame) -> pd.DataFrame:
    places = {budget: place for place, budget in enumerate(dict.fromkeys(block["budget"]))}
    return (
        block.assign(_place=block["budget"].map(places))
        .sort_values(
            ["_place", "planted_correlation", "frequency_correlation", "bayes_gap"],
            ascending=[True, False, False, True],
            kind="stable",
        )
        .drop(columns="_place")
    )


def _shown(block: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    return [column for column in _COLUMNS if block[column[1]].notna().any()]


def _terminal_table(block: pd.DataFrame, symbols: Symbols) -> Table:
    table = Table(box=symbols.rule, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("budget", no_wrap=True)
    table.add_column("method", overflow="fold", min_width=6)
    columns = _shown(block)
    for heading, _, spread, _ in columns:
        table.add_column(
            f"{heading} {symbols.plus_minus}" if spread else heading, justify="right", no_wrap=True
        )
    for budget, group in block.groupby("budget", sort=False):
        for position, row in enumerate(group.to_dict("records")):
            figures = [_figure(row, column, symbols.plus_minus, symbols.none) for column in columns]
            first = symbols.text(str(budget)) if position == 0 else ""
            table.add_row(first, Text(symbols.text(row["method"])), *figures)
        table.add_section()
    return table


def _markdown_table(block: pd.DataFrame) -> str:
    columns = _shown(block)
    rows = [
        [escape(row["budget"]), escape(row["method"])]
        + [_figure(row, column, "±", "") for column in columns]
        for row in block.to_dict("records")
    ]
    table: str = tabulate(
        rows,
        headers=["budget", "method", *(f"{c[0]} ±" if c[2] else c[0] for c in columns)],
        tablefmt="github",
        colalign=["left", "left", *("right" for _ in columns)],
        disable_numparse=True,
    )
    return table


def _figure(
    row: dict[Any, Any], column: tuple[str, str, str, str], plus_minus: str, none: str
) -> str:
    _, name, spread, form = column
    if math.isnan(row[name]):
        return none
    text = format(row[name], form)
    if spread and not math.isnan(row[spread]):
        return f"{text} {plus_minus}{format(row[spread], form)}"
    return text


def _reading(frame: pd.DataFrame, plus_minus: str) -> str:
    words = [
        "width: mean learnt width of the features seen in training;",
        "freq.: Spearman correlation of learnt width with training frequency",
        f"(means over seeds; {plus_minus}: standard deviation over them).",
    ]
    if frame["planted_correlation"].notna().any():
        words += [
            "planted: the same with planted width; at most: what it would be if the same widths",
            "were dealt out in the planted order; partial: planted, within fields and with",
            "frequency held.",
        ]
    if frame["bayes_gap"].notna().any():
        words += ["Bayes gap: AUC of the true probabilities on the test rows minus test AUC."]
    return " ".join(words)
