"""What a trial leaves behind, and the folder that keeps it.

A :class:`TrialSpec` holds everything that decides a result; its SHA-256 is the record's key. A
:class:`RecordStore` keeps one JSON file per record, or very many in one Parquet file, and one
``.npy`` per final run's test predictions and learnt widths. Files appear whole or not at all: they
are written under another name, flushed to disk and renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pepbench.component import Value
from pepbench.errors import RecordError
from pepbench.segments import COLUMNS, FIGURES, Segment, segment_bytes

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
"""Of the record files. Unknown versions are refused."""

PACK_FROM = 5000
"""So many files of single records are packed at the end of a run."""

SEGMENT_ROWS = 20_000
"""Most records of a segment that is packed."""

PROTOCOL_VERSION = 1
"""Of everything between a spec and its result that no component's version covers."""

Role = Literal["tuning", "final"]
Status = Literal["ok", "infeasible", "failed", "pruned"]
"""``pruned``: a tuning trial that a pruner stopped early."""

PrunerKind = Literal["none", "median", "halving"]
"""Who stops tuning trials early."""


class _Frozen(BaseModel):
    # JSON has no NaN: it would be written as null, and the record could not be read again.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ComponentSpec(_Frozen):
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


class DataSpec(_Frozen):
    """A data set, its split, and the proof that they are the same."""

    spec: str
    table_fingerprint: str
    split_seed: int
    split_fingerprint: str


OptimiserKind = Literal["auto", "adam", "lazy-adam", "adagrad", "row-adagrad"]
"""Adam or Adagrad, on every entry or by the row; ``auto`` is Adam, by the row for large tables."""


Precision = Literal["float32", "bfloat16"]
"""Of a backbone's matrix products; parameters and the loss are always float32."""


class TrainingSpec(_Frozen):
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
    optimizer: OptimiserKind = "auto"
    precision: Precision = "float32"


class PruningSpec(_Frozen):
    """What decides when a tuning trial is stopped: a rule, and the trials it is held against.

    They are those of its cell that had ended when it was asked for, so that the outcome does not
    depend on what happens to run at the same time. Curves are validation AUCs by epoch, from 1.
    """

    pruner: PrunerKind
    complete: tuple[tuple[float, ...], ...]
    """Curves of trials that ran to their end."""
    pruned: tuple[tuple[float, ...], ...] = ()
    """Curves of trials that were stopped."""


class TrialSpec(_Frozen):
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
    def cell(self) -> tuple[str, str, str, str]:
        """Data set, backbone, method, budget."""
        return self.data.spec, self.backbone.spec, self.method.spec, self.budget

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


class ScoresRecord(_Frozen):
    """AUC and log loss over a whole split."""

    auc: float
    log_loss: float


class EpochRecord(_Frozen):
    """One point of a learning curve."""

    epoch: int
    train_loss: float
    auc: float
    log_loss: float


class KeptRecord(_Frozen):
    """One point of a pruning curve."""

    step: int
    """Updates of the table in the search until then."""
    parameters: int
    """What the search kept by then; of the last point, what was left for the last training."""


class PhaseSeconds(_Frozen):
    """Time of one phase."""

    wall: float
    cpu: float


class Environment(_Frozen):
    """Where a trial ran."""

    python: str
    torch: str
    numpy: str
    pepbench: str
    git: str | None
    cpu: str
    host: str
    threads: int


class Record(_Frozen):
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
    curve: list[EpochRecord] = []
    kept: list[KeptRecord] = []
    """The pruning curve of a search that shrinks the table; at most some hundred points."""
    notes: dict[str, Value] = {}
    optimizer: OptimiserKind | None = None
    """Of the last training: what ``auto`` stood for."""
    seconds: dict[str, PhaseSeconds] = {}
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


def best_trial(records: Iterable[Record]) -> Record | None:
    """The tuning record of a cell that its final runs repeat: highest validation AUC.

    Equal AUCs are decided by the key, so that the choice does not depend on the order.
    """
    ranked = [
        (-record.validation.auc, record.key, record)
        for record in records
        if record.spec.role == "tuning" and record.status == "ok" and record.validation is not None
    ]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def tuning_used(records: Iterable[Record]) -> tuple[int, float]:
    """Tuning trials of a cell, stopped and failed ones included, and the CPU seconds they took.

    The seconds are those that each trial would have taken alone; where one search served several
    budgets, it was run once.
    """
    tuning = [record for record in records if record.spec.role == "tuning"]
    return len(tuning), sum(record.cpu_seconds() for record in tuning)


def final_runs(records: Iterable[Record]) -> list[Record]:
    """The final runs of a cell that repeat its best trial, by seed, failed ones included."""
    records = list(records)
    best = best_trial(records)
    if best is None:
        return []
    finals = [
        record
        for record in records
        if record.spec.role == "final"
        and record.spec.method == best.spec.method
        and record.spec.backbone == best.spec.backbone
        and record.spec.training == best.spec.training
    ]
    return sorted(finals, key=lambda record: record.spec.seed)


def now() -> datetime:
    """The time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_if_new(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The content of an ``.npy`` file of ``array``."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npy_sha256(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of the ``.npy`` file of ``array``."""
    return hashlib.sha256(npy_bytes(array)).hexdigest()


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


class RecordStore:
    """The records, predictions and learnt widths in a run's folder.

    Parameters
    ----------
    folder
        The run's folder; ``records/``, ``segments/``, ``predictions/`` and ``widths/`` live in
        it.
    warn
        Called with one line for each file that is set aside.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.predictions = folder / "predictions"
        self.widths = folder / "widths"
        self.segments = folder / "segments"
        self._segments: list[Segment] = []
        self._segments_changed = 0
        self._warn = warn
        self._said: set[str] = set()

    def warn(self, message: str) -> None:
        """Pass a line on, once."""
        if message not in self._said:
            self._said.add(message)
            self._warn(message)

    def get(self, key: str) -> Record | None:
        """The finished record of ``key``, or None if its trial has to run (again).

        Files that cannot be read, that hold another trial's record, or whose predictions or
        widths are missing or damaged are set aside under ``*.damaged`` and reported.

        Raises
        ------
        RecordError
            If the file's schema version is not this program's: it is left alone.
        """
        path = self.records / f"{key}.json"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return self._packed(key)
        try:
            record = parse_record(text, path)
        except ValidationError:
            self._set_aside(path, "is not a whole record")
            return None
        if record.key != key or record.spec.key() != key:
            self._set_aside(path, "holds the record of another trial")
            return None
        return record if self._has_its_files(record) else None

    def put(
        self,
        record: Record,
        predictions: NDArray[np.float32] | None = None,
        widths: NDArray[np.unsignedinteger] | None = None,
    ) -> None:
        """Keep a record; its predictions and widths are written first."""
        if predictions is not None:
            write_atomically(self.prediction_path(record.key), npy_bytes(predictions))
        if widths is not None:
            write_atomically(self.widths_path(record.key), npy_bytes(widths))
        content = record.model_dump_json(indent=1).encode() + b"\n"
        write_atomically(self.records / f"{record.key}.json", content)

    def __iter__(self) -> Iterator[Record]:
        """All readable records, in the order of their keys."""
        for key in self.keys():
            record = self.get(key)
            if record is not None:
                yield record

    def whole(self) -> Iterator[Record]:
        """As iterating, with the records that only lack files: their figures still hold."""
        for key in self.keys():
            record = self.get(key)
            path = self.records / f"{key}.json"
            if record is None and path.exists():
                record = parse_record(path.read_bytes(), path)
            elif record is None:
                record = self._packed(key, with_files=False)
            if record is not None:
                yield record

    def keys(self) -> list[str]:
        """Of all records, readable or not, in order."""
        packed = (key.decode() for segment in self._opened() for key in segment.keys.tolist())
        return sorted({*self._loose_keys(), *packed})

    def pack(self, at_least: int = PACK_FROM) -> int:
        """Move finished records from files of their own into a segment.

        The segment is written first and the files removed then, so that a cut between the two
        leaves every record there, and none twice: a file of its own hides the packed one.

        Parameters
        ----------
        at_least
            Leave everything as it is if there are fewer.

        Returns
        -------
        int
            The number of records moved.
        """
        paths = sorted(self.records.glob("*.json"))
        if len(paths) < at_least:
            return 0
        moved = 0
        for start in range(0, len(paths), SEGMENT_ROWS):
            found = ((path, self.get(path.stem)) for path in paths[start : start + SEGMENT_ROWS])
            kept = [(p, r) for p, r in found if r is not None and r.status != "failed"]
            if not kept:
                continue
            digest = hashlib.sha256("".join(record.key for _, record in kept).encode()).hexdigest()
            content = segment_bytes(
                figures_of(record) | {"record": record.model_dump_json().encode()}
                for _, record in kept
            )
            write_atomically(self.segments / f"{digest}.parquet", content)
            for path, _ in kept:
                path.unlink(missing_ok=True)
            moved += len(kept)
        return moved

    def figures(self) -> pd.DataFrame:
        """What tables need of all records, without reading each: a row a record, by key.

        Files beside the records are not looked at. The columns are
        :data:`pepbench.segments.FIGURES`.
        """
        loose = [figures_of(record) for record in map(self.get, self._loose_keys()) if record]
        own = pa.Table.from_pylist(loose, COLUMNS).select(FIGURES)
        table = pa.concat_tables([own, *(segment.figures() for segment in self._opened())])
        # Loose ones come first: they hide packed ones of the same key.
        frame: pd.DataFrame = table.to_pandas().drop_duplicates("key")
        return frame.sort_values("key", ignore_index=True)

    def _loose_keys(self) -> list[str]:
        return sorted(path.stem for path in self.records.glob("*.json"))

    def _packed(self, key: str, with_files: bool = True) -> Record | None:
        for segment in self._opened():
            try:
                text = segment.text(key)
                if text is None:
                    continue
                record = parse_record(text, segment.path)
            except (RecordError, ValidationError):
                self._set_aside(segment.path, "cannot be read")
                continue
            if record.spec.key() == key and (not with_files or self._has_its_files(record)):
                return record
        return None

    def _opened(self) -> list[Segment]:
        """The segments there are, opened once each."""
        try:
            changed = self.segments.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._segments_changed:
            known = {segment.path: segment for segment in self._segments}
            self._segments = []
            for path in sorted(self.segments.glob("*.parquet")):
                try:
                    self._segments.append(known.get(path) or Segment(path))
                except RecordError:
                    self._set_aside(path, "is not a whole segment of records")
            self._segments_changed = self.segments.stat().st_mtime_ns
        return self._segments

    def _has_its_files(self, record: Record) -> bool:
        beside = (
            (self.prediction_path(record.key), record.predictions_sha256, "predictions"),
            (self.widths_path(record.key), record.widths_sha256, "widths"),
        )
        intact = [self._intact(*file) for file in beside]  # each is looked at, and reported
        return all(intact)

    def prediction_path(self, key: str) -> Path:
        """Where the test predictions of ``key`` are."""
        return self.predictions / f"{key}.npy"

    def load_predictions(self, key: str) -> NDArray[np.float32]:
        """Test probabilities of a final run, in test order."""
        array: NDArray[np.float32] = np.load(self.prediction_path(key), allow_pickle=False)
        return array

    def widths_path(self, key: str) -> Path:
        """Where the learnt widths of ``key`` are."""
        return self.widths / f"{key}.npy"

    def load_widths(self, key: str) -> NDArray[np.unsignedinteger]:
        """Learnt width of each feature in a final run, by global id."""
        array: NDArray[np.unsignedinteger] = np.load(self.widths_path(key), allow_pickle=False)
        return array

    def labels_path(self, split_fingerprint: str) -> Path:
        """Where the test labels of a split are kept for the analysis."""
        return self.predictions / f"labels-{split_fingerprint}.npy"

    def put_labels(self, split_fingerprint: str, labels: NDArray[np.uint8]) -> None:
        """Keep the test labels (uint8, test order), so that reports need no data cache."""
        _write_if_new(self.labels_path(split_fingerprint), npy_bytes(labels))

    def load_labels(self, split_fingerprint: str) -> NDArray[np.uint8]:
        """Test labels of a split."""
        array: NDArray[np.uint8] = np.load(self.labels_path(split_fingerprint), allow_pickle=False)
        return array

    def users_path(self, split_fingerprint: str) -> Path:
        """Where is kept whose the test rows of a split are."""
        return self.predictions / f"users-{split_fingerprint}.npy"

    def put_users(self, split_fingerprint: str, users: NDArray[np.int32]) -> None:
        """Keep a number for the user of each test row (int32, test order)."""
        _write_if_new(self.users_path(split_fingerprint), npy_bytes(users))

    def load_users(self, split_fingerprint: str) -> NDArray[np.int32] | None:
        """The user of each test row of a split; None where none were kept."""
        path = self.users_path(split_fingerprint)
        if not path.exists():
            return None
        array: NDArray[np.int32] = np.load(path, allow_pickle=False)
        return array

    def truth_path(self, split_fingerprint: str) -> Path:
        """Where the true probabilities of a split's test rows are kept."""
        return self.predictions / f"truth-{split_fingerprint}.npy"

    def put_truth(self, split_fingerprint: str, probabilities: NDArray[np.float64]) -> None:
        """Keep the planted probabilities of label 1 (float64, test order)."""
        _write_if_new(self.truth_path(split_fingerprint), npy_bytes(probabilities))

    def load_truth(self, split_fingerprint: str) -> NDArray[np.float64] | None:
        """Planted probabilities of a split's test rows; None where none were kept."""
        path = self.truth_path(split_fingerprint)
        if not path.exists():
            return None
        array: NDArray[np.float64] = np.load(path, allow_pickle=False)
        return array

    def features_path(self, split_fingerprint: str) -> Path:
        """Where is kept what is known about the features of a split."""
        return self.widths / f"features-{split_fingerprint}.parquet"

    def put_features(self, split_fingerprint: str, features: pa.Table) -> None:
        """Keep ``field``, ``frequency`` and ``planted_width`` of each global id."""
        buffer = io.BytesIO()
        pq.write_table(features, buffer)
        _write_if_new(self.features_path(split_fingerprint), buffer.getvalue())

    def load_features(self, split_fingerprint: str) -> pa.Table | None:
        """What :meth:`put_features` kept, by global id; None where nothing was."""
        path = self.features_path(split_fingerprint)
        return pq.read_table(path) if path.exists() else None

    def _intact(self, path: Path, checksum: str | None, what: str) -> bool:
        if checksum is None:
            return True
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.warn(f"{path}: {what} are missing; their run is repeated")
            return False
        if hashlib.sha256(content).hexdigest() != checksum:
            self._set_aside(path, "does not match its record's checksum")
            return False
        return True

    def _set_aside(self, path: Path, why: str) -> None:
        path.replace(path.with_name(path.name + ".damaged"))
        self.warn(f"{path} {why}; set aside as {path.name}.damaged, its run is repeated")


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
