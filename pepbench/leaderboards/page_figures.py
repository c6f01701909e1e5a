"""Checks figures in the hand-written text of a page against the tables that the page shows.

Figures are numbers with a decimal point, and percentages, outside code, links' targets and arXiv
numbers. Each must stand, digit for digit, in the page's generated part, in the plan or on the page
about the replication; with a sign, if it is written with one. Pages over several leaderboards may
quote what each of these shows. Whole numbers are not checked. A
changed digit is not found where it gives another figure of these tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepbench.analysis.significance import ALPHA
from pepbench.leaderboards.boards import REPLICATION_MD, Board
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.publish import parts_of

_NOT_PROSE = re.compile(
    r"```.*?```|<!--.*?-->|`[^`]*`|(?<=\])\([^)]*\)|https?://\S+|arXiv[: ]*[\d.]+", re.DOTALL
)
_FIGURE = re.compile(
    r"(?<![\w.,])[+\-−]?(?:\d[\d,]*\.\d+(?:e[+\-−]?\d+)?(?: ?%)?|\d[\d,]*(?= ?%) ?%)(?!\w|\.\d)"
)


def figures_in(text: str) -> list[str]:
    """The figures of a text, in order, without blanks and with an ASCII minus.

    >>> figures_in("At 10 % it loses **−0.0012** (`--lr 0.01`), at 2.5% 3 of 4 do ([x](a-1.5.md)).")
    ['10%', '-0.0012', '2.5%']
    """
    return _normal(_FIGURE.findall(_NOT_PROSE.sub(" ", text)))


def _normal(figures: Iterable[str]) -> list[str]:
    return [figure.replace(" ", "").replace("−", "-") for figure in figures]


def unknown_figures(text: str, sources: Iterable[str]) -> list[str]:
    """Figures of a text that none of the sources has; code in these counts.

    >>> unknown_figures("It gains 0.0012, and then +0.0013.", ["| +0.0012 | -0.0013 |"])
    ['+0.0013']
    """
    known: set[str] = set()
    for source in sources:
        known |= set(_normal(_FIGURE.findall(source)))
    known |= {figure.lstrip("+-") for figure in known}
    return [figure for figure in dict.fromkeys(figures_in(text)) if figure not in known]


def quotable(board: Board, margin: float) -> Iterator[str]:
    """Texts whose figures the pages of a leaderboard may quote, beside tables of their own."""
    yield f"{ALPHA} {1 - ALPHA:.0%} {margin}"
    for path in (board.plan_path, board.folder / REPLICATION_MD):
        if path.is_file():
            yield path.read_text("utf-8")


def check_figures(page: Path, others: Iterable[str], strict: bool) -> Check:
    """Check the hand-written part of a page.

    Parameters
    ----------
    page
        The page, with a generated part.
    others
        Further texts whose figures it may quote.
    strict
        Whether unknown figures are wrong. Pages of boards without primary contrasts quote tables
        that they do not show; of these the number of such figures is told.
    """
    text, generated = parts_of(page)
    unknown = unknown_figures(text, (generated, *others))
    if not unknown:
        return Check(True, f"{page}: figures in its text are in its tables")
    some = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} others" if unknown[5:] else "")
    return Check(
        False if strict else None, f"{page}: in its text but in none of its tables: {some}"
    )
