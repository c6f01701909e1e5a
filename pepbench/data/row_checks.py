"""Checks of encoded rows: ids within their field's range, labels of 0 and 1, users in two parts.

The ids of an array are checked once, before compiled loops rely on them. A small file next to the
array then holds the array's size and time of change, so that an unchanged one opens at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pepbench.data.arrays import map_array, read_rows, row_blocks
from pepbench.data.bags import BagMeta, is_list, kind_of_values
from pepbench.data.dataset import Block, Dataset
from pepbench.data.dense import LARGEST
from pepbench.data.kernels import first_outside
from pepbench.data.split_schemes import TEST, TRAIN, parts_of
from pepbench.data.table import Table
from pepbench.data.values import MISSING
from pepbench.errors import DataError

FEW_KNOWN = 0.05
"""Below this share of test rows, users in training rows as well are not worth a warning."""
NAMED_LIKE_USERS = re.compile(r"(user|uid|customer|member|visitor|session)[ _-]?(id)?", re.I)


def check_types(dataset: Dataset, block: object) -> None:
    """Raise :class:`DataError` for what a data set of a plug-in yields in place of a block."""
    where = f"data set {dataset.spec!r}: blocks()"
    if not isinstance(block, Block):
        raise DataError(f"{where} yields {type(block).__name__}, expected Block(columns, labels)")
    keys = {} if block.split_key is None else {"split_key": block.split_key}
    for name, column in {**block.columns, **keys}.items():
        if not isinstance(column, pa.Array):
            raise DataError(
                f"{where} gives {name!r} as {type(column).__name__}, expected an array of Arrow: "
                "pyarrow.array(values), or .combine_chunks() of several"
            )
        if kind_of_values(column.type) is None:
            raise DataError(f"{where} gives {name!r} as {column.type}, expected plain values")
    for name, numbers in {"labels": block.labels, **block.dense}.items():
        if getattr(numbers, "ndim", 0) != 1:
            raise DataError(
                f"{where} gives {name!r} as {type(numbers).__name__}, expected an array of numpy "
                "with a number a row"
            )


def check_block(
    dataset: Dataset,
    block: Block,
    fields: list[str],
    first_row: int,
    dense: tuple[str, ...] = (),
) -> None:
    """Raise :class:`DataError` for a block that does not continue a table of these fields.

    Its columns must be the fields, of one length, its dense numbers finite or missing, and its
    labels 0 or 1. Rows are counted from 1.
    """
    where = f"data set {dataset.spec!r}"
    if not fields or list(block.columns) != fields:
        raise DataError(f"{where}: block with fields {list(block.columns)}, expected {fields}")
    for name, column in block.columns.items():
        if is_list(column.type) != (dataset.bag(name) is not None):
            raise DataError(
                f"{where}: field {name!r} holds {column.type}, expected "
                + ("one value a row" if dataset.bag(name) is None else "lists of values")
            )
    if tuple(block.dense) != dense:
        raise DataError(f"{where}: block with dense fields {list(block.dense)}, expected {dense}")
    for name, numbers in block.dense.items():
        too_large = np.flatnonzero(np.abs(numbers) > LARGEST)
        if len(too_large):
            raise DataError(
                f"{where}, row {first_row + int(too_large[0]) + 1}: {name} is "
                f"{numbers[too_large[0]]:g}, expected a number of at most {LARGEST:g} in size"
            )
    lengths = {len(column) for column in block.columns.values()} | {len(block.labels)}
    lengths |= {len(numbers) for numbers in block.dense.values()}
    if len(lengths) != 1:
        raise DataError(f"{where}: columns and labels of a block differ in length: {lengths}")
    wrong = np.flatnonzero((block.labels != 0) & (block.labels != 1))
    if len(wrong):
        (value,) = block.labels[wrong[:1]].tolist()
        raise DataError(
            f"{where}, row {first_row + int(wrong[0]) + 1}: label is {value!r}, expected 0 or 1"
        )


def check_ranges(
    path: Path,
    fields: Sequence[str],
    cardinalities: Sequence[int],
    *,
    global_ids: bool,
    remedy: str,
    bags: Mapping[str, BagMeta] | None = None,
) -> None:
    """Check that all ids or codes of an array (n, F) are within their field's range.

    Parameters
    ----------
    path
        The ``.npy`` file.
    fields, cardinalities
        Name and number of values of each of the F fields.
    global_ids
        Whether each field begins where the one before ends; else each begins at 0.
    remedy
        What to do if one is not; ends the message.
    bags
        The multi-valued fields, which have further columns, and may hold −1 for no value.

    Raises
    ------
    DataError
        For another shape or type, or an id out of range: names the first field and row.
    """
    if _is_marked(path):
        return
    array = map_array(path)
    bags = bags or {}
    slots = [bags[name].slots if name in bags else 1 for name in fields]
    of_slot = np.repeat(np.arange(len(fields)), slots)
    if array.ndim != 2 or array.shape[1] != len(of_slot) or array.dtype != np.int32:
        raise DataError(
            f"{path} has shape {array.shape} of {array.dtype}, expected int32 "
            f"(rows, {len(of_slot)}); {remedy}"
        )
    ends = np.cumsum(np.asarray(cardinalities, dtype=np.int64))
    low = (ends - cardinalities if global_ids else np.zeros_like(ends))[of_slot]
    high = low + np.asarray(cardinalities, dtype=np.int64)[of_slot]
    padded = np.array([name in bags for name in fields])[of_slot]
    for start, stop in row_blocks(len(array), max(1, array[:1].nbytes)):
        row, slot = first_outside(read_rows(array, start, stop), low, high, padded)
        if row >= 0:
            raise DataError(
                f"{path}, row {start + row + 1}: {array[start + row, slot]} in field "
                f"{fields[of_slot[slot]]!r} is outside {low[slot]} to {high[slot] - 1}; {remedy}"
            )
    mark_checked(path)


def mark_checked(path: Path) -> None:
    """Note that an array needs no further check until it changes."""
    # A cache that cannot be written is checked each time.
    with suppress(OSError):
        path.with_suffix(".checked").write_text(_state(path))


def _is_marked(path: Path) -> bool:
    try:
        return path.with_suffix(".checked").read_text() == _state(path)
    except OSError:
        return False


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}\n"


def warnings_of(dataset: Dataset, table: Table) -> list[str]:
    """Warnings about what is legal in a table, but probably a mistake.

    Fields with one value, or with another one in each row, and users in both training and test.
    """
    warnings = []
    for name, size in zip(table.meta.fields, table.meta.cardinalities, strict=True):
        if size == 1:
            warnings.append(f"field {name!r} has the same value in all rows; it cannot help")
        unique = size == table.meta.n_rows and name not in table.meta.bags
        if unique and table.meta.encoding(name).bins is None:
            warnings.append(f"field {name!r} has another value in every row; it cannot be learnt")
    warnings += [
        f"field {name!r} tells the label of every row; if it is not known before the click, "
        "leave it out with --fields"
        for name in telling_fields(table)
    ]
    for name, bag in table.meta.bags.items():
        if bag.separator and bag.slots == 1 < bag.max_values:
            warnings.append(f"field {name!r}: no row has two values; is the separator right?")
        if bag.n_cut:
            warnings.append(
                f"field {name!r}: {bag.n_cut:,} rows have more than {bag.max_values} values, of "
                "which the first ones are kept; --max-values keeps more"
            )
    user = dataset.user_field
    if user in table.meta.fields and (n_missing := rows_without(table, str(user))):
        warnings.append(
            f"{n_missing:,} of {table.meta.n_rows:,} rows have no {user!r}; they count "
            "as one user, in splits and in figures within users: drop them, or give each an id"
        )
    leakage = leakage_warning(dataset, table)
    return [*warnings, leakage] if leakage else warnings


def telling_fields(table: Table) -> list[str]:
    """Fields each of whose values has rows of one label only, ten rows a value or more."""
    sizes, n_rows = table.meta.cardinalities, table.meta.n_rows
    counts = {
        name: np.zeros((size, 2), np.int64)
        for name, size in zip(table.meta.fields, sizes, strict=True)
        if name not in table.meta.bags and 10 * size <= n_rows
    }
    for start, stop in row_blocks(n_rows, max(1, table.codes[:1].nbytes)):
        codes, labels = read_rows(table.codes, start, stop), table.labels[start:stop]
        for name, found in counts.items():
            place = table.meta.columns_of(table.meta.fields.index(name)).start
            both = 2 * codes[:, place].astype(np.int64) + labels
            found += np.bincount(both, minlength=found.size).reshape(found.shape)
    return [name for name, found in counts.items() if (found.min(axis=1) == 0).all()]


def rows_without(table: Table, column: str) -> int:
    """Number of rows whose value of a field is missing."""
    field = table.meta.fields.index(column)
    code = pc.index(table.values_array(field), MISSING).as_py()
    place = table.meta.columns_of(field).start
    blocks = row_blocks(table.meta.n_rows, max(1, table.codes[:1].nbytes)) if code >= 0 else ()
    return sum(
        int(np.count_nonzero(read_rows(table.codes, start, stop)[:, place] == code))
        for start, stop in blocks
    )


def leakage_warning(dataset: Dataset, table: Table) -> str | None:
    """A warning if users have rows in both training and test; None if not.

    Splits by time get none: the same users coming back is what they are to show.
    """
    column = user_column(dataset, table.meta.fields)
    if column is None or table.meta.split_scheme not in ("random", "file"):
        return None
    share = known_share(table, column, split_seed=0)
    if share < FEW_KNOWN:
        return None
    return (
        f"{share:.0%} of the test rows are of a {column!r} that training rows have, too; if the "
        "model is to serve new ones, the scores of these rows are too good: split by user"
    )


def user_column(dataset: Dataset, fields: tuple[str, ...]) -> str | None:
    """The field that holds the user: as the data set says, else by its name; None if there is none.

    >>> NAMED_LIKE_USERS.fullmatch("User_ID") is not None
    True
    """
    if dataset.user_field in fields:
        return dataset.user_field
    plain = (name for name in fields if dataset.bag(name) is None)
    return next((name for name in plain if NAMED_LIKE_USERS.fullmatch(name)), None)


def known_share(table: Table, column: str, split_seed: int) -> float:
    """Share of test rows with a value of a column that training rows have; 0 without test rows.

    Reads the table's codes and needs no split on disk.
    """
    field = table.meta.fields.index(column)
    place = table.meta.columns_of(field).start
    parts = parts_of(table, split_seed)
    in_training = np.zeros(table.meta.cardinalities[field], dtype=np.bool_)
    blocks = row_blocks(table.meta.n_rows, max(1, table.codes[:1].nbytes))
    for start, stop in blocks:
        codes = read_rows(table.codes, start, stop)[:, place]
        in_training[codes[parts[start:stop] == TRAIN]] = True
    n_known = 0
    for start, stop in blocks:
        codes = read_rows(table.codes, start, stop)[:, place]
        n_known += int(in_training[codes[parts[start:stop] == TEST]].sum())
    return n_known / max(1, int(np.count_nonzero(parts == TEST)))
