"""Ids outside their field's range: looked for once, before compiled loops trust the array.

That an array was looked through is remembered in a small file beside it, together with the
array's size and time of change; so a data set opens at once the next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pepbench.data.arrays import map_array, read_rows, row_blocks
from pepbench.data.kernels import first_outside
from pepbench.errors import DataError


def check_ranges(
    path: Path,
    fields: Sequence[str],
    cardinalities: Sequence[int],
    *,
    global_ids: bool,
    remedy: str,
) -> None:
    """Make sure that an array (n, F) of ids or codes can be trusted.

    Parameters
    ----------
    path
        The ``.npy`` file.
    fields, cardinalities
        Name and number of values of each of the F fields.
    global_ids
        Whether each field begins where the one before ends; else each begins at 0.
    remedy
        What to do if it cannot; ends the message.

    Raises
    ------
    DataError
        For another shape or type, or an id out of range: names the first field and row.
    """
    if _remembered(path):
        return
    array = map_array(path)
    if array.ndim != 2 or array.shape[1] != len(fields) or array.dtype != np.int32:
        raise DataError(
            f"{path} has shape {array.shape} of {array.dtype}, expected int32 "
            f"(rows, {len(fields)}); {remedy}"
        )
    ends = np.cumsum(np.asarray(cardinalities, dtype=np.int64))
    low = ends - cardinalities if global_ids else np.zeros_like(ends)
    high = low + cardinalities
    for start, stop in row_blocks(len(array), max(1, array[:1].nbytes)):
        row, field = first_outside(read_rows(array, start, stop), low, high)
        if row >= 0:
            raise DataError(
                f"{path}, row {start + row + 1}: {array[start + row, field]} in field "
                f"{fields[field]!r} is outside {low[field]} to {high[field] - 1}; {remedy}"
            )
    remember(path)


def remember(path: Path) -> None:
    """Note that an array needs no further look until it changes."""
    # A cache that cannot be written is looked through each time.
    with suppress(OSError):
        _note(path).write_text(_state(path))


def _remembered(path: Path) -> bool:
    try:
        return _note(path).read_text() == _state(path)
    except OSError:
        return False


def _note(path: Path) -> Path:
    return path.with_suffix(".checked")


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}\n"
