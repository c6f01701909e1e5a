import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import Small, random_rows, small

from pepbench.data.build_table import write_table
from pepbench.data.cache import cache_root
from pepbench.data.table import Table, read_table, verify_table
from pepbench.errors import DataError


def built(dataset: Small) -> Table:
    folder = Path(tempfile.mkdtemp(dir=cache_root().parent))
    write_table(dataset, None, folder)
    return read_table(folder)


def decoded(table: Table) -> list[tuple[str, ...]]:
    return [
        tuple(values[code] for values, code in zip(table.vocabularies, row, strict=True))
        for row in table.codes
    ]


values = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
rows = st.lists(st.tuples(values, st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=25)


@pytest.mark.slow
@given(rows.filter(lambda rows: len({row[2] for row in rows}) == 2), st.integers(1, 30))
def test_any_block_size_gives_the_same_table_and_decoding_undoes_encoding(rows, block_rows):
    texts, numbers, labels = map(list, zip(*rows, strict=True))
    columns = {"text": texts, "number": numbers}

    class Typed(Small):
        def blocks(self, source):
            for block in super().blocks(source):
                kinds = {"text": pa.string(), "number": pa.int64()}
                yield block._replace(
                    columns={name: col.cast(kinds[name]) for name, col in block.columns.items()}
                )

    def table_of(size: int) -> Table:
        given = {"columns": columns, "labels": labels, "block_rows": size}
        return built(type("Given", (Typed,), given)())

    whole, cut = table_of(1_000), table_of(block_rows)
    assert cut.fingerprint == whole.fingerprint
    assert (cut.codes == whole.codes).all()
    assert (cut.labels == labels).all()
    assert decoded(cut) == [(text or "", str(number)) for text, number, _ in rows]
    assert verify_table(cut) == []


def test_codes_follow_first_appearance():
    table = built(small({"a": ["z", "y", "z", "x"]}, [0, 1, 1, 0]))
    assert table.vocabularies == (["z", "y", "x"],)
    assert table.codes.tolist() == [[0], [1], [0], [2]]
    assert table.codes.dtype == np.int32
    assert table.labels.dtype == np.uint8


def test_dictionary_encoded_columns_are_read_by_value():
    class Encoded(Small):
        def blocks(self, source):
            for block in super().blocks(source):
                column = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), pa.array(["p", "q"]))
                yield block._replace(columns={"a": column})

    table = built(type("Given", (Encoded,), {"columns": {"a": [0] * 3}, "labels": [0, 1, 0]})())
    assert decoded(table) == [("q",), ("p",), ("q",)]


def test_fingerprint_tells_names_values_codes_and_labels_apart():
    labels = [0, 1, 1]
    tables = [
        small({"a": ["x", "y", "x"]}, labels),
        small({"b": ["x", "y", "x"]}, labels),
        small({"a": ["x", "z", "x"]}, labels),
        small({"a": ["x", "y", "y"]}, labels),
        small({"a": ["x", "y", "x"]}, [0, 1, 0]),
    ]
    assert len({built(dataset).fingerprint for dataset in tables}) == len(tables)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 1], "row 3: label is 2, expected 0 or 1"),
        ([0.0, 1.0, 0.0, float("nan")], "row 4: label is nan"),
        ([1, 1, 1, 1], "all 4 labels are 1"),
        ([], "has no rows"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        built(small({"a": ["x", "y", "x", "z"]}, labels, block_rows=3))


def test_blocks_that_do_not_fit_together_are_refused():
    with pytest.raises(DataError, match="differ in length"):
        built(small({"a": ["x"]}, [0, 1]))


def test_damaged_files_are_found_by_size_on_opening_and_by_checksum_on_verifying():
    columns, labels = random_rows()
    table = built(small(columns, labels))
    path = table.folder / "labels.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([1 - content[-1]]))
    assert verify_table(read_table(table.folder)) == [
        f"{table.folder}: the content of labels does not match its checksum"
    ]
    path.write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"labels\.npy has \d+ bytes instead of"):
        read_table(table.folder)
    path.unlink()
    with pytest.raises(DataError, match=r"labels\.npy is missing"):
        read_table(table.folder)
    (table.folder / "meta.json").write_text('{"layout": 1')
    with pytest.raises(DataError, match=r"meta\.json is damaged"):
        read_table(table.folder)
