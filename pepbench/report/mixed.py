"""Refuse to report records together that were made under different protocols.

A plan may vary epochs, patience and batch size from cell to cell, and says so; such records belong
together. Runs may differ in their components, budgets, seed, device and D, which reports keep
apart or name; but one cell has one version of its method, and is tuned once.
"""

from __future__ import annotations

from pathlib import Path

from pepbench.analysis.runs import Runs
from pepbench.errors import RecordError
from pepbench.plan import Plan, plan_in
from pepbench.records import TrialSpec

_TRAINING = ("epochs", "patience", "batch_size", "clip", "optimizer", "precision", "objective")
_PLANNED = (
    *("trials", "tuning_time", "sampler", "batch", "pruner", "warm_start"),
    *("tune_learning_rate", "tune_l2", "tune_batch_size", "tune_backbone"),
    *("finalists", "finalist_seeds", "seeds"),
)
"""Settings that records do not hold; known where the folder has its plan."""


def refuse_mixed(runs: Runs) -> None:
    """Refuse runs whose records of one data set and backbone, or of one cell, differ in a setting.

    Raises
    ------
    RecordError
        Names the setting and both values.
    PlanError
        If a plan cannot be read.
    """
    plans = {folder: plan_in(folder) for folder in runs.folders}
    seen: dict[tuple[tuple[str, ...], str], tuple[object, Path]] = {}
    by_folder = sorted(runs.records, key=lambda one: runs.folders.index(runs.folder_of[one.key]))
    for record in by_folder:
        spec, folder = record.spec, runs.folder_of[record.key]
        plan = plans[folder]
        for place, settings in (
            ((spec.data.spec, spec.backbone.spec), _protocol(spec, plan)),
            (spec.cell, _of_cell(spec, plan)),
        ):
            for name, value in settings.items():
                known = seen.setdefault((place, name), (value, folder))
                if value != known[0]:
                    raise RecordError(
                        f"{' and '.join(dict.fromkeys(map(str, (known[1], folder))))}: records of "
                        f"{', '.join(place)} were made with different {name} "
                        f"({known[0]} and {value}) and cannot be compared; report them separately"
                    )


def _of_cell(spec: TrialSpec, plan: Plan | None) -> dict[str, object]:
    """What final runs and tuning trials of one cell must share to be counted together."""
    shared: dict[str, object] = {"version": f"{spec.method.name} {spec.method.version}"}
    return shared if plan is None else shared | {"seed": plan.seed}


def _protocol(spec: TrialSpec, plan: Plan | None) -> dict[str, object]:
    """The settings of a trial; those that its plan varies are as for the plan's other cells."""
    recorded: dict[str, object] = {"folds": spec.data.folds, "split_seed": spec.data.split_seed}
    recorded |= {name: getattr(spec.training, name) for name in _TRAINING}
    if plan is None:
        return recorded
    own = plan.of_cell(*spec.cell) or plan
    for name in ("epochs", "patience"):
        if recorded[name] == getattr(own, name):
            recorded[name] = getattr(plan, name)
    if spec.training.batch_size in plan.tune_batch_size:
        recorded["batch_size"] = plan.batch_size
    return recorded | {name: getattr(plan, name) for name in _PLANNED}
