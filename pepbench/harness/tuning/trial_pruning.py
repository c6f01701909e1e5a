"""Stop tuning trials early by Optuna's pruners, in a worker that has no study."""

from __future__ import annotations

from collections.abc import Callable

import optuna

from pepbench.objective import goal
from pepbench.records import PrunerKind, PruningSpec, Record

PRUNER_STARTUP_TRIALS = 3
"""Complete trials that ``median`` needs before it stops any."""

FIRST_EPOCH = 2
"""Before it no trial is stopped."""

REDUCTION = 3
"""``halving`` continues one trial in this many, at epochs 2, 6, 18, 54, …"""

ShouldStop = Callable[[int, float], bool]
"""Called after each epoch of the last training, with its number and the objective's value."""


def pruning_of(pruner: PrunerKind, records: list[Record]) -> PruningSpec | None:
    """The next trial's pruning rule, with the earlier trials that it is compared with."""
    if pruner == "none":
        return None
    complete = tuple(_curve(record) for record in records if record.status == "ok")
    if not complete:
        return None
    pruned = tuple(_curve(record) for record in records if record.status == "pruned")
    return PruningSpec(pruner=pruner, complete=complete, pruned=pruned)


def should_stop(spec: PruningSpec) -> ShouldStop:
    """The pruning rule of a trial, from the curves in its spec alone.

    A study in memory is filled with the earlier trials, as if they had just run, and Optuna's own
    pruner decides about one more trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        pruner=_pruner(spec.pruner),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    for curve in spec.complete:
        study.tell(_replayed(study, curve), max(curve))
    for curve in spec.pruned:
        study.tell(_replayed(study, curve), state=optuna.trial.TrialState.PRUNED)
    trial = study.ask()

    def ask(epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return trial.should_prune()

    return ask


def _replayed(study: optuna.Study, curve: tuple[float, ...]) -> optuna.Trial:
    trial = study.ask()
    for epoch, value in enumerate(curve, 1):
        trial.report(value, epoch)
        # The answer does not matter here: asking makes ``halving`` note the trial's rungs.
        trial.should_prune()
    return trial


def _pruner(kind: PrunerKind) -> optuna.pruners.BasePruner:
    if kind == "median":
        return optuna.pruners.MedianPruner(PRUNER_STARTUP_TRIALS, n_warmup_steps=FIRST_EPOCH)
    return optuna.pruners.SuccessiveHalvingPruner(FIRST_EPOCH, REDUCTION)


def _curve(record: Record) -> tuple[float, ...]:
    return tuple(goal(point, record.spec.training.objective) for point in record.curve)
