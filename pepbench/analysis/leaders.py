"""The leading method of each budget, and whether its lead over the second is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pepbench.analysis.metrics import METRICS, card_of

_PLACE = ["dataset", "backbone", "budget"]
_REVERSED = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Lead:
    """The two best methods of a data set, backbone and budget.

    Attributes
    ----------
    dataset, backbone, budget
        Where.
    first, second
        Methods, by the mean of the metric.
    difference, low, high
        First minus second in the metric, with its interval; NaN if they could not be compared.
    verdict
        Of the first against the second, adjusted over all pairs of the budget; but
        ``non-inferior`` is said of ``noninferior``. Empty without comparison.
    noninferior
        The method that is shown not to be worse than the other by the margin, where that is the
        verdict; else empty.
    seeds_to_decide, basis
        As in the frame of pairs.
    note
        Why they could not be compared, if it is known; else empty.
    best
        What the first has, such as ``highest AUC``.
    """

    dataset: str
    backbone: str
    budget: str
    first: str
    second: str
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    verdict: str = ""
    noninferior: str = ""
    seeds_to_decide: float = math.nan
    basis: str = ""
    note: str = ""
    best: str = METRICS["auc"].best


def leads(frame: pd.DataFrame, pairs: pd.DataFrame, comparisons: pd.DataFrame) -> list[Lead]:
    """The lead at each data set, backbone and budget with two finished methods or more.

    Parameters
    ----------
    frame
        The leaderboard, in its order: best first within a budget.
    pairs, comparisons
        As :class:`pepbench.analysis.leaderboard.Analysis` describes them. A lead is a row of
        ``pairs``, so that choosing the best after seeing the figures is paid for: Holm's family
        is all pairs of the budget.

    Returns
    -------
    list of Lead
        In the order of the leaderboard.
    """
    known = {
        (*(row[name] for name in _PLACE), frozenset((row["method"], row["other"]))): row
        for row in pairs.to_dict("records")
    }
    notes = {
        (*(row[name] for name in _PLACE), row["method"]): row["note"]
        for row in comparisons.to_dict("records")
    }
    done = frame[(frame["status"] == "ok") & frame["auc"].notna()]
    found, best = [], card_of(frame).best
    for place, block in done.groupby(_PLACE, sort=False):
        if len(block) < 2:
            continue
        dataset, backbone, budget = names = tuple(map(str, place))
        first, second = map(str, block["method"].iloc[:2])
        row = known.get((*names, frozenset((first, second))))
        if row is None:
            note = notes.get((*names, first)) or notes.get((*names, second)) or ""
            found.append(Lead(dataset, backbone, budget, first, second, note=note, best=best))
        else:
            found.append(_lead(first, second, row, best))
    return found


def _lead(first: str, second: str, row: Mapping[Any, Any], best: str) -> Lead:
    """The row as it is, or reversed: its difference is ``method`` minus ``other``."""
    straight, words = row["method"] == first, row["verdict"]
    sign, low, high = (1, row["low"], row["high"]) if straight else (-1, row["high"], row["low"])
    return Lead(
        str(row["dataset"]),
        str(row["backbone"]),
        str(row["budget"]),
        first,
        second,
        difference=sign * row["difference"],
        low=sign * low,
        high=sign * high,
        verdict=words if straight else _REVERSED.get(words, words),
        noninferior=row["method"] if words == "non-inferior" else "",
        seeds_to_decide=row["seeds_to_decide"],
        basis=row["basis"],
        best=best,
    )
