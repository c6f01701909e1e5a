"""The specification of a trial: everything that determines its result; its SHA-256 is the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from pepbench.component import OptimizerKind, Value
from pepbench.objective import Objective

PROTOCOL_VERSION = 1
"""Version of everything that influences results and has no version of its own."""

DEFAULT_LEARNING_RATE = 1e-3
"""Learning rate of the first trial of every study."""

DEFAULT_L2 = 1e-5
"""L2 of the first trial of every study."""

MARGIN = 0.001
"""Default margin of plans and reports: smaller differences of AUC do not matter in practice."""

MOST_FOLDS = 100
LARGEST_SEED = 2**63 - 1
"""What TOML and torch can hold."""

FEWEST_FOLDS = 3
"""Fewer folds do not tell how results vary between folds."""

DRAWN = "drawn"
"""Source of data sets that a random number generator made."""

Role = Literal["tuning", "finalist", "final"]
"""A trial of a setting; a further training of one of the best settings, with another seed, among
which validation rows choose; a training of the chosen one, scored on test rows."""

PrunerKind = Literal["none", "median", "halving"]
"""Rule that stops tuning trials early."""


class Frozen(BaseModel):
    """Base of the immutable models that are stored as JSON."""

    # JSON has no NaN: it would be written as null and could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentSpec(Frozen):
    """A method, backbone or data set with all its options."""

    spec: str
    """As written by the user; the name in tables."""
    name: str
    options: dict[str, Value]
    version: int
    tuned: tuple[str, ...] = ()
    """Options of a backbone that the plan tunes; not part of the key."""

    def untuned(self) -> ComponentSpec:
        """The component without tuned options, which all trials of a cell share."""
        fixed = {name: value for name, value in self.options.items() if name not in self.tuned}
        return self.model_copy(update={"options": fixed})


_BESIDE_THE_KEY = {"source": "", "training_rows": 0, "split_scheme": ""}
"""What a :class:`DataSpec` tells without deciding a result, as where it is not known."""


class DataSpec(Frozen):
    """A data set and its split, with the fingerprints of both."""

    spec: str
    table_fingerprint: str
    split_seed: int
    split_fingerprint: str
    fold: int = 0
    """From 0; which part of the rows is for test."""
    folds: int = 1
    source: str = ""
    """Origin of the rows, :data:`DRAWN` if there is none; not part of the key."""
    training_rows: int = 0
    """Of the fold; 0 if not known. Not part of the key, since the fingerprints decide it."""
    split_scheme: str = ""
    """How rows were assigned to parts, :data:`pepbench.data.dataset.SplitScheme`; empty if not
    known. Not part of the key, as above."""
    only_folds: tuple[int, ...] = Field((), exclude=True)
    """Folds that a report is restricted to, from 0; empty: all. Set when records are read for one,
    and never stored."""

    @property
    def reported_folds(self) -> tuple[int, ...]:
        """The folds that a report covers, from 0."""
        return self.only_folds or tuple(range(self.folds))

    def without_fold(self) -> DataSpec:
        """What the folds of one data set and seed have in common."""
        fold = {} if self.folds == 1 else {"fold": 0, "split_fingerprint": ""}
        return self.deciding().model_copy(update=fold)

    def deciding(self) -> DataSpec:
        """What decides a result: without what is not part of the key."""
        return self.model_copy(update=_BESIDE_THE_KEY)


Precision = Literal["float32", "bfloat16"]
"""Precision of matrix products in backbones; parameters and the loss are always float32."""


class TrainingSpec(Frozen):
    """Training settings, the same for all methods."""

    learning_rate: float
    l2: float
    batch_size: int
    epochs: int
    """At most this many passes over the training rows."""
    patience: int
    """Stop after this many epochs without a better validation figure."""
    clip: float
    """Largest norm of the whole gradient."""
    optimizer: OptimizerKind = "auto"
    precision: Precision = "float32"
    objective: Objective = "auc"


class PruningSpec(Frozen):
    """The pruning rule of a tuning trial, and the trials with which the rule compares it.

    These are the trials of the same cell that had ended when this one was proposed, so that the
    outcome does not depend on scheduling. Curves are the objective's figures from epoch 1.
    """

    pruner: PrunerKind
    complete: tuple[tuple[float, ...], ...]
    """Curves of trials that ran to their end."""
    pruned: tuple[tuple[float, ...], ...] = ()
    """Curves of trials that were stopped."""


class CellName(NamedTuple):
    """The name of a cell: specs of data set, backbone and method, and the budget as written."""

    dataset: str
    backbone: str
    method: str
    budget: str

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> Self:
        """The name in a row of a frame with the columns :data:`CELL_COLUMNS`."""
        return cls(*(row[column] for column in cls._fields))

    def __str__(self) -> str:
        """The name as shown in progress messages."""
        return " ".join(self)

    def listed(self) -> str:
        """The name as shown by ``pepbench check``, separated by commas.

        >>> CellName("anime", "fm", "pep", "10%").listed()
        'anime, fm, pep, 10%'
        """
        return ", ".join(self)


Place = tuple[CellName, int]
"""Name and fold of a cell."""

CELL_COLUMNS = list(CellName._fields)
"""The columns of a frame that name its cells."""


class TrialSpec(Frozen):
    """Everything that determines the result of one trial."""

    data: DataSpec
    backbone: ComponentSpec
    method: ComponentSpec
    budget: str
    """As written in the plan, such as ``10%``."""
    budget_parameters: int
    full_parameters: int
    """N·D, the size of the full table at the plan's D."""
    dim: int
    training: TrainingSpec
    seed: int
    role: Role
    device: str = "cpu"
    protocol: int = PROTOCOL_VERSION
    pruning: PruningSpec | None = None
    """None for trials that are not pruned, such as final runs."""

    @property
    def cell(self) -> CellName:
        """The cell that the trial belongs to."""
        return CellName(self.data.spec, self.backbone.spec, self.method.spec, self.budget)

    @property
    def place(self) -> Place:
        """The cell and fold that the trial belongs to."""
        return self.cell, self.data.fold

    def settings(self) -> str:
        """What tuning chooses, as text: options of method and backbone, training settings."""
        chosen = [self.method.options, self.backbone.options, self.training.model_dump()]
        return json.dumps(chosen, sort_keys=True)

    def key(self) -> str:
        """SHA-256 (hex) of the canonical JSON of this spec."""
        content = self.model_dump(mode="json")
        # Not in the key, so that records made before these fields existed keep theirs.
        for component in (content["backbone"], content["method"]):
            del component["tuned"]
        if self.pruning is None:
            del content["pruning"]
        if self.training.objective == "auc":
            del content["training"]["objective"]
        for name in _BESIDE_THE_KEY:
            del content["data"][name]
        if self.data.folds == 1:
            del content["data"]["fold"], content["data"]["folds"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
