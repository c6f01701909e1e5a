"""Which method to take: from a leaderboard to a recommendation, by rules that are stated with it.

Within a budget, the method of highest AUC leads. All that are not shown to be worse than the leader
and whose AUC is within the margin of its are as good as it; of these the one is taken that needs
the least CPU time. For a loss that is allowed, the smallest size is taken that is shown to lose
less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from pepbench.analysis.folds import BASES, WINDOWS
from pepbench.analysis.frames import by_block, of_block
from pepbench.analysis.pareto import SAME_SIZE
from pepbench.analysis.significance import ALPHA
from pepbench.errors import PlanError
from pepbench.records import FEWEST_FOLDS
from pepbench.units import Budget


@dataclass(frozen=True)
class Choice:
    """A cell of the leaderboard.

    Attributes
    ----------
    method, budget
        Its names.
    parameters, full_parameters
        Of the embedding, and of the full table.
    auc
        Mean over final runs.
    difference, low, high
        Of AUC to the full table, with its interval; NaN if they could not be compared.
    verdict
        Against the full table, adjusted as on the leaderboard.
    cpu_seconds
        Of a final run, search and training.
    """

    method: str
    budget: str
    parameters: int
    full_parameters: int
    auc: float
    difference: float
    low: float
    high: float
    verdict: str
    cpu_seconds: float


@dataclass(frozen=True)
class Recommendation:
    """What a leaderboard recommends for one data set and backbone.

    Attributes
    ----------
    dataset, backbone
        Where.
    choice
        The cell to take; None if there is none.
    reason
        By which rule it was chosen, or why there is none.
    alike
        Other methods from which the choice was made: as good by the rule.
    undecided
        Methods that are not shown to be worse than the best, but whose AUC is further below it.
    best
        Where nothing holds the loss that is allowed: the cell that comes nearest.
    unknown
        What the leaderboard does not say, a sentence each.
    no_table
        A cell without any parameters, if its AUC is no more than the margin below the choice's.
    """

    dataset: str
    backbone: str
    choice: Choice | None
    reason: str
    alike: tuple[Choice, ...] = ()
    undecided: tuple[str, ...] = ()
    best: Choice | None = None
    unknown: tuple[str, ...] = ()
    no_table: Choice | None = None


def within_budget(
    frame: pd.DataFrame, pairs: pd.DataFrame | None, budget: str, margin: float
) -> list[Recommendation]:
    """The method to take at a budget, for each data set and backbone.

    Parameters
    ----------
    frame
        The leaderboard.
    pairs
        Comparisons of two methods at one budget, each with its verdict; None if there are none:
        then a method is not shown to be worse than the leader while the intervals of their
        differences to the full table overlap.
    budget
        As written in the plan, or equal to it.
    margin
        Difference in AUC that does not matter.

    Raises
    ------
    PlanError
        If no cell has the budget.
    """
    known = sorted(frame["budget"].unique(), key=lambda text: _size(text, frame), reverse=True)
    if not any(_same(budget, other, frame) for other in known):
        raise PlanError(f"no method was run at a budget of {budget}; there are {', '.join(known)}")
    return [_within(*name, block, pairs, budget, margin) for name, block in by_block(frame)]


def _within(
    dataset: str,
    backbone: str,
    block: pd.DataFrame,
    pairs: pd.DataFrame | None,
    budget: str,
    margin: float,
) -> Recommendation:
    here = block[[_same(budget, text, block) for text in block["budget"]]]
    choices = [_choice(row) for row in _finished(here)]
    if not choices:
        have = ", ".join(dict.fromkeys(row["budget"] for row in _finished(block)))
        return Recommendation(
            dataset, backbone, None, f"no method finished at {budget}; finished: {have or 'none'}"
        )
    leader = max(choices, key=lambda choice: choice.auc)
    verdicts = _verdicts(pairs, dataset, backbone, leader)
    level = [c for c in choices if c is leader or not _is_worse(c, leader, verdicts)]
    near = [choice for choice in level if leader.auc - choice.auc <= margin]
    taken = min(near, key=lambda choice: (choice.cpu_seconds, -choice.auc))
    alike = tuple(choice for choice in near if choice is not taken)
    luck = (
        f"How much of its lead is luck: it was chosen among {len(choices)} methods after their "
        "figures were seen."
    )
    reason = f"the highest AUC of {len(choices)} methods at {budget}"
    if len(choices) == 1:
        reason, luck = f"the only method at {budget}", "Other methods: none was run at this budget."
    if alike:
        reason = (
            f"the least CPU time of the {len(near)} methods at {budget} that are not shown to be "
            f"worse than the best, and whose AUC is within {margin:g} of its"
        )
    return Recommendation(
        dataset,
        backbone,
        taken,
        reason,
        alike,
        tuple(choice.method for choice in level if choice not in near),
        unknown=(
            *_limits(here, dataset, backbone, pairs),
            *_doubts(taken),
            luck,
        ),
        no_table=_without_parameters(block, taken.auc - margin),
    )


def _without_parameters(block: pd.DataFrame, least: float) -> Choice | None:
    """The best cell without parameters, if its AUC is ``least`` or more."""
    cells = [_choice(row) for row in _finished(block)]
    enough = [cell for cell in cells if not cell.parameters and cell.auc >= least]
    return max(enough, key=lambda cell: cell.auc, default=None)


def losing_at_most(
    frame: pd.DataFrame, comparisons: pd.DataFrame, bound: float
) -> list[Recommendation]:
    """The smallest table that is shown to lose less than ``bound``, by data set and backbone.

    The budgets of a method are tested from the largest down until one is not shown to hold the
    bound, as in :func:`~pepbench.analysis.leaderboard.compression_at_parity`: one-sided, over
    folds by Student's t at :data:`ALPHA` divided by the number of methods; for a single split by
    the lower end of the interval that is published.

    Parameters
    ----------
    frame, comparisons
        Of :func:`pepbench.analysis.leaderboard.analyse`.
    bound
        AUC that may be lost, above 0.

    Raises
    ------
    PlanError
        If the bound is not above 0 and below 0.5.
    """
    if not 0 < bound < 0.5:
        raise PlanError(f"a loss of AUC of {bound:g} is not above 0 and below 0.5")
    return [
        _losing(*name, block, of_block(comparisons, name), bound) for name, block in by_block(frame)
    ]


def _losing(
    dataset: str, backbone: str, block: pd.DataFrame, comparisons: pd.DataFrame, bound: float
) -> Recommendation:
    compared = comparisons[comparisons["difference"].notna()]
    lowest = _lower_limits(compared)
    cells = {(row["method"], row["budget"]): _choice(row) for row in _finished(block)}
    held: list[Choice] = []
    for _, group in compared.assign(lowest=lowest).groupby("method"):
        falling = group.sort_values("parameters", ascending=False, kind="stable")
        shown = falling[(falling["lowest"] > -bound).cummin()]
        held += [cells[row["method"], row["budget"]] for row in shown.to_dict("records")]
    if not held:
        nearest = compared.iloc[int(lowest.argmax())] if len(compared) else None
        return Recommendation(
            dataset,
            backbone,
            None,
            f"no method is shown to lose less than {bound:g} AUC at any budget that was run",
            best=None if nearest is None else cells[nearest["method"], nearest["budget"]],
            unknown=tuple(_limits(block, dataset, backbone, compared)),
        )
    smallest = min(choice.parameters for choice in held)
    near = [choice for choice in held if choice.parameters <= smallest * (1 + SAME_SIZE)]
    taken = min(near, key=lambda choice: (choice.cpu_seconds, -choice.auc))
    return Recommendation(
        dataset,
        backbone,
        taken,
        f"the fewest parameters that are shown to lose less than {bound:g} AUC, as are the "
        "method's larger budgets that were compared; of methods of that size, the least CPU time",
        tuple(choice for choice in near if choice is not taken),
        unknown=(*_limits(block, dataset, backbone, compared), *_chances(compared)),
    )


def _lower_limits(compared: pd.DataFrame) -> pd.Series[float]:
    """For each comparison, what the difference is shown to be above."""
    level = ALPHA / max(1, compared["method"].nunique())
    half = stats.t.isf(level, compared["degrees_of_freedom"]) * compared["standard_error"]
    over_folds: pd.Series[Any] = compared["basis"].isin(BASES)
    return compared["low"].where(~over_folds, compared["difference"] - half)


def _finished(block: pd.DataFrame) -> Iterator[dict[Any, Any]]:
    """Rows of compressed tables that have an AUC."""
    done = block[(block["status"] == "ok") & block["auc"].notna()]
    yield from done[(done["method"] != "full")].to_dict("records")


def _choice(row: dict[Any, Any]) -> Choice:
    return Choice(
        row["method"],
        row["budget"],
        int(row["parameters"]),
        int(row["full_parameters"]),
        row["auc"],
        row["delta_auc"],
        row["delta_low"],
        row["delta_high"],
        str(row["verdict"]),
        row["cpu_seconds"],
    )


def _verdicts(
    pairs: pd.DataFrame | None, dataset: str, backbone: str, leader: Choice
) -> dict[str, bool] | None:
    """Of each method that was compared with the leader, whether it is shown to be worse."""
    if pairs is None or not len(pairs):
        return None
    place = (dataset, backbone, leader.budget)
    worse = {}
    for row in pairs.to_dict("records"):
        if (row["dataset"], row["backbone"], row["budget"]) != place:
            continue
        if row["method"] == leader.method:
            worse[row["other"]] = row["verdict"] == "better"
        elif row["other"] == leader.method:
            worse[row["method"]] = row["verdict"] == "worse"
    return worse


def _is_worse(choice: Choice, leader: Choice, verdicts: dict[str, bool] | None) -> bool:
    if verdicts is not None:
        return verdicts.get(choice.method, False)
    return choice.high < leader.low


def _limits(
    rows: pd.DataFrame, dataset: str, backbone: str, compared: pd.DataFrame | None
) -> Iterator[str]:
    """What every board leaves open."""
    full = int(rows["full_parameters"].max())
    folds, seeds = int(rows["folds"].max()), int(rows["seeds"].max())
    yield (
        f"Other data, models and sizes: this is {dataset} with {backbone} and a full table of "
        f"{full:,} parameters."
    )
    if folds < FEWEST_FOLDS:
        splits = "there is one split" if folds == 1 else f"there are {folds} splits"
        draws = "one seed" if seeds == 1 else f"{seeds} seeds"
        yield (
            f"Other splits and other tuning draws: {splits}, and {draws}; another draw may "
            "order the methods otherwise."
        )
    elif compared is not None and WINDOWS in set(of_block(compared, (dataset, backbone))["basis"]):
        yield (
            f"Other periods and sources: intervals hold over {folds} windows of one period. How "
            "often such intervals cover has not been measured."
        )
    else:
        yield (
            f"Other sources: intervals over {folds} folds hold for another data set of this size "
            "from the same source, tuned anew."
        )


def _doubts(choice: Choice) -> Iterator[str]:
    """What the verdict against the full table leaves open."""
    if math.isnan(choice.difference):
        yield "What it loses: it could not be compared with the full table."
    elif choice.verdict == "undecided":
        yield "Whether it loses anything against the full table: undecided."


def _chances(compared: pd.DataFrame) -> Iterator[str]:
    """What a bound that is passed leaves open."""
    methods = compared["method"].nunique()
    if methods > 1 and not compared["basis"].isin(BASES).all():
        yield (
            f"Whether it passed by luck: each of {methods} methods had a chance of "
            f"{ALPHA / 2:.1%} to pass wrongly."
        )


def _same(budget: str, other: str, frame: pd.DataFrame) -> bool:
    return budget == other or _size(budget, frame) == _size(other, frame)


def _size(budget: str, frame: pd.DataFrame) -> int:
    """Parameters of a budget, at the largest full table of a frame."""
    return Budget(budget).parameters(int(frame["full_parameters"].max()))
