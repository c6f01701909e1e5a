"""One trial: a spec in, a record out. The only place where a model is scored on test rows."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.component import OptimizerKind
from pepbench.data.dataset import Dataset
from pepbench.data.splits import Splits
from pepbench.errors import Infeasible, PepbenchError
from pepbench.harness.environment import (
    PeakMemory,
    check_memory,
    environment,
)
from pepbench.harness.fit_checks import check_contract, learnt_widths
from pepbench.harness.open_rows import open_rows
from pepbench.harness.planted_facts import users_of_rows
from pepbench.harness.status.live_files import live_file, spaced
from pepbench.method import Fitted, Method
from pepbench.metrics import auc, calibration, gauc, log_loss, ndcg
from pepbench.objective import goal
from pepbench.records import (
    EpochRecord,
    KeptRecord,
    PhaseSeconds,
    PruningSpec,
    Record,
    ScoresRecord,
    Status,
    TrialSpec,
    now,
    npy_sha256,
)
from pepbench.training.process_settings import (
    flushed_denormals,
    keep_freed_memory,
    single_precision,
)
from pepbench.training.progress import Progress
from pepbench.training.task import Pruned, TrialTask


@dataclass(frozen=True)
class TrialContext:
    """What a worker must know besides the spec; it travels as JSON and decides no result."""

    plugins: tuple[Path, ...] = ()
    """Files that define further components."""
    threads: int = 1
    """Torch threads."""
    live: Path | None = None
    """Folder in which running trials report their progress."""
    max_seconds: float | None = None
    """A trial that runs longer fails; None: no limit."""
    max_bytes: int | None = None
    """A trial fails if its process holds more memory; None: no limit."""
    raw: dict[str, str] = field(default_factory=dict)
    """Folders of raw files by data set, for workers whose cache lacks the data set."""

    @property
    def limited(self) -> bool:
        """Whether a trial may have to be ended, which takes a process of its own."""
        return self.max_seconds is not None or self.max_bytes is not None


@dataclass(frozen=True, eq=False)
class Outcome:
    """A record, and the test probabilities and learnt widths of a final run."""

    record: Record
    predictions: NDArray[np.float32] | None = None
    widths: NDArray[np.unsignedinteger] | None = None


OnFitted = Callable[[Fitted, Splits], None]
"""Called with a fitted model that has passed :func:`~pepbench.harness.fit_checks.check_contract`,
and the rows it was fitted on."""


_TestArrays = tuple[NDArray[np.float32] | None, NDArray[np.unsignedinteger] | None]
"""Test probabilities and learnt widths."""


def run_trial(
    spec: TrialSpec,
    context: TrialContext,
    on_fitted: OnFitted | None = None,
    rows: Splits | None = None,
) -> Outcome:
    """Fit one method once, and score it; pure but for the data cache.

    Exceptions of the method become a ``failed`` record. Validation rows give the scores of every
    trial; test rows are opened after fitting, and by final runs only. ``rows`` take the place of
    the spec's fold, if they are given.
    """
    with _trial_setup([spec], context, rows) as setup:
        return _fitted_alone(setup, spec, on_fitted)


def run_trials(specs: Sequence[TrialSpec], context: TrialContext) -> list[Outcome]:
    """The outcomes of trials that differ only in their budgets, in order.

    Several are fitted by one search; those that it cannot serve are then run one by one.
    """
    outcomes: dict[str, Outcome] = {}
    if len(specs) > 1:
        largest_first = sorted(specs, key=lambda spec: -spec.budget_parameters)
        with _trial_setup(largest_first, context) as setup:
            for outcome in _fitted_together(setup, largest_first):
                outcomes[outcome.record.key] = outcome
    for spec in specs:
        if spec.key() not in outcomes:
            outcomes[spec.key()] = run_trial(spec, context)
    return [outcomes[spec.key()] for spec in specs]


@dataclass(frozen=True, eq=False)
class _TrialSetup:
    """What trials on the same rows under the same settings have in common."""

    dataset: Dataset
    splits: Splits
    method: Method
    task: TrialTask
    memory: PeakMemory
    threads: int


@contextmanager
def _trial_setup(
    specs: Sequence[TrialSpec], context: TrialContext, rows: Splits | None = None
) -> Iterator[_TrialSetup]:
    spec = specs[0]
    # Before any work, since torch's threads keep the mode in which they are started.
    with flushed_denormals(), single_precision(), ExitStack() as watchers:
        torch.set_num_threads(context.threads)
        keep_freed_memory()
        catalog = Catalog(context.plugins)
        memory = PeakMemory()
        dataset = cast(Dataset, catalog.select("dataset", spec.data.spec).default())
        splits = rows or open_rows(spec.data, dataset)
        load = catalog.load
        method = cast(Method, load("method", spec.method.name).from_options(spec.method.options))
        kind = load("backbone", spec.backbone.name)
        backbone = cast(Backbone, kind.from_options(spec.backbone.options))
        files = [watchers.enter_context(live_file(context.live, s.key())) for s in specs]

        def on_progress(progress: Progress) -> None:
            for write in files:
                write(progress)

        task = TrialTask(
            fields=splits.fields,
            dim=spec.dim,
            train=splits.train,
            validation=splits.validation,
            backbone=backbone,
            settings=spec.training,
            seed=spec.seed,
            device=torch.device(spec.device),
            on_progress=spaced(on_progress),
            users=users_of_rows(dataset, splits, "validation")
            if spec.training.objective == "gauc"
            else None,
            **({} if spec.pruning is None else {"should_stop": _pruning_rule(spec.pruning)}),
        )
        seed_torch(spec.seed, task.device)
        yield _TrialSetup(dataset, splits, method, task, memory, context.threads)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generators; on the CPU without looking for CUDA, which takes milliseconds."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _fitted_alone(
    setup: _TrialSetup, spec: TrialSpec, on_fitted: OnFitted | None = None
) -> Outcome:
    task = setup.task
    status: Status = "ok"
    reason: str | None = None
    figures: dict[str, Any] = {}
    arrays: _TestArrays = (None, None)
    try:
        if task.device.type == "cpu":
            check_memory(spec.budget_parameters)
        # What no phase claims, such as building the table, counts as training.
        with task.phase("train"):
            fitted = setup.method.fit(task, spec.budget_parameters)
        figures, arrays = _examined(setup, spec, fitted)
        if on_fitted is not None:
            on_fitted(fitted, setup.splits)
    except Infeasible as error:
        status, reason = "infeasible", str(error)
    except Pruned as stop:
        if all(math.isfinite(point.log_loss) for point in stop.curve):
            status, reason = "pruned", f"{stop} by the plan's pruner"
            figures = _figures_of_pruned(stop, task)
        else:
            status, reason = "failed", f"{stop}; its log loss on validation rows is not finite"
    except (Exception, SystemExit) as error:
        status, reason = "failed", describe_failure(error)
    record = _record(setup, spec, status=status, reason=reason, **figures)
    return Outcome(record, *arrays)


def _fitted_together(setup: _TrialSetup, specs: Sequence[TrialSpec]) -> Iterator[Outcome]:
    """Outcomes of one search, up to the first budget that fails."""
    task = setup.task
    fits = setup.method.fit_many(task, [spec.budget_parameters for spec in specs])
    for spec in specs:
        try:
            if task.device.type == "cpu":
                check_memory(spec.budget_parameters)
            with task.phase("train"):
                fitted = next(fits)
            figures, arrays = _examined(setup, spec, fitted)
        except (Exception, SystemExit):
            # The same failure is found and recorded when the trial is run by itself.
            return
        record = _record(setup, spec, status="ok", **figures)
        yield Outcome(record, *arrays)


def _examined(
    setup: _TrialSetup, spec: TrialSpec, fitted: Fitted
) -> tuple[dict[str, Any], _TestArrays]:
    """Check a fitted model; the figures of its record, and the arrays stored with it."""
    splits, task = setup.splits, setup.task
    check_contract(fitted, spec.budget_parameters, splits.validation)
    figures = _figures(fitted, task.resolved_optimizer)
    if spec.role != "final":
        return figures, (None, None)
    stored = fitted.model.embedding.export()
    widths = learnt_widths(stored, splits.fields.n_features, spec.dim)
    figures["widths_sha256"] = None if widths is None else npy_sha256(widths)
    users = users_of_rows(setup.dataset, splits, "test")
    scores, predictions = _scored_on_test(fitted, task, splits, users)
    return figures | scores, (predictions, widths)


def _record(setup: _TrialSetup, spec: TrialSpec, **figures: Any) -> Record:
    task = setup.task
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
        samples_per_second=task.samples / wall if task.samples else None,
        peak_memory_mib=setup.memory.mib(),
        environment=environment(setup.threads),
        created=now(),
        **figures,
    )


def failed_record(spec: TrialSpec, reason: str, threads: int) -> Record:
    """The record of a trial that could not report itself, such as one whose worker died."""
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


def _pruning_rule(pruning: PruningSpec) -> Callable[[int, float], bool]:
    # Optuna takes as long to import as a small trial; workers without a pruner do without.
    from pepbench.harness.tuning.trial_pruning import should_stop

    return should_stop(pruning)


def _figures_of_pruned(stop: Pruned, task: TrialTask) -> dict[str, Any]:
    best = max(stop.curve, key=lambda point: goal(point, task.objective))
    return {
        "validation": ScoresRecord(auc=best.auc, log_loss=best.log_loss, gauc=best.gauc),
        "curve": [EpochRecord(**vars(point)) for point in stop.curve],
        "optimizer": task.resolved_optimizer,
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
    fitted: Fitted, task: TrialTask, splits: Splits, users: NDArray[np.int32] | None
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    test = splits.open_test()
    logits = task.logits(fitted.model, test)
    probabilities = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    figures = {
        "auc": auc(test.labels, probabilities),
        "log_loss": log_loss(test.labels, logits),
        "calibration": calibration(test.labels, probabilities),
    }
    if users is not None:
        figures["gauc"] = gauc(test.labels, probabilities, users)
        figures["ndcg10"] = ndcg(test.labels, probabilities, users)
    known = {name: value for name, value in figures.items() if not math.isnan(value)}
    scores = ScoresRecord.model_validate(known)
    return {"test": scores, "predictions_sha256": npy_sha256(probabilities)}, probabilities
