import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import Small
from split_helpers import feature_values

from pepbench.data.encoding import (
    FieldEncoding,
    group,
    log_squared,
    quantile_edges,
    truncated_mantissa,
)
from pepbench.data.manage import add
from pepbench.data.split_schemes import part_of_rows
from pepbench.data.splits import open_splits

counts_of_values = st.lists(st.integers(0, 6), min_size=1, max_size=30).map(np.array)


@given(counts_of_values, st.integers(1, 4), st.none() | st.integers(1, 10))
def test_features_are_the_frequent_values_in_order(counts, min_count, top):
    grouping = group(FieldEncoding(min_count=min_count, top=top), counts, None)
    wanted = [value for value in range(len(counts)) if counts[value] >= min_count]
    by_count = sorted(wanted, key=lambda value: -counts[value])[:top]
    expected = [value for value in wanted if value in by_count]
    assert np.flatnonzero(grouping.codes).tolist() == expected
    assert grouping.codes[expected].tolist() == list(range(1, len(expected) + 1))
    assert grouping.cardinality == 1 + len(expected)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=200), st.integers(2, 8))
def test_bins_hold_all_rows_in_order_and_none_is_empty(numbers, bins):
    values, counts = np.unique(np.array(numbers), return_counts=True)
    grouping = group(FieldEncoding(bins=bins), counts, values.astype(str).tolist())
    assert (np.diff(grouping.codes) >= 0).all()
    assert set(grouping.codes) == set(range(1, grouping.cardinality))
    assert grouping.cardinality <= bins + 1


def test_edges_are_quantiles():
    numbers = np.random.default_rng(0).permutation(1_000).astype(float)
    assert quantile_edges(numbers, np.ones(1_000, int), 4).tolist() == [250.0, 500.0, 750.0]


def test_coarse_numbers_keep_five_digits_and_small_whole_ones():
    numbers = np.random.default_rng(0).lognormal(0, 10, 1_000)
    assert np.abs(truncated_mantissa(numbers) / numbers - 1).max() < 2**-16
    whole = np.arange(-131_071, 131_072, 97, dtype=float)
    assert (truncated_mantissa(whole) == whole).all()
    assert len(np.unique(truncated_mantissa(1 + np.random.default_rng(0).random(10**6)))) <= 2**16


@pytest.mark.parametrize("number", [3, 4, 10, 99, 12_345, 10**9])
def test_log_squared_is_the_floor(number):
    assert log_squared(np.array([number])).to_pylist() == [str(int(np.log(number) ** 2))]


def test_small_counts_are_told_from_buckets():
    assert len(set(log_squared(np.arange(-3, 4)).to_pylist())) == 7


class Numbers(Small):
    columns = {  # noqa: RUF012
        "price": [str(i % 100) if i % 7 else "" for i in range(600)],
        "city": [f"c{i % 3}" if i % 50 else f"rare{i}" for i in range(600)],
    }
    labels = [i % 2 for i in range(600)]  # noqa: RUF012

    def encoding(self, field: str) -> FieldEncoding:
        return FieldEncoding(bins=5) if field == "price" else FieldEncoding(min_count=2)


def test_splits_use_the_encodings_of_the_data_set():
    splits = open_splits(add(Numbers(), None), 0)
    fields = splits.fields
    assert fields.cardinalities == (1 + 5 + 1, 1 + 3)
    values = feature_values(splits)
    assert values[0] is None
    assert "" in values[:7]
    assert sorted(values[8:]) == ["c0", "c1", "c2"]
    trained = part_of_rows(600, 0) == 0
    rare = [city.startswith("rare") for city in Numbers.columns["city"]]
    assert fields.frequencies[7] == (np.array(rare) & trained).sum()
    assert fields.frequencies.sum() == 2 * trained.sum()
    held = splits.open_test().ids
    raw = [Numbers.columns["price"][i] for i in np.flatnonzero(part_of_rows(600, 0) == 2)]
    for price, name in zip(raw, [values[i] for i in held[:, 0]], strict=True):
        if price:
            low, _, high = name.partition(" to ")
            assert float(low) <= float(price) <= float(high or low)
        else:
            assert name == ""
