"""The trials of one cell: tune, choose among finalists, train the chosen with fresh seeds."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import cast

import optuna

from pepbench.component import Trial, Value
from pepbench.harness.cells import Cell
from pepbench.harness.tuning.halton import halton
from pepbench.harness.tuning.space import (
    COMMON,
    Params,
    grid,
    params_of,
    settings_of,
    suggest_settings,
)
from pepbench.harness.tuning.trial_pruning import pruning_of
from pepbench.method import Method
from pepbench.objective import goal
from pepbench.records import Record, Role, TrialSpec, best_trial, finalists, validation_goal

TrialBatches = Generator[list[TrialSpec], list[Record], None]
"""Yields trials in batches and is sent their records."""

STARTUP_TRIALS = 10
"""The first trials of ``tpe`` and ``gp``, which ``halton`` chooses."""

MOST_DRAWS = 3
"""Draws for each trial of a plan, at most, where infeasible ones are replaced."""

UNSUCCESSFUL_SHARE = 1 / 20
"""Least share of a tuning time that a trial without a result uses up, so that a method that fails
at once is not tried for ever."""


def trial_batches(
    cell: Cell, study: optuna.Study, neighbour_best: Record | None = None
) -> TrialBatches:
    """Ask for the tuning trials of a cell, then for its finalists, then for its final runs.

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
    candidates = finalists(records, cell.plan.finalists)
    if len(candidates) > 1:
        seeds = cell.finalist_seeds()
        records += yield [_again(one, seed, "finalist") for one in candidates for seed in seeds]
    best = best_trial(records)
    if best is not None:
        yield [_again(best, seed, "final") for seed in cell.final_seeds()]


def _tune(
    cell: Cell, study: optuna.Study, neighbour_best: Record | None
) -> Generator[list[TrialSpec], list[Record], list[Record]]:
    first = _first(cell, neighbour_best)
    prescribed = itertools.chain(first, (p for p in _sequence(cell) if p not in first))
    records: list[Record] = []
    owed: deque[Params] = deque()
    """Common settings of infeasible trials, and of trials that took those over."""
    while n_trials := min(cell.plan.batch, _trials_left(cell, records)):
        pruning = pruning_of(cell.plan.pruner, records)
        trials: list[optuna.Trial] = []
        specs: list[TrialSpec] = []
        for _ in range(n_trials):
            params = next(prescribed, None)
            if params is None and cell.plan.sampler == "grid":
                break
            # A trial in place of an infeasible one takes over its common settings, and the next
            # one those: so every method tries the same, in the same order.
            replaces = len(records) + len(specs) >= len(first) and cell.plan.sampler != "grid"
            if owed and replaces:
                owed.extend([_common(params)] if params else [])
                params = (params or {}) | owed.popleft()
            if params is not None:
                study.enqueue_trial(params)
            trials.append(study.ask())
            settings = suggest_settings(cell, cast(Trial, trials[-1]))
            specs.append(cell.trial(settings, cell.tuning_seed, "tuning", pruning))
        if not specs:
            break
        answers = yield specs
        asked = list(zip(trials, answers, strict=True))
        for trial, record in asked:
            tell(study, trial, record)
        # Before those already owed, so that the order stays where a replacement fails, too.
        failed = [_common(trial.params) for trial, one in asked if one.status == "infeasible"]
        owed.extendleft(reversed(failed))
        records += answers
    return records


def _common(params: Mapping[str, Value]) -> Params:
    return {name: value for name, value in params.items() if name in COMMON}


def _first(cell: Cell, neighbour_best: Record | None) -> list[Params]:
    """The first trials: the default, and the neighbour's best if it is another."""
    first = [params_of(cell, cell.default())]
    if neighbour_best is not None:
        best = params_of(cell, settings_of(cell, neighbour_best.spec))
        first += [best] if best not in first else []
    return first


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
        return draws_left(cell.plan.trials, records)
    spent = sum(_counted_seconds(record, time) for record in records)
    return cell.plan.batch if spent < time else 0


def draws_left(trials: int, records: Sequence[Record]) -> int:
    """How many tuning trials are left to draw after these ones.

    Infeasible trials are replaced, so that all methods have as many that could be, but a method is
    given up after ``MOST_DRAWS`` times as many, or where none of the first is feasible.
    """
    return max(0, draws_needed(trials, records) - len(records))


def draws_needed(trials: int, records: Sequence[Record]) -> int:
    """How many tuning trials there are in the end, if no further one is infeasible."""
    infeasible = sum(record.status == "infeasible" for record in records)
    replaced = infeasible if infeasible < len(records) else 0
    return min(trials + replaced, MOST_DRAWS * trials)


def _counted_seconds(record: Record, time: float) -> float:
    least = 0.0 if record.status in ("ok", "pruned") else time * UNSUCCESSFUL_SHARE
    return max(record.cpu_seconds(), least)


def cell_failure_spec(cell: Cell, records: Iterable[Record]) -> TrialSpec:
    """The trial under which the failure of a whole cell is recorded.

    It is the first final run of the best trial so far, or the default trial where there is none.
    """
    best = best_trial(records)
    if best is None:
        return cell.trial(cell.default(), cell.tuning_seed, "tuning")
    return _again(best, cell.final_seeds()[0], "final")


def _again(record: Record, seed: int, role: Role) -> TrialSpec:
    """The trial of a record with another seed, in another role."""
    return record.spec.model_copy(update={"seed": seed, "role": role, "pruning": None})


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
    """Report an outcome to Optuna: the objective, also by epoch, or that there is none."""
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
        trial.report(goal(point, record.spec.training.objective), point.epoch)
    if record.status == "ok" and record.validation is not None:
        study.tell(trial, validation_goal(record))
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
