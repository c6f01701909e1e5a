"""Tuning trials, their gains, learning curves and importances: frames from records.

They hold validation figures only, none of the test rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pepbench.analysis.cells import cells_of, protocol_digest
from pepbench.analysis.metrics import METRICS
from pepbench.component import Value
from pepbench.records import (
    CELL_COLUMNS,
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    CellName,
    Record,
    best_trial,
    final_runs,
    is_extract,
    validation_goal,
)

TRIAL_COLUMNS = (
    *CELL_COLUMNS,
    "fold",
    "trial",
    "default",
    "best",
    "status",
    "objective",
    "score",
    "best_so_far",
    "settings",
    "key",
)
"""Columns of the trials' frame; ``fold`` from 0; ``score`` is the objective's validation figure, of
which more is better."""

GAIN_COLUMNS = (
    *CELL_COLUMNS,
    "trials",
    "ok",
    "default_score",
    "best_score",
    "gain",
    "best_trial",
    "settings",
)
"""Columns of the gains' frame. Over folds, counts are sums and scores means; ``best_trial`` and
``settings`` are those of a single split."""

CURVE_COLUMNS = (
    *CELL_COLUMNS,
    "seed",
    "epoch",
    "auc",
    "log_loss",
    "train_loss",
)
"""Columns of the learning curves' frame."""

LEAST_TRIALS = 10
"""Finished trials of a cell below which no importance is estimated."""


def by_cell(records: Iterable[Record]) -> dict[CellName, list[Record]]:
    """Records of each cell, named and ordered as in the leaderboard; protocols apart."""
    records = list(records)
    names = {(cell.spec.cell, cell.protocol): cell.name for cell in cells_of(records)}
    grouped: dict[CellName, list[Record]] = {name: [] for name in names.values()}
    for record in records:
        grouped[names[record.spec.cell, protocol_digest(record.spec)]].append(record)
    return grouped


def by_cell_and_fold(records: Iterable[Record]) -> dict[tuple[CellName, int], list[Record]]:
    """As :func:`by_cell`, fold by fold: what was tuned together.

    Cells of which only an extract is at hand, such as those of a published board, are left out.
    """
    grouped: dict[tuple[CellName, int], list[Record]] = {}
    for name, members in by_cell(records).items():
        for record in sorted(members, key=lambda record: record.spec.data.fold):
            grouped.setdefault((name, record.spec.data.fold), []).append(record)
    return {place: members for place, members in grouped.items() if not is_extract(members)}


def trials_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each tuning trial: its score, and the best up to then.

    Trials are numbered in the order in which they ended, the default first.

    Returns
    -------
    pandas.DataFrame
        Columns ``TRIAL_COLUMNS``; ``score`` is NaN where a trial is not ok.
    """
    rows = []
    for (name, fold), members in by_cell_and_fold(records).items():
        trials = _in_order(members)
        best, best_so_far = best_trial(members), math.nan
        varied = _varied(trials)
        for number, trial in enumerate(trials):
            score = _score(trial)
            best_so_far = float(np.fmax(best_so_far, score))
            settings = ", ".join(
                f"{key}={written(value)}"
                for key, value in _settings(trial).items()
                if key in varied
            )
            is_best = best is not None and trial.key == best.key
            objective = METRICS[trial.spec.training.objective].signed
            outcome = (trial.status, objective, score, best_so_far)
            row = (number, number == 0 and _has_common_defaults(trial), is_best, *outcome)
            rows.append((*name, fold, *row, settings, trial.key))
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def gains_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """Gain of tuning in each cell: the best score minus the default's.

    The best of several trials is chosen by the same validation rows, so the gain is an optimistic
    figure; test rows say what is left of it.

    Parameters
    ----------
    trials
        Of :func:`trials_frame`.

    Returns
    -------
    pandas.DataFrame
        Columns ``GAIN_COLUMNS``; figures are NaN where the default or all trials of one of the
        folds did not end well.
    """
    rows = []
    for name, group in trials.groupby(list(CELL_COLUMNS), sort=False):
        best = group[group["best"]]
        default_score, best_score = (_over_folds(group, which) for which in ("default", "best"))
        single = len(best) == 1 and group["fold"].nunique() == 1
        rows.append(
            (
                *name,
                len(group),
                int((group["status"] == "ok").sum()),
                default_score,
                best_score,
                best_score - default_score,
                int(best["trial"].iloc[0]) if single else None,
                str(best["settings"].iloc[0]) if single else "",
            )
        )
    frame = pd.DataFrame(rows, columns=list(GAIN_COLUMNS))
    return frame.astype({"best_trial": "Int64"})


def _over_folds(trials: pd.DataFrame, which: str) -> float:
    """The mean over folds of the score of the trial so marked; NaN if a fold has none."""
    scores = trials["score"].where(trials[which]).groupby(trials["fold"]).max()
    return float(scores.mean(skipna=False))


def curves_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Learning curves of final runs: validation figures after each epoch of the last training.

    Returns
    -------
    pandas.DataFrame
        Columns ``CURVE_COLUMNS``.
    """
    rows = [
        (*name, run.spec.seed, point.epoch, point.auc, point.log_loss, point.train_loss)
        for (name, _), members in by_cell_and_fold(records).items()
        for run in final_runs(members)
        for point in run.curve
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def importances(records: Sequence[Record]) -> dict[str, float]:
    """Importance of each tuned setting of one cell for its score (PED-ANOVA).

    Parameters
    ----------
    records
        Of one cell.

    Returns
    -------
    dict
        By setting, most important first, summing to one; empty with fewer than ``LEAST_TRIALS``
        finished trials, or where nothing was varied.

    References
    ----------
    Watanabe, Bansal & Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023; as implemented in Optuna.
    """
    # Optuna takes a second to import, and most reports do without.
    import optuna

    trials = [trial for trial in _in_order(records) if not math.isnan(_score(trial))]
    varied = _varied(trials)
    if len(trials) < LEAST_TRIALS or not varied:
        return {}
    space = {name: _distribution([_settings(trial)[name] for trial in trials]) for name in varied}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        for trial in trials:
            values = {name: _settings(trial)[name] for name in varied}
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=space, value=_score(trial))
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(value) for name, value in found.items()}


def _in_order(members: Iterable[Record]) -> list[Record]:
    """Tuning trials as they ended, the default first.

    Later trials may have its learning rate and L2 as well: those of an infeasible default are
    handed on to the trial in its place, and a grid repeats them.
    """
    trials = sorted(
        (record for record in members if record.spec.role == "tuning"),
        key=lambda trial: (trial.created, trial.status != "infeasible", trial.key),
    )
    default = next(filter(_has_common_defaults, trials), None)
    return sorted(trials, key=lambda trial: trial is not default)


def _has_common_defaults(trial: Record) -> bool:
    common = (trial.spec.training.learning_rate, trial.spec.training.l2)
    return common == (DEFAULT_LEARNING_RATE, DEFAULT_L2)


def _score(trial: Record) -> float:
    return validation_goal(trial) if trial.status == "ok" else math.nan


def _settings(trial: Record) -> dict[str, Value]:
    training = trial.spec.training
    common: dict[str, Value] = {"learning_rate": training.learning_rate, "l2": training.l2}
    return common | dict(trial.spec.method.options)


def _varied(trials: Sequence[Record]) -> list[str]:
    names = dict.fromkeys(name for trial in trials for name in _settings(trial))
    return [
        name for name in names if len({repr(_settings(trial).get(name)) for trial in trials}) > 1
    ]


def _distribution(values: Sequence[Value]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if any(isinstance(value, bool | str) for value in values):
        return CategoricalDistribution(sorted(set(values), key=repr))
    numbers = [float(value) for value in values]
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(min(numbers)), int(max(numbers)))
    log = min(numbers) > 0 and max(numbers) > 10 * min(numbers)
    return FloatDistribution(min(numbers), max(numbers), log=log)


def written(value: Value) -> str:
    """The value of an option as text, floats with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
