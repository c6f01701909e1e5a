"""Whether rows of one user stand on both sides of a split."""

from __future__ import annotations

import re

import numpy as np

from pepbench.data.arrays import read_rows, row_blocks
from pepbench.data.dataset import Dataset
from pepbench.data.splits import parts_of
from pepbench.data.table import Table

NAMED_LIKE_USERS = re.compile(r"(user|uid|customer|member|visitor|session)[ _-]?(id)?", re.I)
TRAIN, TEST = 0, 2


def user_column(dataset: Dataset, fields: tuple[str, ...]) -> str | None:
    """The field that says whose a row is: as the data set says, or by its name.

    >>> NAMED_LIKE_USERS.fullmatch("User_ID") is not None
    True
    """
    if dataset.user_field in fields:
        return dataset.user_field
    return next((name for name in fields if NAMED_LIKE_USERS.fullmatch(name)), None)


def known_share(table: Table, column: str, split_seed: int) -> float:
    """Share of test rows whose value of a column stands in training rows too; 0 without test rows.

    Reads the table's codes and needs no split on disk.
    """
    field = table.meta.fields.index(column)
    parts = parts_of(table, split_seed)
    in_training = np.zeros(table.meta.cardinalities[field], dtype=np.bool_)
    blocks = row_blocks(table.meta.n_rows, max(1, table.codes[:1].nbytes))
    for start, stop in blocks:
        codes = read_rows(table.codes, start, stop)[:, field]
        in_training[codes[parts[start:stop] == TRAIN]] = True
    n_known = 0
    for start, stop in blocks:
        codes = read_rows(table.codes, start, stop)[:, field]
        n_known += int(in_training[codes[parts[start:stop] == TEST]].sum())
    return n_known / max(1, int(np.count_nonzero(parts == TEST)))


def leakage_warning(dataset: Dataset, table: Table, split_seed: int = 0) -> str | None:
    """What to tell of a split that deals rows of one user to training and test; None if it doesn't.

    Splits by time are left out: that the same users come again is what they are to show.
    """
    column = user_column(dataset, table.meta.fields)
    if column is None or table.meta.split_scheme not in ("random", "file"):
        return None
    share = known_share(table, column, split_seed)
    if share == 0:
        return None
    return (
        f"{share:.0%} of the test rows are of a {column!r} that training rows have, too; if the "
        "model is to serve new ones, scores will be too good: split by user"
    )
