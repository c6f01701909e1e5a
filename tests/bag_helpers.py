"""Rows of fields with several values, and the same rows in multi-valued form."""

from dataclasses import replace

import numpy as np

from pepbench.contract.toy import Toy
from pepbench.data.splits import Rows
from pepbench.tables.fields import BagField, Fields

SLOTS = 3


def as_bags(toy: Toy, pool: str = "mean") -> Toy:
    """The toy task with its fields ``b`` and ``d`` in multi-valued form: one value in each bag."""
    bags = {"b": BagField(SLOTS, pool), "d": BagField(SLOTS, pool)}
    return Toy(
        replace(toy.fields, bags=bags),
        one_value(toy.train, [1, 3]),
        one_value(toy.validation, [1, 3]),
    )


def one_value(rows: Rows, fields: list[int]) -> Rows:
    """Rows with further slots, all of them padding, for some fields."""
    padding = np.full((len(rows.ids), SLOTS - 1), -1, dtype=np.int32)
    columns = [
        np.hstack([rows.ids[:, [f]], padding]) if f in fields else rows.ids[:, [f]]
        for f in range(rows.ids.shape[1])
    ]
    return Rows(np.hstack(columns), rows.labels)


def random_bags(n_rows: int = 50, pool: str = "mean", seed: int = 0) -> tuple[Fields, np.ndarray]:
    """Fields ``a``, ``b`` (up to four values a row, some of them equal) and ``c``, and ids."""
    rng = np.random.default_rng(seed)
    fields = Fields(("a", "b", "c"), (4, 6, 3), np.zeros(13, np.int64), {"b": BagField(4, pool)})
    bags = np.where(
        np.arange(4) < rng.integers(0, 5, (n_rows, 1)), rng.integers(4, 10, (n_rows, 4)), -1
    )
    ids = np.hstack([rng.integers(0, 4, (n_rows, 1)), bags, rng.integers(10, 13, (n_rows, 1))])
    return fields, ids.astype(np.int32)
