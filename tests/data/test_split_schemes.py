import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_dataset import Small, random_rows

from pepbench.data import split_schemes
from pepbench.data.dataset import Block
from pepbench.data.manage import add
from pepbench.data.split_schemes import (
    part_by_file,
    part_by_group,
    part_by_time,
    part_of_rows,
    sample_of_rows,
    smallest,
)
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


@given(arrays(np.uint64, st.integers(1, 60)), st.data(), st.integers(1, 9))
def test_the_lowest_are_those_of_a_stable_sort(numbers, data, step):
    count = data.draw(st.integers(0, len(numbers)))
    chosen = smallest(
        lambda: (numbers[i : i + step] for i in range(0, len(numbers), step)), len(numbers), count
    )
    assert set(np.flatnonzero(chosen)) == set(np.argsort(numbers, kind="stable")[:count])


def test_parts_do_not_depend_on_how_many_draws_are_held_at_a_time(monkeypatch):
    whole = part_of_rows(1_000, 3)
    monkeypatch.setattr(split_schemes, "CHUNK_ROWS", 7)
    assert (part_of_rows(1_000, 3) == whole).all()


@given(st.lists(st.integers(-(2**40), 2**40), min_size=40, max_size=80, unique=True))
def test_training_comes_before_validation_and_test(times):
    parts = part_by_time(np.array(times))
    for earlier, later in ((0, 1), (1, 2)):
        assert np.array(times)[parts == earlier].max() < np.array(times)[parts == later].min()
    assert np.bincount(parts)[1:].tolist() == [len(times) // 10] * 2


def test_rows_of_one_time_stay_together_and_too_few_times_are_an_error():
    parts = part_by_time(np.repeat(np.arange(12), 5))
    assert (parts.reshape(12, 5) == parts[::5, None]).all()
    with pytest.raises(DataError, match="same time"):
        part_by_time(np.zeros(50, dtype=np.int64))


def test_groups_are_dealt_whole_and_by_seed():
    groups = np.random.default_rng(0).integers(0, 50, 2_000)
    parts = part_by_group(groups, 0)
    for group in range(50):
        assert len(set(parts[groups == group])) == 1
    assert (part_by_group(groups, 1) != parts).any()
    with pytest.raises(DataError, match="too few groups"):
        part_by_group(np.arange(5), 0)


def test_the_files_own_parts_are_taken_as_they_are():
    given_parts = np.array([2, 0, 1, 0])
    assert part_by_file(given_parts).tolist() == [2, 0, 1, 0]
    with pytest.raises(DataError, match="row 2: part 3"):
        part_by_file(np.array([0, 3, 1, 2]))
    with pytest.raises(DataError, match="lacks"):
        part_by_file(np.array([0, 1, 1]))


@pytest.mark.slow
def test_a_sample_has_the_asked_for_rows_and_each_row_the_same_chance():
    assert sample_of_rows(100, 30, 0).sum() == 30
    hits = sum(sample_of_rows(20, 5, seed) for seed in range(2_000))
    assert hits.min() > 400
    assert hits.max() < 600


def keyed(scheme: str, keys: list[object], block_rows: int = 1_000):
    columns, labels = random_rows(len(keys))

    class Keyed(Small):
        def split_scheme(self, source):  # noqa: ARG002
            return scheme

        def blocks(self, source):
            at = 0
            for block in super().blocks(source):
                part = keys[at : at + len(block.labels)]
                at += len(part)
                yield Block(*block[:2], pa.array(part))

    return type(
        "Given", (Keyed,), {"columns": columns, "labels": labels, "block_rows": block_rows}
    )()


def test_splits_follow_the_key_of_the_data_set():
    times = np.random.default_rng(1).permutation(300).tolist()
    splits = open_splits(add(keyed("time", times), None), 0)
    labels = np.array(random_rows(300)[1])
    assert (splits.open_test().labels == labels[np.array(times) >= 270]).all()
    assert len(splits.train.labels) == 240


def test_users_may_be_named_in_any_way_and_blocks_do_not_matter():
    users = [f"u{i % 40}" for i in range(400)]
    whole = open_splits(add(keyed("group", users), None), 5)
    cut = open_splits(add(keyed("group", users, block_rows=33), None), 5)
    assert whole.fingerprint == cut.fingerprint
    assert whole.meta.n_rows == {"train": 320, "validation": 40, "test": 40}


def test_missing_time_is_named():
    with pytest.raises(DataError, match="row 3: no time to split by"):
        add(keyed("time", [1, 2, None, *range(50)]), None)
