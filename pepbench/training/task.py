"""The task of one trial: rows, backbone, settings and clock for :class:`pepbench.method.Task`."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone
from pepbench.component import OptimizerKind
from pepbench.data.splits import Rows
from pepbench.errors import DataError, Diverged
from pepbench.method import (
    Batch,
    Embedding,
    EpochScore,
    Factors,
    Fitted,
    Model,
    Part,
    Scores,
    Step,
    Task,
)
from pepbench.metrics import auc, gauc, log_loss
from pepbench.objective import goal
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training.batches import BatchMaker
from pepbench.training.clock import Clock
from pepbench.training.early_stopping import EarlyStopping
from pepbench.training.optimizers import make_optimizer, resolve_optimizer
from pepbench.training.progress import ProgressCallback, ProgressReporter, ignore_progress
from pepbench.training.pruning_curve import PruningCurve
from pepbench.training.row_optimizers import RowWise
from pepbench.training.step import batch_logits, batch_loss, train_step

EVALUATION_BATCH = 4096
"""Rows per batch without gradients; larger ones exceed the cache and are slower on CPUs."""

HELD_OUT = 10
"""One in this many training rows, at least one, is held out for searches that ask for it."""

LAST_PHASE = "train"
"""Name of the phase in which the result is trained; see :meth:`pepbench.method.Task.train`."""

_TRAIN_ORDER = 0
"""Stream of shuffles of the standard fit, so that every method sees the same order there."""


class Pruned(Exception):
    """A training was stopped because its trial does worse than others.

    Parameters
    ----------
    curve
        Learning curve of the training until then.
    """

    def __init__(self, curve: tuple[EpochScore, ...]) -> None:
        super().__init__(f"stopped after epoch {curve[-1].epoch}")
        self.curve = curve


class TrialTask(Task):
    """The :class:`~pepbench.method.Task` of one trial. It never holds test rows.

    Parameters
    ----------
    fields, dim
        Fields of the data set, and width D of the full table.
    train, validation
        Encoded rows.
    backbone
        Built anew for each model.
    settings
        Learning rate, batch size, patience and more, common to all methods.
    seed
        Of the batch order and of :attr:`rng`. Initial values come from torch's global generator,
        which the caller seeds.
    device
        Where models and batches live.
    on_progress
        Called with the progress of the training.
    should_stop
        Called after each epoch of the last training, with its number and the objective's value;
        whether to prune the trial.
    users
        The user of each validation row, for the objective gAUC.
    """

    def __init__(
        self,
        fields: Fields,
        dim: int,
        train: Rows,
        validation: Rows,
        backbone: Backbone,
        settings: TrainingSpec,
        seed: int,
        device: torch.device | None = None,
        on_progress: ProgressCallback = ignore_progress,
        should_stop: Callable[[int, float], bool] = lambda _epoch, _goal: False,
        users: NDArray[np.int32] | None = None,
    ) -> None:
        self.fields = fields
        self.dim = dim
        self.settings = settings
        self.objective = settings.objective
        self.learning_rate = settings.learning_rate
        self.rng = np.random.default_rng((seed, 1))
        self.clock = Clock()
        self.samples = 0
        self.resolved_optimizer: OptimizerKind | None = None
        """Kind of the latest optimizer: what ``auto`` stood for."""
        self.pruning_curve = PruningCurve()
        """Parameters left during the search, by step."""
        self._rows: dict[Part, Rows] = {"train": train, "validation": validation}
        self._backbone = backbone
        self._seed = seed
        self.device = device or torch.device("cpu")
        self._reporter = ProgressReporter(on_progress)
        self._should_stop = should_stop
        self._users = users
        self._streams = _TRAIN_ORDER
        self._maker = BatchMaker(
            settings.batch_size, self.device, torch.get_default_dtype(), fields
        )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training rows."""
        return -(-len(self._rows["train"].labels) // self.settings.batch_size)

    def model(self, embedding: Embedding) -> Model:
        """Join ``embedding`` to a newly initialised backbone of width ``embedding.dim``."""
        if not isinstance(embedding, Embedding):
            given = type(embedding).__name__
            raise TypeError(f"{given} where an Embedding is expected; embedding() must return one")
        backbone = self._backbone.build(self.fields, embedding.dim)
        return Model(embedding, backbone).to(self.device)

    def optimizer(
        self,
        model: nn.Module,
        rates: Factors | None = None,
        decays: Factors | None = None,
        kind: OptimizerKind | None = None,
    ) -> torch.optim.Optimizer:
        """The plan's optimizer, with the trial's learning rate and L2, on every parameter."""
        settings = self.settings
        lookups = settings.batch_size * int(self.fields.slots.sum())
        resolved = resolve_optimizer(kind or settings.optimizer, model, lookups)
        self.resolved_optimizer = resolved
        return make_optimizer(resolved, model, settings.learning_rate, settings.l2, rates, decays)

    def flush(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring tables that ``optimizer`` updates lazily up to date."""
        if isinstance(optimizer, RowWise):
            optimizer.flush()

    def steps(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer | None = None,
        part: Part = "train",
    ) -> Iterator[Step]:
        """Train on shuffled batches without end, one update per item."""
        return self._endless(part, model, optimizer or self.optimizer(model))

    def batches(self, part: Part) -> Iterator[Batch]:
        """One pass over the rows of ``part`` in order."""
        return self._maker.in_order(self._rows_of(part))

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Mean binary cross-entropy of a batch plus the embedding's penalty."""
        return batch_loss(model, batch, self.settings.precision)

    def train(
        self,
        model: Model,
        *,
        phase: str = "train",
        after_epoch: Callable[[int], None] | None = None,
        epochs: int | None = None,
    ) -> Fitted:
        """Epochs with early stopping by the objective, best epoch restored.

        Raises
        ------
        Pruned
            If the trial is pruned; never in trainings before the last.
        """
        n_epochs = min(self.settings.epochs, self.settings.epochs if epochs is None else epochs)
        with self.clock.phase(phase):
            optimizer = self.optimizer(model)
            early_stopping = EarlyStopping(self.settings.patience, self.objective)
            curve: list[EpochScore] = []
            self._reporter.begin_training()
            for epoch in range(1, n_epochs + 1):
                train_loss = self._one_epoch(model, optimizer, epoch)
                self.flush(optimizer)
                if after_epoch is not None:
                    after_epoch(epoch)
                scores = self.validate(model)
                curve.append(EpochScore(epoch, train_loss, **vars(scores)))
                steps, value = epoch * self.steps_per_epoch, goal(scores, self.objective)
                self._reporter.report(phase, steps, epoch, self.samples, value)
                if early_stopping.should_stop(curve[-1], model):
                    break
                last = epoch == n_epochs
                if phase == LAST_PHASE and not last and self._should_stop(epoch, value):
                    raise Pruned(tuple(curve))
            best = early_stopping.restore(model)
        return Fitted(model, Scores(best.auc, best.log_loss, best.gauc), tuple(curve))

    def validate(self, model: Model) -> Scores:
        """AUC and log loss on the validation rows; gAUC, too, where it is the objective.

        Raises
        ------
        DataError
            If gAUC is the objective and no user of these rows has both labels.
        """
        rows = self._rows["validation"]
        logits = self.logits(model, rows)
        within = None
        if self.objective == "gauc":
            assert self._users is not None, "the plan was checked"
            within = gauc(rows.labels, logits, self._users)
            if math.isnan(within) and np.isfinite(logits).all():
                raise DataError(
                    "objective gauc: no user of the validation rows has both labels; take auc or "
                    "logloss"
                )
        return Scores(auc(rows.labels, logits), log_loss(rows.labels, logits), within)

    def logits(self, model: Model, rows: Rows) -> NDArray[np.float32]:
        """Logits of ``rows`` in order, shape (n,)."""
        model.eval()
        with torch.inference_mode():
            parts = [
                batch_logits(model, batch.ids, self.settings.precision)
                for batch in self._maker.in_order(rows, EVALUATION_BATCH)
            ]
        logits: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
        return logits

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Account the time spent within to the phase ``name``."""
        with self.clock.phase(name):
            yield

    def report_size(self, step: int, count: Callable[[], int]) -> None:
        """Add a point to the pruning curve."""
        self.pruning_curve.add(step, count)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run what is within without an effect on what comes after."""
        generator, curve = self.rng.bit_generator.state, copy.deepcopy(self.pruning_curve)
        counters = self._streams, self.samples, self.resolved_optimizer
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.clock.aside():
            try:
                yield
            finally:
                self.rng.bit_generator.state, self.pruning_curve = generator, curve
                self._streams, self.samples, self.resolved_optimizer = counters

    def _rows_of(self, part: Part) -> Rows:
        if part not in self._rows:
            train = self._rows["train"]
            order = np.random.default_rng((self._seed, 2)).permutation(len(train.labels))
            n_held_out = max(1, len(order) // HELD_OUT)
            self._rows["held-out"] = _chosen(train, order[:n_held_out])
            self._rows["held-in"] = _chosen(train, order[n_held_out:])
        return self._rows[part]

    def _one_epoch(self, model: Model, optimizer: torch.optim.Optimizer, epoch: int) -> float:
        rows = self._rows["train"]
        model.train()
        total = 0.0
        step = (epoch - 1) * self.steps_per_epoch
        for batch in self._maker.shuffled(rows, (self._seed, _TRAIN_ORDER, epoch)):
            step += 1
            total += self._update(model, batch, optimizer).item() * len(batch.labels)
            self._reporter.report(self.clock.running, step, epoch, self.samples)
        return total / len(rows.labels)

    def _endless(
        self, part: Part, model: Model, optimizer: torch.optim.Optimizer
    ) -> Iterator[Step]:
        self._streams += 1
        stream = self._streams
        rows = self._rows_of(part)
        number = 0
        for epoch in itertools.count(1):
            for batch in self._maker.shuffled(rows, (self._seed, stream, epoch)):
                if not model.training:
                    model.train()
                number += 1
                loss = self._update(model, batch, optimizer)
                self._reporter.report(self.clock.running, number, epoch, self.samples)
                yield Step(number, loss)

    def _update(self, model: Model, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
        self.samples += len(batch.labels)
        try:
            return train_step(model, batch, optimizer, self.settings.clip, self.settings.precision)
        except Diverged as error:
            step = self.samples // self.settings.batch_size
            rate = self.settings.learning_rate
            raise Diverged(f"{error} at step {step}, learning rate {rate:g}") from None


def _chosen(rows: Rows, order: NDArray[np.int64]) -> Rows:
    in_order = np.sort(order)
    dense = None if rows.dense is None else rows.dense[in_order]
    return Rows(rows.ids[in_order], rows.labels[in_order], dense)
