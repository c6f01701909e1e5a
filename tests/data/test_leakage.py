import numpy as np
import pytest
from small_dataset import small

from pepbench.data.describe import describe
from pepbench.data.manage import add
from pepbench.data.row_checks import known_share, leakage_warning, user_column
from pepbench.data.splits import open_splits


def rows_of_users(n_users, rows_each):
    users = np.repeat(np.arange(n_users), rows_each).astype(str).tolist()
    items = [str(i % 7) for i in range(len(users))]
    labels = np.arange(len(users)) % 3 == 0
    return small({"user": users, "item": items}, labels)


def test_share_of_known_users_is_that_of_the_split():
    dataset = rows_of_users(60, 3)
    table = add(dataset, None)
    splits = open_splits(table, 4)
    known = set(splits.train.ids[:, 0].tolist())
    expected = np.mean([user in known for user in splits.open_test().ids[:, 0].tolist()])
    assert 0 < expected < 1
    assert known_share(table, "user", 4) == pytest.approx(expected)
    assert describe(dataset, 4)["test_rows_of_known_users"] == pytest.approx(expected)


def test_users_on_both_sides_are_warned_of():
    dataset = rows_of_users(20, 50)
    warning = leakage_warning(dataset, add(dataset, None))
    assert warning.startswith("100% of the test rows are of a 'user' that training rows have, too")


def test_users_of_one_row_each_are_not():
    dataset = rows_of_users(200, 1)
    assert leakage_warning(dataset, add(dataset, None)) is None


@pytest.mark.parametrize("name", ["user", "User_ID", "userid", "uid", "customer-id", "session"])
def test_users_are_known_by_name(name):
    dataset = small({"item": ["1"] * 4, name: ["2"] * 4}, np.ones(4))
    assert user_column(dataset, ("item", name)) == name


@pytest.mark.parametrize("name", ["users_age", "superuser", "item", "device_id"])
def test_other_names_are_not_taken_for_users(name):
    dataset = small({"item": ["1"] * 4, name: ["2"] * 4}, np.ones(4))
    assert user_column(dataset, ("item", name)) is None
