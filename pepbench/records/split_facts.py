"""Facts about a split that reports need, stored with a run's records: no data cache is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pepbench.records.files import load_npy, npy_bytes, parquet_bytes, write_if_new


class SplitFacts:
    """Test labels, users and planted truth in a run's folder, by fingerprint of the split.

    Files are written if they are new. Arrays have one entry for each test row, in test order.

    Parameters
    ----------
    folder
        The run's folder; files are in its ``predictions/`` and ``widths/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.predictions = folder / "predictions"
        self.widths = folder / "widths"

    def labels_path(self, split: str) -> Path:
        """File of a split's test labels."""
        return self._path("labels", split)

    def put_labels(self, split: str, labels: NDArray[np.uint8]) -> None:
        """Store the test labels."""
        write_if_new(self.labels_path(split), npy_bytes(labels))

    def load_labels(self, split: str) -> NDArray[np.uint8]:
        """Test labels of a split."""
        return load_npy(self.labels_path(split))

    def put_users(self, split: str, users: NDArray[np.int32]) -> None:
        """Store a number for the user of each test row."""
        write_if_new(self._path("users", split), npy_bytes(users))

    def load_users(self, split: str) -> NDArray[np.int32] | None:
        """The user of each test row; None if users were not stored."""
        return self._stored("users", split)

    def put_truth(self, split: str, probabilities: NDArray[np.float64]) -> None:
        """Store the planted probabilities of label 1."""
        write_if_new(self._path("truth", split), npy_bytes(probabilities))

    def load_truth(self, split: str) -> NDArray[np.float64] | None:
        """Planted probabilities of label 1; None if they were not stored."""
        return self._stored("truth", split)

    def put_features(self, split: str, features: pa.Table) -> None:
        """Store ``field``, ``frequency`` and ``planted_width`` of each global id."""
        write_if_new(self._features_path(split), parquet_bytes(features))

    def load_features(self, split: str) -> pa.Table | None:
        """The table of :meth:`put_features`; None if it was not stored."""
        path = self._features_path(split)
        return pq.read_table(path) if path.exists() else None

    def _path(self, what: str, split: str) -> Path:
        return self.predictions / f"{what}-{split}.npy"

    def _stored(self, what: str, split: str) -> NDArray[Any] | None:
        path = self._path(what, split)
        return load_npy(path) if path.exists() else None

    def _features_path(self, split: str) -> Path:
        return self.widths / f"features-{split}.parquet"
