from pathlib import Path

import pyarrow as pa
import pytest

from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import Dialect, read_chunks, read_header, read_whole
from pepbench.errors import DataError


@pytest.fixture
def file(tmp_path: Path):
    def write(content: bytes | str) -> Path:
        path = tmp_path / "rows.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path, **more) -> Chunk:
    return read_whole(path, ("a", "b"), separator="|", **more)


def test_text_is_taken_as_it_stands(file):
    chunk = read(file('"x|NA\n|y z\n'))
    assert chunk["a"].to_pylist() == ['"x', ""]
    assert chunk["b"].to_pylist() == ["NA", "y z"]


def test_latin_1_is_decoded(file):
    assert read(file(b"\xe9|1\n"), encoding="latin-1")["a"].to_pylist() == ["é"]


def test_chunks_know_their_rows(file):
    path = file("a|b\n" + "".join(f"{i}|x\n" for i in range(1_000)))
    chunks = list(read_chunks(path, ("a", "b"), separator="|", header=True, chunk_bytes=512))
    assert len(chunks) > 5
    assert [int(chunk["a"][0].as_py()) + 2 for chunk in chunks] == [c.first_row for c in chunks]
    assert sum(map(len, chunks)) == 1_000


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize(("bad", "found"), [("1", 1), ("1|2|3", 3)])
def test_row_with_wrong_number_of_columns_is_named(file, header, bad, found):
    lines = ["a|b", *["1|2"] * 2_000, bad, "1|2"]
    path = file("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"rows.txt, row 2002: {found} columns, expected 2"):
        list(read_chunks(path, ("a", "b"), separator="|", header=header, chunk_bytes=1_024))


@pytest.mark.parametrize("end", ["3|4", "3|", "3"])
def test_file_cut_in_its_last_row_is_an_error(file, end):
    with pytest.raises(DataError, match=r"rows\.txt, row 2: .* it was cut"):
        read(file(f"1|2\n{end}"))


def test_empty_file_and_file_with_only_a_header_are_errors(file):
    with pytest.raises(DataError, match=r"rows\.txt is empty"):
        read(file(""))
    with pytest.raises(DataError, match=r"rows\.txt holds no rows"):
        read(file("a|b\n"), header=True)


def test_other_header_is_an_error(file):
    with pytest.raises(DataError, match=r"row 1: header 'x\|b', expected 'a\|b'"):
        read(file("x|b\n1|2\n"), header=True)


def test_text_that_cannot_be_decoded_is_named(file):
    with pytest.raises(DataError, match=r"rows\.txt, row 2: not utf-8 text"):
        read(file(b"1|2\n1|\xff\n"))


def test_carriage_return_within_a_line_is_named(file):
    with pytest.raises(DataError, match=r"rows\.txt, row 2: has a carriage return within the line"):
        read(file(b"1|2\n1\r|2\n"))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk_bytes", [7, 1 << 20])
def test_any_newline_ends_a_row(file, newline, chunk_bytes):
    path = file(newline.join(["a|b", *["x|y"] * 9]) + newline)
    chunks = read_chunks(path, ("a", "b"), separator="|", header=True, chunk_bytes=chunk_bytes)
    assert [v for chunk in chunks for v in chunk["b"].to_pylist()] == ["y"] * 9


def test_quoted_header_may_hold_separators_and_quotes(file):
    path = file('"a,b","c""d",e\n1,2,"3,4"\n')
    names = read_header(path, Dialect(",", quotes=True))
    assert names == ["a,b", 'c"d', "e"]
    (chunk,) = read_chunks(path, names, separator=",", header=True, quotes=True)
    assert [column.to_pylist() for column in chunk.columns.values()] == [["1"], ["2"], ["3,4"]]


def test_byte_order_mark_is_dropped_at_the_start_of_a_file_alone(file):
    mark = "\ufeff"
    path = file(f"{mark}a|b\n{mark}1|2\n" + f"{mark}1|{mark}\n" * 50)
    chunks = list(read_chunks(path, ("a", "b"), separator="|", header=True, chunk_bytes=10))
    assert {v for chunk in chunks for v in chunk["a"].to_pylist()} == {f"{mark}1"}


def test_values_are_dictionaries_whatever_they_hold(file):
    (chunk,) = read_chunks(file("01|NULL\n1.0|\n"), ("a", "b"), separator="|")
    assert chunk["a"].type == chunk["b"].type == pa.dictionary(pa.int32(), pa.string())
    assert (chunk["a"].to_pylist(), chunk["b"].to_pylist()) == (["01", "1.0"], ["NULL", ""])


def test_row_of_a_quoted_file_with_other_columns_is_named(file):
    path = file('"x,y",2\n' * 30 + '"x,y","2",3\n')
    with pytest.raises(DataError, match="row 31: 3 columns, expected 2"):
        list(read_chunks(path, ("a", "b"), separator=",", quotes=True))
