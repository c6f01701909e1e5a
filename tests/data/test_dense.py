"""Dense fields from the file to the inputs of a backbone."""

from dataclasses import asdict
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_dataset import Small

from pepbench.catalog import Catalog
from pepbench.data.adding import add_named, own_options
from pepbench.data.dataset import Block
from pepbench.data.describe import describe
from pepbench.data.exporting import export
from pepbench.data.manage import add, open_table, verify
from pepbench.data.split_schemes import parts_of
from pepbench.data.splits import open_splits
from pepbench.errors import DataError
from pepbench.serve.dense import DenseScale, dense_inputs, read_scales


class WithDense(Small):
    """A field ``a``, and the numbers ``age`` and ``price``."""

    numbers: ClassVar[dict] = {}

    def dense_transform(self, name):
        return "log1p" if name == "price" else "standard"

    def blocks(self, source):
        start = 0
        for block in super().blocks(source):
            rows = slice(start, start := start + len(block.labels))
            dense = {name: values[rows] for name, values in self.numbers.items()}
            yield Block(block.columns, block.labels, None, dense)


def with_dense(n=400, **more):
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, n)
    age[rng.random(n) < 0.1] = np.nan
    numbers = {"age": age, "price": rng.integers(-2, 1000, n).astype(np.float64)}
    columns = {"a": rng.integers(0, 5, n).astype(str).tolist()}
    members = {"columns": columns, "numbers": numbers, "labels": rng.integers(0, 2, n).tolist()}
    return type("Given", (WithDense,), members | more)()


def test_inputs_are_scaled_by_the_training_rows():
    dataset = with_dense()
    splits = open_splits(open_table(dataset), 3)
    parts = parts_of(splits.table, 3)
    age, price = dataset.numbers["age"], dataset.numbers["price"]
    assert splits.fields.dense == ("age", "age is missing", "price")
    mean, std = np.nanmean(age[parts == 0]), np.nanstd(age[parts == 0])
    for number, rows in enumerate((splits.train, splits.validation, splits.open_test())):
        of_part = parts == number
        expected = np.stack(
            [
                np.nan_to_num((age - mean) / std)[of_part],
                np.isnan(age)[of_part],
                np.log(1 + np.maximum(price, 0))[of_part],
            ],
            axis=1,
        )
        assert rows.dense.dtype == np.float32
        np.testing.assert_allclose(rows.dense, expected, rtol=1e-5, atol=1e-6)
    assert describe(dataset, 3)["dense"]["age"]["mean"] == pytest.approx(mean)
    assert verify(dataset) == []


def test_blocks_decide_nothing():
    first = open_splits(open_table(with_dense()), 0)
    prints = first.table.fingerprint, first.fingerprint
    other = with_dense(block_rows=7, name="cut")
    second = open_splits(open_table(other), 0)
    assert (second.table.fingerprint, second.fingerprint) == prints


def test_numbers_and_transforms_are_part_of_the_fingerprint():
    prints = {open_table(with_dense()).fingerprint}
    changed = with_dense(name="changed")
    changed.numbers["age"][0] = 0.0
    prints.add(open_table(changed).fingerprint)
    logs = with_dense(name="logs", dense_transform=lambda *_: "log1p")
    prints.add(open_table(logs).fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("constant", [7.0, 0.1, -1 / 3, 1e-300, 1e149])
def test_a_constant_and_an_always_missing_number_are_zero(constant):
    numbers = {"age": np.full(400, constant), "price": np.full(400, np.nan)}
    dataset = with_dense(numbers=numbers, dense_transform=lambda *_: "standard")
    splits = open_splits(open_table(dataset), 0)
    dense = splits.train.dense
    np.testing.assert_array_equal(dense, np.tile([0.0, 0.0, 1.0], (len(dense), 1)))
    assert splits.meta.dense["age"].std == 1.0


def test_export_writes_numbers(tmp_path):
    dataset = with_dense()
    export(open_splits(open_table(dataset), 0), tmp_path / "rows.parquet")
    written = pq.read_table(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(written["age"].to_numpy(), dataset.numbers["age"])
    assert written["age"].null_count == np.isnan(dataset.numbers["age"]).sum()
    np.testing.assert_array_equal(written["price"].to_numpy(), dataset.numbers["price"])


def test_sampled_rows_keep_their_numbers():
    dataset = with_dense(sample=100)
    table = open_table(dataset)
    known = {tuple(row) for row in np.stack(list(dataset.numbers.values()), 1).round(9).tolist()}
    held = np.array(table.dense).round(9)
    given = ~np.isnan(held).any(axis=1)
    assert len(held) == 100
    assert all(tuple(row) in known for row in held[given].tolist())


def test_text_and_parquet_give_the_same_numbers(tmp_path):
    price = [1.5, None, 3.0, 1e6] * 20
    labels = [0, 1] * 40
    table = pa.table({"u": list(range(80)), "price": price, "y": labels})
    pq.write_table(table, tmp_path / "rows.parquet")
    lines = [
        f"{u},{'' if p is None else p},{y}"
        for u, p, y in zip(range(80), price, labels, strict=True)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["u,price,y", *lines]) + "\n")
    tables = [
        added(f"t{k}", tmp_path / name) for k, name in enumerate(("rows.parquet", "rows.csv"))
    ]
    assert tables[0].fingerprint == tables[1].fingerprint
    assert tables[0].meta.fields == ("u",)
    np.testing.assert_array_equal(tables[0].dense[:4, 0], [1.5, np.nan, 3.0, 1e6])


def added(name, path, dense="price"):
    options = own_options(label="y", dense=dense)
    return open_table(add_named(Catalog(), name, path, None, options))


@pytest.mark.parametrize(
    ("values", "dense", "said"),
    [
        (["1", "many"], "price", "row 3: price is 'many', expected a number"),
        (["1", "inf"], "price", "row 3: price is 'inf'"),
        (["1", "1e200"], "price", "expected a number of at most 1e"),
        (["1", "2"], "price:square", "'standard' or 'log1p'"),
        (["1", "2"], "prise", "did you mean 'price'"),
        (["1", "2"], "price,u", "no column"),
        (["1", "2"], ":log1p", "write column, or column:log1p"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(values, dense, said, tmp_path):
    lines = [f"{k},{values[k % 2]},{k % 2}" for k in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join(["u,price,y", *lines]) + "\n")
    with pytest.raises(DataError) as raised:
        added("wrong", tmp_path / "rows.csv", dense)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_blocks_must_have_the_same_numbers():
    dataset = with_dense(block_rows=200)
    del dataset.numbers["price"]
    blocks = list(dataset.blocks(None))
    broken = with_dense(blocks=lambda *_: iter([blocks[0], blocks[1]._replace(dense={})]))
    with pytest.raises(DataError, match="block with dense fields"):
        add(broken, None)


def test_scales_round_trip_as_json():
    scales = {"age": DenseScale("standard", 3.0, 2.0, True), "price": DenseScale("log1p")}
    entries = [{"name": name, **asdict(scale)} for name, scale in scales.items()]
    assert read_scales(entries) == scales
    assert dense_inputs(np.array([[5.0, 0.0]]), scales).tolist() == [[1.0, 0.0, 0.0]]
