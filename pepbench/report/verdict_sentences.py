"""Sentences on what primary contrasts show. Their words follow from verdicts alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from pepbench.analysis.cells import REFERENCE
from pepbench.analysis.metrics import METRICS, measured_delta, metric_of
from pepbench.report.phrases import NOT_COMPARED, rounded
from pepbench.units import Budget

SHOWN = {
    "better": "better than {other}",
    "equivalent": "within {margin} of {other}",
    "non-inferior": "no more than {margin} below {other}",
    "worse": "worse than {other}",
}
"""What a verdict says of the first method of a contrast, in the order of the sentences."""

FLATTERED = "chosen on the same test rows, which flatters it"
"""Said of the best method wherever it is named."""

UNDECIDED = "undecided"
_FULL_TABLE = "the full table"


def verdict_sentences(block: pd.DataFrame, margin: float) -> Iterator[str]:
    """What the primary contrasts of one data set and backbone show, and what they leave undecided.

    >>> rows = [("pep", "full", "5%", "worse"), ("qr", "full", "5%", "undecided")]
    >>> columns = ["method", "other", "budget", "verdict"]
    >>> list(verdict_sentences(pd.DataFrame(rows, columns=columns).assign(primary=True), 0.001))
    ['Shown to be worse than the full table: `pep` at 5%.', 'Undecided: `qr` − `full` at 5%.']
    """
    block = block[block["primary"]]
    named = block.assign(named=block["method"].map(code))
    yield from (f"Shown to be {what}." for what in shown(named, f"{margin:g}"))
    undecided = block[block["verdict"] == UNDECIDED]
    if len(undecided):
        yield f"Undecided: {contrasts_at_budgets(undecided)}."


def best_sentence(frame: pd.DataFrame) -> str:
    """The best method at each budget and its difference to the full table; empty without any.

    Parameters
    ----------
    frame
        The leaderboard of one data set and backbone.
    """
    metric, best = metric_of(frame), best_cells(frame)
    found = [
        f"{code(row['method'])} at {row['budget']} ("
        + ", ".join(
            filter(None, (rounded(*measured_delta(row, metric))[0], row["verdict"] or NOT_COMPARED))
        )
        + ")"
        for row in best[best["verdict"] != "reference"].to_dict("records")
    ]
    what = f"The {METRICS[metric].best} at each budget ({FLATTERED}), minus {_FULL_TABLE}'s"
    return f"{what}: {'; '.join(found)}." if found else ""


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a leaderboard, the best cell of each data set, backbone and budget, compared or not."""
    return frame[frame["status"] == "ok"].drop_duplicates(["dataset", "backbone", "budget"])


def shown(rows: pd.DataFrame, margin: str) -> Iterator[str]:
    """What verdicts show, a phrase for each second method or, where fewer, each first one.

    >>> columns = ["named", "other", "budget", "verdict"]
    >>> rows = [("a", "full", "5%", "worse"), ("b", "full", "5%", "worse")]
    >>> rows += [("a", "c", "5%", "better"), ("a", "d", "5%", "better")]
    >>> list(shown(pd.DataFrame(rows, columns=columns), "0.001"))
    ['better than `c` and `d` at 5%: a', 'worse than the full table: a and b at 5%']

    Parameters
    ----------
    rows
        A row for each contrast: other, budget, verdict, and how the first method is ``named``.
    margin
        Of equivalence and non-inferiority, in words.
    """
    others = rows["other"].map(
        lambda other: _FULL_TABLE if other == REFERENCE else code(str(other))
    )
    rows = rows.assign(other=others)
    for verdict, words in SHOWN.items():
        found = rows[rows["verdict"] == verdict]
        few, many = "other", "named"
        if found["named"].nunique() < found["other"].nunique():
            few, many = many, few
        for _, of_one in found.groupby(few, sort=False):
            first, second = (
                of_one[side].iloc[0] if side == few else at_budgets(of_one, side)
                for side in ("named", "other")
            )
            yield f"{words.format(other=second, margin=margin)}: {first}"


def contrasts_at_budgets(rows: pd.DataFrame) -> str:
    """Contrasts by budget: ``a − b at 20%; a − b and c − b at 5%``."""
    named = rows["method"].map(code) + " − " + rows["other"].map(code)
    return at_budgets(rows.assign(named=named))


def at_budgets(rows: pd.DataFrame, column: str = "named") -> str:
    """A column's names by budget, from the largest: ``a and b at 20%; a at 5%``."""
    found = {str(budget): listed(list(names)) for budget, names in rows.groupby("budget")[column]}
    ordered = sorted(found, key=lambda budget: -Budget(budget).order)
    return "; ".join(f"{found[budget]} at {budget}" for budget in ordered)


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def code(method: str) -> str:
    """A method's spec as code in Markdown."""
    return f"`{method}`"
