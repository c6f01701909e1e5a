"""Criteo, Avazu, Frappe and MovieLens 1M: by hand, on real rows, and damaged."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from pepbench.datasets.avazu import COLUMNS as AVAZU_COLUMNS
from pepbench.datasets.avazu import Avazu
from pepbench.datasets.criteo import CATEGORIES, COLUMNS, Criteo
from pepbench.datasets.frappe import FILES, Frappe
from pepbench.datasets.ml_1m import MovieLens1M, MovieLens1MIds
from pepbench.datasets.ml_100k import MovieLens100KIds
from split_helpers import feature_values

from pepbench.data.describe import describe
from pepbench.data.manage import add
from pepbench.data.readers import delimited
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


def rows_of(dataset, source):
    batches = [
        pa.record_batch(
            {name: column.cast(pa.string()) for name, column in block.columns.items()}
            | {"label": pa.array(block.labels)}
        )
        for block in dataset.blocks(source)
    ]
    return pa.Table.from_batches(batches).to_pylist()


def test_criteo_sample_and_original_give_the_same_table(raw, tmp_path):
    sample = raw("criteo") / "train.tiny.csv"
    lines = [line.split(",", 1)[1] for line in sample.read_text().splitlines()[1:]]
    original = "".join(line.replace(",", "\t") + "\n" for line in lines)
    (tmp_path / "train.txt").write_text(original)
    with gzip.open(tmp_path / "packed.gz", "wt") as file:
        file.write(original)
    fingerprints = {
        add(Criteo(), source).fingerprint
        for source in (sample, raw("criteo"), tmp_path, tmp_path / "packed.gz")
    }
    assert len(fingerprints) == 1


def test_criteo_by_hand(raw):
    first = rows_of(Criteo(), raw("criteo"))[0]
    assert (first["I1"], first["I3"], first["I4"], first["I5"]) == ("SP1", "2", "SP0", "52")
    assert first["I12"] == ""
    assert (first["C1"], first["C22"], first["label"]) == ("68fd1e64", "", 0)


def test_criteo_keeps_categories_of_ten_training_rows(raw):
    splits = open_splits(add(Criteo(), raw("criteo")), 0)
    fields = splits.fields
    for name, offset, size in zip(fields.names, fields.offsets, fields.cardinalities, strict=True):
        least = fields.frequencies[offset + 1 : offset + size].min()
        assert least >= (10 if name in CATEGORIES else 1)
    plain = open_splits(add(Criteo(min_count=1), raw("criteo")), 0)
    assert plain.table.fingerprint == splits.table.fingerprint
    assert plain.fields.n_features > 2 * splits.fields.n_features


@pytest.mark.slow
def test_a_sample_of_rows_is_the_same_for_all_block_sizes(raw, monkeypatch):
    few = add(Criteo(rows=500), raw("criteo"))
    assert few.meta.n_rows == 500
    reader = delimited.line_blocks
    monkeypatch.setattr(delimited, "line_blocks", lambda path, _: reader(path, 3_000))
    again = add(Criteo(rows=500, split="time"), raw("criteo"))
    assert again.fingerprint == few.fingerprint
    with pytest.raises(DataError, match="has 1,999 rows, fewer than the 2,001 asked for"):
        add(Criteo(rows=2_001), raw("criteo"))


def criteo_row(**values):
    row = dict.fromkeys(COLUMNS, "") | {"Label": "0"} | values
    return "\t".join(row[name] for name in COLUMNS) + "\n"


CRITEO_DAMAGES = [
    (criteo_row(I1="1.5"), r"row 2: I1 is '1\.5', expected a whole number .* or nothing"),
    (criteo_row(Label="2"), r"row 2: Label is '2'"),
    ("0\t1\n", r"row 2: 2 columns, expected 40"),
    (criteo_row()[:-9], r"row 2: .*cut"),
    (criteo_row(C1="a\0b"), r"row 2: has a NUL byte"),
]


@pytest.mark.parametrize(("line", "message"), CRITEO_DAMAGES)
def test_damaged_criteo_is_named(tmp_path, cache, line, message):
    (tmp_path / "train.txt").write_text(criteo_row(Label="1") + line)
    with pytest.raises(DataError, match=r"train\.txt, " + message) as caught:
        add(Criteo(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("tables/*/meta.json"))


def avazu_rows(n=200, seed=0):
    rng = np.random.default_rng(seed)
    rows = [",".join(AVAZU_COLUMNS)]
    for i in range(n):
        values = {"id": i, "click": rng.integers(2), "hour": 14102100 + i * 24 // n}
        rows.append(",".join(str(values.get(name, rng.integers(3))) for name in AVAZU_COLUMNS))
    return "\n".join(rows) + "\n"


def test_avazu_by_hand(tmp_path):
    (tmp_path / "train.csv").write_text(avazu_rows())
    rows = rows_of(Avazu(), tmp_path)
    assert len(rows[0]) == 23 + 1
    assert (rows[0]["hour"], rows[0]["weekday"]) == ("0", "1")  # 21 October 2014: a Tuesday
    assert rows[-1]["hour"] == "23"
    assert "id" not in rows[0]


def test_avazu_packed_is_the_same_and_its_time_split_is_by_the_hour(tmp_path):
    (tmp_path / "train.csv").write_text(avazu_rows(2_000))
    plain = add(Avazu(), tmp_path)
    (tmp_path / "packed").mkdir()
    with gzip.open(tmp_path / "packed" / "train.gz", "wt") as file:
        file.write(avazu_rows(2_000))
    assert add(Avazu(), tmp_path / "packed").fingerprint == plain.fingerprint
    splits = open_splits(add(Avazu(split="time"), tmp_path), 0)
    hours = feature_values(splits)
    latest = {int(hours[i]) for i in splits.train.ids[:, 0] if hours[i] is not None}
    assert max(latest) == 18


@pytest.mark.parametrize("hour", ["14130100", "1410210", "x"])
def test_avazu_hour_that_is_none_is_named(tmp_path, hour):
    text = avazu_rows().replace("14102123", hour, 1)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError, match=r"train\.csv, row \d+: hour is .*"):
        add(Avazu(), tmp_path)


def test_frappe_has_the_known_rows_and_says_that_it_splits_by_seed(raw):
    described = describe_added(Frappe(), raw("frappe"))
    assert described["rows"] == 57_722 + 28_860
    assert described["positive_share"] == pytest.approx(1 / 3, abs=4e-3)
    assert len(described["fields"]) == 10
    assert described["split_by"] == "random"


def describe_added(dataset, source):
    add(dataset, source)
    return describe(dataset)


def test_frappe_takes_the_files_split_where_all_are_there(raw, tmp_path):
    lines = (raw("frappe") / FILES[1]).read_text().splitlines(keepends=True)
    sizes = (700, 200, 100)
    at = 0
    for name, size in zip(FILES, sizes, strict=True):
        (tmp_path / name).write_text("".join(lines[at : at + size]))
        at += size
    splits = open_splits(add(Frappe(), tmp_path), 7)
    assert tuple(splits.meta.n_rows.values()) == sizes
    assert describe(Frappe())["split_by"] == "file"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 " + "1:1 " * 9 + "1:1\n", "row 1: label is 0"),
        ("1 " + "1:1 " * 9 + "1:2\n", "row 1: city is '1:2'"),
        ("1 " + "1:1 " * 8 + "1:1\n", "row 1: 10 columns, expected 11"),
    ],
)
def test_damaged_frappe_is_named(tmp_path, line, message):
    (tmp_path / FILES[0]).write_text(line)
    with pytest.raises(DataError, match=message):
        add(Frappe(), tmp_path)


@pytest.fixture
def million(raw, tmp_path):
    """The real users and films, and ratings drawn over them."""
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    ids = {}
    for name in ("users", "movies"):
        content = (raw("ml-1m") / f"{name}.dat").read_bytes()
        (folder / f"{name}.dat").write_bytes(content)
        ids[name] = [line.split(b"::")[0].decode() for line in content.splitlines()]
    rng = np.random.default_rng(0)
    n = 20_000
    users, films = rng.choice(ids["users"], n), rng.choice(ids["movies"], n)
    ratings, times = rng.integers(1, 6, n), 956_703_932 + rng.integers(0, 10**8, n)
    lines = ["::".join(map(str, row)) for row in zip(users, films, ratings, times, strict=True)]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    return folder, users, ratings, times


def test_movielens_1m_has_the_papers_fields(million):
    folder, _, ratings, times = million
    table = add(MovieLens1M(), folder)
    names = ("timestamp", "gender", "age", "occupation", "zip", "year", "genres")
    assert table.meta.fields == names
    kept = ratings != 3
    assert (table.labels == (ratings > 3)[kept]).all()
    since = (times - times.min())[kept]
    expected = [str(int(np.log(v) ** 2)) if v > 2 else str(v - 2) for v in since.tolist()]
    assert [table.vocabularies[0][code] for code in table.codes[:, 0]] == expected
    assert table.meta.cardinalities[1:4] == (2, 7, 21)


def test_movielens_1m_with_ids_is_split_by_time_or_user(million):
    folder, users, ratings, times = million
    kept = ratings != 3
    by_time = open_splits(add(MovieLens1MIds(split="time"), folder), 0)
    order = np.sort(times[kept])
    assert by_time.meta.n_rows["test"] == (times[kept] >= order[-(len(order) // 10)]).sum()
    by_user = open_splits(add(MovieLens1MIds(split="user"), folder), 0)
    values = feature_values(by_user)
    seen = {values[i] for i in by_user.train.ids[:, 0]}
    assert len(seen) == len(set(users[kept])) - 2 * (len(set(users[kept])) // 10)
    assert by_user.meta.n_unseen["test"] >= by_user.meta.n_rows["test"]


def test_movielens_100k_with_ids_is_split_by_time_too(raw):
    splits = open_splits(add(MovieLens100KIds(split="time"), raw("ml-100k")), 0)
    plain = add(MovieLens100KIds(), raw("ml-100k"))
    assert splits.table.fingerprint == plain.fingerprint
    assert splits.meta.n_rows["train"] == pytest.approx(0.8 * 72_855, rel=0.01)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ratings.dat", b"1::1::5::9::1\n", r"ratings\.dat, row 1: 5 columns, expected 4"),
        ("ratings.dat", b"9999::1::5::9\n", r"ratings\.dat, row 1: user '9999' is not in users"),
        ("movies.dat", b"1::Toy Story::War\n", r"movies\.dat, row 1: title is 'Toy Story'.*year"),
        ("users.dat", b"1::F::1::10::48067", r"users\.dat, row 1: .*cut"),
    ],
)
def test_damaged_movielens_1m_is_named(million, name, content, message):
    (million[0] / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        add(MovieLens1M(), million[0])


def test_criteo_has_its_counts_as_numbers(raw):
    bins, dense = add(Criteo(), raw("criteo")), add(Criteo(numeric="dense"), raw("criteo"))
    assert tuple(dense.meta.dense) == tuple(f"I{i}" for i in range(1, 14))
    assert dense.meta.fields == CATEGORIES
    np.testing.assert_array_equal(dense.codes, bins.codes[:, 13:])
    lines = (raw("criteo") / "train.tiny.csv").read_text().splitlines()[1:]
    expected = [[float(v) if v else np.nan for v in line.split(",")[2:15]] for line in lines]
    np.testing.assert_array_equal(dense.dense, expected)
    splits = open_splits(dense, 0)
    assert np.isfinite(splits.train.dense).all()
    assert splits.train.dense.min() == 0.0
    assert splits.fields.n_dense > 13
