"""Raw files: which must exist, their checksums, and their content as blocks of whole lines."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pepbench.errors import DataError

BLOCK_BYTES = 1 << 22
"""Larger blocks parse more slowly: they do not fit in the processor's cache."""
LONGEST_LINE = 1 << 26
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
"""By the first bytes of a file: names are not to be relied on."""
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2")
PARQUET_SUFFIXES = (".parquet", ".pq")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
TAR_MARK = b"ustar"
"""From byte 257 on."""
BLANK_LINES = (b"\n", b"\r\n")
FOREIGN = {
    UTF_16_MARKS: "UTF-16 text; save it as UTF-8",
    (b"PAR1",): "a Parquet file; say so with --format parquet",
    (b"ARROW1",): "an Arrow file; write it as Parquet",
    (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c"): "an archive or a workbook; take the rows out of it",
    (b"\xfd7zXZ\x00",): "compressed with xz; unpack it, or compress it with gzip",
    (b"{", b"["): "JSON; write it as Parquet, as pandas does with read_json and to_parquet",
    tuple(COMPRESSIONS): "compressed twice; unpack it once",
}
"""What a file is that begins like this once it is unpacked, if it is no text of ours."""


def files_in(folder: Path, files: Sequence[str]) -> dict[str, Path]:
    """The paths of all ``files`` in a folder, by name.

    Raises
    ------
    DataError
        If the folder lacks one, or one is empty.
    """
    expected = f"expected a folder with {', '.join(files)}"
    if not existing(folder, expected).is_dir():
        raise DataError(f"{folder} is not a folder; {expected}")
    missing = [name for name in files if not existing(folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; {expected}")
    return {name: not_empty(folder / name) for name in files}


def one_file(source: Path, candidates: Sequence[str]) -> Path:
    """The file ``source`` itself, or the first of the ``candidates`` in the folder ``source``.

    Raises
    ------
    DataError
        If there is none, or it is empty.
    """
    expected = f"expected a file, or a folder with one of {', '.join(candidates)}"
    if existing(source, expected).is_dir():
        found = [source / name for name in candidates if existing(source / name).is_file()]
        if not found:
            raise DataError(f"{source} holds none of {', '.join(candidates)}; {expected}")
        source = found[0]
    return not_empty(source)


def existing(path: Path, expected: str = "") -> Path:
    """The path; raises :class:`DataError` for loops of symbolic links.

    With ``expected``, raises for paths that do not exist as well.
    """
    try:
        path.stat()
    except FileNotFoundError:
        if expected:
            raise DataError(f"{path} does not exist; {expected}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give another path") from None
    return path


def not_empty(path: Path) -> Path:
    """The path; raises :class:`DataError` if the file is empty or not a regular file."""
    if not path.is_file():
        raise DataError(f"{path} is not a plain file; give a file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; get it again")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def estimated_rows(files: Mapping[str, Path]) -> int:
    """Rows of the largest file: read from Parquet's metadata, or extrapolated from a text's start.

    The length of the lines in the first block stands for that of all lines.
    """
    path = max(files.values(), key=lambda path: path.stat().st_size)
    with readable(path):
        if path.suffix.lower() in PARQUET_SUFFIXES:
            return int(pq.ParquetFile(path).metadata.num_rows)
        with path.open("rb") as file:
            stream = decompressed(file)  # It closes the file once it is forgotten.
            lines: int = stream.read(BLOCK_BYTES).count(b"\n")
            read = max(1, file.tell())
    return max(1, round(lines * path.stat().st_size / read))


def decompressed(file: BinaryIO) -> Any:
    """A file's content as a stream to read from, decompressed if it is gzip, zstd or bz2."""
    start = file.read(4)
    file.seek(0)
    kind = next((kind for magic, kind in COMPRESSIONS.items() if start.startswith(magic)), None)
    if kind == "gzip":
        # Arrow takes zeros at the end, as tapes and block devices pad with, for damage.
        return gzip.GzipFile(fileobj=file)
    return pa.CompressedInputStream(file, kind) if kind else file


def line_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Generator[bytes]:
    """Yield a file's content in blocks of about ``block_bytes`` that end with a newline.

    Compressed files are decompressed. A byte order mark at the start is dropped, and so are blank
    lines at the end. Lines that end in a carriage return alone are given a newline instead. If the
    last line has no newline, it is yielded by itself, as the last block.

    Raises
    ------
    DataError
        If the file cannot be read, its compression is damaged, it is empty, or a line is longer
        than 64 MiB.
    """
    blank, is_empty = b"", True
    for block in _line_blocks(path, block_bytes):
        block = blank + block
        blank = b""
        if block.endswith((b"\n\n", b"\n\r\n")) or block in BLANK_LINES:
            body = len(block.rstrip(b"\r\n"))
            end = block.index(b"\n", body) + 1 if body else 0
            block, blank = block[:end], block[end:]
        if block:
            is_empty = False
            yield block
    if is_empty:
        raise DataError(f"{path} is empty; get it again")


def _line_blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    rest, newline = None, b"\n"
    with readable(path), path.open("rb") as file:
        stream = decompressed(file)
        while block := stream.read(block_bytes):
            if rest is None:
                found = next(
                    (what for start, what in FOREIGN.items() if block.startswith(start)), ""
                )
                if found or block[257:262] == TAR_MARK:
                    raise DataError(
                        f"{path} is {found or 'a tar archive; take the rows out of it'}"
                    )
                rest, block = b"", block.removeprefix(BYTE_ORDER_MARK)
                if b"\n" not in block and b"\r" in block[:-1]:
                    newline = b"\r"
            if newline == b"\r":
                block = block.replace(b"\r", b"\n")
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join((rest, memoryview(block)[:end]))
                rest = block[end:]
            else:
                rest += block
            if len(rest) > LONGEST_LINE:
                raise DataError(f"{path}: a line is longer than 64 MiB; is it a text file?")
    if rest:
        yield rest


def first_line(path: Path) -> bytes:
    """The first line of a file, without its end."""
    with closing(line_blocks(path)) as blocks:
        return next(blocks, b"").split(b"\n", 1)[0].rstrip(b"\r")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the exceptions of reading a file into a :class:`DataError` that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).split(". Detail:")[0]
        raise DataError(f"{path} cannot be read: {reason}; get it again") from None
