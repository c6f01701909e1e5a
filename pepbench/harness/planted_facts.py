"""Facts about test rows, stored with the records for reports; no method ever sees them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.data.dataset import Dataset
from pepbench.data.split_schemes import PARTS
from pepbench.data.splits import Splits
from pepbench.data.table import Table
from pepbench.errors import DataError
from pepbench.records import RecordStore


def store_facts(store: RecordStore, dataset: Dataset, splits: Splits) -> None:
    """Store test labels, features and, where known, users and true probabilities of a split.

    Call it after the last fit. With them, reports need no data cache. The fold's encoded rows,
    which may have been evicted, are not opened.
    """
    users = users_of_rows(dataset, splits, "test")
    if users is not None:
        store.put_users(splits.fingerprint, users)
    store.put_features(splits.fingerprint, feature_table(splits))
    truth = true_test_probabilities(dataset, splits)
    if truth is not None:
        store.put_truth(splits.fingerprint, truth)
    # Last, since that labels are there says that all is.
    store.put_labels(splits.fingerprint, splits.table.labels[_in_part(splits, "test")])


def facts_are_stored(store: RecordStore, dataset: Dataset, splits: Splits) -> bool:
    """Whether all that :func:`store_facts` writes is there and whole; opens no rows."""
    fingerprint, n_rows = splits.fingerprint, splits.meta.n_rows["test"]
    try:
        labels, features = store.load_labels(fingerprint), store.load_features(fingerprint)
        users, truth = store.load_users(fingerprint), store.load_truth(fingerprint)
    except (OSError, ValueError, pa.ArrowException):
        return False
    return (
        (len(labels), int(labels.sum())) == (n_rows, splits.meta.n_positive["test"])
        and features is not None
        and features.num_rows == splits.fields.n_features
        and (users is None) == (dataset.user_field is None)
        and all(len(array) == n_rows for array in (users, truth) if array is not None)
    )


def feature_table(splits: Splits) -> pa.Table:
    """Field, training frequency and planted width (null where there is none) of each global id."""
    fields = splits.fields
    planted = splits.true_widths()
    if planted is None:
        planted = np.full(fields.n_features, -1, dtype=np.int32)
    return pa.table(
        {
            "field": pa.DictionaryArray.from_arrays(
                pa.array(fields.field_of_feature.astype(np.int32)), pa.array(fields.names)
            ),
            "frequency": pa.array(fields.frequencies),
            "planted_width": pa.array(planted, mask=planted < 0),
        }
    )


def _in_part(splits: Splits, part: str) -> NDArray[np.bool_]:
    """Shape (rows of the table,): which rows are of a part."""
    chosen: NDArray[np.bool_] = splits.parts() == PARTS.index(part)
    return chosen


def users_of_rows(dataset: Dataset, splits: Splits, part: str) -> NDArray[np.int32] | None:
    """User ids of the rows of a part, in its order; None where the data set declares no users.

    Those used last are kept, since each run of a split needs them.
    """
    if dataset.user_field is None:
        return None
    key = str(splits.folder), splits.fingerprint, dataset.user_field, part
    if key not in _USERS:
        while len(_USERS) >= _MOST_USERS:
            del _USERS[next(iter(_USERS))]
        users = _users(splits.table, dataset.user_field)
        _USERS[key] = users[_in_part(splits, part)].astype(np.int32)
        _USERS[key].setflags(write=False)
    return _USERS[key]


def _users(table: Table, user_field: str) -> NDArray[np.integer]:
    """Users as rows were split by, if they were: their field may be hashed, or no field at all."""
    if table.meta.split_scheme == "group":
        return table.split_keys
    place = table.meta.columns_of(table.meta.fields.index(user_field)).start
    return table.codes[:, place]


_USERS: dict[tuple[str, str, str, str], NDArray[np.int32]] = {}
"""Users of rows by folder and fingerprint of their split, by field and part; oldest first."""

_MOST_USERS = 20
"""Twice as many as a leaderboard has folds: of validation and test rows."""


def true_test_probabilities(dataset: Dataset, splits: Splits) -> NDArray[np.float64] | None:
    """Planted probability of label 1 of each test row, in test order; None where it is unknown."""
    blocks = dataset.probabilities()
    if blocks is None:
        return None
    in_test = _in_part(splits, "test")
    chosen, n_rows = [], 0
    for block in blocks:
        among = in_test[n_rows : n_rows + len(block)]
        chosen.append(block[: len(among)][among])
        n_rows += len(block)
    if n_rows != len(in_test):
        raise DataError(
            f"data set {dataset.spec!r} knows the truth of {n_rows} rows, its table has "
            f"{len(in_test)}; add it again"
        )
    return np.concatenate(chosen)
