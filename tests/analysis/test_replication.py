"""Replicated contrasts, against a table of all outcomes and counts by brute force."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from pepbench.analysis.replication import KEYS, replication_frame
from pepbench.leaderboards.replication import count_sentences

SMALL = 1e-3


def contrast(verdict, difference, p, **changes):
    row = dict.fromkeys(("dataset", "backbone", "budget", "method", "other"), "x")
    row |= {"primary": True, "difference": difference, "low": difference - 1, "p_holm": p}
    return row | {"high": difference + 1, "verdict": verdict} | changes


def both(first, second):
    return replication_frame(pd.DataFrame([first]), pd.DataFrame([second])).iloc[0]


BETTER, WORSE = ("better", 0.01, SMALL), ("worse", -0.01, SMALL)
EQUAL, LOWER = ("equivalent", 0.0001, 0.8), ("equivalent", -0.0001, SMALL)
HIGHER = ("equivalent", 0.0001, SMALL)
ABOVE, BELOW = ("undecided", 0.001, 0.3), ("undecided", -0.001, 0.3)
NOT_WORSE = ("non-inferior", 0.001, 0.2)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (BETTER, BETTER, "shown again"),
        (BETTER, ABOVE, "undecided, same sign"),
        (BETTER, BELOW, "undecided, other sign"),
        (BETTER, WORSE, "reversed"),
        (WORSE, BELOW, "undecided, same sign"),
        (BETTER, NOT_WORSE, "another verdict"),
        (BETTER, EQUAL, "another verdict"),
        (BETTER, LOWER, "reversed"),
        (EQUAL, LOWER, "shown again"),
        (HIGHER, LOWER, "reversed"),
        (EQUAL, WORSE, "another verdict"),
        (LOWER, BETTER, "reversed"),
        (ABOVE, BELOW, "undecided both times"),
        (ABOVE, WORSE, "shown the second time"),
        (BETTER, ("", math.nan, math.nan), "not compared"),
        (("", math.nan, math.nan), ABOVE, "not compared"),
    ],
)
def test_each_pair_of_verdicts_has_its_outcome(first, second, outcome):
    assert both(contrast(*first), contrast(*second))["outcome"] == outcome


def test_rows_are_matched_by_name_and_exploratory_ones_left_out():
    first = pd.DataFrame(
        [contrast(*BETTER, budget=budget, method=m) for budget in "ab" for m in "pq"]
        + [contrast(*BETTER, budget="c", primary=False)]
    )
    second = first.iloc[[3, 1, 0, 4]].assign(difference=[3.0, 1.0, 0.0, 4.0])
    found = replication_frame(first, second)
    assert found[KEYS].equals(first[first["primary"]][KEYS])
    np.testing.assert_array_equal(found["second_difference"], [0.0, 1.0, np.nan, 3.0])
    assert found["outcome"].tolist()[2] == "not compared"


def test_counts_are_those_of_a_loop_over_all_pairs_of_verdicts():
    kinds = [BETTER, WORSE, EQUAL, LOWER, HIGHER, ABOVE, BELOW, NOT_WORSE, ("", math.nan, math.nan)]
    pairs = list(itertools.product(kinds, kinds))
    sides = [
        pd.DataFrame([contrast(*pair[side], budget=str(n)) for n, pair in enumerate(pairs)])
        for side in (0, 1)
    ]
    text = " ".join(count_sentences(replication_frame(*sides)))
    told = [pair for pair in pairs if pair[0][0] and pair[1][0]]
    shown = [(a, b) for a, b in told if a[0] != "undecided"]
    opposite = [(a, b) for a, b in shown if max(a[2], b[2]) < 0.05 and a[1] * b[1] < 0]
    again = sum(a[0] == b[0] and (a, b) not in opposite for a, b in shown)
    undecided = sum(b[0] == "undecided" for _, b in shown)
    signed = [(a, b) for a, b in told if a[2] < 0.05]
    flipped = len(opposite)
    signed_again = sum(a[1] * b[1] > 0 and b[2] < 0.05 for a, b in signed)
    both_open = sum(a[0] == "undecided" == b[0] for a, b in told)
    open_first = sum(a[0] == "undecided" for a, _ in told)
    assert text == (
        f"Verdicts shown the first time: {len(shown)}. Of these, shown again: {again}, undecided: "
        f"{undecided}, reversed: {flipped}, another: {len(shown) - again - undecided - flipped}. "
        f"Signs shown the first time: {len(signed)}. Of these, the same in the second estimate: "
        f"{sum(a[1] * b[1] > 0 for a, b in signed)}, shown again: {signed_again}. "
        f"Undecided the first time: {open_first}. Of these, shown the second time: "
        f"{open_first - both_open}. Not compared in both runs: {len(pairs) - len(told)}."
    )


def test_sentences_without_a_shown_verdict_say_so():
    frame = replication_frame(*[pd.DataFrame([contrast(*ABOVE)])] * 2)
    first, *rest = count_sentences(frame)
    assert first == "No verdict was shown the first time."
    assert rest == ["Undecided the first time: 1. Of these, shown the second time: 0."]
