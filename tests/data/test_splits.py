import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import overwrite, random_rows, small
from split_helpers import feature_values

from pepbench.data.manage import add
from pepbench.data.split_schemes import part_of_rows
from pepbench.data.splits import open_splits, verify_splits
from pepbench.data.table import Table
from pepbench.errors import DataError


def table_of(columns, labels) -> Table:
    return add(small(columns, labels), None)


@given(st.integers(10, 500), st.integers(0, 2**40))
def test_parts_are_a_tenth_a_tenth_and_the_rest(n, seed):
    sizes = np.bincount(part_of_rows(n, seed), minlength=3)
    assert sizes.tolist() == [n - 2 * (n // 10), n // 10, n // 10]


def test_the_dealing_of_rows_is_pinned():
    digits = "".join(map(str, part_of_rows(30, 1)))
    assert digits == "020000000010000200000000110200"


@pytest.mark.slow
def test_each_part_is_dealt_at_random():
    hits = sum((part_of_rows(100, seed) == 2).astype(int) for seed in range(2_000))
    assert hits.min() > 140
    assert hits.max() < 260


def test_parts_cover_the_rows_once_and_decode_to_them():
    columns, labels = random_rows(500)
    splits = open_splits(table_of(columns, labels), 3)
    values = feature_values(splits)
    assert values[0] is None
    parts = part_of_rows(500, 3)
    rows = list(zip(columns["a"], columns["b"], labels, strict=True))
    opened = (splits.train, splits.validation, splits.open_test())
    for number, part in enumerate(opened):
        expected = [row for row, of in zip(rows, parts, strict=True) if of == number]
        decoded = [
            (values[a], values[b], label)
            for (a, b), label in zip(part.ids.tolist(), part.labels.tolist(), strict=True)
        ]
        for (a, b, label), (seen_a, seen_b, same) in zip(expected, decoded, strict=True):
            assert seen_a in (a, None)
            assert seen_b in (b, None)
            assert label == same
    assert None not in [values[feature] for feature in splits.train.ids.ravel()]
    assert splits.meta.n_positive["test"] == opened[2].labels.sum()


def test_vocabulary_and_frequencies_come_from_training_rows_only():
    parts = part_of_rows(40, 0)
    held_out, trained = np.flatnonzero(parts == 2), np.flatnonzero(parts == 0)
    texts = ["common"] * 40
    texts[held_out[0]] = "only in test"
    texts[trained[-1]] = "last in training"
    labels = np.zeros(40, dtype=int)
    for part in range(3):
        labels[np.flatnonzero(parts == part)[::2]] = 1
    splits = open_splits(table_of({"a": texts, "b": ["x"] * 40}, labels), 0)
    assert splits.open_test().ids[0].tolist() == [0, 4]
    assert feature_values(splits) == [None, "common", "last in training", None, "x"]
    assert splits.fields.cardinalities == (3, 2)
    assert splits.fields.frequencies.tolist() == [0, 31, 1, 0, 32]
    assert splits.meta.n_unseen == {"train": 0, "validation": 0, "test": 1}


def test_frequencies_count_training_rows():
    columns, labels = random_rows(300)
    splits = open_splits(table_of(columns, labels), 0)
    counted = Counter(splits.train.ids.ravel().tolist())
    assert splits.fields.frequencies.tolist() == [
        counted[feature] for feature in range(splits.fields.n_features)
    ]


def test_order_of_rows_in_the_file_does_not_change_what_a_table_holds():
    columns, labels = random_rows(100)
    order = np.random.default_rng(1).permutation(100)
    shuffled = {name: [values[i] for i in order] for name, values in columns.items()}
    one = table_of(columns, labels)
    decoded = [Counter(), Counter()]
    for table, rows in (
        (one, decoded[0]),
        (add(small(shuffled, [labels[i] for i in order], version=2), None), decoded[1]),
    ):
        for row, label in zip(table.codes, table.labels, strict=True):
            texts = [values[code] for values, code in zip(table.vocabularies, row, strict=True)]
            rows[(*texts, int(label))] += 1
    assert decoded[0] == decoded[1]


def test_same_seed_same_fingerprint_other_seed_another():
    table = table_of(*random_rows())
    first = open_splits(table, 0)
    assert open_splits(table, 0).fingerprint == first.fingerprint
    assert open_splits(table, 1).fingerprint != first.fingerprint


def test_a_cached_split_opens_at_once():
    table = table_of(*random_rows(5_000))
    open_splits(table, 0)
    start = time.perf_counter()
    splits = open_splits(table, 0)
    assert len(splits.train.labels) == 4_000
    assert time.perf_counter() - start < 0.2


@pytest.mark.parametrize("name", ["train-ids.npy", "meta.json", "features.npy"])
def test_truncated_files_are_made_anew(name):
    table = table_of(*random_rows())
    splits = open_splits(table, 0)
    content = (splits.folder / name).read_bytes()
    overwrite(splits.folder / name, content[: len(content) // 2])
    again = open_splits(table, 0)
    assert again.fingerprint == splits.fingerprint
    assert (splits.folder / name).read_bytes() == content


def test_changed_content_is_found_by_verifying():
    splits = open_splits(table_of(*random_rows()), 0)
    path = splits.folder / "test-labels.npy"
    content = path.read_bytes()
    overwrite(path, content[:-1] + bytes([1 - content[-1]]))
    assert verify_splits(splits) == [
        f"{splits.folder}: the content of test-labels.npy does not match its checksum"
    ]


def test_too_few_rows_or_one_kind_of_labels_in_a_part_is_an_error():
    with pytest.raises(DataError, match="has 9 rows; a split needs 10"):
        open_splits(table_of({"a": ["x"] * 9}, [0, 1] * 4 + [1]), 0)


def test_part_with_one_kind_of_label_is_an_error():
    with pytest.raises(DataError, match="labels of the validation split with seed 0 are equal"):
        open_splits(table_of({"a": ["x"] * 12}, [0, 1] * 6), 0)


def test_negative_seed_is_an_error():
    with pytest.raises(DataError, match="seed=-1"):
        open_splits(table_of(*random_rows()), -1)
