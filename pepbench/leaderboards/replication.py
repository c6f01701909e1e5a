"""Replication of a board's, or a run's, primary contrasts: its plan, its page, and their checks.

The second run has another split seed and another plan seed, so that folds, tuning draws and seeds
differ; rows and settings are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pepbench.analysis.replication import OF_SHOWN, replication_frame, same_sign
from pepbench.catalog import Catalog
from pepbench.component import split_label
from pepbench.errors import PlanError, RecordError, unknown_name
from pepbench.leaderboards.board_results import BoardResults, load_results
from pepbench.leaderboards.boards import REPLICATION, REPLICATION_MD, Board
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.verify import check_board, same_bytes
from pepbench.plan import PLAN_FILE, Plan, PlanException
from pepbench.records import FEWEST_FOLDS, LARGEST_SEED
from pepbench.report.findings import load_runs
from pepbench.report.markdown import escape, github_table
from pepbench.report.phrases import NOT_COMPARED, with_interval
from pepbench.units import FULL


@dataclass(frozen=True)
class ContrastRun:
    """A run with primary contrasts.

    Attributes
    ----------
    plan
        Its plan.
    contrasts
        Its frame with the columns :data:`pepbench.analysis.primary.CONTRAST_COLUMNS`.
    """

    plan: Plan
    contrasts: pd.DataFrame


def replication_plan(
    plan: Plan, name: str, n_folds: int | None = None, backbones: Sequence[str] = ()
) -> Plan:
    """The plan of the replication: the cells that primary contrasts name, drawn anew.

    Parameters
    ----------
    plan
        Of the first run, with families of methods expanded.
    name
        What is replicated, for messages.
    n_folds
        Run so many folds of the new splits only; None: as many as the first run.
    backbones
        Those to run, as the plan writes them; all if empty.

    Raises
    ------
    PlanError
        If the plan has no primary contrast or too few folds, if ``n_folds`` is too small or
        larger than the number of its folds, or if it has no such backbone.
    """
    for backbone in backbones:
        if backbone not in plan.backbones:
            raise PlanError(f"{name}: {unknown_name('backbone', backbone, plan.backbones)}")
    if not plan.contrasts:
        raise PlanError(f"{name}: its plan has no [[contrast]], so there is nothing to replicate")
    folds = len(plan.folds_to_run)
    if folds < FEWEST_FOLDS:
        raise PlanError(
            f"{name}: its plan runs {folds} of {plan.folds} folds; verdicts that could replicate "
            f"need {FEWEST_FOLDS} at least"
        )
    if n_folds is not None and not FEWEST_FOLDS <= n_folds <= folds:
        raise PlanError(
            f"--folds {n_folds} must be between {FEWEST_FOLDS} and {folds}, the folds of {name}"
        )
    named = {(m, b) for one in plan.contrasts for m in one.methods for b in one.budgets}
    of_contrasts = {method for method, _ in named}
    methods = tuple(one for one in plan.methods if split_label(one)[0] in of_contrasts)
    budgets = tuple(budget for budget in plan.budgets if any(budget == b for _, b in named))
    return plan.model_copy(
        update={
            "methods": methods,
            "budgets": budgets,
            "backbones": tuple(b for b in plan.backbones if b in (backbones or plan.backbones)),
            "only_folds": _some_folds(plan, n_folds),
            "split_seed": _next(plan.split_seed),
            "seed": _next(plan.seed),
            "exceptions": (
                *plan.exceptions,
                *_unnamed([split_label(one)[0] for one in methods], budgets, named),
            ),
        }
    )


def _some_folds(plan: Plan, n_folds: int | None) -> tuple[int, ...]:
    if n_folds in (None, len(plan.folds_to_run)):
        return plan.only_folds
    return tuple(fold + 1 for fold in plan.folds_to_run[:n_folds])


def _next(seed: int) -> int:
    return (seed + 1) % (LARGEST_SEED + 1)


def _unnamed(
    methods: Sequence[str], budgets: Sequence[str], named: set[tuple[str, str]]
) -> Iterator[PlanException]:
    """Exceptions that leave out the cells that no contrast names.

    A pattern may match further methods, whose named cells stay. Cells at 100% stay, too, since a
    method of fixed size has no other.
    """
    skipped: dict[tuple[str, ...], list[str]] = {}
    for method in methods:
        without = PlanException(methods=(method,), reason="any", skip=True)
        matched = [one for one in methods if without.matches("", "", one, "")]
        at = tuple(
            b for b in budgets if b != FULL and not any((one, b) in named for one in matched)
        )
        skipped.setdefault(at, []).append(method)
    skipped.pop((), None)
    why = "no primary contrast names them"
    for at, some in skipped.items():
        yield PlanException(methods=tuple(some), budgets=at, skip=True, reason=why)


def published_run(board: Board, results: BoardResults, catalog: Catalog) -> ContrastRun:
    """A published leaderboard; raises :class:`RecordError` if it has no contrasts."""
    if results.contrasts.empty:
        raise RecordError(
            f"{board.folder}: has no contrasts; if its plan names some, publish it again: "
            f"pepbench leaderboard {board.name} --tables-only"
        )
    return ContrastRun(board.plan(catalog), results.contrasts)


def run_of_folder(folder: Path) -> ContrastRun:
    """A run in its folder; raises as :func:`pepbench.report.findings.load_runs`."""
    return ContrastRun(Plan.load(folder / PLAN_FILE, {}), load_runs([folder]).contrasts)


def replication_command(name: str, first: Plan, second: Plan) -> str:
    """The command that runs the first plan's contrasts again as the second plan says."""
    folds, backbones = len(second.folds_to_run), second.backbones
    fewer = f" --folds {folds}" if folds < len(first.folds_to_run) else ""
    some = f" --backbones {','.join(backbones)}" if len(backbones) < len(first.backbones) else ""
    return f"pepbench leaderboard --replicate {name}{fewer}{some}"


def replication_markdown(name: str, first: ContrastRun, second: ContrastRun) -> str:
    """The page that compares two runs of the same primary contrasts.

    Parameters
    ----------
    name
        Of the leaderboard, or the run's folder.
    first, second
        The runs.
    """
    again_run = first.contrasts["backbone"].isin(second.plan.backbones)
    frame = replication_frame(first.contrasts[again_run], second.contrasts)
    folds, again = (len(run.plan.folds_to_run) for run in (first, second))
    some = escape(", ".join(second.plan.backbones))
    are_some = len(second.plan.backbones) < len(first.plan.backbones)
    parts = [
        f"# Replication of {escape(name)}",
        "Does a verdict come out again with other folds and other draws? The primary contrasts "
        f"were run a second time with split seed {second.plan.split_seed} instead of "
        f"{first.plan.split_seed} and seed {second.plan.seed} instead of {first.plan.seed}; rows "
        "and settings are the same."
        + (
            f" The second run has {again} of {folds} folds, so wider intervals."
            if again < folds
            else ""
        )
        + (f" Backbones that were run again: {some}." if are_some else ""),
        " ".join(count_sentences(frame)),
        _table(frame),
        _READING.format(
            margin=first.plan.margin, folds=f"{folds} and {again}" if again < folds else folds
        ),
        f"Made by `{replication_command(name, first.plan, second.plan)}` from "
        f"[{REPLICATION}/{PLAN_FILE}]({REPLICATION}/{PLAN_FILE}).",
    ]
    return "\n\n".join(parts) + "\n"


_READING = """\
* Each ΔAUC is the first method's test AUC minus the second's, with its 95% interval over {folds}
  folds. Verdicts are about the first method, with margin {margin:g}. Each run adjusts its own
  p-values (Holm) over the primary contrasts of a data set and backbone.
* *reversed*: both signs are shown, and they differ. *another verdict*: the second verdict is shown
  too, but it is neither the same nor of the opposite sign.
* A sign is shown where the adjusted p is below 0.05, whatever the verdict.
* Both runs use the same rows. Newly gathered data would agree less often. A split by time depends
  on no seed: its folds are the same both times, and only tuning draws and seeds differ."""


def count_sentences(frame: pd.DataFrame) -> Iterator[str]:
    """How many shown verdicts and signs came out again, in words.

    Parameters
    ----------
    frame
        Of :func:`pepbench.analysis.replication.replication_frame`.
    """
    outcomes = frame["outcome"]
    shown = int(outcomes.isin(OF_SHOWN).sum())
    if shown:
        again, reversals = ((outcomes == one).sum() for one in ("shown again", "reversed"))
        undecided = outcomes.str.startswith("undecided, ").sum()
        otherwise = shown - again - undecided - reversals
        yield (
            f"Verdicts shown the first time: {shown}. Of these, shown again: {again}, undecided: "
            f"{undecided}, reversed: {reversals}{f', another: {otherwise}' if otherwise else ''}."
        )
    else:
        yield "No verdict was shown the first time."
    signs = frame[(frame["first_sign"] != "") & (outcomes != "not compared")]
    if len(signs):
        same = sum(map(same_sign, signs.to_dict("records")))
        again = (signs["first_sign"] == signs["second_sign"]).sum()
        yield (
            f"Signs shown the first time: {len(signs)}. Of these, the same in the second estimate: "
            f"{same}, shown again: {again}."
        )
    later = int((outcomes == "shown the second time").sum())
    undecided = later + int((outcomes == "undecided both times").sum())
    if undecided:
        yield f"Undecided the first time: {undecided}. Of these, shown the second time: {later}."
    missing = int((outcomes == "not compared").sum())
    if missing:
        yield f"Not compared in both runs: {missing}."


def _table(frame: pd.DataFrame) -> str:
    rows = []
    for row in frame.to_dict("records"):
        cells = [row["dataset"], row["backbone"], f"{row['method']} − {row['other']}"]
        cells.append(row["budget"])
        for side in ("first", "second"):
            figures = [row[f"{side}_{name}"] for name in ("difference", "low", "high")]
            cells.append(with_interval(figures[0], figures[1], figures[2], sign=True))
            cells.append(row[f"{side}_verdict"] or NOT_COMPARED)
        rows.append([escape(cell) for cell in (*cells, row["outcome"])])
    texts = ("data set", "backbone", "contrast", "budget", "first verdict", "second verdict")
    headings = (*texts[:4], "first ΔAUC", texts[4], "second ΔAUC", texts[5], "outcome")
    return github_table(rows, headings, (*texts, "outcome"))


def has_replication(board: Board) -> bool:
    """Whether a replication of a leaderboard is published, or a part of it."""
    return board.replication.folder.is_dir() or (board.folder / REPLICATION_MD).is_file()


def replication_page(board: Board, results: BoardResults, catalog: Catalog) -> bytes:
    """The content of a leaderboard's page about its published replication.

    Raises
    ------
    RecordError
        If the replication is not published whole.
    """
    again = load_results(board.replication.folder)
    first = published_run(board, results, catalog)
    second = published_run(board.replication, again, catalog)
    return replication_markdown(board.name, first, second).encode()


def check_replication(board: Board, results: BoardResults, catalog: Catalog) -> Iterator[Check]:
    """Compare a published replication with its records, and its plan with the leaderboard's."""
    second = board.replication
    yield from check_board(second, load_results(second.folder), catalog)
    plan, of_board = second.plan(catalog), board.plan(catalog)
    folds = len(plan.folds_to_run)
    fewer = FEWEST_FOLDS <= folds < len(of_board.folds_to_run)
    some = tuple(one for one in plan.backbones if one in of_board.backbones)
    good = plan == replication_plan(of_board, board.name, folds if fewer else None, some)
    what = "the" if good else "not the"
    yield Check(good, f"{second.plan_path}: {what} replication of the leaderboard's contrasts")
    yield same_bytes(board.folder / REPLICATION_MD, replication_page(board, results, catalog))
