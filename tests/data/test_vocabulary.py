import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data import vocabulary as module
from pepbench.data.vocabulary import Vocabulary
from pepbench.errors import DataError

texts = st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=60)


def first_appearances(values):
    return {value: code for code, value in enumerate(dict.fromkeys(values))}


@given(st.lists(texts, max_size=5), st.booleans())
def test_codes_are_those_of_a_dictionary_and_decode_to_the_values(blocks, as_dictionary):
    vocabulary = Vocabulary("field")
    values = [value or "" for block in blocks for value in block]
    codes = []
    for block in blocks:
        column = pa.array(block, pa.string())
        codes += vocabulary.encode(column.dictionary_encode() if as_dictionary else column).tolist()
    known = first_appearances(values)
    assert codes == [known[value] for value in values]
    assert vocabulary.values().to_pylist() == list(known)
    assert [v for part in vocabulary.slices() for v in part.to_pylist()] == list(known)


def test_many_values_survive_growth_and_slices_of_arrays():
    values = [str(i * 7919 % 50_021) for i in range(150_000)]
    column = pa.array(values)
    vocabulary = Vocabulary("field")
    codes = []
    for start in range(0, len(values), 999):
        codes += vocabulary.encode(column.slice(start, 999)).tolist()
    known = first_appearances(values)
    assert len(vocabulary) == len(known) == 50_021
    assert codes == [known[value] for value in values]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, 1, 3]),
        pa.array(["3", "1", "3"], pa.large_string()),
        pa.array(["3", "1", "3"], pa.string_view()),
        pa.array([b"3", b"1", b"3"]),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int8()), pa.array(["1", "3"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array([3, 1, 3])),
    ],
    ids=lambda column: str(column.type),
)
def test_the_type_of_a_column_does_not_matter(column):
    vocabulary = Vocabulary("field")
    assert vocabulary.encode(column).tolist() == [0, 1, 0]
    assert vocabulary.values().to_pylist() == ["3", "1"]


def test_values_are_told_from_the_same_ones_padded_with_zero_bytes():
    vocabulary = Vocabulary("field")
    assert vocabulary.encode(pa.array(["a", "a\0", "a\0\0", "", "\0"])).tolist() == [0, 1, 2, 3, 4]


def test_more_values_than_codes_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "MOST_VALUES", 3)
    vocabulary = Vocabulary("city")
    with pytest.raises(DataError, match=r"field 'city' has more than 2\^31 - 1 different values"):
        vocabulary.encode(pa.array(["a", "b", "c", "d"]))
