"""A board's records beside a run's: ``pepbench run --against`` leaves them in the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pepbench.analysis.primary import Contrast
from pepbench.analysis.runs import Runs, open_runs
from pepbench.plan import plan_in
from pepbench.records import Record
from pepbench.report.mixed import refuse_mixed
from pepbench.units import FULL

BOARD_FOLDER = "board"
"""Folder, in that of a run, with the records of the board that the run is compared with."""

NAME_FILE = "board.txt"
"""File, in that folder, with the board's name; marks the folder."""


@dataclass(frozen=True)
class BoardBeside:
    """A board's methods beside those of a run.

    Attributes
    ----------
    name
        Of the board.
    own, others
        Methods of the run and of the board, in the order of tables; the full table comes first.
    contrasts
        Each of the run's methods against each of the board's that can be tested, at each budget
        that both have.
    without_predictions
        Methods of the board whose test predictions are not at hand.
    single
        Whether there is a single split, so that nothing can be tested without predictions.
    """

    name: str
    own: tuple[str, ...]
    others: tuple[str, ...]
    contrasts: list[Contrast]
    without_predictions: frozenset[str]
    single: bool

    @classmethod
    def of(cls, runs: Runs) -> BoardBeside | None:
        """The board beside the runs; None if there is none."""
        boards = {folder for folder in runs.folders if (folder / NAME_FILE).is_file()}
        if not boards or boards == set(runs.folders):
            return None
        final = [record for record in runs.records if record.spec.role == "final"]
        theirs = [record for record in final if runs.folder_of[record.key] in boards]
        mine = [record for record in final if runs.folder_of[record.key] not in boards]
        budgets = {r.spec.budget: r.spec.budget_parameters for r in mine}
        others = _methods(theirs)
        places = {(record.spec.method.spec, record.spec.budget) for record in theirs}
        bare = frozenset(r.spec.method.spec for r in theirs if r.predictions_sha256 is None)
        single = all(record.spec.data.folds == 1 for record in theirs)
        contrasts = [
            (method, other, budget)
            for budget in sorted(budgets, key=lambda budget: -budgets[budget])
            for method in _methods(mine)
            for other in others
            if {(other, budget), (other, FULL)} & places and not (single and other in bare)
        ]
        first = next(iter(boards))
        name = (first / NAME_FILE).read_text("utf-8").strip()
        return cls(name, _methods(mine), others, contrasts, bare, single)

    def notes(self) -> Iterator[str]:
        """What a reader of the report has to know."""
        yield (
            f"{', '.join(self.own)}: run here. The other {len(self.others)} methods: from the "
            f"board {self.name}, with the same data, splits, tuning trials and settings. "
            "Verdicts against the full table are adjusted for all of them together, so they may be "
            "weaker than on the page of the board."
        )
        if self.single and self.without_predictions:
            yield (
                f"{self.name} has a single split and no test predictions at hand, so AUCs stand "
                "side by side and no difference from its methods is tested. A board with folds, or "
                "the folder of its run instead of its name, gives verdicts."
            )


def _methods(records: Sequence[Record]) -> tuple[str, ...]:
    fixed = {record.spec.method.spec: record.spec.budget != FULL for record in records}
    return tuple(sorted(fixed, key=lambda method: (fixed[method], method)))


def opened(folders: Sequence[Path], warn: Callable[[str], None] = lambda _: None) -> Runs:
    """The records of runs, with those of the boards beside them, of the folds that were asked for.

    Raises
    ------
    RecordError
        As :func:`pepbench.analysis.runs.open_runs` and :func:`pepbench.report.mixed.refuse_mixed`.
    PlanError
        If a plan cannot be read.
    """
    parts = [
        part
        for folder in folders
        for part in (folder, folder / BOARD_FOLDER)
        if part == folder or (part / NAME_FILE).is_file()
    ]
    asked = [asked_folds(folder) for folder in folders]
    only = {fold for folds in asked for fold in folds} if all(asked) else set()
    runs = open_runs(parts, warn, only)
    refuse_mixed(runs)
    return runs


def asked_folds(folder: Path) -> list[int]:
    """The folds, from 0, that the plan in a folder restricts its run to; empty: all."""
    plan = plan_in(folder)
    return plan.folds_to_run if plan and plan.only_folds else []
