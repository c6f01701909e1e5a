"""MovieLens-100K for models that know nothing of pepbench: ids, labels, and a user's last films."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FIELDS = ("user", "item", "gender", "age", "occupation")
HISTORY = 10
"""Films that a user liked before, as input of the two-tower model."""


@dataclass(frozen=True, eq=False)
class Clicks:
    """Ids of rows, and whether the rating is 4 or 5; parts are a tenth, a tenth and the rest."""

    ids: dict[str, NDArray[np.int64]]
    sizes: dict[str, int]
    labels: NDArray[np.float32]
    part: NDArray[np.int8]
    """0 for training, 1 for validation, 2 for test."""

    def rows(self, part: int) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.float32]]:
        """Ids and labels of a part."""
        chosen = self.part == part
        return {name: ids[chosen] for name, ids in self.ids.items()}, self.labels[chosen]


def folder() -> Path:
    """Where MovieLens-100K is: ``ml-100k`` in the folder ``PEPBENCH_DATA_DIR``."""
    return Path(os.environ["PEPBENCH_DATA_DIR"]) / "ml-100k"


def ratings() -> pd.DataFrame:
    """All ratings: user, item, rating, time."""
    names = ["user", "item", "rating", "time"]
    return pd.read_csv(folder() / "u.data", sep="\t", names=names)


def clicks(seed: int) -> Clicks:
    """Rows of click prediction, split at random; ids are by value, 0 is for none."""
    users = pd.read_csv(
        folder() / "u.user", sep="|", names=["user", "age", "gender", "occupation", "zip"]
    )
    frame = ratings().merge(users, on="user")
    codes = {name: pd.factorize(frame[name], sort=True)[0] + 1 for name in FIELDS}
    tenths = np.random.default_rng(seed).permutation(len(frame)) % 10
    return Clicks(
        {name: found.astype(np.int64) for name, found in codes.items()},
        {name: int(found.max()) + 1 for name, found in codes.items()},
        (frame["rating"] >= 4).to_numpy(np.float32),
        np.select([tenths == 0, tenths == 1], [2, 1], 0).astype(np.int8),
    )


@dataclass(frozen=True, eq=False)
class Likes:
    """Films that users liked, in the order of time, with the films liked before each."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    history: NDArray[np.int64]
    """Shape (n, HISTORY): the last films before, padded with 0."""
    part: NDArray[np.int8]
    """2 for the last film of a user, 1 for the last but one, 0 for those before."""
    n_users: int
    n_items: int
    genres: NDArray[np.int64]
    """Shape (n_items, G): genres of each film from 1, padded with 0."""


def likes() -> Likes:
    """Rows of retrieval; the last two films of a user are for test and validation."""
    frame = ratings().query("rating >= 4").sort_values(["user", "time", "item"])
    users, items = frame["user"].to_numpy(), frame["item"].to_numpy()
    order = frame.groupby("user").cumcount(ascending=False).to_numpy()
    history = np.zeros((len(users), HISTORY), dtype=np.int64)
    for back in range(1, HISTORY + 1):
        same = users[back:] == users[:-back]
        history[back:, back - 1] = np.where(same, items[:-back], 0)
    table = pd.read_csv(folder() / "u.item", sep="|", encoding="latin-1", header=None)
    flags = table.iloc[:, 5:24].to_numpy()
    genres = np.zeros((len(table) + 1, int(flags.sum(axis=1).max())), dtype=np.int64)
    for item, row in zip(table[0], flags, strict=True):
        found = np.flatnonzero(row) + 1
        genres[item, : len(found)] = found
    part = np.select([order == 0, order == 1], [2, 1], 0).astype(np.int8)
    return Likes(users, items, history, part, int(users.max()) + 1, len(table) + 1, genres)
