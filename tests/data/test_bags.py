"""Multi-valued fields from the file to the rows of a split."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pepbench.datasets.own import Own
from small_dataset import Small
from split_helpers import feature_values

from pepbench.catalog import Catalog
from pepbench.data.adding import add_named, separators
from pepbench.data.bags import BagOptions, split_texts
from pepbench.data.describe import describe
from pepbench.data.encoding import FieldEncoding
from pepbench.data.exporting import export
from pepbench.data.file_description import FileDescription
from pepbench.data.manage import add, open_table, verify
from pepbench.data.row_checks import warnings_of
from pepbench.data.splits import open_splits
from pepbench.data.table import verify_table
from pepbench.errors import DataError


class WithTags(Small):
    """A field ``a`` of one value, and ``tags``."""

    kept = BagOptions()
    min_count = 1

    def bag(self, field):
        return self.kept if field == "tags" else None

    def encoding(self, field):
        return FieldEncoding(min_count=self.min_count if field == "tags" else 1)


def with_tags(n=300, seed=0, **more):
    rng = np.random.default_rng(seed)
    tags = [
        None if k == 9 else rng.integers(0, 12, k % 6).astype(str).tolist()
        for k in rng.integers(0, 10, n)
    ]
    columns = {"a": rng.integers(0, 5, n).astype(str).tolist(), "tags": tags}
    members = {"columns": columns, "labels": rng.integers(0, 2, n).tolist(), **more}
    return type("Given", (WithTags,), members)()


def values_by_row(splits, rows):
    """Raw values of ``tags`` of encoded rows, None for unseen."""
    values = feature_values(splits)
    return [[values[i] for i in row if i >= 0] for row in rows.ids[:, 1:].tolist()]


def test_rows_come_back_in_order_and_cut():
    dataset = with_tags(kept=BagOptions(max_values=3))
    splits = open_splits(open_table(dataset), 0)
    raw = [row or [] for row in dataset.columns["tags"]]
    held = [
        row
        for part in (splits.train, splits.validation, splits.open_test())
        for row in values_by_row(splits, part)
    ]
    assert Counter(map(tuple, held)) == Counter(tuple(row[:3]) for row in raw)
    bag = splits.table.meta.bags["tags"]
    assert bag.slots == 3
    assert bag.n_cut == sum(len(row) > 3 for row in raw)
    assert bag.n_empty == sum(not row for row in raw)
    assert bag.n_values == sum(len(row[:3]) for row in raw)
    assert splits.train.ids.shape[1] == 1 + 3
    assert describe(dataset)["multi_valued"]["tags"]["cut_rows"] == bag.n_cut
    assert any("more than 3 values" in line for line in warnings_of(dataset, splits.table))


def test_only_as_many_slots_as_the_longest_row_has():
    dataset = with_tags()
    assert open_table(dataset).codes.shape[1] == 1 + max(
        len(row or []) for row in dataset.columns["tags"]
    )


def test_blocks_decide_nothing_and_checksums_hold():
    one, other = with_tags(), with_tags(block_rows=7)
    first = open_table(one)
    codes = np.array(first.codes)
    assert verify(one) == []
    other.__class__.name = "cut"
    second = open_table(other)
    np.testing.assert_array_equal(codes, second.codes)
    assert second.fingerprint == first.fingerprint
    assert verify_table(second) == []


def test_pooling_is_part_of_the_fingerprint():
    plain = open_table(with_tags())
    summed = with_tags(kept=BagOptions(pool="sum"))
    summed.__class__.name = "summed"
    assert open_table(summed).fingerprint != plain.fingerprint


def test_values_are_counted_in_training_rows_alone():
    dataset = with_tags(min_count=40)
    dataset.__class__.name = "rare"
    splits = open_splits(open_table(dataset), 0)
    train = splits.train.ids
    counted = np.bincount(train[train >= 0], minlength=splits.fields.n_features)
    np.testing.assert_array_equal(splits.fields.frequencies, counted)
    kept = splits.fields.frequencies[splits.fields.offsets[1] + 1 :]
    assert 0 < len(kept) < 12
    assert (kept >= 40).all()
    # A rare value stays in its bag, as "unseen".
    assert splits.fields.frequencies[splits.fields.offsets[1]] > 0
    n_values = sum(splits.meta.n_values.values())
    assert n_values == splits.table.meta.n_rows + splits.table.meta.bags["tags"].n_values
    assert 0 < describe(dataset)["unseen_share"]["test"] < 1


def test_export_writes_lists(tmp_path):
    dataset = with_tags()
    export(open_splits(open_table(dataset), 0), tmp_path / "rows.parquet")
    written = pq.read_table(tmp_path / "rows.parquet")
    assert written["tags"].to_pylist() == [row or [] for row in dataset.columns["tags"]]
    assert written["a"].to_pylist() == dataset.columns["a"]


def test_lists_and_separated_texts_give_the_same_table(tmp_path):
    lists = [["x", "y"], [], ["y"], ["z", "x", "x"], None, ["x"]] * 5
    labels = [0, 1, 1, 0, 1, 0] * 5
    users = list(range(30))
    types = {
        "list": pa.list_(pa.string()),
        "large": pa.large_list(pa.string()),
        "dictionary": pa.list_(pa.dictionary(pa.int32(), pa.string())),
    }
    prints = set()
    for name, kind in types.items():
        table = pa.table({"u": users, "tags": pa.array(lists, kind), "y": labels})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        prints.add(added(name, tmp_path / f"{name}.parquet", multi={"tags": ""}).fingerprint)
    lines = [
        f"{u},{' | '.join(row or [])}|,{y}" for u, row, y in zip(users, lists, labels, strict=True)
    ]
    (tmp_path / "text.csv").write_text("\n".join(["u,tags,y", *lines]) + "\n")
    prints.add(added("text", tmp_path / "text.csv", multi={"tags": "|"}).fingerprint)
    assert len(prints) == 1


def added(name, path, **options):
    return open_table(add_named(Catalog(), name, path, None, {"label": "y", **options}))


def test_numbers_in_lists_are_the_values_of_a_plain_column(tmp_path):
    numbers = [[1.0, 2.5], [float("nan"), 12345678901.0], [None], [3.0]] * 20
    table = pa.table({"n": pa.array(numbers, pa.list_(pa.float64(), -1)), "y": [0, 1] * 40})
    pq.write_table(table, tmp_path / "numbers.parquet")
    found = added("numbers", tmp_path / "numbers.parquet", multi={"n": ""})
    assert found.vocabularies[0] == ["1", "2.5", "12345678901", "3"]
    assert found.meta.kind("n") == "float64"
    assert found.meta.bags["n"].n_empty == 20


def test_fixed_size_lists_and_hashed_values(tmp_path):
    pairs = pa.FixedSizeListArray.from_arrays(pa.array([1, 2] * 80), 2)
    pq.write_table(pa.table({"p": pairs, "y": [0, 1] * 40}), tmp_path / "pairs.parquet")
    found = added("pairs", tmp_path / "pairs.parquet", multi={"p": ""}, hash={"p": 1})
    assert found.vocabularies[0] == ["0"]
    assert found.codes.shape == (80, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "read it with --multi tags"),
        ({"multi": {"tags": "|"}}, "need no separator: write --multi tags"),
        ({"multi": {"tags": "", "u": ""}}, "holds no lists; say what is between two values"),
        ({"multi": {"tags": ""}, "max_values": 1025}, "less than or equal to 1024"),
        ({"multi": {"tags": ""}, "max_values": 0}, "greater than or equal to 1"),
        ({"multi": {"tags": ""}, "pool": {"u": "sum"}}, "nothing to pool"),
        ({"multi": {"tags": ""}, "pool": {"tags": "max"}}, "'mean', 'sum' or 'sqrtn'"),
        ({"multi": {"tags": ""}, "split_by": "user:tags"}, "cannot be split by column 'tags'"),
        ({"multi": {"tgas": ""}}, "did you mean 'tags'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options, said, tmp_path):
    rows = pa.table({"u": ["1", "2"] * 10, "tags": [["a"], ["b", "c"]] * 10, "y": [0, 1] * 10})
    pq.write_table(rows, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="(?s)" + said) as raised:
        added("wrong", tmp_path / "rows.parquet", **options)
    assert len(str(raised.value).splitlines()) == 1


def test_a_block_without_lists_is_refused():
    dataset = with_tags()
    dataset.__class__.columns = dataset.columns | {"tags": ["x"] * 300}
    dataset.__class__.name = "broken"
    with pytest.raises(DataError, match="expected lists of values"):
        add(dataset, None)


def test_separators_of_the_command_line():
    assert separators("a:||,b c: ,d") == {"a": "||", "b c": " ", "d": ""}
    with pytest.raises(DataError, match="column:separator"):
        separators(":")


def test_texts_are_taken_apart_once_and_trimmed():
    column = pa.array(["a , b", "", "b,,a , b"]).dictionary_encode()
    assert split_texts(column, ",").to_pylist() == [["a", "b"], [], ["b", "a", "b"]]


@pytest.mark.parametrize("as_lists", [True, False])
def test_declared_missing_words_are_no_values_of_a_bag(tmp_path, as_lists):
    rows = [["a", "NA"], ["NA"], ["b", "a"], ["a"]] * 25
    tags = rows if as_lists else ["|".join(row) for row in rows]
    path = tmp_path / "tags.parquet"
    pq.write_table(pa.table({"y": [0, 1, 1, 0] * 25, "tags": tags}), path)
    multi = {"tags": "" if as_lists else "|"}
    about = FileDescription(format="parquet", label="y", multi=multi, missing=("NA",))
    table = add(Own.described("words", about), path)
    assert sorted(table.vocabularies[0]) == ["a", "b"]
    assert (table.codes[:4] >= 0).sum(axis=1).tolist() == [1, 0, 2, 1]
