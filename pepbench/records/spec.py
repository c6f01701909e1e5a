"""What decides a trial's result; its SHA-256 is the record's key."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from pepbench.component import Value

PROTOCOL_VERSION = 1
"""Of everything between a spec and its result that no component's version covers."""

DEFAULT_LEARNING_RATE = 1e-3
"""Of the first trial of every study."""

DEFAULT_L2 = 1e-5
"""Likewise."""

Role = Literal["tuning", "final"]

PrunerKind = Literal["none", "median", "halving"]
"""Who stops tuning trials early."""


class Frozen(BaseModel):
    """What is kept as JSON and never changed."""

    # JSON has no NaN: it would be written as null, and the record could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentSpec(Frozen):
    """A method, backbone or data set with all its options."""

    spec: str
    """As the user wrote it; the name in tables."""
    name: str
    options: dict[str, Value]
    version: int
    tuned: tuple[str, ...] = ()
    """Options of a backbone that the plan tunes; decides nothing."""

    def untuned(self) -> ComponentSpec:
        """What all trials of a cell have in common."""
        fixed = {name: value for name, value in self.options.items() if name not in self.tuned}
        return self.model_copy(update={"options": fixed})


class DataSpec(Frozen):
    """A data set, its split, and the proof that they are the same."""

    spec: str
    table_fingerprint: str
    split_seed: int
    split_fingerprint: str


OptimizerKind = Literal["auto", "adam", "lazy-adam", "adagrad", "row-adagrad"]
"""Adam or Adagrad, on every entry or by the row; ``auto`` is Adam, by the row for large tables."""


Precision = Literal["float32", "bfloat16"]
"""Of a backbone's matrix products; parameters and the loss are always float32."""


class TrainingSpec(Frozen):
    """The settings of training that all methods share."""

    learning_rate: float
    l2: float
    batch_size: int
    epochs: int
    """At most this many passes over the training rows."""
    patience: int
    """Stop after this many epochs without a better validation AUC."""
    clip: float
    """Largest norm of the whole gradient."""
    optimizer: OptimizerKind = "auto"
    precision: Precision = "float32"


class PruningSpec(Frozen):
    """What decides when a tuning trial is stopped: a rule, and the trials it is held against.

    They are those of its cell that had ended when it was asked for, so that the outcome does not
    depend on what happens to run at the same time. Curves are validation AUCs by epoch, from 1.
    """

    pruner: PrunerKind
    complete: tuple[tuple[float, ...], ...]
    """Curves of trials that ran to their end."""
    pruned: tuple[tuple[float, ...], ...] = ()
    """Curves of trials that were stopped."""


class CellName(NamedTuple):
    """What names a cell: specs of data set, backbone and method, and the budget as written."""

    dataset: str
    backbone: str
    method: str
    budget: str

    def __str__(self) -> str:
        """In one line, as progress shows it."""
        return " ".join(self)

    def listed(self) -> str:
        """Separated by commas, as ``pepbench check`` names it.

        >>> CellName("anime", "fm", "pep", "10%").listed()
        'anime, fm, pep, 10%'
        """
        return ", ".join(self)


CELL_COLUMNS = list(CellName._fields)
"""The columns of a frame that name its cells."""


class TrialSpec(Frozen):
    """Everything that decides the result of one trial."""

    data: DataSpec
    backbone: ComponentSpec
    method: ComponentSpec
    budget: str
    """As the plan writes it, such as ``10%``."""
    budget_parameters: int
    full_parameters: int
    """N·D, the full table at the plan's D."""
    dim: int
    training: TrainingSpec
    seed: int
    role: Role
    device: str = "cpu"
    protocol: int = PROTOCOL_VERSION
    pruning: PruningSpec | None = None
    """None for trials that nothing stops, such as final runs."""

    @property
    def cell(self) -> CellName:
        """The cell that the trial belongs to."""
        return CellName(self.data.spec, self.backbone.spec, self.method.spec, self.budget)

    def key(self) -> str:
        """SHA-256 (hex) of the canonical JSON of this spec."""
        content = self.model_dump(mode="json")
        # So that records made before these fields keep their keys.
        for component in (content["backbone"], content["method"]):
            del component["tuned"]
        if self.pruning is None:
            del content["pruning"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
