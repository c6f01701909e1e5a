"""The interface between methods and the harness: the module that a baseline imports.

A method is a frozen dataclass, and its fields are its hyper-parameters (see
:mod:`pepbench.component`). How each family of methods uses the interface:

* **Shape fixed before training** (uniform, mde, hash, qr, robe, tt, dhe, memcom, frequency,
  low-rank, random-mask): :meth:`Method.embedding` is all there is to write.
* **Search by stopping** (pep, cerp, deeplight): override :meth:`Method.fit`, iterate over
  :meth:`Task.steps`, count or prune between two steps, leave the loop, then :meth:`Task.train` what
  is left. Warm-ups hold parameters by ``requires_grad_(False)``.
* **Train, select, train again** (magnitude, sseds, autosrh's last step): :meth:`Task.train`,
  choose, :meth:`Task.train`. ``sseds`` takes its saliencies from :meth:`Task.batches` and
  :meth:`Task.loss`.
* **Bi-level** (darts, autosrh): ``task.steps(model, optimizer=weights)`` and
  ``task.steps(model, architecture, "validation")`` are advanced in turn; pulls towards a
  budget are an :meth:`Embedding.penalty`.
* **Any search that shrinks its table** reports the size by :meth:`Task.report_size`.
* **Evolutionary** (optembed): :meth:`Task.score` scores candidates on validation rows.
* **Periodic re-assignment** (cce, every epoch; cafe, every few steps): the ``after_epoch`` hook of
  :meth:`Task.train`; work within a step belongs in the embedding's ``forward``.
* **Many budgets in one search** (pep, magnitude): :attr:`Method.shares_search` and
  :meth:`Method.fit_many`.
* **Own update of rows** (alpt): :meth:`Embedding.row_states` gives the state that updates them.
* **After training** (``+int8``): fit the inner method, replace its embedding, then
  :meth:`Task.validate`.

Each phase is wrapped in ``with task.phase("search"):`` so that its time is accounted for.

This module is long because it is the one interface that method authors read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.component import Between, Component, OneOf, OptimizerKind, Value
from pepbench.errors import Diverged, Infeasible
from pepbench.objective import Objective, goal
from pepbench.tables.bags import Bags, Ids
from pepbench.tables.embedding import (
    ComposedVectors,
    Embedding,
    MaskedTable,
    PlainTable,
    TableEmbedding,
    largest_entries,
    lookup,
    lookup_rows,
    of_fields,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.fields import Fields
from pepbench.tables.layout import Layout
from pepbench.tables.rows import (
    Blocks,
    DirectRows,
    RowState,
    RowTable,
    SoftThreshold,
    View,
    distinct,
    view_of,
)

__all__ = [
    "LEAST_USE",
    "Bags",
    "Batch",
    "Between",
    "Blocks",
    "ComposedVectors",
    "DirectRows",
    "Diverged",
    "Embedding",
    "EpochScore",
    "Factors",
    "Fields",
    "Fitted",
    "Ids",
    "Infeasible",
    "Layout",
    "MaskedTable",
    "Method",
    "Model",
    "OneOf",
    "OptimizerKind",
    "Part",
    "PlainTable",
    "RowState",
    "RowTable",
    "Scores",
    "SoftThreshold",
    "Step",
    "TableEmbedding",
    "Task",
    "Value",
    "View",
    "distinct",
    "largest_entries",
    "lookup",
    "lookup_rows",
    "of_fields",
    "to_numpy",
    "view_of",
    "xavier_uniform",
]

LEAST_USE = 0.9
"""Share of its budget, or of the full table, below which a method notes why it uses no more."""

Factors = Mapping[nn.Parameter, float]
"""Factors by parameter; 1 for parameters that are not in it."""

Part = Literal["train", "validation", "held-in", "held-out"]
"""Rows that a method may see: ``held-out`` is a tenth of the training rows, ``held-in`` the rest.
There is no name for the test rows here."""


class Batch(NamedTuple):
    """Some rows and their labels."""

    ids: Ids
    """Shape (B, F), integer: global ids; :class:`Bags` if fields have several values a row."""
    labels: Tensor
    """Shape (B,), floating point: 0 or 1."""


class Step(NamedTuple):
    """What :meth:`Task.steps` yields after each update."""

    number: int
    """Completed steps, from 1."""
    loss: Tensor
    """Scalar: mean loss of the step's batch before its update (detached, not synchronised)."""


@dataclass(frozen=True)
class Scores:
    """Scores of predictions."""

    auc: float
    log_loss: float
    gauc: float | None = None
    """None unless it is the objective."""


@dataclass(frozen=True)
class EpochScore:
    """One point of a learning curve."""

    epoch: int
    train_loss: float
    auc: float
    log_loss: float
    gauc: float | None = None
    """None unless it is the objective."""


@runtime_checkable
class FromTable(Protocol):
    """A backbone that can look up the rows of a table itself, without copying them."""

    def from_table(self, view: View, ids: Tensor) -> Tensor:
        """Logits (B,) from a table (M, D), its rows (B, F), and global ids (B, F), on the CPU."""


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute what is within in the type of the parameters, whatever autocast is at work."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class Model(nn.Module):
    """An embedding and a backbone: ids (B, F) → logits (B,).

    The vectors of a multi-valued field are pooled between the two, so that neither knows of it.
    Half precision is for backbones: vectors are computed as they are served.
    """

    def __init__(self, embedding: Embedding, backbone: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.backbone = backbone

    def forward(self, ids: Ids) -> Tensor:
        """Logits (B,) of rows of global ids (B, F)."""
        if isinstance(ids, Bags):
            with full_precision(ids.device):
                vectors = ids.pooled(self.embedding(ids.ids))
            pooled: Tensor = self.backbone(vectors, ids)
            return pooled
        if isinstance(self.backbone, FromTable) and ids.device.type == "cpu":
            with full_precision(ids.device):
                view = self.embedding.as_table(ids)
            if view is not None:
                return self.backbone.from_table(view, ids)
        with full_precision(ids.device):
            vectors = self.embedding(ids)
        if vectors.shape[:-1] != ids.shape:
            shapes = f"{tuple(vectors.shape)} for ids {tuple(ids.shape)}"
            raise ValueError(f"forward() of the embedding gave {shapes}, expected (B, F, dim)")
        logits: Tensor = self.backbone(vectors, ids)
        return logits


def why_unused(embedding: Embedding, allowed: int) -> str:
    """Why ``embedding`` has less than 90 % of the ``allowed`` parameters; "" if it has not less.

    Tables of whole rows need no reason of their own for what is less than a row.
    """
    count = embedding.n_parameters()
    if count >= LEAST_USE * allowed:
        return ""
    if allowed - count < embedding.dim:
        return "less than a row is left"
    return embedding.unused_budget


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model at its best epoch, with its scores and learning curve."""

    model: Model
    validation: Scores
    curve: tuple[EpochScore, ...]
    notes: dict[str, Value] = field(default_factory=dict)
    """Facts for the record: steps of a search, whether it was trimmed, …

    ``unused_budget`` says why the embedding has less than 90 % of its budget's parameters.
    """

    def with_notes(self, **notes: Value) -> Fitted:
        """The same with further notes."""
        return replace(self, notes={**self.notes, **notes})

    def with_budget_note(self, task: Task, budget: int) -> Fitted:
        """The same with a note why much of ``budget`` is unused, if it is and there is a reason."""
        why = why_unused(self.model.embedding, min(budget, task.full_parameters))
        return self.with_notes(unused_budget=why) if why else self


class Task(ABC):
    """Data, backbone, settings and clock of one trial, with which a method trains.

    It holds training and validation rows, never test rows.
    """

    fields: Fields
    """Names, cardinalities and training frequencies."""
    dim: int
    """D: the width of the full table."""
    device: torch.device
    """Where models live; :meth:`model` moves them there."""
    learning_rate: float
    """Of the trial; parameters may have factors on it."""
    rng: np.random.Generator
    """For random choices of the method. The trial seeds it, and torch's global generator."""
    objective: Objective = "auc"
    """Figure of validation rows that the plan maximises."""

    @property
    def full_parameters(self) -> int:
        """N·D, the size of the full table."""
        return self.fields.n_features * self.dim

    @abstractmethod
    def model(self, embedding: Embedding) -> Model:
        """Join ``embedding`` to a newly initialised backbone of width ``embedding.dim``."""

    @abstractmethod
    def optimizer(
        self,
        model: nn.Module,
        rates: Factors | None = None,
        decays: Factors | None = None,
        kind: OptimizerKind | None = None,
    ) -> torch.optim.Optimizer:
        """The plan's optimizer of ``model``'s parameters, with the trial's learning rate and L2.

        Parameters
        ----------
        rates, decays
            Factors on the learning rate and on the L2 weight of single parameters.
        kind
            Overrides the plan's choice, for algorithms that need one.
        """

    @abstractmethod
    def flush(self, optimizer: torch.optim.Optimizer) -> None:
        """Apply updates that ``optimizer`` has postponed; call it before reading a table whole."""

    @abstractmethod
    def steps(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer | None = None,
        part: Part = "train",
    ) -> Iterator[Step]:
        """Train on shuffled batches without end, one update per item; leave the loop to stop.

        Parameters are up to date between steps, but for :meth:`flush`. Gradients are not kept:
        ``.grad`` may be None.

        ``part`` is for bi-level searches. Their upper level trains on ``validation``, or on
        ``held-out`` while the lower level trains on ``held-in``.
        """

    @abstractmethod
    def batches(self, part: Part) -> Iterator[Batch]:
        """One pass over the rows of ``part`` in order."""

    @abstractmethod
    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Mean binary cross-entropy of a batch plus the embedding's penalty."""

    @abstractmethod
    def train(
        self,
        model: Model,
        *,
        phase: str = "train",
        after_epoch: Callable[[int], None] | None = None,
        epochs: int | None = None,
    ) -> Fitted:
        """The standard fit: epochs with early stopping by the objective, best epoch restored.

        Parameters
        ----------
        model
            The model to train, in place.
        phase
            The time is accounted to it; trainings before the last need another name.
        after_epoch
            Called with the number of an epoch, from 1, before it is validated.
        epochs
            At most so many, from 1, where the plan allows more.

        Raises
        ------
        Diverged
            If a loss is not finite.
        """

    @abstractmethod
    def validate(self, model: Model) -> Scores:
        """AUC and log loss on the validation rows; gAUC, too, where it is the objective."""

    def score(self, model: Model) -> float:
        """The objective on the validation rows; more is better."""
        return goal(self.validate(model), self.objective)

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training rows."""

    @abstractmethod
    def phase(self, name: str) -> AbstractContextManager[None]:
        """Account the time spent within to the phase ``name`` (not to the one around it)."""

    @abstractmethod
    def report_size(self, step: int, count: Callable[[], int]) -> None:
        """Report after a step of a search how many parameters are left, for the pruning curve.

        Call it after every step: ``count`` is called in a few hundred steps of a search at most,
        whatever its length.

        Parameters
        ----------
        step
            Updates of the table so far; never decreases.
        count
            Returns the parameters left. It must change nothing, so not call :meth:`flush`.
        """

    @abstractmethod
    def aside(self) -> AbstractContextManager[None]:
        """Run what is within without an effect on what comes after.

        Random numbers, batch orders and the clock continue as if it had not run. For
        :meth:`Method.fit_many`, which trains a result aside and continues its search.
        """


@dataclass(frozen=True)
class Method(Component, ABC):
    """A way to get an embedding within a budget; its fields are its hyper-parameters."""

    kind: ClassVar[str] = "method"
    family: ClassVar[str] = "other"
    """Group of methods: controls, search, pruning, mixed, hashing, factored or quantised."""
    year: ClassVar[int | None] = None
    """Year of publication, if published."""
    fixed_size: ClassVar[bool] = False
    """Whether the method has a single size and runs once, at a budget of 100 %."""
    notes_training_bytes: ClassVar[bool] = False
    """Whether :meth:`fit` notes :meth:`Embedding.training_bytes`, where memory is the point."""
    own_training: ClassVar[str] = ""
    """What :meth:`fit` does while it trains what :meth:`embedding` made, if plain steps of an
    optimizer are not enough."""

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """An embedding of at most ``budget`` parameters, as close to it as the method allows.

        Raises
        ------
        Infeasible
            If even the smallest possible embedding is larger; the message names its size.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither embedding() nor fit()")

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """An upper bound on the steps of one :meth:`fit`, for estimates of time."""
        return steps_per_epoch * epochs

    @property
    def shares_search(self) -> bool:
        """Whether one search can serve several budgets, by :meth:`fit_many`."""
        return False

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """One search that passes several budgets on its way.

        Each result must equal that of :meth:`fit` at its budget and the same seed exactly. When it
        is yielded, the task's clock must hold the time of the search so far and of this result's
        own training; so train it within :meth:`Task.aside`, and yield it there.

        Parameters
        ----------
        budgets
            In numbers of parameters, the largest first; results are yielded in this order.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no fit_many()")

    def refuse_below(self, smallest: int, budget: int, note: str = "") -> None:
        """Raise :class:`Infeasible` if ``budget`` is below the ``smallest`` possible size.

        ``note`` says what makes that size.
        """
        if budget < smallest:
            # Rounding (``hash+int8``) changes no count.
            name, why = self.name.partition("+")[0], f" ({note})" if note else ""
            raise Infeasible(
                f"{name}: smallest possible is {smallest} parameters{why}, {budget} allowed"
            )

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search (if the method does) and train; the result has at most ``budget`` parameters."""
        embedding = self.embedding(task.fields, task.dim, budget)
        fitted = task.train(task.model(embedding))
        if self.notes_training_bytes:
            fitted = fitted.with_notes(training_bytes=embedding.training_bytes())
        return fitted.with_budget_note(task, budget)
