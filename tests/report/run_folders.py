"""Runs of the record factory as folders on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

from record_factory import SPLIT, Run

from pepbench.records import RecordStore, npy_bytes


def stored(run: Run, folder: Path) -> RecordStore:
    """The run as files of a run's folder."""
    store = RecordStore(folder)
    store.put_labels(SPLIT, run.labels)
    for record in run.records:
        predictions = run.predictions.get(record.key)
        if predictions is not None:
            checksum = hashlib.sha256(npy_bytes(predictions)).hexdigest()
            record = record.model_copy(update={"predictions_sha256": checksum})
        store.put(record, predictions)
    return store
