import functools
import hashlib

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pepbench.datasets.uci_adult import CHECKSUMS, COLUMNS, NUMBERS, UciAdult

from pepbench.data.manage import add
from pepbench.data.splits import open_splits
from pepbench.errors import DataError

ROWS_OF_TEST = 16_281


@functools.cache
def contents(path):
    """The publisher's two files, put together from the Parquet file: to the byte."""
    rows = pq.read_table(path).to_pylist()
    lines = [", ".join("?" if v is None else str(v) for v in row.values()) for row in rows]
    test, data = lines[:ROWS_OF_TEST], lines[ROWS_OF_TEST:]
    return {
        "adult.data": "".join(f"{line}\n" for line in data) + "\n",
        "adult.test": "|1x3 Cross validator\n" + "".join(f"{line}.\n" for line in test) + "\n",
    }


@pytest.fixture
def published(raw, tmp_path):
    for name, text in contents(raw("adult") / "adult.parquet").items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_checksums_are_those_of_the_rows_that_we_know(published):
    for name, checksum in CHECKSUMS.items():
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == checksum


def test_rows_are_those_of_the_parquet_file(published, raw):
    expected = pq.read_table(raw("adult") / "adult.parquet")
    table = add(UciAdult(), published)
    assert table.meta.n_rows == expected.num_rows
    assert table.meta.fields == COLUMNS
    order = [*range(ROWS_OF_TEST, expected.num_rows), *range(ROWS_OF_TEST)]
    expected = expected.take(order)
    assert table.labels.tolist() == pc.equal(expected["income"], ">50K").to_pylist()
    for field, name in enumerate(expected.column_names[:-1]):
        values = table.values_of(field)
        found = [values[code] for code in table.codes[:, field].tolist()]
        texts = [str(v) if v is not None else "" for v in expected[name].to_pylist()]
        assert found == ["" if text == "?" else text for text in texts]


def test_fingerprints_are_pinned_and_numbers_binned(published):
    table = add(UciAdult(), published)
    splits = open_splits(table, 0)
    assert (table.fingerprint, splits.fingerprint) == ("79f7dfdc36e0528b", "07e26ad8ced3f487")
    sizes = dict(zip(splits.meta.fields, splits.meta.cardinalities, strict=True))
    assert all(sizes[name] <= 34 for name in NUMBERS)
    assert sizes["native-country"] > 40


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("adult.test", "<=50K.", "low.", r"adult\.test, row 2: income is 'low\.', expected <=50K"),
        ("adult.data", "39, State-gov", "x, State-gov", "row 1: age is 'x', expected a whole"),
        ("adult.data", "39, State-gov, ", "39, ", "row 1: 14 columns, expected 15"),
        ("adult.data", "K\n\n", "K", "row 32561: the file ends without a newline"),
    ],
)
@pytest.mark.slow
def test_wrong_rows_are_named(published, name, old, new, message):
    text = (published / name).read_text()
    at = text.rindex(old) if old.endswith("\n\n") else text.index(old)
    (published / name).write_text(text[:at] + new + text[at + len(old) :])
    with pytest.raises(DataError, match=message):
        add(UciAdult(), published)
