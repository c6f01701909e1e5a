"""The baseline file of a check: one JSON document.

Test predictions are stored as ranks. AUC and its tests depend only on the order of the scores, so
nothing is lost; checksums show whether predictions are the same to the bit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, ValidationError

from pepbench.errors import PlanError, RecordError
from pepbench.plan import Plan
from pepbench.records import (
    CellName,
    ComponentSpec,
    DataSpec,
    Environment,
    Status,
    write_atomically,
)
from pepbench.records.spec import Frozen

KIND = "pepbench check baseline"
SCHEMA_VERSION = 1
NAME_ONE = "name a baseline; record one with: pepbench check --record FILE"
"""The remedy where there is none."""


class Ranks(Frozen):
    """Score vectors of K seeds on n rows, as dense ranks: (K, n) integers; ties stay ties."""

    seeds: int
    rows: int
    bits: Literal[16, 32]
    content: str
    """Base64 of the zlib-compressed little-endian integers."""

    @classmethod
    def of(cls, scores: NDArray[np.floating]) -> Ranks:
        """Ranks of ``scores``, (K, n)."""
        lines = [np.unique(line, return_inverse=True)[1] for line in scores]
        ranks = np.stack(lines)
        bits: Literal[16, 32] = 16 if ranks.max(initial=0) < 2**16 else 32
        packed = zlib.compress(ranks.astype(f"<u{bits // 8}").tobytes(), 9)
        seeds, rows = ranks.shape
        content = base64.b64encode(packed).decode("ascii")
        return cls(seeds=seeds, rows=rows, bits=bits, content=content)

    def scores(self) -> NDArray[np.float64]:
        """The ranks as scores, (K, n), in the same order as the original scores.

        Raises
        ------
        ValueError
            If the content does not have the stated size.
        """
        size = self.seeds * self.rows * self.bits // 8
        unpacker = zlib.decompressobj()
        try:
            # Bounded, so that a small malicious file cannot fill the memory.
            raw = unpacker.decompress(base64.b64decode(self.content, validate=True), size + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if len(raw) != size:
            raise ValueError(f"{len(raw)} bytes of ranks instead of {size}")
        ranks = np.frombuffer(raw, f"<u{self.bits // 8}").reshape(self.seeds, self.rows)
        return ranks.astype(np.float64)


class CellFigures(Frozen):
    """The results of the runs of one cell."""

    data: DataSpec
    backbone: ComponentSpec
    method: ComponentSpec
    budget: str
    seeds: list[int]
    status: Status
    reason: str | None = None
    n_parameters: list[int] = Field(default_factory=list)
    """Parameters of the embedding, for each seed."""
    n_bytes: list[int] = Field(default_factory=list)
    backbone_parameters: list[int] = Field(default_factory=list)
    auc: list[float] = Field(default_factory=list)
    """On the test rows, for each seed."""
    log_loss: list[float] = Field(default_factory=list)
    predictions_sha256: list[str] = Field(default_factory=list)
    ranks: Ranks | None = None

    @property
    def cell(self) -> CellName:
        """The cell's name."""
        return CellName(self.data.spec, self.backbone.spec, self.method.spec, self.budget)

    def check_ranks(self) -> None:
        """Raise ``ValueError`` if ranks are missing, damaged, or not one row for each seed."""
        if self.status != "ok":
            return
        if self.ranks is None or len(self.ranks.scores()) != len(self.seeds):
            raise ValueError(f"cell {self.cell.listed()}: its ranks are not those of its seeds")


class Metric(Frozen):
    """Repeated measurements of one figure; less is better."""

    kind: Literal["time", "memory", "start-up"]
    subject: str
    """What was measured, such as ``synthetic, fm, pep, 10%: search``."""
    unit: str
    """Unit of ``typical``."""
    typical: float
    """Median in a familiar unit; times are not corrected for the machine's speed."""
    values: list[PositiveFloat] = Field(min_length=1)
    """One for each process; times are ratios to the time of a fixed workload."""


class Baseline(Frozen):
    """Everything that a later check needs."""

    kind: Literal["pepbench check baseline"] = "pepbench check baseline"
    schema_version: Literal[1] = 1
    created: datetime
    environment: Environment
    plan: Plan
    cells: list[CellFigures]
    metrics: list[Metric]


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline atomically, with a checksum of its content."""
    content = baseline.model_dump(mode="json")
    document = {**content, "sha256": _checksum(content)}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def refuse_other_files(path: Path) -> None:
    """Refuse to record over a file that is not a baseline, such as a plan.

    Raises
    ------
    PlanError
        If there is one.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (ValueError, RecursionError):
        document = None
    if not _is_baseline(document):
        raise PlanError(
            f"{path}: holds something else than a baseline, which would be lost; record into "
            "another file, or remove it first"
        )


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises
    ------
    RecordError
        In one line, if the file is missing, damaged, of another kind or of another version.
    """
    remedy = f"record it again, with its --plan and --plugin: pepbench check --record {path}"
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}; {remedy}") from None
    except (ValueError, RecursionError):
        raise RecordError(
            f"{path}: is damaged or no baseline (not whole JSON); {NAME_ONE}"
        ) from None
    if not _is_baseline(document):
        raise RecordError(f"{path}: is no baseline of pepbench check; {NAME_ONE}")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: baseline of version {document.get('schema_version')!r}, this pepbench reads "
            f"version {SCHEMA_VERSION}; {remedy}"
        )
    checksum = document.pop("sha256", None)
    if checksum != _checksum(document):
        raise RecordError(f"{path}: was changed or damaged (its checksum differs); {remedy}")
    try:
        # From JSON text, where the strict plan accepts lists for its tuples.
        baseline = Baseline.model_validate_json(json.dumps(document))
        for cell in baseline.cells:
            cell.check_ranks()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecordError(f"{path}: {place}: {first['msg']}; {remedy}") from None
    except ValueError as error:
        raise RecordError(f"{path}: {error}; {remedy}") from None
    return baseline


def _is_baseline(document: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(document, dict) and document.get("kind") == KIND


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
