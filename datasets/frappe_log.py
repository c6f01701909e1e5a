"""Frappe, the original log: which apps people used in which circumstances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.component import Between, OneOf
from pepbench.data.dataset import SCHEMES, Block, Dataset, SplitScheme
from pepbench.data.readers.formats import FORMATS
from pepbench.errors import DataError

from .frappe import FIELDS, Frappe

FILE = "frappe-log.parquet"
UNUSED_APPS = 2
"""Sampled for each row of the log, as for NFM."""
APP_STREAM = 0x66726170
"""Keeps the sampled apps apart from all else that is drawn with the same seed."""
LARGEST_ID = 2**31


@dataclass(frozen=True)
class FrappeLog(Dataset):
    """Frappe's log with sampled negatives, as NFM prepared it: 10 fields, 1/3 positive.

    Each of the 96,203 rows of the log is positive; two apps that its user has never used are
    sampled for it, uniformly, in the same circumstances: 288,609 rows. A user's app is therefore
    positive in all of its rows or in none, and pairs that recur are easy to predict.

    Differs from NFM's files (data set ``frappe``) in one field: ``cost`` is an attribute of the
    app, so a sampled app has its own. NFM's files copy it from the row of the log, where 12 % of
    the sampled apps have a cost that the app never has, which gives their label away.
    """

    name = "frappe-log"
    title = "Frappe app usage, the original log with sampled apps"
    source = Frappe.name
    licence = Frappe.licence
    citation = Frappe.citation
    url = "https://www.baltrunas.info/context-aware"
    files = (FILE,)
    user_field = "user"

    split: Annotated[str, OneOf("random", "user", tuned=False), "user: no user in two parts"] = (
        "random"
    )
    apps_seed: Annotated[int, Between(0, 2**31 - 1, tuned=False), "seed of the sampled apps"] = 0

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """As the option says."""
        return SCHEMES[self.split]

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the log, each row with its sampled apps after it, in one block."""
        assert source is not None
        path = source / FILE
        chunks = list(FORMATS["parquet"].chunks(path, FIELDS))
        if not chunks:
            raise DataError(f"{path} has no rows")
        ids = {
            name: np.concatenate([chunk.integers(name, 0, LARGEST_ID) for chunk in chunks])
            for name in ("user", "item")
        }
        log = pa.Table.from_batches([pa.record_batch(chunk.columns) for chunk in chunks])
        apps, of_app = np.unique(ids["item"], return_inverse=True)
        _, of_user = np.unique(ids["user"], return_inverse=True)
        try:
            sampled = unused_apps(of_user, of_app, UNUSED_APPS, self.apps_seed)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        app = np.column_stack([of_app, sampled]).reshape(-1)
        rows = np.repeat(np.arange(len(log)), 1 + UNUSED_APPS)
        columns = {name: log[name].combine_chunks().take(pa.array(rows)) for name in FIELDS}
        columns["item"] = pa.array(apps[app])
        first = np.unique(of_app, return_index=True)[1]
        columns["cost"] = log["cost"].combine_chunks().take(pa.array(first[app]))
        labels = np.arange(len(app)) % (1 + UNUSED_APPS) == 0
        yield Block(columns, labels, columns["user"] if self.split == "user" else None)


def unused_apps(
    users: NDArray[np.int64], apps: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.int64]:
    """Sample apps that a row's user has not used in any row, without repeats within a row.

    Parameters
    ----------
    users, apps
        Shape (n,): numbers from 0 without gaps.
    count
        How many to sample for each row.
    seed
        Of raw 64-bit draws of a PCG64, whose stream numpy guarantees.

    Returns
    -------
    Shape (n, count): numbers of apps.

    Raises
    ------
    ValueError
        If a user has used so many apps that fewer than ``count`` are left.

    Examples
    --------
    >>> unused_apps(np.array([0, 0, 1]), np.array([0, 1, 2]), 1, seed=0)[:2].tolist()
    [[2], [2]]
    """
    n_apps = int(apps.max()) + 1
    used = np.zeros((int(users.max()) + 1, n_apps), dtype=bool)
    used[users, apps] = True
    if (n_apps - used.sum(axis=1)).min() < count:
        raise ValueError(f"a user has used so many of {n_apps} apps that {count} are not left")
    generator = np.random.PCG64(np.random.SeedSequence([APP_STREAM, seed]))
    sampled = np.full((len(users), count), -1)
    for position in range(count):
        open_rows = np.arange(len(users))
        while len(open_rows):
            drawn = (generator.random_raw(len(open_rows)) % np.uint64(n_apps)).astype(np.int64)
            repeated = (sampled[open_rows, :position] == drawn[:, None]).any(axis=1)
            good = ~repeated & ~used[users[open_rows], drawn]
            sampled[open_rows[good], position] = drawn[good]
            open_rows = open_rows[~good]
    return sampled
