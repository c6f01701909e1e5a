"""Rows of a report's tables in words, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from pepbench.analysis.folds import FOLDS, WINDOWS
from pepbench.analysis.frames import BlockName, of_block
from pepbench.analysis.fronts import FrontTables
from pepbench.analysis.metrics import card_of
from pepbench.analysis.primary import widest_source
from pepbench.analysis.ranks import RankTables
from pepbench.plan import MANY_FOLDS
from pepbench.report.phrases import (
    LEVEL,
    NOT_COMPARED,
    percent,
    rounded,
    times,
    verdict_note,
    with_interval,
)

Row = dict[str, str]

_WIDTH_COLUMNS = (
    ("width", "mean_width", "", ".1f"),
    ("planted", "planted_correlation", "planted_spread", ".3f"),
    ("at most", "planted_ceiling", "", ".3f"),
    ("partial", "partial_correlation", "", ".3f"),
    ("freq.", "frequency_correlation", "", ".3f"),
    ("Bayes gap", "bayes_gap", "gap_spread", ".3f"),
)
"""Heading, figure, its spread if it is shown, format."""

CHANCES = {
    "front_probability": "parameters",
    "bytes_front_probability": "bytes",
    "time_front_probability": "parameters and time",
}
"""Probability columns of the points' frame, and the costs of the front that each is about."""


def chance(share: float) -> str:
    """A share of the bootstrap's draws, in whole percent, never rounded to 0 or 1 that it is not.

    >>> [chance(share) for share in (0.0, 0.0005, 0.524, 0.9985, 1.0)]
    ['0%', '<1%', '52%', '>99%', '100%']
    """
    if math.isnan(share):
        return ""
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{share:.0%}"


def comparison_rows(block: pd.DataFrame) -> list[Row]:
    """Comparisons of one data set and backbone with the reference, in words."""
    difference = card_of(block).difference
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            difference: with_interval(row["difference"], row["low"], row["high"], sign=True),
            "p": _p(row["p_holm"]),
            "p equivalent": _p(row["p_equivalent_holm"]),
            "p non-inferior": _p(row["p_noninferior_holm"]),
            "verdict": row["verdict"] or NOT_COMPARED,
            "note": row["note"]
            or verdict_note(row["verdict"], row["direction"], row["seeds_to_decide"], row["basis"]),
        }
        for row in block.to_dict("records")
    ]


INTERVAL = f"{LEVEL} interval"
CONTRAST_TEXTS = ("contrast", "budget", "verdict", "variance mostly from")
"""A column of :func:`contrast_table`, and those that are no figures."""


def contrast_table(block: pd.DataFrame, detail: bool = True) -> list[Row]:
    """Primary contrasts of one data set and backbone in words; empty if the plan names none.

    With ``detail``, the adjusted p and what most of the variance between folds is due to, too.
    """
    rows, heading = [], card_of(block).difference
    for row in block[block["primary"]].to_dict("records"):
        difference, low, high = rounded(row["difference"], row["low"], row["high"])
        known = not math.isnan(row["difference"])
        words = {
            "contrast": f"{row['method']} − {row['other']}",
            "budget": row["budget"],
            heading: difference,
            INTERVAL: f"{low} to {high}" if known else "",
            "verdict": row["verdict"] or NOT_COMPARED,
            "folds won": ""
            if math.isnan(won := row["folds_won"] * row["folds"])
            else f"{won:g} of {row['folds']}",
        }
        if detail:
            words["p"] = _p(row["p_holm"])
            words["variance mostly from"] = widest_source(row)
        rows.append(words)
    return rows


_OVER_WINDOWS = (
    "{what} hold over {folds} windows of one period, each tuned anew, the later ones with more "
    "training rows. How often such intervals cover has not been measured."
)


def contrast_sentence(block: pd.DataFrame) -> str:
    """What the primary contrasts hold over, and how they are adjusted."""
    shown = block[block["primary"] & (block["basis"] != "")]
    if shown.empty:
        return ""
    basis = shown["basis"].iloc[0]
    family = f"Verdicts are adjusted (Holm) for all {len(shown)} contrasts."
    folds = int(shown["folds"].max())
    if basis == WINDOWS:
        return f"{family} {_OVER_WINDOWS.format(what='Intervals', folds=folds)}"
    if basis == FOLDS:
        more = "; five or more would narrow them" if folds < MANY_FOLDS else ""
        over = f"Intervals hold over splits, tuning and seeds: {folds} folds, each tuned anew"
        return f"{family} {over}{more}."
    these = "this one" if folds == 1 else f"each of these {folds} folds'"
    return (
        f"{family} Intervals hold over {basis} of {these} split and tuning draw, not over others; "
        "folds = 5 or more would."
    )


def not_compared(block: pd.DataFrame) -> str:
    """Which primary contrasts have no figures, and why; nothing if all have."""
    noted = block[block["primary"] & (block["note"] != "")]
    reasons = noted["method"] + " − " + noted["other"] + " at " + noted["budget"]
    text = "; ".join(f"{reasons[row]} ({noted['note'][row]})" for row in noted.index)
    return f"Not compared: {text}." if text else ""


def units(block: pd.DataFrame) -> str:
    """What statements about some comparisons generalise over, as in ``users and seeds``."""
    return ", ".join(dict.fromkeys(basis for basis in block["basis"] if basis))


def units_sentences(words: str) -> list[str]:
    """What :func:`units` means; nothing where nothing was compared.

    >>> units_sentences("users and seeds")[0][:47]
    'Intervals and tests hold over users and seeds: '
    """
    if not words:
        return []
    if words == WINDOWS:
        return [_OVER_WINDOWS.format(what="Intervals and tests", folds="the")]
    if words == FOLDS:
        return [
            "Intervals and tests hold over folds: for another data set of this size from the same "
            "source, split, tuned and trained anew."
        ]
    independent = (
        "rows of one user belong together, and users are taken to be independent"
        if words.startswith("users")
        else "test rows are taken to be independent, since no user is declared"
    )
    return [
        f"Intervals and tests hold over {words}: {independent}. They do not hold over other splits "
        "and tuning draws."
    ]


def size_rows(tables: FrontTables, parity: pd.DataFrame, name: BlockName) -> list[Row]:
    """AUC at given sizes, and compression at parity, of each method of a data set and backbone.

    Parameters
    ----------
    tables
        Of the analysis.
    parity
        Of :func:`pepbench.analysis.leaderboard.compression_at_parity`.
    name
        Data set and backbone.
    """
    sizes, crossings, shown = (
        of_block(frame, name) for frame in (tables.at_sizes, tables.crossings, parity)
    )
    factors = dict(zip(shown["method"], shown["compression"], strict=True))
    falls = {row["method"]: row for row in crossings.to_dict("records")}
    shares = sorted(set(sizes["share"]), reverse=True)
    figures = {
        (row["method"], row["share"]): with_interval(row["auc"], row["low"], row["high"])
        for row in sizes.to_dict("records")
    }
    methods = sorted({*sizes["method"], *falls, *factors})
    return [
        {
            "method": method,
            **{f"at {percent(share)}": figures.get((method, share), "") for share in shares},
            "parity shown to": _factor(factors[method]) if method in factors else "",
            "parity estimated to": _crossing(falls.get(method)),
        }
        for method in methods
    ]


def hypervolume_sentence(row: dict[Any, Any]) -> str:
    """A row of the summary of fronts, in words."""
    volume = with_interval(row["hypervolume"], row["low"], row["high"]).split(" ")[0]
    digits = len(volume.partition(".")[2])
    return (
        f"Hypervolume of the front: {volume} ({INTERVAL} "
        f"{row['low']:.{digits}f} to {row['high']:.{digits}f}) decades of parameters × AUC, from "
        f"{row['reference_parameters']:,} parameters and an AUC of {row['reference_auc']:g}."
    )


def rank_rows(ranks: RankTables, descriptive: bool) -> list[Row]:
    """Mean ranks over two data sets or more: of the budgets that were tested, or of the others."""
    shown = ranks.ranks[(ranks.ranks["descriptive"] == descriptive) & (ranks.ranks["blocks"] > 1)]
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            "mean rank": f"{row['mean_rank']:.2f}",
            "mean AUC": f"{row['mean_auc']:.4f}",
            "data sets": str(row["blocks"]),
        }
        for row in shown.to_dict("records")
    ]


def rank_test_sentences(tests: pd.DataFrame) -> list[str]:
    """What was tested over data sets, a sentence for each budget."""
    return [
        f"At {row['budget']}, {row['methods']} methods on {row['blocks']} data sets: Friedman's "
        f"p = {row['p']:.2g}, critical difference {row['critical_difference']:.2f} (Nemenyi)."
        for row in tests.to_dict("records")
    ]


def rank_pair_rows(ranks: RankTables) -> list[Row]:
    """Pairs of methods over the data sets of the tested budgets."""
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            "other": row["other"],
            "Δ rank": f"{row['rank_difference']:+.2f}",
            "p Nemenyi": _p(row["p_nemenyi"]),
            "p Wilcoxon": _p(row["p_wilcoxon_holm"]),
            "worse": chance(row["chance_worse"]),
            "equivalent": chance(row["chance_equivalent"]),
            "better": chance(row["chance_better"]),
        }
        for row in ranks.pairs.to_dict("records")
    ]


def width_rows(block: pd.DataFrame, plus_minus: str = "±", none: str = "") -> list[Row]:
    """Learnt widths of one data set and backbone, best agreement first within a budget.

    Parameters
    ----------
    block
        Rows of :attr:`pepbench.analysis.width_recovery.WidthRecovery.frame`.
    plus_minus, none
        Before a standard deviation; in the place of an unknown figure.
    """
    shown = [column for column in _WIDTH_COLUMNS if block[column[1]].notna().any()]
    return [
        {
            "budget": row["budget"],
            "method": row["method"],
            **{
                f"{heading} {plus_minus}" if spread else heading: _width_figure(
                    row[name], row[spread] if spread else math.nan, form, plus_minus, none
                )
                for heading, name, spread, form in shown
            },
        }
        for row in _ranked(block).to_dict("records")
    ]


def width_reading(frame: pd.DataFrame, plus_minus: str = "±", folds: bool = False) -> str:
    """How to read the columns of :func:`width_rows`; ``folds``: whether there are several."""
    means, spread = ("folds and seeds", "the seeds of a fold") if folds else ("seeds", "them")
    words = [
        "width: mean learnt width of the features seen in training; freq.: its Spearman",
        "correlation with training frequency",
        f"(means over {means}; {plus_minus}: standard deviation over {spread}).",
    ]
    if frame["planted_correlation"].notna().any():
        words += [
            "planted: the same with planted width; at most: of the same widths in planted order;",
            "partial: planted, within fields, frequency held.",
        ]
    if frame["bayes_gap"].notna().any():
        words += ["Bayes gap: AUC of the true probabilities minus test AUC."]
    return " ".join(words)


def has_folds(frame: pd.DataFrame) -> bool:
    """Whether a leaderboard has cells with several folds."""
    return bool((frame["folds"] > 1).any())


def _ranked(block: pd.DataFrame) -> pd.DataFrame:
    places = {budget: place for place, budget in enumerate(dict.fromkeys(block["budget"]))}
    return (
        block.assign(_place=block["budget"].map(places))
        .sort_values(
            ["_place", "planted_correlation", "frequency_correlation", "bayes_gap"],
            ascending=[True, False, False, True],
            kind="stable",
        )
        .drop(columns="_place")
    )


def _width_figure(value: float, spread: float, form: str, plus_minus: str, none: str) -> str:
    if math.isnan(value):
        return none
    text = format(value, form)
    return text if math.isnan(spread) else f"{text} {plus_minus}{format(spread, form)}"


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _factor(value: float) -> str:
    return "not shown" if math.isnan(value) else times(value)


def _crossing(row: dict[Any, Any] | None) -> str:
    if row is None:
        return ""
    least = "at least " if row["at_smallest"] else ""
    value, low, high = (
        f"{row[f'compression_{which}']:.3g}x" for which in ("estimate", "low", "high")
    )
    return f"{least}{value} ({low} to {high})"
