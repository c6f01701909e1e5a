"""The trials of one cell: tune on validation rows, then train the best with fresh seeds."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import cast

import optuna

from pepbench.component import Trial, Value
from pepbench.harness.cells import Cell, final_seeds, tuning_seed
from pepbench.harness.tuning.halton import halton
from pepbench.harness.tuning.space import Params, grid, params_of, settings_of, suggest_settings
from pepbench.harness.tuning.trial_pruning import pruning_of
from pepbench.method import Method
from pepbench.records import Record, TrialSpec, best_trial

TrialBatches = Generator[list[TrialSpec], list[Record], None]
"""Yields trials in batches and is sent their records."""

STARTUP_TRIALS = 10
"""The first trials of ``tpe`` and ``gp``, which ``halton`` chooses."""

UNSUCCESSFUL_SHARE = 1 / 20
"""Least share of a tuning time that a trial without a result uses up, so that a method that fails
at once is not tried for ever."""


def trial_batches(
    cell: Cell, study: optuna.Study, neighbour_best: Record | None = None
) -> TrialBatches:
    """Ask for the tuning trials of a cell, then for its final runs.

    The study gets outcomes in a fixed order and its sampler is seeded by the cell, so the
    trials depend on nothing but the plan: replayed from stored records, the same are asked for.

    Parameters
    ----------
    cell
        To be tuned.
    study
        As :func:`new_study` makes it.
    neighbour_best
        The best trial of the cell's neighbour, to be tried second.

    Yields
    ------
    list of TrialSpec
        Trials that can run at the same time; send their records in the same order.
    """
    records = yield from _tune(cell, study, neighbour_best)
    best = best_trial(records)
    if best is not None:
        yield [_final(best, seed) for seed in final_seeds(cell.plan)]


def _tune(
    cell: Cell, study: optuna.Study, neighbour_best: Record | None
) -> Generator[list[TrialSpec], list[Record], list[Record]]:
    prescribed = _prescribed(cell, neighbour_best)
    records: list[Record] = []
    while n_trials := min(cell.plan.batch, _trials_left(cell, records)):
        pruning = pruning_of(cell.plan.pruner, records)
        trials: list[optuna.Trial] = []
        specs: list[TrialSpec] = []
        for _ in range(n_trials):
            params = next(prescribed, None)
            if params is not None:
                study.enqueue_trial(params)
            elif cell.plan.sampler == "grid":
                break
            trials.append(study.ask())
            settings = suggest_settings(cell, cast(Trial, trials[-1]))
            specs.append(cell.trial(settings, tuning_seed(cell.plan), "tuning", pruning))
        if not specs:
            break
        answers = yield specs
        for trial, record in zip(trials, answers, strict=True):
            tell(study, trial, record)
        records += answers
    return records


def _prescribed(cell: Cell, neighbour_best: Record | None) -> Iterator[Params]:
    """Trials not chosen by Optuna: default, neighbour's best, grid or sequence; each once."""
    first = [params_of(cell, cell.default())]
    if neighbour_best is not None:
        first.append(params_of(cell, settings_of(cell, neighbour_best.spec)))
    yield first[0]
    if first[-1] != first[0]:
        yield first[-1]
    yield from (params for params in _sequence(cell) if params not in first)


def _sequence(cell: Cell) -> Iterable[Params]:
    match cell.plan.sampler:
        case "grid":
            return grid(cell)
        case "halton":
            return halton(cell)
        case "tpe" | "gp":
            # As with halton, so that no method starts from luckier trials than another.
            return itertools.islice(halton(cell), STARTUP_TRIALS - 1)
        case "random":
            return ()


def _trials_left(cell: Cell, records: list[Record]) -> int:
    """How many trials may still be asked for; a tuning time leaves a batch until it is used up."""
    time = cell.plan.tuning_seconds
    if time is None:
        return cell.plan.trials - len(records)
    spent = sum(_counted_seconds(record, time) for record in records)
    return cell.plan.batch if spent < time else 0


def _counted_seconds(record: Record, time: float) -> float:
    least = 0.0 if record.status in ("ok", "pruned") else time * UNSUCCESSFUL_SHARE
    return max(record.cpu_seconds(), least)


def cell_failure_spec(cell: Cell, records: Iterable[Record]) -> TrialSpec:
    """The trial under which the failure of a whole cell is recorded.

    It is the first final run of the best trial so far, or the default trial where there is none.
    """
    best = best_trial(records)
    if best is None:
        return cell.trial(cell.default(), tuning_seed(cell.plan), "tuning")
    return _final(best, final_seeds(cell.plan)[0])


def _final(best: Record, seed: int) -> TrialSpec:
    return best.spec.model_copy(update={"seed": seed, "role": "final", "pruning": None})


def search_key(cell: Cell, spec: TrialSpec) -> str | None:
    """A key that is equal for trials that one search can serve: those that differ in budget only.

    None for trials that need a search of their own, because of the method, or because a pruner
    compares them with trials at their own budget.
    """
    method = cast(Method, cell.method.component.from_options(spec.method.options))
    if not method.shares_search or spec.pruning is not None:
        return None
    return spec.model_copy(update={"budget": "", "budget_parameters": 0}).key()


def seeded_sampler(cell: Cell) -> optuna.samplers.BaseSampler:
    """The plan's sampler, seeded by the cell alone."""
    seed = cell.sampler_seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if cell.plan.sampler == "tpe":
            # The constant liar matters within a batch only: else no other trial is running.
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=STARTUP_TRIALS,
                multivariate=True,
                constant_liar=True,
            )
        if cell.plan.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    # A grid or a sequence is prescribed as a whole and leaves its sampler nothing to choose.
    return optuna.samplers.RandomSampler(seed=seed)


def tell(study: optuna.Study, trial: optuna.Trial, record: Record) -> None:
    """Report an outcome to Optuna: validation AUC, also by epoch, or that there is none."""
    attributes: dict[str, Value | None] = {
        "record": record.key,
        "status": record.status,
        "reason": record.reason,
        "n_parameters": record.n_parameters,
        "cpu_seconds": record.cpu_seconds(),
    }
    for name, value in attributes.items():
        if value is not None:
            trial.set_user_attr(name, value)
    for point in record.curve:
        trial.report(point.auc, point.epoch)
    if record.status == "ok" and record.validation is not None:
        study.tell(trial, record.validation.auc)
    elif record.status == "pruned":
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def new_study(cell: Cell) -> optuna.Study:
    """An empty study of a cell, to be maximised."""
    # Whether a trial is stopped is decided by the worker.
    return optuna.create_study(
        study_name=" | ".join(cell.name),
        sampler=seeded_sampler(cell),
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
    )
