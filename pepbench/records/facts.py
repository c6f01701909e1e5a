"""What reports need to know of a split beside its records, so that they need no data cache."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pepbench.records.files import npy_bytes, write_if_new


class SplitFacts:
    """Test labels, users and planted truth of the splits in a run's folder.

    Parameters
    ----------
    folder
        The run's folder; ``predictions/`` and ``widths/`` live in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.predictions = folder / "predictions"
        self.widths = folder / "widths"

    def labels_path(self, split_fingerprint: str) -> Path:
        """Where the test labels of a split are kept for the analysis."""
        return self.predictions / f"labels-{split_fingerprint}.npy"

    def put_labels(self, split_fingerprint: str, labels: NDArray[np.uint8]) -> None:
        """Keep the test labels (uint8, test order), so that reports need no data cache."""
        write_if_new(self.labels_path(split_fingerprint), npy_bytes(labels))

    def load_labels(self, split_fingerprint: str) -> NDArray[np.uint8]:
        """Test labels of a split."""
        array: NDArray[np.uint8] = np.load(self.labels_path(split_fingerprint), allow_pickle=False)
        return array

    def users_path(self, split_fingerprint: str) -> Path:
        """Where is kept whose the test rows of a split are."""
        return self.predictions / f"users-{split_fingerprint}.npy"

    def put_users(self, split_fingerprint: str, users: NDArray[np.int32]) -> None:
        """Keep a number for the user of each test row (int32, test order)."""
        write_if_new(self.users_path(split_fingerprint), npy_bytes(users))

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
        write_if_new(self.truth_path(split_fingerprint), npy_bytes(probabilities))

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
        write_if_new(self.features_path(split_fingerprint), buffer.getvalue())

    def load_features(self, split_fingerprint: str) -> pa.Table | None:
        """What :meth:`put_features` kept, by global id; None where nothing was."""
        path = self.features_path(split_fingerprint)
        return pq.read_table(path) if path.exists() else None
