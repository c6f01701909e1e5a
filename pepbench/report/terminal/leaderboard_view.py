"""The leaderboard on a terminal: 80 columns suffice, with or without colour and Unicode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from rich import box
from rich.console import (
    Console,
    ConsoleOptions,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from pepbench.analysis.frames import by_block, of_block
from pepbench.analysis.metrics import (
    METRICS,
    Metric,
    MetricCard,
    card_of,
    measured_figure,
    metric_of,
)
from pepbench.records import MARGIN
from pepbench.report.phrases import block_title, outcome, parity_sentences, percent, short_count
from pepbench.report.table_rows import (
    CONTRAST_TEXTS,
    contrast_sentence,
    contrast_table,
    has_folds,
    width_reading,
    width_rows,
)
from pepbench.report.terminal.text_plot import front_plot
from pepbench.units import duration

STYLES = {
    "better": "bold green",
    "worse": "red",
    "equivalent": "cyan",
    "non-inferior": "cyan",
    "undecided": "yellow",
    "reference": "bold",
    "failed": "bold red",
    "infeasible": "magenta",
    "incomplete": "magenta",
}
"""Colour of each verdict and status."""

DROPPED_IN_ORDER = ("MiB", "seeds", "p", "wall", "bytes", "CPU", "share", "params")
"""Columns that are left out, one after the other, until the table fits."""

_ASCII_RULE = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True)
class LeaderboardView:
    """What ``Console.print`` shows for a run.

    For each data set and backbone its primary contrasts, if there are any, a picture of the front,
    and a table, its rows grouped by budget, best first; below it the cells without figures, with
    reasons, and compression at parity.

    Parameters
    ----------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` returns them.
    wide
        All columns, whatever the terminal's width.
    margin
        That verdicts were found with.
    contrasts
        Likewise; None shows none.
    """

    frame: pd.DataFrame
    fronts: list[dict[str, Any]]
    wide: bool = False
    margin: float = MARGIN
    contrasts: pd.DataFrame | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose symbols that the terminal can show, then render block by block."""
        symbols = symbols_for(options)
        parity = {(front["dataset"], front["backbone"]): front for front in self.fronts}
        card = card_of(self.frame)
        for (dataset, backbone), block in by_block(self.frame):
            full = short_count(float(block["full_parameters"].max()))
            heading = symbols.title((dataset, backbone))
            yield Text.assemble((heading, "bold"), f"  (full table: {full} parameters)")
            if self.contrasts is not None:
                yield from _contrasts(self.contrasts, (dataset, backbone), symbols, self.wide)
            plot = front_plot(block)
            for line in plot:
                yield Text(symbols.text(line), no_wrap=True, overflow="crop")
            if plot:
                yield Text()
            if self.wide:
                yield _table(block, symbols, ())
            else:
                yield _fitting_table(block, symbols, console, options)
            for line in _troubles(block):
                yield Text(symbols.text(line), style="magenta")
            front = parity.get((dataset, backbone))
            for sentence in parity_sentences(front, self.margin) if front else []:
                yield Text(symbols.text(sentence))
            yield Text()
        over = "folds" if has_folds(self.frame) else "rows or users and seeds of one split"
        yield Text(
            f"{symbols.star} on the front; {symbols.plus_minus}: 95% interval over {over}; "
            f"{symbols.delta}: {card.name} minus the full table's"
            f"{'' if card.sign > 0 else ', with its sign changed: positive is better'}; "
            f"margin of verdicts: {self.margin:g}.",
            style="dim",
        )


def _contrasts(
    contrasts: pd.DataFrame, name: tuple[str, str], symbols: Symbols, detail: bool
) -> Iterator[RenderableType]:
    block = of_block(contrasts, name)
    rows = contrast_table(block, detail)
    if not rows:
        return
    table = Table(box=symbols.rule, padding=(0, 1, 0, 0), pad_edge=False)
    budgets = {row["budget"] for row in rows}
    # One that all have goes into the heading: names need the room.
    columns = [column for column in rows[0] if column != "budget" or len(budgets) > 1]
    at = f" at {budgets.pop()}" if len(budgets) == 1 else ""
    for column in columns:
        table.add_column(
            symbols.text(f"contrast{at}" if column == "contrast" else column),
            justify="left" if column in CONTRAST_TEXTS else "right",
            overflow="fold",
            no_wrap=column != "contrast",
        )
    for row in rows:
        table.add_row(
            *(
                Text(
                    symbols.text(row[column]),
                    STYLES.get(row[column], "") if column == "verdict" else "",
                )
                for column in columns
            )
        )
    yield table
    yield Text(symbols.text(contrast_sentence(block)), style="dim")
    yield Text()


@dataclass(frozen=True)
class RecoveryView:
    """What ``Console.print`` shows about learnt widths: nothing where nothing is known.

    Parameters
    ----------
    frame
        Of :class:`pepbench.analysis.width_recovery.WidthRecovery`.
    folds
        Whether there are several.
    """

    frame: pd.DataFrame
    folds: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table for each data set and backbone, best agreement first within a budget."""
        symbols = symbols_for(options)
        for (dataset, backbone), block in by_block(self.frame):
            yield Text()
            heading = f"learnt widths: {symbols.title((dataset, backbone))}"
            yield Text(symbols.text(heading), "bold")
            rows = width_rows(block, symbols.plus_minus, symbols.none)
            table = _empty_table(symbols)
            for column in list(rows[0])[2:]:
                table.add_column(column, justify="right", no_wrap=True)
            for budget, group in groupby(rows, key=lambda row: row.pop("budget")):
                for position, (method, *figures) in enumerate(row.values() for row in group):
                    first = symbols.text(budget) if position == 0 else ""
                    table.add_row(first, Text(symbols.text(method)), *figures)
                table.add_section()
            yield table
        if len(self.frame):
            words = width_reading(self.frame, symbols.plus_minus, self.folds)
            yield Text(words, style="dim")


@dataclass(frozen=True)
class Symbols:
    """Characters that a terminal can show."""

    plus_minus: str
    delta: str
    star: str
    dot: str
    none: str
    rule: box.Box
    encoding: str

    def difference(self, card: MetricCard) -> str:
        """Name of differences, positive where better."""
        minus = "-" if card.sign < 0 else ""
        return f"{self.delta} {minus}{card.name}"

    def text(self, words: str) -> str:
        """Words from outside, such as names, in characters that can be shown."""
        if self.encoding == "ascii":
            words = words.translate(_IN_ASCII)
        return words.encode(self.encoding, "replace").decode(self.encoding)

    def title(self, name: Sequence[str]) -> str:
        """As :func:`pepbench.report.phrases.block_title`."""
        return self.text(block_title(name).replace("·", self.dot))


_IN_ASCII = str.maketrans({"−": "-", "Δ": "diff "})
_UNICODE = Symbols("±", "Δ", "★", "·", "–", box.SIMPLE_HEAD, "utf-8")
_ASCII = Symbols("+-", "diff", "*", "/", "-", _ASCII_RULE, "ascii")


def symbols_for(options: ConsoleOptions) -> Symbols:
    """Unicode where the terminal has it."""
    return _ASCII if options.ascii_only else _UNICODE


def _fitting_table(
    block: pd.DataFrame, symbols: Symbols, console: Console, options: ConsoleOptions
) -> Table:
    """The table without its least important columns, as far as the width demands."""
    for count in range(len(DROPPED_IN_ORDER) + 1):
        table = _table(block, symbols, DROPPED_IN_ORDER[:count])
        needed = console.measure(table, options=options.update(max_width=1000)).maximum
        if needed <= options.max_width:
            break
    return table


def _table(block: pd.DataFrame, symbols: Symbols, dropped: tuple[str, ...]) -> Table:
    table = _empty_table(symbols)
    figure = f"{card_of(block).name} {symbols.plus_minus}"
    names = (
        "params",
        "share",
        "bytes",
        figure,
        symbols.delta,
        "p",
        "verdict",
        "CPU",
        "wall",
        "MiB",
        "seeds",
    )
    for name in (*names, symbols.star):
        if name not in dropped:
            justify: JustifyMethod = "left" if name in ("verdict", symbols.star) else "right"
            table.add_column(name, justify=justify, no_wrap=True)
    for budget, group in block.groupby("budget", sort=False):
        for position, row in enumerate(group.to_dict("records")):
            cells = _cells(row, symbols, metric_of(block))
            shown = [cell for name, cell in cells.items() if name not in dropped]
            table.add_row(symbols.text(str(budget)) if position == 0 else "", *shown)
        table.add_section()
    return table


def _empty_table(symbols: Symbols) -> Table:
    table = Table(box=symbols.rule, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("budget", no_wrap=True)
    table.add_column("method", overflow="fold", min_width=6)
    return table


def _cells(row: dict[Any, Any], symbols: Symbols, metric: Metric) -> dict[str, Text]:
    words = outcome(row)
    value, low, high = measured_figure(row, METRICS[metric])
    half = (high - low) / 2
    figure = symbols.none if math.isnan(value) else f"{value:.4f}"
    spread = "" if math.isnan(half) else f" {symbols.plus_minus}{half:.4f}"
    delta = row[f"delta_{metric}"]
    counted = not pd.isna(row["parameters"])
    p, memory = row["p_holm"], row["peak_memory_mib"]
    return {
        "method": Text(symbols.text(row["method"])),
        "params": Text(short_count(row["parameters"]) if counted else symbols.none),
        "share": Text(percent(row["share"]) if counted else symbols.none),
        "bytes": Text(symbols.none if pd.isna(row["bytes"]) else f"{short_count(row['bytes'])}B"),
        "figure": Text(figure + spread),
        "delta": Text("" if math.isnan(delta) else f"{round(delta, 4) + 0.0:+.4f}"),
        "p": Text("" if math.isnan(p) else f"{p:.2g}"),
        "verdict": Text(words, style=STYLES.get(words, "")),
        "CPU": _time(row["cpu_seconds"], symbols),
        "wall": _time(row["search_seconds"] + row["train_seconds"], symbols),
        "MiB": Text(symbols.none if pd.isna(memory) else f"{memory:,.0f}"),
        "seeds": Text(str(row["seeds"])),
        "front": Text(symbols.star if row["on_front"] else "", style="bold yellow"),
    }


def _time(seconds: float, symbols: Symbols) -> Text:
    return Text(symbols.none if math.isnan(seconds) else duration(seconds))


def _troubles(block: pd.DataFrame) -> Iterable[str]:
    """One line for each reason, naming the cells that share it."""
    troubled = block[block["status"] != "ok"]
    for (status, method, reason), group in troubled.groupby(
        ["status", "method", "reason"], sort=False
    ):
        yield f"{status}: {method} at {', '.join(group['budget'])}: {reason}"
