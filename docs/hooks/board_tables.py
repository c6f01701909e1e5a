"""Tables of the site's pages on boards: HTML that the pages' script sorts and filters."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from pepbench.analysis.frames import by_block
from pepbench.analysis.metrics import card_of
from pepbench.report.phrases import block_title
from pepbench.report.table_rows import contrast_sentence, contrast_table
from pepbench.units import Budget, duration

Row = dict[str, "str | Figure"]


@dataclass(frozen=True)
class Figure:
    """A cell of a table to sort by number: what it shows, and the number, NaN if not known."""

    shown: str
    number: float


def budget_figure(budget: str) -> Figure:
    """A budget; shares of the full table come above numbers of parameters."""
    return Figure(budget, Budget(budget).parameters(10**12))


def time_figure(seconds: float) -> Figure:
    """A time in seconds, in words."""
    return Figure("" if math.isnan(seconds) else duration(seconds), seconds)


def verdict(word: str, reason: str = "") -> str:
    """A verdict on its colour; a reason opens with a click."""
    shown = f'<span class="verdict {word}">{word}</span>'
    return details(shown, [reason]) if reason else shown


def details(summary: str, lines: Sequence[str]) -> str:
    """Text that opens with a click on its summary, which is HTML."""
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<details><summary>{summary}</summary>{paragraphs}</details>"


FILTERED = ("family", "data set", "backbone", "budget", "board")
"""Columns whose values readers choose among."""


def contrast_tables(contrasts: pd.DataFrame) -> Iterator[str]:
    """Primary contrasts of each data set and backbone: title, table, and what they hold over."""
    for name, block in by_block(contrasts[contrasts["primary"]]):
        title, difference = escape(block_title(name)), card_of(block).difference
        words = contrast_table(block, detail=False)
        rows: list[Row] = [
            {
                **shown,
                "budget": budget_figure(row["budget"]),
                difference: Figure(shown[difference], row["difference"]),
                "verdict": verdict(shown["verdict"], row["note"]),
            }
            for shown, row in zip(words, block.to_dict("records"), strict=True)
        ]
        yield f"**{title}**"
        yield table(rows, f"Primary contrasts on {title}", filtered=())
        yield contrast_sentence(block)


def table(
    rows: Sequence[Row],
    label: str,
    filtered: Collection[str] = FILTERED,
    only_if_various: Collection[str] = (),
) -> str:
    """An HTML table that the page's script sorts and filters.

    Parameters
    ----------
    rows
        At least one; texts are HTML.
    label
        For readers who do not see the table.
    filtered
        Columns whose values readers choose among.
    only_if_various
        Columns that are left out where all rows say the same.
    """
    for name in only_if_various:
        if len({str(row[name]) for row in rows}) == 1:
            rows = [{key: value for key, value in row.items() if key != name} for row in rows]

    def heading(name: str) -> str:
        number = ' class="number"' if isinstance(rows[0][name], Figure) else ""
        kind = " data-numeric" if number else ""
        choice = " data-filter" if name in filtered else ""
        return (
            f'<th scope="col" aria-sort="none"{number}{choice}><button type="button"{kind}>'
            f'{name}<span class="arrow" aria-hidden="true"></span></button></th>'
        )

    def cell(value: str | Figure) -> str:
        if isinstance(value, str):
            return f"<td>{value}</td>"
        number = "" if pd.isna(value.number) else f"{value.number:.10g}"
        return f'<td class="number" data-sort="{number}">{escape(value.shown)}</td>'

    def line(row: Row) -> str:
        first, *others = row.values()
        return f'<tr><th scope="row">{first}</th>{"".join(map(cell, others))}</tr>'

    body = "\n".join(map(line, rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">\n'
        f'<table class="board"><thead><tr>{"".join(map(heading, rows[0]))}</tr></thead>\n'
        f"<tbody>{body}</tbody></table>\n</div>"
    )
