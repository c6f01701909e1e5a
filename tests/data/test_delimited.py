from pathlib import Path

import pyarrow as pa
import pytest

from pepbench.data.delimited import Chunk, read_chunks, read_whole
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


def chunk_of(*values: str) -> Chunk:
    return Chunk(Path("rows.txt"), 5, {"a": pa.array(values)})


@pytest.mark.parametrize("text", ["", "x", "1.0", "6", "-1", "9" * 30, " 1"])
def test_anything_but_a_whole_number_in_range_is_named(text):
    with pytest.raises(DataError, match=f"row 6: a is '{text}', expected a whole number from 0 to"):
        chunk_of("1", text).integers("a", 0, 5)


def test_integers_and_positions():
    assert chunk_of("3", "-2").integers("a", -2, 3).tolist() == [3, -2]
    known = pa.array(["x", "y"])
    assert chunk_of("y", "x", "y").positions("a", known, "there").tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="row 6: a 'z' is not in there"):
        chunk_of("y", "z").positions("a", known, "there")


def test_second_occurrence_is_named():
    with pytest.raises(DataError, match="row 7: a 'x' occurs a second time"):
        chunk_of("x", "y", "x").check_unique("a")
