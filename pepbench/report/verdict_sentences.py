"""Sentences on what primary contrasts show. Their words follow from verdicts alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from pepbench.analysis.leaderboard import REFERENCE
from pepbench.units import Budget

SHOWN = {
    "better": "better than {other}",
    "equivalent": "within {margin} of {other}",
    "non-inferior": "no more than {margin} below {other}",
    "worse": "worse than {other}",
}
"""What a verdict says of the first method of a contrast, in the order of the sentences."""

UNDECIDED = "undecided"


def verdict_sentences(block: pd.DataFrame, margin: float) -> Iterator[str]:
    """What the primary contrasts of one data set and backbone show, and what they leave undecided.

    >>> rows = [("pep", "full", "5%", "worse"), ("qr", "full", "5%", "undecided")]
    >>> columns = ["method", "other", "budget", "verdict"]
    >>> list(verdict_sentences(pd.DataFrame(rows, columns=columns).assign(primary=True), 0.001))
    ['Shown to be worse than the full table: `pep` at 5%.', 'Undecided: `qr` − `full` at 5%.']
    """
    block = block[block["primary"]]
    for verdict, words in SHOWN.items():
        for other, rows in block[block["verdict"] == verdict].groupby("other", sort=False):
            what = words.format(other=method_words(str(other)), margin=f"{margin:g}")
            yield f"Shown to be {what}: {at_budgets(rows, rows['method'].map(code))}."
    open_rows = block[block["verdict"] == UNDECIDED]
    if len(open_rows):
        contrasts = open_rows["method"].map(code) + " − " + open_rows["other"].map(code)
        yield f"Undecided: {at_budgets(open_rows, contrasts)}."


def at_budgets(rows: pd.DataFrame, names: Iterable[str]) -> str:
    """Names by budget, from the largest to the smallest: ``a and b at 20%; a at 5%``."""
    by_budget = pd.Series(list(names)).groupby(rows["budget"].to_numpy(), sort=False)
    found = {str(budget): listed(list(of)) for budget, of in by_budget}
    ordered = sorted(found, key=lambda budget: -Budget(budget).order)
    return "; ".join(f"{found[budget]} at {budget}" for budget in ordered)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def method_words(method: str) -> str:
    """A method as sentences name it."""
    return "the full table" if method == REFERENCE else code(method)


def code(method: str) -> str:
    """A method's spec as code in Markdown."""
    return f"`{method}`"
