from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.readers.chunk import Chunk
from pepbench.errors import DataError

WIDE = 2**53
LOWEST, LARGEST = -1024, 2**40
counts = st.one_of(
    st.integers(LOWEST, 3_000),
    st.integers(LOWEST, LARGEST),
    st.integers(0, 27).map(lambda root: round(np.exp(root))),
)


def chunk_of(texts):
    return Chunk(Path("rows.txt"), 1, {"n": pa.array(map(str, texts)).dictionary_encode()})


def padded(number, zeros):
    sign = "-" if number < 0 else ""
    return sign + "0" * zeros + str(abs(number))


@given(st.lists(st.tuples(st.integers(1 - 10**18, 10**18 - 1), st.integers(0, 3)), min_size=1))
def test_whole_numbers_are_those_of_python(given_numbers):
    texts = [padded(*pair) for pair in given_numbers]
    texts = [text for text in texts if len(text.lstrip("-")) <= 18]
    if texts:
        numbers = chunk_of(texts).integers("n", -(10**18), 10**18)
        assert numbers.tolist() == [int(text) for text in texts]


@pytest.mark.parametrize(
    "text", ["", "-", "--1", "1-", "+1", "1.0", "0x1", " 1", "12345678 ", ":", "/", "1" * 19, "١"]
)
def test_other_texts_are_not_understood(text):
    chunk = chunk_of(["1", text, "2"])
    with pytest.raises(DataError, match=r"row 2: n is .*, expected a whole number"):
        chunk.integers("n", -(10**18), 10**18)
    if text:
        with pytest.raises(DataError, match=r"row 2: n is .*, or nothing"):
            chunk.log_squared("n", -WIDE, WIDE)


@given(st.lists(st.one_of(st.just(""), counts.map(str)), min_size=1, max_size=60))
def test_buckets_are_those_of_python_and_blanks_stay(texts):
    def bucket(text):
        if not text or int(text) <= 2:
            return text and f"SP{text}"
        return str(int(Decimal(text).ln() ** 2))

    found = chunk_of(texts).log_squared("n", -WIDE, WIDE)
    assert found.to_pylist() == [bucket(text) for text in texts]


def test_buckets_begin_where_the_logarithm_of_fifty_digits_says():
    def bucket(count):
        return int(Decimal(count).ln() ** 2)

    firsts = [3]
    for wanted in range(2, 769):
        count = int(Decimal(wanted).sqrt().exp())
        firsts += [n for n in range(max(3, count - 1), count + 3) if bucket(n - 1) < bucket(n)]
    around = sorted({n + step for n in firsts for step in (-1, 0) if n + step > 2})
    expected = [str(bucket(n)) for n in around]
    assert chunk_of(around).log_squared("n", 0, LARGEST).to_pylist() == expected
    assert set(expected) == set(map(str, range(1, 769)))


@pytest.mark.parametrize("number", [LOWEST - 1, LARGEST + 1, 12, -3])
def test_counts_out_of_range_are_named(number):
    chunk = chunk_of(["5", number])
    assert len(chunk.log_squared("n", -WIDE, WIDE)) == 2
    with pytest.raises(DataError, match=rf"row 2: n is '{number}', expected a whole number"):
        chunk.log_squared("n", -2, 11)


def test_numbers_out_of_range_are_named():
    chunk = chunk_of(["0", "1", "2"])
    with pytest.raises(DataError, match="row 3: n is '2', expected a whole number from 0 to 1"):
        chunk.integers("n", 0, 1)
    assert chunk.integers("n", 0, 2).tolist() == [0, 1, 2]


def chunk_from_row_5(*values: str) -> Chunk:
    return Chunk(Path("rows.txt"), 5, {"a": pa.array(values)})


@pytest.mark.parametrize("text", ["", "x", "1.0", "6", "-1", "9" * 30, " 1"])
def test_anything_but_a_whole_number_in_range_is_named(text):
    with pytest.raises(DataError, match=f"row 6: a is '{text}', expected a whole number from 0 to"):
        chunk_from_row_5("1", text).integers("a", 0, 5)


def test_integers_and_positions():
    assert chunk_from_row_5("3", "-2").integers("a", -2, 3).tolist() == [3, -2]
    known = pa.array(["x", "y"])
    assert chunk_from_row_5("y", "x", "y").positions("a", known, "there").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="row 6: a 'z' is not in there"):
        chunk_from_row_5("y", "z").positions("a", known, "there")


def test_second_occurrence_is_named():
    with pytest.raises(DataError, match="row 7: a 'x' occurs a second time"):
        chunk_from_row_5("x", "y", "x").check_unique("a")
