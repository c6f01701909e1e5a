"""The training of a table to serve: options that one fold chose, on all rows but few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any, cast

from pepbench.catalog import Catalog
from pepbench.data.cache import scratch
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.split_schemes import Fold
from pepbench.data.splits import Splits, final_splits
from pepbench.errors import DataError
from pepbench.export.folder import ExportError
from pepbench.records import Record, TrialSpec, final_runs, validation_goal
from pepbench.units import Budget


def typical_fold(records: Sequence[Record]) -> int | None:
    """The fold, from 0, whose chosen options a last training takes.

    Of each fold, it looks at the mean validation figure that the plan maximises, over all runs with
    the chosen options, and takes the fold in the middle, the lower one of two: the figures of
    different folds are of different rows, so that the highest only tells which rows are easy.

    Parameters
    ----------
    records
        Of one cell, all folds.

    Returns
    -------
    The fold; None if none has a final run that came out well.

    Raises
    ------
    ExportError
        If some folds have one and others do not: the middle is not known then.
    """
    figures = []
    for fold in {record.spec.data.fold for record in records}:
        of_fold = [record for record in records if record.spec.data.fold == fold]
        chosen = {run.spec.settings() for run in final_runs(of_fold) if run.status == "ok"}
        goals = [
            validation_goal(record)
            for record in of_fold
            if record.validation is not None and record.spec.settings() in chosen
        ]
        if goals:
            figures.append((mean(goals), fold))
    if not figures:
        return None
    spec, finished = records[0].spec, {fold for _, fold in figures}
    if missing := sorted(set(spec.data.reported_folds) - finished):
        raise ExportError(
            f"{spec.cell.listed()}: fold {', '.join(str(fold + 1) for fold in missing)} of "
            f"{spec.data.folds} has no final run that ended well; finish the run, or export the "
            f"model of a fold: --fold {min(finished) + 1}"
        )
    return sorted(figures)[(len(figures) - 1) // 2][1]


@contextmanager
def on_all_rows(spec: TrialSpec, plugins: tuple[Path, ...]) -> Iterator[tuple[TrialSpec, Splits]]:
    """The spec and rows of a training on all rows but those that validate in a trial's fold.

    Vocabulary and budget are those of the new training rows. No test rows are left, so the spec
    has the role of a tuning trial, whose model is not tested.

    Raises
    ------
    DataError
        If the data set differs from that of the trial.
    """
    data = spec.data
    dataset = Catalog(plugins).select("dataset", data.spec).default()
    table = open_table(cast(Dataset, dataset))
    if table.fingerprint != data.table_fingerprint:
        raise DataError(f"data set {data.spec!r} differs from the run's; add it again")
    with scratch(table.folder, "last-training") as folder:
        fold = Fold(data.fold, data.folds)
        splits = final_splits(table, data.split_seed, fold, folder)
        full = splits.fields.n_features * spec.dim
        changes = {
            "data": data.model_copy(update={"split_fingerprint": splits.fingerprint}),
            "budget_parameters": Budget(spec.budget).within(full),
            "full_parameters": full,
            "role": "tuning",
        }
        yield spec.model_copy(update=changes), splits


def board_figures(records: Sequence[Record]) -> dict[str, Any]:
    """Mean test AUC over folds of a cell's final runs, each fold by the mean over its seeds."""
    by_fold: dict[int, list[float]] = {}
    for fold in {record.spec.data.fold for record in records}:
        of_fold = (record for record in records if record.spec.data.fold == fold)
        aucs = [run.test.auc for run in final_runs(of_fold) if run.test is not None]
        if aucs:
            by_fold[fold] = aucs
    return {"folds": len(by_fold), "mean_test_auc": mean(map(mean, by_fold.values()))}
