"""Figures and findings in words, the same in the terminal and in files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from pepbench.analysis.folds import BASES, width_factor
from pepbench.analysis.frames import by_block
from pepbench.analysis.significance import ALPHA
from pepbench.records import FEWEST_FOLDS, MARGIN
from pepbench.units import dataset_title

if TYPE_CHECKING:
    from pepbench.analysis.leaders import Lead

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))

LEVEL = f"{100 * (1 - ALPHA):g}%"
"""Of all intervals."""

NOT_COMPARED = "not compared"
"""Written in place of a verdict."""


def block_title(name: Sequence[str]) -> str:
    """The title of what is about a data set, a backbone and, for some, a budget.

    >>> block_title(("synthetic:rows=2000", "fm"))
    'drawn, 2k rows · fm'
    """
    return " · ".join((dataset_title(name[0]), *name[1:]))


def outcome(cell: Mapping[Any, Any]) -> str:
    """The verdict of a row of the leaderboard, or its status where that is not ok."""
    return str(cell["verdict"] if cell["status"] == "ok" else cell["status"])


def short_count(count: float) -> str:
    """A number of parameters in at most five characters.

    >>> [short_count(count) for count in (950, 78_234, 999_600, 3_200_000)]
    ['950', '78.2k', '1.00M', '3.20M']
    """
    for size, unit in _UNITS:
        if count >= size * 0.9995:
            return f"{_three_digits(count / size)}{unit}"
    return f"{count:.0f}"


def paired_by_auc(frame: pd.DataFrame) -> bool:
    """Whether a leaderboard has differences of AUC; not where verdicts are about another metric."""
    return "delta_auc" in frame and bool(frame["delta_auc"].notna().any())


def front_pictures(frame: pd.DataFrame) -> dict[str, str]:
    """Fronts that a page shows first, by file name without suffix, and what each shows.

    Bytes have one of their own where a table takes less than four for a parameter.
    """
    ok = frame[frame["status"] == "ok"]
    what = "ΔAUC to the full table" if paired_by_auc(frame) else "AUC"
    pictures = {"pareto": f"{what} against parameters"}
    if (ok["bytes"] < 4 * ok["parameters"]).any():
        pictures["pareto-bytes"] = f"{what} against bytes"
    return pictures


def percent(share: float) -> str:
    """A share with three significant digits.

    >>> [percent(share) for share in (1.0, 0.1234, 0.01, 0.00012)]
    ['100%', '12.3%', '1.00%', '0.012%']
    """
    value = 100 * share
    if 0 < value < 0.1:
        return f"{value:.2g}%"
    return f"{_three_digits(value)}%"


def decimals(half_width: float) -> int:
    """Decimals of a figure that is known to within ``half_width``: two digits of its interval.

    >>> [decimals(half) for half in (0.0098, 0.012, 0.00031, 0.0, math.nan)]
    [4, 3, 5, 5, 5]
    """
    if math.isnan(half_width) or half_width <= 0:
        return 5
    return min(6, max(2, 1 - math.floor(math.log10(half_width))))


def with_interval(value: float, low: float, high: float, sign: bool = False) -> str:
    """A figure and half the width of its interval, rounded by it; empty if it is not known.

    >>> with_interval(0.85016, 0.84036, 0.85996), with_interval(-0.0115, -0.0181, -0.0049, True)
    ('0.8502 ± 0.0098', '-0.0115 ± 0.0066')
    >>> with_interval(-0.00001, -0.0035, 0.0035, sign=True)
    '0.0000 ± 0.0035'
    """
    if math.isnan(value):
        return ""
    half = (high - low) / 2
    digits = decimals(half)
    text = _signed(value, digits) if sign else f"{value:.{digits}f}"
    return text if math.isnan(half) else f"{text} ± {half:.{digits}f}"


def rounded(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A difference and the ends of its interval with signs; empty if not known.

    Rounded by the interval, but to 4 decimals at least: a column of differences reads better.

    >>> rounded(-0.0115, -0.0381, 0.0151), rounded(-0.000012, -0.00035, 0.00033)
    (('-0.0115', '-0.0381', '+0.0151'), ('-0.00001', '-0.00035', '+0.00033'))
    """
    digits = max(4, decimals((high - low) / 2))

    def text(figure: float) -> str:
        return "" if math.isnan(figure) else _signed(figure, digits)

    return text(value), text(low), text(high)


def _signed(value: float, digits: int) -> str:
    """With its sign, unless it is rounded to 0: then the digits do not tell the sign."""
    value = round(value, digits)
    return f"{value:+.{digits}f}" if value else f"{0:.{digits}f}"


def some_folds(compared: Sequence[int], folds: int) -> str:
    """What follows from comparing some folds only, which are numbered from 0.

    >>> some_folds((0, 1, 3), 5)[38:]
    'intervals are wider, about 2.0 times as wide as over all folds.'
    >>> some_folds((0, 2), 5)[35:]
    'too few to tell how folds vary, so verdicts hold for their splits alone.'
    """
    named = ", ".join(str(fold + 1) for fold in compared)
    which = f"Only folds {named} of {folds} are compared"
    if len(compared) < FEWEST_FOLDS:
        return f"{which}: too few to tell how folds vary, so verdicts hold for their splits alone."
    wider = width_factor(len(compared), folds)
    return f"{which}: intervals are wider, about {wider:.1f} times as wide as over all folds."


def parity_sentences(front: dict[str, Any], margin: float = MARGIN) -> list[str]:
    """Sentences on compression at parity, one for each finding.

    Parameters
    ----------
    front
        An entry of :func:`pepbench.analysis.leaderboard.fronts`.
    margin
        Of the non-inferiority test behind it.

    Returns
    -------
    list of str
        Empty if nothing was compared with the full table.
    """
    shown = [entry for entry in front["parity"] if entry["parameters"] is not None]
    missing = [entry["method"] for entry in front["parity"] if entry["parameters"] is None]
    within = f"(within {margin:g} {front.get('figure', 'AUC')})"
    sentences = [
        f"{entry['method']} is shown to keep parity {within} {_down_to(entry['compression'])}."
        for entry in shown
    ]
    if missing and shown:
        sentences.append(f"Parity is not shown at any budget for: {', '.join(missing)}.")
    elif missing:
        sentences.append(
            f"No method is shown to keep parity with the full table {within} at any budget."
        )
    return sentences


def summary(
    frame: pd.DataFrame,
    fronts: list[dict[str, Any]],
    leading: Sequence[Lead],
    margin: float = MARGIN,
) -> dict[tuple[str, str], list[str]]:
    """The results of a run in sentences, for each data set and backbone.

    Parameters
    ----------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` returns them.
    leading
        Of :func:`pepbench.analysis.leaders.leads`.
    margin
        Of non-inferiority and equivalence.

    Returns
    -------
    dict
        By data set and backbone.
    """
    parity = {(front["dataset"], front["backbone"]): front for front in fronts}
    sections: dict[tuple[str, str], list[str]] = {}
    for name, block in by_block(frame):
        front = parity.get(name)
        sentences = (parity_sentences(front, margin) if front else []) or [
            "Nothing was compared with the full table, so nothing is said about parity."
        ]
        sentences += [
            leading_sentence(lead, margin)
            for lead in leading
            if (lead.dataset, lead.backbone) == name
        ]
        for status, words in (("infeasible", "not feasible"), ("failed", "failed")):
            missing = block[block["status"] == status]
            cells = ", ".join(
                f"{method} at {', '.join(group['budget'])}"
                for method, group in missing.groupby("method", sort=True)
            )
            sentences += [f"{words.capitalize()}: {cells}."] if cells else []
        sections[name] = sentences
    return sections


def leading_sentence(lead: Lead, margin: float = MARGIN) -> str:
    """Who leads at a budget, and whether the lead over the second is shown."""
    words = f"At {lead.budget}, {lead.first} has the {lead.best}"
    if not lead.verdict:
        why = f": {lead.note}" if lead.note else ""
        return f"{words}; it could not be compared with {lead.second}{why}."
    figures = with_interval(lead.difference, lead.low, lead.high, sign=True)
    note = verdict_note(lead.verdict, "", lead.seeds_to_decide, lead.basis)
    known = f"({figures}; {note})" if note else f"({figures})"
    outcome = {
        "better": f"its lead over {lead.second} is shown {known}",
        "equivalent": f"{lead.second} is equivalent to it, within {margin:g} {known}",
        "non-inferior": f"its lead over {lead.second} is not shown {known}, but "
        f"{lead.noninferior} is shown not to be worse by {margin:g} or more",
    }.get(lead.verdict, f"its lead over {lead.second} is undecided {known}")
    where = " (an exploratory comparison)" if lead.basis in BASES else ""
    return f"{words}; {outcome}{where}."


def verdict_note(verdict: str, direction: str, seeds_to_decide: float, basis: str) -> str:
    """A note that goes with a verdict; empty where there is nothing to add.

    Parameters
    ----------
    verdict, direction, seeds_to_decide, basis
        As in the frames of comparisons and pairs.

    Examples
    --------
    >>> verdict_note("undecided", "", 12.0, "rows and seeds")
    'about 12 seeds of each would decide'
    >>> verdict_note("undecided", "", math.inf, "users and seeds")
    'only more users would decide'
    >>> verdict_note("equivalent", "lower", math.nan, "rows only")
    'lower, by less than the margin; one seed: rows only'
    """
    unit = basis.split(" ")[0]
    notes = []
    if verdict == "equivalent" and direction:
        notes.append(f"{direction}, by less than the margin")
    if verdict == "undecided" and not math.isnan(seeds_to_decide):
        notes.append(
            f"about {seeds_to_decide:.0f} seeds of each would decide"
            if math.isfinite(seeds_to_decide)
            else f"only more {unit} would decide"
        )
    if basis.endswith(" only"):
        notes.append(f"one seed: {basis}")
    return "; ".join(notes)


def times(factor: float) -> str:
    """A compression factor; infinite without any parameters.

    >>> times(8.13), times(123.4), times(math.inf)
    ('8.1x', '123x', '∞')
    """
    if math.isinf(factor):
        return "∞"
    return f"{factor:.1f}x" if factor < 99.95 else f"{factor:.0f}x"


def _down_to(compression: float | None) -> str:
    if compression is None:
        return "without any parameters"
    return f"down to {percent(1 / compression)} of the full table ({times(compression)})"


def _three_digits(value: float) -> str:
    """Three significant digits, never in exponent notation."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{digits}f}"
