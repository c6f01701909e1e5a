"""Describe a data set: its rows, fields and splits, and how unevenly features are distributed.

Uneven features say much about how well a table can be compressed, before any training.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.row_checks import known_share, user_column
from pepbench.data.split_schemes import Fold
from pepbench.data.splits import open_splits, split_facts

SHARES = (0.001, 0.01, 0.1, 0.25, 0.5)
"""Shares of the features, most frequent first, at which :func:`describe` gives the coverage."""
STEEPEST = 6.0
"""Largest Zipf exponent that is tried."""
BLOCKS = "▁▂▃▄▅▆▇█"


def describe(dataset: Dataset, split_seed: int = 0) -> dict[str, Any]:
    """Describe a data set in the cache, ready for JSON.

    Cardinalities and features are those of the split's training rows, "unseen" included. Coverage
    (the share of all values in training rows that the most frequent features make up), Gini
    coefficient and Zipf exponent are over all features seen in training. ``bayes_auc`` is present
    only if the rows were generated from a known truth.

    Raises
    ------
    DataError
        If the data set has not been added.
    """
    table = open_table(dataset)
    splits = open_splits(table, split_seed)
    meta = splits.meta
    frequencies = np.delete(splits.fields.frequencies, splits.fields.offsets)
    described: dict[str, Any] = {
        "name": dataset.name,
        "spec": dataset.spec,
        "title": dataset.title,
        "source": dataset.source or dataset.name,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "url": dataset.url,
        "rows": table.meta.n_rows,
        "positive_share": table.meta.n_positive / table.meta.n_rows,
        "fields": dict(zip(meta.fields, meta.cardinalities, strict=True)),
        "features": sum(meta.cardinalities),
        "split_by": table.meta.split_scheme,
        "split_seed": split_seed,
        "split_rows": meta.n_rows,
        "unseen_share": {
            part: meta.n_unseen[part]
            / max(1, meta.n_values.get(part, meta.n_rows[part] * len(meta.fields)))
            for part in ("validation", "test")
        },
        "coverage": {
            f"top {share:.1%}".replace(".0%", "%"): coverage(frequencies, share) for share in SHARES
        },
        "gini": gini(frequencies),
        "zipf_exponent": zipf_exponent(frequencies),
        "bytes": sum(path.stat().st_size for path in table.folder.rglob("*") if path.is_file()),
        "table_fingerprint": table.fingerprint,
        "split_fingerprint": splits.fingerprint,
    }
    if table.meta.bags:
        described["multi_valued"] = {
            name: {
                "pool": bag.pool,
                "values_a_row": bag.n_values / table.meta.n_rows,
                "longest_row": bag.slots,
                "empty_rows": bag.n_empty,
                "cut_rows": bag.n_cut,
                "max_values": bag.max_values,
            }
            for name, bag in table.meta.bags.items()
        }
    if meta.dense:
        described["dense"] = {name: asdict(scale) for name, scale in meta.dense.items()}
    users = user_column(dataset, meta.fields)
    if users is not None:
        described["test_rows_of_known_users"] = known_share(table, users, split_seed)
    if table.meta.bayes_auc is not None:
        described["bayes_auc"] = table.meta.bayes_auc
    return described


def describe_folds(dataset: Dataset, seed: int, folds: int) -> list[dict[str, Any]]:
    """Rows of each part, features, positive and unseen share of each fold, ready for JSON.

    Raises
    ------
    DataError
        If the data set has not been added, or allows fewer folds.
    """
    table = open_table(dataset)
    described = []
    for fold in range(folds):
        splits = split_facts(table, seed, Fold(fold, folds))
        meta = splits.meta
        n_values = meta.n_values.get("test", meta.n_rows["test"] * len(meta.fields))
        described.append(
            {
                "fold": fold + 1,
                "rows": meta.n_rows,
                "features": sum(meta.cardinalities),
                "positive_share": meta.n_positive["test"] / meta.n_rows["test"],
                "unseen_share": meta.n_unseen["test"] / max(1, n_values),
                "split_fingerprint": splits.fingerprint,
            }
        )
    return described


def frequency_curve(dataset: Dataset, split_seed: int = 0) -> list[tuple[int, int]]:
    """Ranks of features, evenly spaced on a logarithmic scale, and training frequencies there."""
    fields = open_splits(open_table(dataset), split_seed).fields
    return curve(np.delete(fields.frequencies, fields.offsets))


def coverage(frequencies: NDArray[np.int64], share: float) -> float:
    """Share of all occurrences that the most frequent ``share`` of features has.

    >>> coverage(np.array([1, 7, 1, 1]), 0.25)
    0.7
    """
    top = max(1, round(share * len(frequencies)))
    largest = np.partition(frequencies, len(frequencies) - top)[len(frequencies) - top :]
    return float(largest.sum() / frequencies.sum())


def gini(frequencies: NDArray[np.int64]) -> float:
    """Gini coefficient: 0 if all features are equally frequent, near 1 if one has everything.

    >>> gini(np.array([3, 3, 3])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    ordered = np.sort(frequencies).astype(np.float64)
    n = len(ordered)
    ranks = np.arange(1, n + 1)
    return float((2 * ranks - n - 1) @ ordered / (n * ordered.sum()))


def zipf_exponent(frequencies: NDArray[np.int64]) -> float:
    """Exponent s of p(rank) ∝ rank^-s that makes the frequencies most likely.

    Of frequencies pooled over fields it describes the whole table, not any one field.
    """
    ordered = np.sort(frequencies)[::-1].astype(np.float64)
    logarithms = np.log(np.arange(1, len(ordered) + 1))
    mean = float(ordered @ logarithms / ordered.sum())

    def loss(s: float) -> float:
        return s * mean + float(np.log(np.exp(-s * logarithms).sum()))

    return float(minimize_scalar(loss, bounds=(0.0, STEEPEST), method="bounded").x)


def curve(frequencies: NDArray[np.int64], points: int = 60) -> list[tuple[int, int]]:
    """Ranks, evenly spaced on a logarithmic scale, and the frequency of the feature there.

    >>> curve(np.array([2, 9, 4]), points=3)
    [(1, 9), (2, 4), (3, 2)]
    """
    ordered = np.sort(frequencies)[::-1]
    ranks = np.unique(np.rint(np.geomspace(1, len(ordered), points)).astype(np.int64))
    return [(int(rank), int(ordered[rank - 1])) for rank in ranks]


def chart(points: list[tuple[int, int]]) -> str:
    """The curve as one line of blocks: height is the logarithm of the frequency.

    >>> chart([(1, 100), (2, 10), (3, 1)])
    '█▅▁'
    """
    heights = np.log([max(1, frequency) for _, frequency in points])
    levels = np.rint(heights / max(heights.max(), 1e-9) * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[level] for level in levels)
