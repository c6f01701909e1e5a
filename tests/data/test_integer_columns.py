from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.delimited import Chunk
from pepbench.data.integer_columns import LARGEST, LOWEST, bucketed_counts, whole_numbers_of
from pepbench.data.tokens import dictionary_column, tokenise
from pepbench.errors import DataError

WIDE = 2**53
counts = st.one_of(
    st.integers(LOWEST, 3_000),
    st.integers(LOWEST, LARGEST),
    st.integers(0, 27).map(lambda root: round(np.exp(root))),
)


def column_of(texts):
    block = "".join(f"{text}\t\n" for text in texts).encode()
    return tokenise(block, ord("\t"), 2)[0]


def chunk_of(path, column):
    return Chunk(path, 1, {"n": column})


def padded(number, zeros):
    sign = "-" if number < 0 else ""
    return sign + "0" * zeros + str(abs(number))


@given(st.lists(st.tuples(st.integers(1 - 10**18, 10**18 - 1), st.integers(0, 3)), min_size=1))
def test_whole_numbers_are_those_of_python(given_numbers):
    texts = [padded(*pair) for pair in given_numbers]
    texts = [text for text in texts if len(text.lstrip("-")) <= 18]
    if texts:
        assert whole_numbers_of(column_of(texts)).tolist() == [int(text) for text in texts]


@pytest.mark.parametrize(
    "text", ["", "-", "--1", "1-", "+1", "1.0", "0x1", " 1", "12345678 ", ":", "/", "1" * 19, "١"]
)
def test_other_texts_are_not_understood(text):
    assert whole_numbers_of(column_of(["1", text, "2"])) is None
    if text:
        assert bucketed_counts(column_of(["1", text, "2"]), -WIDE, WIDE) is None


@given(st.lists(st.one_of(st.just(""), counts.map(str)), min_size=1, max_size=60))
def test_buckets_are_those_of_the_general_way(tmp_path_factory, texts):
    column = column_of(texts)
    path = tmp_path_factory.getbasetemp()
    general = chunk_of(path, dictionary_column(column)).log_squared("n", -WIDE, WIDE)
    assert bucketed_counts(column, -WIDE, WIDE).to_pylist() == general.to_pylist()


def test_buckets_begin_where_the_logarithm_of_fifty_digits_says():
    def bucket(count):
        return int(Decimal(count).ln() ** 2)

    firsts = [3]
    for wanted in range(2, 769):
        count = int(Decimal(wanted).sqrt().exp())
        firsts += [n for n in range(max(3, count - 1), count + 3) if bucket(n - 1) < bucket(n)]
    around = sorted({n + step for n in firsts for step in (-1, 0) if n + step > 2})
    expected = [str(bucket(n)) for n in around]
    assert bucketed_counts(column_of(around), 0, LARGEST).to_pylist() == expected
    assert set(expected) == set(map(str, range(1, 769)))


@pytest.mark.parametrize("number", [LOWEST - 1, LARGEST + 1, 12, -3])
def test_counts_out_of_reach_are_left_to_the_general_way(tmp_path, number):
    column = column_of(["5", number])
    assert bucketed_counts(column, -2, 11) is None
    chunk = chunk_of(tmp_path, column)
    assert len(chunk.log_squared("n", -WIDE, WIDE)) == 2
    with pytest.raises(DataError, match=rf"row 2: n is '{number}', expected a whole number"):
        chunk.log_squared("n", -2, 11)


def test_numbers_out_of_range_are_named(tmp_path):
    chunk = chunk_of(tmp_path, column_of(["0", "1", "2"]))
    with pytest.raises(DataError, match="row 3: n is '2', expected a whole number from 0 to 1"):
        chunk.integers("n", 0, 1)
    assert chunk.integers("n", 0, 2).tolist() == [0, 1, 2]
