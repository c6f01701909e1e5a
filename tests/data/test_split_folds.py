import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.catalog import Catalog
from pepbench.data import cache
from pepbench.data import splits as splits_of_tables
from pepbench.data.cache import evict_folds
from pepbench.data.manage import add, open_table
from pepbench.data.split_schemes import (
    LEFT_OUT,
    TEST,
    TRAIN,
    VALIDATION,
    Fold,
    fold_by_time,
    fold_of_rows,
    most_folds,
    part_by_group,
    parts_of,
)
from pepbench.data.splits import open_splits, split_facts
from pepbench.errors import DataError


@given(st.integers(20, 400), st.integers(2, 8), st.integers(0, 2**40))
def test_every_row_is_tested_once_and_validation_is_a_tenth_drawn_for_each_fold(n_rows, of, seed):
    folds = [fold_of_rows(n_rows, seed, Fold(j, of)) for j in range(of)]
    tested = np.array([parts == TEST for parts in folds])
    assert (tested.sum(0) == 1).all()
    assert tested.sum(1).max() - tested.sum(1).min() <= 1
    for parts in folds:
        assert (parts == VALIDATION).sum() == n_rows // 10
        assert set(np.unique(parts)) <= {TRAIN, VALIDATION, TEST}


def test_validation_rows_of_two_folds_are_drawn_apart():
    first, second = (fold_of_rows(4000, 1, Fold(j, 10)) == VALIDATION for j in (0, 1))
    # Independent tenths share about a hundredth of the rows.
    assert 10 <= (first & second).sum() <= 80


def test_first_folds_depend_on_seed_and_number_of_folds():
    one = fold_of_rows(500, 0, Fold(0, 5))
    assert (one != fold_of_rows(500, 1, Fold(0, 5))).any()
    assert (one == fold_of_rows(500, 0, Fold(0, 5))).all()


@given(st.lists(st.integers(0, 60), min_size=60, max_size=300), st.integers(2, 4))
def test_rolling_origins_test_what_comes_later(times, of):
    times = np.array(times)
    latest = []
    for number in range(of):
        try:
            parts = fold_by_time(times, Fold(number, of))
        except DataError:  # too many rows of one time
            return
        order = [times[parts == part] for part in (TRAIN, VALIDATION, TEST, LEFT_OUT)]
        for before, after in itertools.pairwise(order):
            if len(after):
                assert before.max() < after.min()
        latest.append(order[2])
    for earlier, later in itertools.pairwise(latest):
        assert earlier.max() < later.min()
    assert (parts != LEFT_OUT).all()  # the last fold tests the latest rows


def test_windows_have_equal_size_where_times_differ():
    sizes = [np.bincount(fold_by_time(np.arange(1000), Fold(j, 5)), minlength=4) for j in range(5)]
    assert [size[TEST] for size in sizes] == [100] * 5
    assert [size[TRAIN] for size in sizes] == [400, 500, 600, 700, 800]


def test_users_stay_together_in_every_fold():
    users = np.random.default_rng(0).integers(0, 50, 2000)
    tested = np.zeros(50, int)
    for number in range(5):
        parts = part_by_group(users, 3, Fold(number, 5))
        for user in range(50):
            assert len(set(parts[users == user])) == 1
        tested += np.bincount(users[parts == TEST], minlength=50) > 0
    assert (tested == 1).all()


def table():
    return open_table(dataset())


def dataset():
    return Catalog().select("dataset", "synthetic:rows=2000:features=60:fields=4").default()


def test_a_fold_is_built_evicted_and_built_again_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path))
    add(dataset(), None)
    monkeypatch.setattr(cache, "FOLDS_BYTES", 1)
    opened = [open_splits(table(), 0, Fold(j, 4)) for j in range(4)]
    there = [(splits.folder / "train-ids.npy").exists() for splits in opened]
    assert there == [False, False, True, True]  # the two used last stay
    facts = split_facts(table(), 0, Fold(0, 4))
    assert facts.fingerprint == opened[0].fingerprint
    assert facts.fields.n_features == opened[0].fields.n_features
    for part in ("train", "validation"):
        evicted = split_facts(table(), 0, Fold(1, 4))
        assert not (evicted.folder / f"{part}-ids.npy").exists()
        rows = getattr(evicted, part)
        np.testing.assert_array_equal(rows.ids, getattr(opened[1], part).ids)
        open_splits(table(), 0, Fold(2, 4))
        open_splits(table(), 0, Fold(3, 4))
    again = open_splits(table(), 0, Fold(0, 4))
    assert again.fingerprint == opened[0].fingerprint
    np.testing.assert_array_equal(again.open_test().ids, opened[0].open_test().ids)


def test_a_fold_that_is_evicted_while_it_is_opened_is_built_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path))
    add(dataset(), None)
    first = open_splits(table(), 0, Fold(0, 4)).train.ids.copy()

    def evicted(keep):
        monkeypatch.setattr(splits_of_tables, "evict_folds", evict_folds)
        for path in keep.glob("*-*"):
            path.unlink()

    monkeypatch.setattr(splits_of_tables, "evict_folds", evicted)
    np.testing.assert_array_equal(open_splits(table(), 0, Fold(0, 4)).train.ids, first)


def test_a_fold_that_another_process_builds_is_not_evicted(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDS_BYTES", 1)
    names = [f"seed-0-fold-{j}-of-4" for j in (1, 2, 3)] + [".seed-0-fold-4-of-4.x1y2.tmp"]
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-ids.npy").write_bytes(b"rows")
        os.utime(tmp_path / name, (100 - age, 100 - age))
    evict_folds(keep=tmp_path / names[0])
    there = [(tmp_path / name / "train-ids.npy").exists() for name in names]
    assert there == [True, True, False, True]


@pytest.mark.usefixtures("tiny_cache")
def test_fingerprints_and_vocabularies_are_the_folds_own():
    folds = [open_splits(table(), 0, Fold(j, 3)) for j in range(3)]
    assert len({splits.fingerprint for splits in folds}) == 3
    whole = open_splits(table(), 0)
    assert whole.fingerprint not in {splits.fingerprint for splits in folds}
    for splits in folds:
        trained = splits.parts() == TRAIN
        seen = sum(len(np.unique(column)) for column in splits.table.codes[trained].T)
        assert splits.fields.n_features == seen + splits.fields.n_fields


@given(st.integers(4, 30), st.integers(0, 2**40), st.data())
def test_as_many_folds_as_groups_allow_have_all_parts(n_groups, seed, data):
    of = data.draw(st.integers(2, n_groups // 2))
    groups = np.repeat(np.arange(n_groups), 2)
    for number in range(of):
        parts = part_by_group(groups, seed, Fold(number, of))
        assert set(parts) == {TRAIN, VALIDATION, TEST}


@pytest.mark.usefixtures("tiny_cache")
def test_too_many_folds_name_the_most():
    with pytest.raises(DataError, match="allow 100 folds at most, not 101"):
        parts_of(table(), 0, Fold(0, 101))
    assert most_folds(table()) == 100
