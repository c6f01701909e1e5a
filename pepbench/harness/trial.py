"""One trial: a spec in, a record out. The only place where a model meets test rows."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.splits import Splits, open_splits
from pepbench.errors import DataError, Infeasible, PepbenchError
from pepbench.harness.environment import PeakMemory, calibration_seconds, check_memory, environment
from pepbench.harness.fit_checks import check_contract, learnt_widths
from pepbench.harness.status.live_files import live_file
from pepbench.method import Fitted, Method
from pepbench.metrics import auc, log_loss
from pepbench.records import (
    ComponentSpec,
    EpochRecord,
    KeptRecord,
    OptimizerKind,
    PhaseSeconds,
    PruningSpec,
    Record,
    ScoresRecord,
    Status,
    TrialSpec,
    now,
    npy_sha256,
)
from pepbench.training.cpu_settings import flushed_denormals, keep_freed_memory
from pepbench.training.progress import Progress, ProgressCallback
from pepbench.training.task import Pruned, TrialTask


@dataclass(frozen=True)
class TrialContext:
    """What a worker must know that does not decide the result."""

    plugins: tuple[Path, ...] = ()
    threads: int = 1
    live: Path | None = None
    """Folder in which running trials say where they stand."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A record, and the test probabilities and learnt widths of a final run."""

    record: Record
    predictions: NDArray[np.float32] | None = None
    widths: NDArray[np.unsignedinteger] | None = None


Keep = Callable[[Fitted, Splits], None]
"""Called with what a trial has fitted, once it has kept the contract."""


def run_trial(spec: TrialSpec, surroundings: TrialContext, keep: Keep | None = None) -> Outcome:
    """Fit one method once, and score it; pure but for the data cache.

    Exceptions of the method become a ``failed`` record. Validation rows give the scores of every
    trial; test rows are opened after fitting, and by final runs only.
    """
    with _sitting([spec], surroundings) as sitting:
        return _fitted_alone(sitting, spec, surroundings.threads, keep)


def run_trials(specs: Sequence[TrialSpec], surroundings: TrialContext) -> list[Outcome]:
    """The outcomes of trials that differ in their budgets alone, in order.

    Of several, those are fitted by one search that it leads to an end; the others each by itself.
    """
    outcomes: dict[str, Outcome] = {}
    if len(specs) > 1:
        largest_first = sorted(specs, key=lambda spec: -spec.budget_parameters)
        with _sitting(largest_first, surroundings) as sitting:
            for outcome in _fitted_together(sitting, largest_first, surroundings.threads):
                outcomes[outcome.record.key] = outcome
    for spec in specs:
        if spec.key() not in outcomes:
            with _sitting([spec], surroundings) as sitting:
                outcomes[spec.key()] = _fitted_alone(sitting, spec, surroundings.threads)
    return [outcomes[spec.key()] for spec in specs]


@dataclass(frozen=True, eq=False)
class _Sitting:
    """What trials on the same rows under the same settings are made with."""

    splits: Splits
    method: Method
    task: TrialTask
    yardstick: float
    memory: PeakMemory


@contextmanager
def _sitting(specs: Sequence[TrialSpec], surroundings: TrialContext) -> Iterator[_Sitting]:
    spec = specs[0]
    # Before any work, since torch's threads keep the mode in which they are started.
    with flushed_denormals(), ExitStack() as watchers:
        torch.set_num_threads(surroundings.threads)
        keep_freed_memory()
        catalog = Catalog(surroundings.plugins)
        yardstick, memory = calibration_seconds(), PeakMemory()
        splits = _open(spec, catalog)
        method = cast(Method, _component(catalog, "method", spec.method))
        backbone = cast(Backbone, _component(catalog, "backbone", spec.backbone))
        told = [watchers.enter_context(live_file(surroundings.live, s.key())) for s in specs]

        def watch(moment: Progress) -> None:
            for tell in told:
                tell(moment)

        task = _task(spec, splits, backbone, watch)
        torch.manual_seed(spec.seed)
        yield _Sitting(splits, method, task, yardstick, memory)


def _fitted_alone(
    sitting: _Sitting, spec: TrialSpec, threads: int, keep: Keep | None = None
) -> Outcome:
    task = sitting.task
    status: Status = "ok"
    reason: str | None = None
    figures: dict[str, Any] = {}
    arrays: _Arrays = (None, None)
    try:
        if task.device.type == "cpu":
            check_memory(spec.budget_parameters)
        # What no phase claims, such as building the table, counts as training.
        with task.phase("train"):
            fitted = sitting.method.fit(task, spec.budget_parameters)
        figures, arrays = _examined(sitting, spec, fitted)
        if keep is not None:
            keep(fitted, sitting.splits)
    except Infeasible as error:
        status, reason = "infeasible", str(error)
    except Pruned as stop:
        status, reason = "pruned", f"{stop} by the plan's pruner"
        figures = _figures_of_pruned(stop, task.resolved_optimizer)
    except (Exception, SystemExit) as error:
        status, reason = "failed", describe_failure(error)
    record = _record(sitting, spec, threads, status=status, reason=reason, **figures)
    return Outcome(record, *arrays)


def _fitted_together(
    sitting: _Sitting, specs: Sequence[TrialSpec], threads: int
) -> Iterator[Outcome]:
    """Outcomes of one search, up to the first budget at which something is wrong."""
    task = sitting.task
    fits = sitting.method.fit_many(task, [spec.budget_parameters for spec in specs])
    for spec in specs:
        try:
            if task.device.type == "cpu":
                check_memory(spec.budget_parameters)
            with task.phase("train"):
                fitted = next(fits)
            figures, arrays = _examined(sitting, spec, fitted)
        except (Exception, SystemExit):
            # What is wrong is found again, and told, when the trial is run by itself.
            return
        record = _record(sitting, spec, threads, status="ok", **figures)
        yield Outcome(record, *arrays)


_Arrays = tuple[NDArray[np.float32] | None, NDArray[np.unsignedinteger] | None]
"""Test probabilities and learnt widths."""


def _examined(sitting: _Sitting, spec: TrialSpec, fitted: Fitted) -> tuple[dict[str, Any], _Arrays]:
    """Check a fitted model; the figures of its record, and what is kept beside it."""
    splits, task = sitting.splits, sitting.task
    check_contract(fitted, spec.budget_parameters, splits.validation)
    figures = _figures(fitted, task.resolved_optimizer)
    if spec.role != "final":
        return figures, (None, None)
    stored = fitted.model.embedding.export()
    widths = learnt_widths(stored, splits.fields.n_features, spec.dim)
    figures["widths_sha256"] = None if widths is None else npy_sha256(widths)
    scores, predictions = _scored_on_test(fitted, task, splits)
    return figures | scores, (predictions, widths)


def _record(sitting: _Sitting, spec: TrialSpec, threads: int, **figures: Any) -> Record:
    task = sitting.task
    seconds = {name: PhaseSeconds(wall=w, cpu=c) for name, (w, c) in task.clock.seconds.items()}
    wall = sum(phase.wall for phase in seconds.values())
    return Record(
        key=spec.key(),
        spec=spec,
        seconds=seconds,
        kept=[
            KeptRecord(step=step, parameters=parameters)
            for step, parameters in task.pruning_curve.points(figures.get("n_parameters"))
        ],
        calibration_seconds=sitting.yardstick,
        samples_per_second=task.samples / wall if task.samples else None,
        peak_memory_mib=sitting.memory.mib(),
        environment=environment(threads),
        created=now(),
        **figures,
    )


def failed_record(spec: TrialSpec, reason: str, threads: int) -> Record:
    """The record of a trial that could not even report, such as one whose worker died."""
    return Record(
        key=spec.key(),
        spec=spec,
        status="failed",
        reason=reason,
        environment=environment(threads),
        created=now(),
    )


def describe_failure(error: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    if isinstance(error, PepbenchError):
        return message
    return f"{type(error).__name__}: {message}{place}"


def _open(spec: TrialSpec, catalog: Catalog) -> Splits:
    dataset = cast(Dataset, catalog.select("dataset", spec.data.spec).default())
    splits = open_splits(open_table(dataset), spec.data.split_seed)
    if splits.fingerprint != spec.data.split_fingerprint:
        raise DataError(
            f"data set {spec.data.spec!r} differs from the plan's: split fingerprint "
            f"{splits.fingerprint}, expected {spec.data.split_fingerprint}; add it again"
        )
    return splits


def _component(catalog: Catalog, kind: str, spec: ComponentSpec) -> object:
    return catalog.load(kind, spec.name).from_options(spec.options)  # type: ignore[arg-type]


def _task(
    spec: TrialSpec, splits: Splits, backbone: Backbone, watch: ProgressCallback
) -> TrialTask:
    return TrialTask(
        fields=splits.fields,
        dim=spec.dim,
        train=splits.train,
        validation=splits.validation,
        backbone=backbone,
        settings=spec.training,
        seed=spec.seed,
        device=torch.device(spec.device),
        on_progress=watch,
        should_stop=_never if spec.pruning is None else _rule(spec.pruning),
    )


def _never(epoch: int, auc: float) -> bool:  # noqa: ARG001
    return False


def _rule(pruning: PruningSpec) -> Callable[[int, float], bool]:
    # Optuna takes as long to import as a small trial; workers without a pruner do without.
    from pepbench.harness.tuning.trial_pruning import should_stop

    return should_stop(pruning)


def _figures_of_pruned(stop: Pruned, optimizer: OptimizerKind | None) -> dict[str, Any]:
    best = max(stop.curve, key=lambda point: point.auc)
    return {
        "validation": ScoresRecord(auc=best.auc, log_loss=best.log_loss),
        "curve": [EpochRecord(**vars(point)) for point in stop.curve],
        "optimizer": optimizer,
    }


def _figures(fitted: Fitted, optimizer: OptimizerKind | None) -> dict[str, Any]:
    embedding = fitted.model.embedding
    return {
        "n_parameters": embedding.n_parameters(),
        "n_bytes": embedding.n_bytes(),
        "backbone_parameters": sum(p.numel() for p in fitted.model.backbone.parameters()),
        "validation": ScoresRecord(**vars(fitted.validation)),
        "curve": [EpochRecord(**vars(point)) for point in fitted.curve],
        "notes": dict(fitted.notes),
        "optimizer": optimizer,
    }


def _scored_on_test(
    fitted: Fitted, task: TrialTask, splits: Splits
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    test = splits.open_test()
    logits = task.logits(fitted.model, test)
    probabilities = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    scores = ScoresRecord(
        auc=auc(test.labels, probabilities), log_loss=log_loss(test.labels, logits)
    )
    return {"test": scores, "predictions_sha256": npy_sha256(probabilities)}, probabilities
