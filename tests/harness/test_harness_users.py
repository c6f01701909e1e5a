"""Whose the test rows are is kept beside the records where a data set declares users."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from split_helpers import feature_values

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.harness import planted_facts
from pepbench.harness.planted_facts import store_facts, users_of_rows
from pepbench.records import RecordStore

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))


@pytest.fixture
def owned(tiny_cache):  # noqa: ARG001
    """A data set of 40 users with 10 rows each, and its splits."""
    from small_dataset import small

    rng = np.random.default_rng(0)
    users = rng.permutation(np.repeat(np.arange(40), 10)).astype(str).tolist()
    columns = {"user": users, "item": rng.integers(0, 9, 400).astype(str).tolist()}
    dataset = small(columns, rng.integers(0, 2, 400).tolist(), user_field="user")
    return dataset, open_splits(open_table(dataset), seed=0)


def test_users_of_test_rows_are_distinct_as_their_raw_values_are(owned):
    dataset, splits = owned
    users = users_of_rows(dataset, splits, "test")
    test = splits.open_test()
    values = [feature_values(splits)[i] for i in test.ids[:, 0].tolist()]
    known = [(value, user) for value, user in zip(values, users, strict=True) if value is not None]
    assert len({value for value, _ in known}) == len({user for _, user in known}) == len(set(known))


def test_users_are_kept_and_read_back(owned, tmp_path):
    dataset, splits = owned
    store = RecordStore(tmp_path)
    assert store.load_users(splits.fingerprint) is None
    store_facts(store, dataset, splits)
    np.testing.assert_array_equal(
        store.load_users(splits.fingerprint), users_of_rows(dataset, splits, "test")
    )


def test_users_are_found_once_for_a_split_and_each_split_has_its_own(owned, monkeypatch):
    dataset, splits = owned
    calls = []
    parts = type(splits).parts
    monkeypatch.setattr(type(splits), "parts", lambda self: calls.append(self) or parts(self))
    monkeypatch.setattr(planted_facts, "_USERS", {})
    monkeypatch.setattr(planted_facts, "_MOST_USERS", 2)
    found = {}
    for seed in (0, 0, 1, 0, 2, 0):
        again = open_splits(splits.table, seed)
        users = users_of_rows(dataset, again, "test")
        np.testing.assert_array_equal(users, found.setdefault(seed, users))
        assert len(users) == len(again.open_test().labels)
    assert len(calls) == 4  # the third split takes the first one's place
    assert not np.array_equal(found[0], found[1])
    assert not users.flags.writeable


@pytest.mark.parametrize("name", ["ml-100k-ids", "ml-1m-ids", "anime", "frappe"])
def test_data_sets_with_user_ids_declare_them(name):
    assert Catalog().select("dataset", name).default().user_field == "user"


def test_data_sets_without_users_declare_none():
    for name in ("synthetic", "ml-100k", "criteo"):
        assert Catalog().select("dataset", name).default().user_field is None
