"""The generated part of the page about PEP's paper: what boards over folds say of each claim.

A row compares two methods on a data set: the difference with its interval, the verdict, and what it
means for the claim. Nothing here is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pepbench.analysis.cells import REFERENCE
from pepbench.leaderboards.board_page import markdown
from pepbench.leaderboards.board_results import BoardResults
from pepbench.report.markdown import escape
from pepbench.report.phrases import NOT_COMPARED, block_title, rounded, times
from pepbench.report.verdict_sentences import UNDECIDED
from pepbench.units import Budget

SUBJECT = "pep"
MAGNITUDE = "magnitude"
RIVALS = ("uniform", "mgqe", "mde", "darts")
"""The paper's baselines."""
SIMPLE = (MAGNITUDE, "frequency", "popularity-mask")
"""Rules that the paper leaves out."""

PAPER = "paper"
"""Folder of the page, and of the leaderboards about the paper."""
GRANULARITY, RETRAINING = f"{PAPER}/granularity", f"{PAPER}/retraining"
"""Leaderboards about claims (d) and (e)."""

CONFIRMED, REFUTED = "confirmed here", "refuted here"
_NO_WORSE = {
    "better": CONFIRMED,
    "equivalent": CONFIRMED,
    "non-inferior": CONFIRMED,
    "worse": REFUTED,
}
_BETTER = {"better": CONFIRMED, "equivalent": REFUTED, "worse": REFUTED}
_BEATS = {"better": "yes", "equivalent": "no", "worse": "no"}
"""What a verdict on PEP, or on the finer or original setting, means for a claim. What is not here
leaves it undecided."""

_REVERSED = {"better": "worse", "worse": "better", "non-inferior": "not better"}
"""A verdict seen from the other method of a pair; *not better*: not by the margin or more."""


@dataclass(frozen=True)
class Claim:
    """A claim that comparisons of two methods can judge.

    Attributes
    ----------
    title
        Heading of its section.
    text
        What is compared.
    meaning
        What verdicts mean for it.
    pairs
        Rows of comparisons: data set, backbone, budget, method, other, difference, low, high,
        verdict, primary.
    """

    title: str
    text: str
    meaning: Mapping[str, str]
    pairs: list[dict[Any, Any]]


def claims_summary(published: Mapping[str, BoardResults]) -> str:
    """The generated part of the page on the paper, as Markdown.

    Parameters
    ----------
    published
        Results by name of the leaderboard.
    """
    main = {name: one for name, one in published.items() if "/" not in name}
    if not main:
        return "No leaderboard is published yet, so there are no figures."
    claims = (
        Claim(
            "(a) Far fewer parameters (97 to 99 % in the paper), AUC as good or better",
            "PEP minus the full table.",
            _NO_WORSE,
            list(_pairs(main, (REFERENCE,))),
        ),
        Claim(
            "(b) Better than uniform, MGQE, MDE and DartsEmb at each size",
            "PEP minus the other at the same budget.",
            _BETTER,
            list(_pairs(main, RIVALS)),
        ),
        Claim(
            "(d) Finer thresholds are better",
            "A threshold for each entry minus coarser ones.",
            _BETTER,
            list(_primary(published, GRANULARITY)),
        ),
        Claim(
            "(e) Training from the original initial values is better",
            "Original initial values minus others.",
            _BETTER,
            list(_primary(published, RETRAINING)),
        ),
        Claim(
            "Left open by the paper: does learning what to keep beat simple rules?",
            "PEP minus magnitude pruning and two rules that go by frequency.",
            _BEATS,
            list(_pairs(main, SIMPLE)),
        ),
    )
    frame = pd.concat([one.frame for one in main.values()], ignore_index=True)
    widths = pd.concat([one.widths for one in main.values()], ignore_index=True)
    parts = [
        markdown([_outcome(claim) for claim in claims], ("claim", "comparisons say"), texts=2),
        "Time, claim (c), and widths, claim (f), are measured below, without a test. Comparisons "
        "that no plan names are exploratory (†), adjusted among themselves.",
    ]
    for claim in claims:
        parts += [f"### {claim.title}", claim.text]
        parts.append(_table(claim) if claim.pairs else "Not run yet.")
    parts += [
        "### (c) 20 to 30 % more time",
        "CPU time of a final run of PEP, search and second training, over that of the full table.",
        _times(frame),
        "### (f) Frequent features become wider",
        "Spearman's ρ of learnt width and training frequency by budget, mean over folds.",
        _widths(widths),
    ]
    return "\n\n".join(parts)


def _is_subject(method: str) -> bool:
    return method.split(":")[0].split("+")[0] == SUBJECT


def _pairs(boards: Mapping[str, BoardResults], others: Iterable[str]) -> Iterator[dict[Any, Any]]:
    """Comparisons of PEP with some methods, PEP first, by board, other and budget."""
    for results in boards.values():
        with_full = results.comparisons.assign(other=REFERENCE, primary=False)
        pairs = pd.concat([results.contrasts, with_full]).drop_duplicates(
            ["dataset", "backbone", "budget", "method", "other"]
        )
        rows = [
            seen
            for row in pairs.to_dict("records")
            for seen in (row, _reversed(row))
            if _is_subject(seen["method"])
        ]
        for other in others:
            found = [row for row in rows if row["other"] == other and row["verdict"]]
            yield from sorted(found, key=lambda row: -Budget(row["budget"]).order)


def _primary(boards: Mapping[str, BoardResults], name: str) -> Iterator[dict[Any, Any]]:
    """The primary contrasts of a leaderboard."""
    if name in boards:
        yield from boards[name].primary.to_dict("records")


def _reversed(row: dict[Any, Any]) -> dict[Any, Any]:
    return row | {
        "method": row["other"],
        "other": row["method"],
        "difference": -row["difference"],
        "low": -row["high"],
        "high": -row["low"],
        "verdict": _REVERSED.get(row["verdict"], row["verdict"]),
    }


def _outcome(claim: Claim) -> list[str]:
    """A claim, and by budget how many comparisons say what."""
    said: dict[str, list[str]] = {}
    for row in claim.pairs:
        if row["verdict"]:
            said.setdefault(row["budget"], []).append(claim.meaning.get(row["verdict"], UNDECIDED))
    words = [
        f"{budget}: "
        + ", ".join(
            f"{word} in {all_words.count(word)} of {len(all_words)}"
            for word in dict.fromkeys((*claim.meaning.values(), UNDECIDED))
            if word in all_words
        )
        for budget, all_words in sorted(said.items(), key=lambda item: -Budget(item[0]).order)
    ]
    return [claim.title, "; ".join(words) or "not run yet"]


def _table(claim: Claim) -> str:
    rows = []
    for row in claim.pairs:
        known = not pd.isna(row["difference"])
        value, low, high = rounded(row["difference"], row["low"], row["high"])
        rows.append(
            [
                escape(block_title((row["dataset"], row["backbone"]))),
                escape(f"{row['method']} − {row['other']}"),
                escape(row["budget"]) + ("" if row["primary"] else " †"),
                f"{value} ({low} to {high})" if known else "",
                escape(row["verdict"]) or NOT_COMPARED,
                claim.meaning.get(row["verdict"], UNDECIDED) if known else "",
            ]
        )
    headings = ("data set", "contrast", "budget", "ΔAUC (95% interval)", "verdict", "claim")
    return markdown(rows, headings, texts=2)


def _times(frame: pd.DataFrame) -> str:
    timed, block = frame[frame["status"] == "ok"], ["dataset", "backbone"]
    full = timed[timed["method"] == REFERENCE].set_index(block)["cpu_seconds"].to_dict()
    subject = timed[timed["method"].map(_is_subject).astype(bool)]
    rows = []
    for (dataset, backbone, method), group in subject.groupby([*block, "method"]):
        if (dataset, backbone) in full:
            ratios = group["cpu_seconds"] / full[dataset, backbone]
            names = [escape(block_title((str(dataset), str(backbone)))), escape(str(method))]
            rows.append([*names, *(times(float(ratio)) for ratio in ratios.quantile([0.5, 0, 1]))])
    headings = ("data set", "PEP", "median over budgets", "least", "most")
    return markdown(rows, headings, texts=2)


def _widths(widths: pd.DataFrame) -> str:
    known = widths.dropna(subset=["frequency_correlation"])
    of_interest = known["method"].map(lambda name: _is_subject(name) or name == MAGNITUDE)
    found = known[of_interest.astype(bool)]
    budgets = sorted(set(found["budget"]), key=lambda budget: -Budget(budget).order)
    rows = []
    for (dataset, backbone, method), group in found.groupby(["dataset", "backbone", "method"]):
        figures = dict(zip(group["budget"], group["frequency_correlation"], strict=True))
        names = [escape(block_title((str(dataset), str(backbone)))), escape(str(method))]
        cells = (f"{figures[at]:.2f}" if at in figures else "" for at in budgets)
        rows.append([*names, *cells])
    return markdown(rows, ("data set", "method", *budgets), texts=2)
