import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.tokens import dictionary_column, tokenise

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t"), max_size=20)
rows_of_text = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=40)
)


def columns_of(block, n_columns):
    content, bounds = tokenise(block, ord("\t"), n_columns)
    return [dictionary_column(content, bounds, column) for column in range(n_columns)]


@given(rows_of_text, st.sampled_from(["\n", "\r\n"]))
def test_values_come_back_in_order_of_first_appearance(rows, end):
    block = "".join("\t".join(row) + end for row in rows).encode()
    columns = columns_of(block, len(rows[0]))
    for column, expected in zip(columns, zip(*rows, strict=True), strict=True):
        assert column.to_pylist() == list(expected)
        assert column.dictionary.to_pylist() == list(dict.fromkeys(expected))


def test_large_blocks_are_as_arrow_reads_them():
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "a": pa.array([f"{v:08x}" for v in rng.integers(0, 5_000, 20_000)]),
            "b": pa.array([str(v) for v in rng.integers(0, 7, 20_000)]),
            "c": pa.array(["x" * int(v) for v in rng.integers(0, 30, 20_000)]),
        }
    )
    out = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    csv.write_csv(table, out, options)
    columns = columns_of(out.getvalue().to_pybytes(), 3)
    for column, name in zip(columns, table.column_names, strict=True):
        assert column.dictionary_decode().equals(table[name].combine_chunks())


@pytest.mark.parametrize(
    ("block", "fault"),
    [(b"a\tb\nc\n", (1, 1)), (b"a\tb\tc\n", (0, 3)), (b"a\tb\n\n", (1, 1)), (b"\t\t\t\n", (0, 4))],
)
def test_row_with_another_number_of_values_is_told(block, fault):
    assert tokenise(block, ord("\t"), 2) == fault


def test_bytes_that_are_not_utf_8_are_refused():
    content, bounds = tokenise(b"a\tb\nK\xf6ln\tc\n", ord("\t"), 2)
    assert dictionary_column(content, bounds, 1).to_pylist() == ["b", "c"]
    with pytest.raises(pa.ArrowInvalid):
        dictionary_column(content, bounds, 0)
