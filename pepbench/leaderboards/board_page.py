"""The generated parts of a leaderboard's pages: what it shows, and how it was made."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import pandas as pd

from pepbench.analysis.frames import by_block, of_block
from pepbench.leaderboards.board_results import BoardResults, from_records
from pepbench.leaderboards.boards import REPLICATION_MD, Board
from pepbench.leaderboards.record_packing import RECORDS_FILE
from pepbench.leaderboards.submitted import MARK, submitted_records
from pepbench.objective import goal
from pepbench.plan import Plan
from pepbench.records import Record
from pepbench.report.findings import trimmed_notes
from pepbench.report.markdown import (
    LEADERBOARD_CSV,
    LEADERBOARD_MD,
    contrast_parts,
    escape,
    github_table,
)
from pepbench.report.page.html import PAGE
from pepbench.report.phrases import (
    NOT_COMPARED,
    block_title,
    front_pictures,
    outcome,
    percent,
    short_count,
)
from pepbench.report.verdict_sentences import best_cells, best_sentence, verdict_sentences
from pepbench.units import dataset_title, duration

FRONT = "pareto"
"""Name of the chart on the page; the only one that is also published as PNG."""

DETAILS_MD = "details.md"
"""Generated page beside the README."""


def board_summary(board: Board, results: BoardResults) -> str:
    """The generated part of a leaderboard's README, as Markdown."""
    return "\n\n".join(
        [
            *(
                [best_table(results.frame)]
                if results.primary.empty
                else contrast_parts(results.contrasts, detail=False)
            ),
            *(
                f"![{what}]({name}.{'png' if name == FRONT else 'svg'})"
                for name, what in front_pictures(results.frame).items()
            ),
            *_findings(results),
            *_replication(board),
            "; ".join(f"{what}: [{name}]({name})" for name, what in _files(board)) + ".",
        ]
    )


def details_page(board: Board, results: BoardResults) -> str:
    """What a leaderboard's README links: best cells, submissions, time, versions, limits, cuts."""
    plan = Plan.load(board.plan_path, {})
    return "\n\n".join(
        [
            f"# Details of the leaderboard {board.name}",
            "## The best of each size",
            best_table(results.frame),
            *submitted_table(board, results.records, results.margin, results.folds),
            "## How it was made",
            f"`pepbench leaderboard {board.name}` from [plan.toml](plan.toml); "
            f"`pepbench leaderboard --verify {board.name}` checks the pages.",
            *_folds(results.records),
            "CPU time, summed over workers:",
            time_table(results.records),
            "\n".join(f"* {line}" for line in provenance(results.records)),
            "## What tuning chose",
            "\n".join(f"* {line}" for line in limits_reached(results.records, plan)),
            "## What the plan cuts",
            "\n".join(f"* {escape(line)}" for line in cuts(plan)) + "\n",
        ]
    )


def _findings(results: BoardResults) -> Iterator[str]:
    for name, block in by_block(results.primary):
        if results.contrasts["backbone"].nunique() > 1:
            yield f"**{escape(block_title(name))}**"
        here = [r for r in results.records if (r.spec.data.spec, r.spec.backbone.spec) == name]
        sentences = [*findings(results.frame, block, results.margin), *trimmed_notes(here)]
        yield "\n".join(f"* {sentence}" for sentence in sentences)


def findings(frame: pd.DataFrame, contrasts: pd.DataFrame, margin: float) -> Iterator[str]:
    """What a leaderboard shows of one data set and backbone: the best methods, then the verdicts.

    Parameters
    ----------
    frame
        The leaderboard.
    contrasts
        The primary ones of one data set and backbone.
    margin
        Of equivalence and non-inferiority.
    """
    (name,) = {name for name, _ in by_block(contrasts)}
    yield from filter(None, [best_sentence(of_block(frame, name))])
    yield from verdict_sentences(contrasts, margin)


def _folds(records: Iterable[Record]) -> Iterator[str]:
    folds = sorted({record.spec.data.folds for record in records})
    if folds[-1] > 1:
        run = len({record.spec.data.fold for record in records})
        number = " or ".join(map(str, folds)) if run == folds[-1] else f"{run} of {folds[-1]}"
        yield (
            f"Each cell was tuned, chosen and tested anew in each of {number} folds; AUCs are "
            "means over them."
        )


def _files(board: Board) -> Iterator[tuple[str, str]]:
    yield DETAILS_MD, "The best of each size, time, versions, what the plan cuts"
    yield LEADERBOARD_MD, "all cells"
    yield LEADERBOARD_CSV, "in full precision"
    yield RECORDS_FILE, "every trial with its learning curve"
    if (board.folder / PAGE).is_file():
        yield PAGE, "interactive, for download"


def _replication(board: Board) -> Iterator[str]:
    if (board.folder / REPLICATION_MD).is_file():
        yield (
            "The primary contrasts were run a second time, with other folds and draws: "
            f"[which verdicts came out again]({REPLICATION_MD})."
        )


def best_table(frame: pd.DataFrame) -> str:
    """The highest AUC of each data set, backbone and budget."""
    return _table(best_cells(frame), "best method")


def submitted_table(
    board: Board, records: Iterable[Record], margin: float, folds: Collection[int] = ()
) -> Iterator[str]:
    """The cells of the methods that others have submitted to a board; nothing if there are none.

    Parameters
    ----------
    board
        The board.
    records, margin, folds
        As :class:`~pepbench.leaderboards.board_results.BoardResults` has them.
    """
    submitted = submitted_records(board)
    if not submitted:
        return
    frame = from_records([*records, *submitted], margin=margin, draws=1, folds=folds).frame
    yield "### Submitted by others"
    yield (
        "Run by their authors, with the board's plan; `pepbench leaderboard --verify` checks them. "
        "Verdicts are adjusted for all methods of a budget, these included."
    )
    yield _table(frame[frame["method"].str.endswith(MARK, na=False)], "method")


def _table(cells: pd.DataFrame, method: str) -> str:
    """Cells of a leaderboard; ``method`` is the heading of the methods' names."""
    rows = []
    for row in cells.to_dict("records"):
        known = not pd.isna(row["parameters"])
        rows.append(
            [
                escape(dataset_title(row["dataset"])),
                *(escape(row[name]) for name in ("backbone", "budget", "method")),
                short_count(row["parameters"]) if known else "",
                percent(row["share"]) if known else "",
                _interval(row["auc"], row["auc_low"], row["auc_high"], ".4f"),
                _interval(row["delta_auc"], row["delta_low"], row["delta_high"], "+.4f"),
                escape(outcome(row) or NOT_COMPARED),
            ]
        )
    headings = ("data set", "backbone", "budget", method)
    figures = ("parameters", "share", "AUC", "Δ to full", "verdict")
    return markdown(rows, (*headings, *figures), texts=4)


def time_table(records: Iterable[Record]) -> str:
    """CPU time of all trials by data set, backbone and phase, and their wall time beside it.

    Times are summed over workers. Finalists have a column where there are any.
    """
    seconds: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    trials: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        block = (record.spec.data.spec, record.spec.backbone.spec)
        trials[block] += 1
        seconds[block][record.spec.role] += record.cpu_seconds()
        seconds[block]["CPU"] += record.cpu_seconds()
        seconds[block]["wall"] += record.search_seconds() + record.train_seconds()
    further = any("finalist" in block for block in seconds.values())
    columns = ("tuning", *["finalist"] * further, "final", "CPU", "wall")
    rows = [
        [escape(dataset_title(dataset)), escape(backbone), f"{trials[dataset, backbone]:,}"]
        + [duration(seconds[dataset, backbone][column]) for column in columns]
        for dataset, backbone in sorted(trials)
    ]
    total = [duration(sum(block[column] for block in seconds.values())) for column in columns]
    rows.append(["all", "", f"{sum(trials.values()):,}", *total])
    headings = (
        "data set",
        "backbone",
        "trials",
        "tuning trials",
        *["finalists"] * further,
        "final runs",
        "CPU time in all",
        "wall time in all",
    )
    return markdown(rows, headings, texts=2)


def limits_reached(records: Iterable[Record], plan: Plan) -> Iterator[str]:
    """How often final runs were best in their last epoch, or tuned to the end of a range."""
    final = [one for one in records if one.spec.role == "final" and one.status == "ok"]
    settings, runs = [one.spec.training for one in final], f"of {len(final):,} final runs"
    yield f"In {sum(map(_best_at_last_epoch, final)):,} {runs} the last epoch of the plan was best."
    for name, values, limits in (
        ("learning rate", [one.learning_rate for one in settings], plan.tune_learning_rate),
        ("L2", [one.l2 for one in settings], plan.tune_l2),
    ):
        low, high = map(math.log, limits)
        shares = [(math.log(value) - low) / (high - low) for value in values]
        yield (
            f"In {sum(share > 0.9 for share in shares):,} {runs} the {name} is in the upper tenth "
            f"of its range (logarithmic, to {limits[1]:g}), in "
            f"{sum(share < 0.1 for share in shares):,} in the lower (from {limits[0]:g})."
        )


def _best_at_last_epoch(record: Record) -> bool:
    goals = [goal(point, record.spec.training.objective) for point in record.curve]
    return len(goals) == record.spec.training.epochs and goals[-1] == max(goals)


def cpu_seconds(records: Iterable[Record]) -> float:
    """CPU seconds of all trials."""
    return sum(record.cpu_seconds() for record in records)


def provenance(records: Sequence[Record]) -> Iterator[str]:
    """Processors, versions and dates of the trials, one line each."""
    environments = [record.environment for record in records]
    for name, values in (
        ("Processor", {e.cpu for e in environments}),
        ("Python", {e.python for e in environments}),
        ("torch", {e.torch for e in environments}),
        ("numpy", {e.numpy for e in environments}),
        ("pepbench", {f"{e.pepbench} ({(e.git or 'no revision')[:12]})" for e in environments}),
        ("Threads of a worker", {str(e.threads) for e in environments}),
    ):
        yield f"{name}: {escape(', '.join(sorted(values)))}"
    made = sorted(record.created for record in records)
    predicted = sum(record.predictions_sha256 is not None for record in records)
    yield f"Trials made from {made[0]:%Y-%m-%d} to {made[-1]:%Y-%m-%d}"
    yield (
        f"Test predictions are not committed; the checksums of their {predicted:,} files "
        f"are in {RECORDS_FILE} (`predictions_sha256`)"
    )


def cuts(plan: Plan) -> list[str]:
    """What a plan leaves out or runs under other settings than the rest, and why."""
    return [exception.describe() for exception in plan.exceptions] or [
        "Nothing: every cell is run alike."
    ]


def markdown(rows: Sequence[Sequence[str]], headings: Sequence[str], texts: int) -> str:
    """A table whose first ``texts`` columns are text and whose others are figures."""
    return github_table(rows, headings, headings[:texts])


def _interval(middle: float, low: float, high: float, form: str) -> str:
    if pd.isna(middle):
        return ""
    if pd.isna(low):
        return format(middle, form)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"
