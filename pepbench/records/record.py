"""The record of a trial, as stored in its file, and which records of a cell count."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from pydantic import Field, ValidationError

from pepbench.component import OptimizerKind, Value
from pepbench.errors import RecordError
from pepbench.objective import goal
from pepbench.records.spec import Frozen, Place, TrialSpec

SCHEMA_VERSION = 1
"""Version of the record files; others are refused."""

FINALIST_REACH = 0.01
"""Finalists are at most this much below the best trial in the objective."""

TUNING_NOTES = ("tuning_trials", "tuning_seconds")
"""Notes of a tuning record that stands for other trials of its cell and fold, which are left out:
the number of all of them, and the CPU seconds of these and of finalists that are left out."""

Status = Literal["ok", "infeasible", "failed", "pruned"]
"""``pruned`` is a tuning trial that a pruner stopped early."""


class ScoresRecord(Frozen):
    """Figures over a whole part of a split.

    Of validation rows the latter three are unknown, but for gAUC where it is the objective.
    """

    auc: float
    log_loss: float
    calibration: float | None = None
    """Sum of the predicted probabilities by the number of positive rows."""
    gauc: float | None = None
    """AUC within each user who has both labels, averaged by rows; None without users."""
    ndcg10: float | None = None
    """NDCG@10 within each user who has a positive row, averaged; None without users."""


class EpochRecord(Frozen):
    """One point of a learning curve."""

    epoch: int
    train_loss: float
    auc: float
    log_loss: float
    gauc: float | None = None
    """None unless it is the objective."""


class KeptRecord(Frozen):
    """One point of a pruning curve."""

    step: int
    """Number of updates of the table in the search so far."""
    parameters: int
    """Parameters that the search still keeps; at the last point, those that are retrained."""


class PhaseSeconds(Frozen):
    """Time of one phase."""

    wall: float
    cpu: float


class Environment(Frozen):
    """Software and hardware of a trial."""

    python: str
    torch: str
    numpy: str
    pepbench: str
    git: str | None
    cpu: str
    host: str
    threads: int
    instructions: str | None = None
    """Microarchitecture and vector units of the processor. Processors of the same name may differ
    in them, and then add floating-point numbers in another order. None in older records."""

    def alike(self, other: Environment) -> bool:
        """Whether processor, Python, torch, numpy and number of threads are the same."""
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
    """None except for final runs."""
    predictions_sha256: str | None = None
    """Checksum of the file of test probabilities (float32, test order)."""
    widths_sha256: str | None = None
    """Checksum of the file of learnt widths (unsigned, by global id), if there are any."""
    curve: list[EpochRecord] = Field(default_factory=list)
    kept: list[KeptRecord] = Field(default_factory=list)
    """The pruning curve of a search that shrinks the table; some hundred points at most."""
    notes: dict[str, Value] = Field(default_factory=dict)
    optimizer: OptimizerKind | None = None
    """Optimizer of the last training; what ``auto`` resolved to."""
    seconds: dict[str, PhaseSeconds] = Field(default_factory=dict)
    """By phase, such as ``search`` and ``train``."""
    calibration_seconds: float | None = None
    """Wall time of a fixed workload, in published records of older versions."""
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
        return Record.model_validate_json(text)
    except ValidationError as invalid:
        # Only now: reading the text twice would double the time.
        of_version = [e for e in invalid.errors() if e["loc"] == ("schema_version",)]
        if not of_version:
            raise
        raise RecordError(
            f"{path}: record of version {of_version[0]['input']!r}, this pepbench reads version "
            f"{SCHEMA_VERSION}; use the pepbench that wrote it, or another --out folder"
        ) from None


def figures_of(record: Record) -> dict[str, Any]:
    """A record's row in a segment, without its text."""
    return {
        "key": record.key,
        **record.spec.cell._asdict(),
        "fold": record.spec.data.fold,
        "role": record.spec.role,
        "seed": record.spec.seed,
        "status": record.status,
        "n_parameters": record.n_parameters,
        "n_bytes": record.n_bytes,
        "validation_auc": None if record.validation is None else record.validation.auc,
        "test_auc": None if record.test is None else record.test.auc,
        "seconds": sum(phase.wall for phase in record.seconds.values()),
    }


def segment_row(record: Record) -> dict[str, Any]:
    """A record's row in a segment."""
    return figures_of(record) | {"record": record.model_dump_json().encode()}


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def by_place(records: Iterable[Record]) -> dict[Place, list[Record]]:
    """The records of each cell and fold, in their order: what was tuned together."""
    grouped: dict[Place, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.spec.place, []).append(record)
    return grouped


def finalists(records: Iterable[Record], most: int) -> list[Record]:
    """The best tuning records of a cell by the objective, best first, no settings twice.

    Those more than :data:`FINALIST_REACH` below the best are left out: no seeds make up for it.
    Ties are broken by key, so that the choice does not depend on the order.
    """
    ranked = sorted(
        (record for record in records if record.spec.role == "tuning" and _known(record)),
        key=lambda record: (-validation_goal(record), record.key),
    )
    distinct: dict[str, Record] = {}
    for record in ranked:
        distinct.setdefault(record.spec.settings(), record)
    chosen = list(distinct.values())[:most]
    best = validation_goal(chosen[0]) if chosen else 0.0
    return [record for record in chosen if best - validation_goal(record) <= FINALIST_REACH]


def best_trial(records: Iterable[Record]) -> Record | None:
    """The tuning record of a cell with the settings that final runs repeat.

    Without finalists it is the best by the objective on validation rows. Else it is the finalist
    with the best mean over its trial and its further seeds, among those that ended well.
    Ties are broken by the trial's own figure, then by key.
    """
    records = list(records)
    further: dict[str, list[Record]] = {}
    for record in records:
        if record.spec.role == "finalist":
            further.setdefault(record.spec.settings(), []).append(record)
    ranked = finalists(records, len(records))
    whole = [
        (record, [record, *seeds])
        for record in ranked
        if (seeds := further.get(record.spec.settings())) and all(map(_known, seeds))
    ]
    if not whole:
        return next(iter(ranked), None)
    return max(whole, key=lambda pair: mean(map(validation_goal, pair[1])))[0]


def validation_goal(record: Record) -> float:
    """A record's validation figure that its plan maximises; NaN if it has none."""
    if record.validation is None:
        return math.nan
    return goal(record.validation, record.spec.training.objective)


def _known(record: Record) -> bool:
    return record.status == "ok" and record.validation is not None


def is_extract(records: Iterable[Record]) -> bool:
    """Whether one of the records stands for others, see :data:`TUNING_NOTES`."""
    return any(TUNING_NOTES[0] in record.notes for record in records)


def tuning_used(records: Iterable[Record]) -> tuple[int, float]:
    """Number of a cell's tuning trials, pruned and failed ones included, and CPU seconds of tuning.

    The seconds include those of finalists. A search that several budgets share counts in full for
    each of them. A record may stand for others, see :data:`TUNING_NOTES`.
    """
    trials, seconds = 0, 0.0
    for record in records:
        if record.spec.role != "final":
            counts = record.notes.get(TUNING_NOTES[0], record.spec.role == "tuning")
            trials += int(counts)
            seconds += float(record.notes.get(TUNING_NOTES[1], record.cpu_seconds()))
    return trials, seconds


def final_runs(records: Iterable[Record]) -> list[Record]:
    """The final runs of a cell that repeat its best trial, by seed, failed ones included."""
    records = list(records)
    best = best_trial(records)
    if best is None:
        return []
    finals = [
        record
        for record in records
        if record.spec.role == "final" and record.spec.settings() == best.spec.settings()
    ]
    return sorted(finals, key=lambda record: record.spec.seed)
