"""Tables of the site's pages on boards: HTML that the pages' script sorts and filters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

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


def verdict(word: str) -> str:
    """A verdict on its colour."""
    return f'<span class="verdict {word}">{word}</span>'


FILTERED = ("family", "data set", "backbone", "budget", "board")
"""Columns whose values readers choose among."""


def table(rows: Sequence[Row], label: str) -> str:
    """An HTML table that the page's script sorts and filters.

    Parameters
    ----------
    rows
        At least one; texts are HTML.
    label
        For readers who do not see the table.
    """

    def heading(name: str) -> str:
        number = ' class="number"' if isinstance(rows[0][name], Figure) else ""
        kind = " data-numeric" if number else ""
        choice = " data-filter" if name in FILTERED else ""
        return (
            f'<th scope="col" aria-sort="none"{number}{choice}><button type="button"{kind}>'
            f'{name}<span class="arrow" aria-hidden="true"></span></button></th>'
        )

    def cell(value: str | Figure) -> str:
        if isinstance(value, str):
            return f"<td>{value}</td>"
        number = "" if pd.isna(value.number) else f"{value.number:.10g}"
        return f'<td class="number" data-sort="{number}">{escape(value.shown)}</td>'

    body = "\n".join(f"<tr>{''.join(map(cell, row.values()))}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">\n'
        f'<table class="board"><thead><tr>{"".join(map(heading, rows[0]))}</tr></thead>\n'
        f"<tbody>{body}</tbody></table>\n</div>"
    )
