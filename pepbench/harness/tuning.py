"""How one cell is worked off: tune on validation rows, then train the best with fresh seeds."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from typing import Any, cast

import optuna

from pepbench.component import Trial, Value
from pepbench.harness.cells import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    Cell,
    final_seeds,
    tuning_seed,
)
from pepbench.method import Method
from pepbench.records import Record, TrialSpec, best_trial

LEARNING_RATES = (3e-4, 1e-2)
"""Range of the common learning rate, searched on a logarithmic scale for every method."""

L2S = (1e-7, 1e-3)
"""Range of the common L2, likewise."""

CellProgram = Generator[list[TrialSpec], list[Record], None]
"""Asks for trials in batches and is sent their records."""


def work_off(cell: Cell, study: optuna.Study) -> CellProgram:
    """Tune a cell and make its final runs.

    The study is told outcomes in a fixed order and its sampler is seeded by the cell, so the
    trials depend on nothing but the plan: replayed from stored records, it asks the same again.

    Parameters
    ----------
    cell
        What is asked.
    study
        A new study with a sampler of :func:`sampler`.

    Yields
    ------
    list of TrialSpec
        Trials that can run at the same time; send their records in the same order.
    """
    kind = cast(type[Method], cell.method.component)
    default = cast(Method, cell.method.default())
    study.enqueue_trial(
        {
            "learning_rate": DEFAULT_LEARNING_RATE,
            "l2": DEFAULT_L2,
            **default.tuned_options(cell.method.fixed),
        }
    )
    records: list[Record] = []
    for _ in range(cell.plan.trials):
        trial = study.ask()
        spec = suggested(cell, kind, cast(Trial, trial))
        (record,) = yield [spec]
        records.append(record)
        tell(study, trial, record)
    best = best_trial(records)
    if best is not None:
        yield [
            best.spec.model_copy(update={"seed": seed, "role": "final"})
            for seed in final_seeds(cell.plan)
        ]


def stand_in(cell: Cell, records: Iterable[Record]) -> TrialSpec:
    """The trial under which the failure of a whole cell is recorded.

    It is the first final run of the best trial so far, or the default trial where there is none.
    """
    best = best_trial(records)
    if best is None:
        default = cast(Method, cell.method.default())
        seed = tuning_seed(cell.plan)
        return cell.trial(default, DEFAULT_LEARNING_RATE, DEFAULT_L2, seed, "tuning")
    return best.spec.model_copy(update={"seed": final_seeds(cell.plan)[0], "role": "final"})


def sampler(cell: Cell) -> optuna.samplers.BaseSampler:
    """TPE, seeded by the cell alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=cell.seed("sampler"), multivariate=True)


def suggested(cell: Cell, kind: type[Method], trial: Trial) -> TrialSpec:
    """The trial that Optuna chooses: common settings, then the method's own."""
    learning_rate = trial.suggest_float("learning_rate", *LEARNING_RATES, log=True)
    l2 = trial.suggest_float("l2", *L2S, log=True)
    method = kind.suggest(trial, cell.method.fixed)
    return cell.trial(method, learning_rate, l2, tuning_seed(cell.plan), "tuning")


def tell(study: optuna.Study, trial: optuna.Trial, record: Record) -> None:
    """Pass an outcome on to Optuna: validation AUC, or that there is none."""
    attributes: dict[str, Value | None] = {
        "record": record.key,
        "status": record.status,
        "reason": record.reason,
        "n_parameters": record.n_parameters,
    }
    for name, value in attributes.items():
        if value is not None:
            trial.set_user_attr(name, value)
    if record.status == "ok" and record.validation is not None:
        study.tell(trial, record.validation.auc)
    else:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def new_study(cell: Cell, storage: Any = None) -> optuna.Study:
    """An empty study of a cell, to be maximised."""
    return optuna.create_study(
        storage=storage,
        study_name=" | ".join(cell.name),
        sampler=sampler(cell),
        direction="maximize",
    )
