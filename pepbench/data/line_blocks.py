"""Files, plain or compressed, as blocks of whole lines."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa

from pepbench.errors import DataError

BLOCK_BYTES = 1 << 22
"""Larger blocks parse more slowly: they leave the processor's cache."""
LONGEST_LINE = 1 << 26


def line_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Generator[bytes]:
    """Yield a file's content in blocks of about ``block_bytes`` that end with a newline.

    Files named ``*.gz``, ``*.zst`` or ``*.bz2`` are decompressed. If the last line does not end in
    a newline it is yielded by itself, as the last block.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged in its compression, empty, or has a line of more
        than 64 MiB.
    """
    rest = b""
    empty = True
    with readable(path), pa.input_stream(str(path), compression="detect") as stream:
        while block := stream.read(block_bytes):
            empty = False
            end = block.rfind(b"\n") + 1
            if end:
                yield b"".join((rest, memoryview(block)[:end]))
                rest = block[end:]
            else:
                rest += block
            if len(rest) > LONGEST_LINE:
                raise DataError(f"{path}: a line is longer than 64 MiB; is it a text file?")
    if empty:
        raise DataError(f"{path} is empty; get it again")
    if rest:
        yield rest


def first_line(path: Path) -> bytes:
    """The first line of a file, without its end."""
    with closing(line_blocks(path)) as blocks:
        return next(blocks).split(b"\n", 1)[0].rstrip(b"\r")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into errors that name it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, pa.ArrowInvalid) as error:
        reason = getattr(error, "strerror", None) or str(error).split(". Detail:")[0]
        raise DataError(f"{path} cannot be read: {reason}; get it again") from None
