"""Checks the hand-written text of a page: no figure that its tables lack, no verdict of its own.

Figures are numbers outside code, links' targets, names such as 100K, years, and the numbers of a
list. Each must stand, digit for digit, in the page's generated part, in the plan or on the page
about the replication; with a sign, if it is written with one. A changed digit is not found where it
gives another figure of these. So text is best written without results: verdicts, and the figures
that go with them, are generated, and where a page has verdicts its text may not use their words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pepbench.leaderboards.boards import REPLICATION_MD, Board
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.publish import parts_of
from pepbench.report.phrases import LEVEL

_NOT_PROSE = re.compile(
    r"```.*?```|<!--.*?-->|`[^`]*`|(?<=\])\([^)]*\)|https?://\S+|arXiv[: ]*[\d.]+|^\s*\d+\. ",
    re.DOTALL | re.MULTILINE,
)
_YEAR = r"(?:19|20)\d\d(?!\w|[,.]\d| ?%)"
_FIGURE = re.compile(
    rf"(?<![\w.,])(?!{_YEAR})[+\-−]?\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[+\-−]?\d+)?(?: ?%)?(?!\w|[,.]\d)"
)
_VERDICT = re.compile(
    r"\b(?:better|worse|equivalent|non-inferior|undecided|shown|confirmed|refuted"
    r"|beats?|wins?|loses?|outperforms?)\b",
    re.IGNORECASE,
)


def figures_in(text: str) -> list[str]:
    """The figures of a text, in order, without blanks and with an ASCII minus.

    >>> figures_in("At 10 % it loses **−0.0012** (`--lr 0.01`), in 3 of MovieLens 1M's 5 folds.")
    ['10%', '-0.0012', '3', '5']
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


def verdicts_in(text: str) -> list[str]:
    """Words of verdicts in a text, as they are written.

    >>> verdicts_in("PEP beats the rest, which is Undecided (`better`).")
    ['beats', 'Undecided']
    """
    return list(dict.fromkeys(_VERDICT.findall(_NOT_PROSE.sub(" ", text))))


def quotable(board: Board, margin: float) -> Iterator[str]:
    """Texts whose figures the page of a leaderboard may quote, beside tables of its own."""
    yield f"{LEVEL} {margin}"
    for path in (board.plan_path, board.folder / REPLICATION_MD):
        if path.is_file():
            yield path.read_text("utf-8")


def check_text(page: Path, others: Iterable[str], strict: bool) -> Check:
    """Check the hand-written part of a page.

    Parameters
    ----------
    page
        The page, with a generated part.
    others
        Further texts whose figures it may quote.
    strict
        Whether the page has primary contrasts. If not, it may tell verdicts itself and quote
        tables that it does not show; the number of such figures is told.
    """
    text, generated = parts_of(page)
    unknown, verdicts = unknown_figures(text, (generated, *others)), verdicts_in(text)
    if strict and verdicts:
        words = ", ".join(verdicts)
        return Check(False, f"{page}: its text tells verdicts, which are generated: {words}")
    if not unknown:
        return Check(True, f"{page}: figures in its text are in its tables")
    some = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} others" if unknown[5:] else "")
    return Check(
        False if strict else None, f"{page}: in its text but in none of its tables: {some}"
    )
