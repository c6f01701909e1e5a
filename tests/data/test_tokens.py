import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.text import hash_bytes, key_of, scattered
from pepbench.data.tokens import dictionary_column, tokenise
from pepbench.data.vocabulary import Vocabulary

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t"), max_size=20)
rows_of_text = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=40)
)


def columns_of(block, n_columns):
    return [dictionary_column(column) for column in tokenise(block, ord("\t"), n_columns)]


def texts_of(column):
    return [column.text(row) for row in range(len(column))]


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
    first, second = tokenise(b"a\tb\nK\xf6ln\tc\n", ord("\t"), 2)
    assert dictionary_column(second).to_pylist() == ["b", "c"]
    with pytest.raises(pa.ArrowInvalid):
        dictionary_column(first)


@given(rows_of_text, st.sampled_from(["\n", "\r\n"]), st.data())
def test_columns_of_text_are_encoded_as_arrays_are(rows, end, data):
    block = "".join("\t".join(row) + end for row in rows).encode()
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    for column in tokenise(block, ord("\t"), len(rows[0])):
        assert [len(column), texts_of(column)] == [len(rows), dictionary_column(column).to_pylist()]
        some = column.filter(kept)
        assert texts_of(some) == [
            text for text, keep in zip(texts_of(column), kept, strict=True) if keep
        ]
        ours, arrows = Vocabulary("text"), Vocabulary("array")
        for part in (some, column):
            codes = ours.encode(part)
            assert codes.tolist() == arrows.encode(pa.array(texts_of(part), pa.string())).tolist()
        assert ours.values().equals(arrows.values())


def test_key_is_the_text_itself_or_its_hash():
    content = np.frombuffer(bytes(range(1, 40)), dtype=np.uint8)
    for start in range(len(content)):
        for stop in range(start, len(content) + 1):
            text = content[start:stop].tobytes()
            short = int.from_bytes(text, "little")
            expected = short if len(text) <= 8 else hash_bytes(content, start, stop)
            assert key_of(content, start, stop - start) == expected


def test_hash_of_bytes_stays_what_tables_were_built_with():
    def hashed(text):
        return int(hash_bytes(np.frombuffer(text, dtype=np.uint8), 0, len(text)))

    # FNV-1a's offset, words and prime, followed step by step in Python's whole numbers.
    def expected(text, prime=0x9FB21C651E98DF25, limit=2**64):
        state = 0xCBF29CE484222325 ^ len(text)
        words = [text[at : at + 8] for at in range(0, len(text), 8) if at + 8 <= len(text)]
        for word in words:
            state = (state ^ int.from_bytes(word, "little")) * prime % limit
            state ^= state >> 29
        left = int.from_bytes(text[8 * len(words) :], "little")
        state = (state ^ left) * prime % limit
        state = (state ^ state >> 32) * prime % limit
        return state ^ state >> 29

    for length in range(40):
        text = bytes(range(7, 7 + length))
        assert hashed(text) == expected(text)


def test_similar_texts_are_scattered_over_a_table():
    texts = np.array([f"{number:08x}".encode() for number in range(1 << 15)]).view(np.uint8)
    slots = [int(scattered(key_of(texts, 8 * i, 8), 8)) % (1 << 16) for i in range(1 << 15)]
    # Of n balls in 2n bins, 1 - exp(-1/2) of the bins are hit.
    assert len(set(slots)) > 0.95 * (1 << 16) * (1 - np.exp(-0.5))
