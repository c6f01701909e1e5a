"""The outcome of a trial, as its file holds it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pepbench.component import Value
from pepbench.errors import RecordError
from pepbench.records.spec import Frozen, OptimizerKind, TrialSpec

SCHEMA_VERSION = 1
"""Of the record files. Unknown versions are refused."""

Status = Literal["ok", "infeasible", "failed", "pruned"]
"""``pruned``: a tuning trial that a pruner stopped early."""


class ScoresRecord(Frozen):
    """AUC and log loss over a whole split."""

    auc: float
    log_loss: float


class EpochRecord(Frozen):
    """One point of a learning curve."""

    epoch: int
    train_loss: float
    auc: float
    log_loss: float


class KeptRecord(Frozen):
    """One point of a pruning curve."""

    step: int
    """Updates of the table in the search until then."""
    parameters: int
    """What the search kept by then; of the last point, what was left for the last training."""


class PhaseSeconds(Frozen):
    """Time of one phase."""

    wall: float
    cpu: float


class Environment(Frozen):
    """Where a trial ran."""

    python: str
    torch: str
    numpy: str
    pepbench: str
    git: str | None
    cpu: str
    host: str
    threads: int
    instructions: str | None = None
    """Of the processor: its microarchitecture and the vector units in use. Processors of one name
    may differ in them, and then round sums in another order. Older records do not tell."""

    def alike(self, other: Environment) -> bool:
        """Whether processor, Python, torch, numpy and threads go by the same names."""
        keys = ("cpu", "python", "torch", "numpy", "threads")
        return all(getattr(self, key) == getattr(other, key) for key in keys)


class Record(Frozen):
    """The outcome of one trial."""

    schema_version: Literal[1] = 1
    key: str
    spec: TrialSpec
    status: Status
    reason: str | None = None
    """Why the trial is infeasible, failed or was stopped."""
    n_parameters: int | None = None
    n_bytes: int | None = None
    backbone_parameters: int | None = None
    """Trained numbers outside the embedding, first-order weights included."""
    validation: ScoresRecord | None = None
    test: ScoresRecord | None = None
    """Of final runs only."""
    predictions_sha256: str | None = None
    """Of the file of test probabilities (float32, test order)."""
    widths_sha256: str | None = None
    """Of the file of learnt widths (unsigned, by global id), where features have their own."""
    curve: list[EpochRecord] = Field(default_factory=list)
    kept: list[KeptRecord] = Field(default_factory=list)
    """The pruning curve of a search that shrinks the table; at most some hundred points."""
    notes: dict[str, Value] = Field(default_factory=dict)
    optimizer: OptimizerKind | None = None
    """Of the last training: what ``auto`` stood for."""
    seconds: dict[str, PhaseSeconds] = Field(default_factory=dict)
    """By phase, such as ``search`` and ``train``."""
    calibration_seconds: float | None = None
    """Wall time of a fixed workload run just before, on the same machine."""
    samples_per_second: float | None = None
    """Training rows per wall second over all phases."""
    peak_memory_mib: float | None = None
    environment: Environment
    created: datetime

    def search_seconds(self) -> float:
        """Wall seconds of all phases but ``train``."""
        return sum(phase.wall for name, phase in self.seconds.items() if name != "train")

    def cpu_seconds(self) -> float:
        """CPU seconds of all phases."""
        return sum(phase.cpu for phase in self.seconds.values())

    def train_seconds(self) -> float:
        """Wall seconds of the phase ``train``."""
        return self.seconds["train"].wall if "train" in self.seconds else 0.0


def parse_record(text: bytes, path: Path) -> Record:
    """Read a record; raises :class:`RecordError` for unknown versions, else ``ValidationError``."""
    try:
        version = json.loads(text).get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError):
        version = SCHEMA_VERSION
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: record of version {version!r}, this pepbench reads version {SCHEMA_VERSION}; "
            "use the pepbench that wrote it, or another --out folder"
        )
    return Record.model_validate_json(text)


def figures_of(record: Record) -> dict[str, Any]:
    """A record's row in a segment, without its text."""
    dataset, backbone, method, budget = record.spec.cell
    return {
        "key": record.key,
        "dataset": dataset,
        "backbone": backbone,
        "method": method,
        "budget": budget,
        "role": record.spec.role,
        "seed": record.spec.seed,
        "status": record.status,
        "n_parameters": record.n_parameters,
        "n_bytes": record.n_bytes,
        "validation_auc": None if record.validation is None else record.validation.auc,
        "test_auc": None if record.test is None else record.test.auc,
        "seconds": sum(phase.wall for phase in record.seconds.values()),
    }


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
