"""What ``pepbench export`` does: choose a run, train it again, write what was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pepbench.data.splits import Splits
from pepbench.errors import RecordError
from pepbench.export.choice import CellFilter, Choice, choose
from pepbench.export.vocabularies import described_fields
from pepbench.export.writing import ExportError, refuse_occupied, write_export
from pepbench.harness.fit_checks import vectors_of
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.method import Fitted
from pepbench.records import Record, RecordStore
from pepbench.serve import load

Say = Callable[[str], None]

CHECKED_ROWS = 4096
"""Rows of the validation set that are looked up in the written files."""


@dataclass(frozen=True)
class How:
    """How to train and write; decides nothing about which run is taken."""

    plugins: tuple[Path, ...] = ()
    onnx: bool = False
    """Whether to write the backbone too."""
    allow_other: bool = False
    """Whether to write a table whose predictions are not those of the record."""


def export_run(run: Path, out: Path, wanted: CellFilter, how: How, say: Say) -> dict[str, Any]:
    """Export one final run of a folder; returns what there is to say about it.

    Records keep hyper-parameters and seeds, not weights: the run is trained again from its spec,
    and its test predictions are compared with those of the record.

    Raises
    ------
    ExportError
        If the run cannot be exported, or its predictions come out differently.
    PlanError
        If it is not clear which run is meant.
    RecordError
        If the folder has no records.
    """
    refuse_occupied(out)
    if not (run / "records").is_dir():
        raise RecordError(f"{run}: no records in this folder; give the folder of a run")
    choice = choose(RecordStore(run, say), wanted)
    if how.onnx:
        from pepbench.export.onnx import check_available

        check_available()
    say(_announced(choice))
    record = choice.record

    def keep(fitted: Fitted, splits: Splits) -> None:
        kept.append((fitted, splits))

    kept: list[tuple[Fitted, Splits]] = []
    surroundings = TrialContext(how.plugins, record.environment.threads)
    again = run_trial(record.spec, surroundings, keep).record
    if not kept:
        raise ExportError(f"training again did not succeed: {again.reason}")
    same = again.predictions_sha256 == record.predictions_sha256
    if not same and not how.allow_other:
        raise ExportError(_difference(record, again))
    (fitted, splits) = kept[0]
    about = described(record, again, same)
    notes: dict[str, Any] = {}

    def further(folder: Path) -> None:
        notes["vector_difference"] = served_difference(folder, fitted, splits)
        if how.onnx:
            from pepbench.export.onnx import write_onnx

            notes["onnx_difference"] = write_onnx(fitted.model, splits, folder)

    embedding = fitted.model.embedding
    # A narrow table without projections has a backbone of its own width.
    write_export(out, embedding.export(), described_fields(splits), embedding.dim, about, further)
    return about | notes | {"folder": str(out)}


def described(record: Record, again: Record, same: bool) -> dict[str, Any]:
    """Where a table comes from and what it holds, for ``meta.json``."""
    spec = record.spec
    return {
        "method": spec.method.model_dump(mode="json"),
        "backbone": spec.backbone.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json"),
        "seed": spec.seed,
        "counts": {
            "parameters": again.n_parameters,
            "full_parameters": spec.full_parameters,
            "bytes": again.n_bytes,
            "budget": spec.budget,
        },
        "scores": {
            "validation": again.validation.model_dump() if again.validation else None,
            "test": again.test.model_dump() if again.test else None,
        },
        "record": record.key,
        "predictions_as_recorded": same,
    }


def served_difference(folder: Path, fitted: Fitted, splits: Splits) -> float:
    """The largest difference between served and trained vectors, by reading the files back.

    Raises
    ------
    ExportError
        If it is not a matter of rounding.
    """
    ids = splits.validation.ids[:CHECKED_ROWS].astype(np.int64)
    served, trained = load(folder).lookup_ids(ids), vectors_of(fitted, ids)
    difference = float(np.abs(served - trained).max(initial=0.0))
    if not np.allclose(served, trained, rtol=1e-5, atol=1e-6):
        raise ExportError(f"served vectors differ from trained ones by {difference:.1e}")
    return difference


def _announced(choice: Choice) -> str:
    record = choice.record
    assert record.validation is not None
    why = f", the best of {choice.n_candidates} seeds" if choice.n_candidates > 1 else ""
    return (
        f"{' '.join(record.spec.cell)}, seed {record.spec.seed}: validation AUC "
        f"{record.validation.auc:.4f}{why}. Training it again"
    )


def _difference(record: Record, again: Record) -> str:
    """Why predictions came out differently, as far as can be told."""
    before, now = record.environment, again.environment
    changed = [
        f"{name} {getattr(before, name)} then, {getattr(now, name)} now"
        for name in ("pepbench", "git", "torch", "numpy", "python", "cpu")
        if getattr(before, name) != getattr(now, name)
    ]
    scores = ""
    if record.test is not None and again.test is not None:
        scores = f" (test AUC {again.test.auc:.6f}, recorded {record.test.auc:.6f})"
    return (
        f"trained again, the run predicts differently than its record says{scores}; "
        f"{'; '.join(changed) or 'the versions are the same'}. Export it all the same with "
        "--allow-different"
    )
