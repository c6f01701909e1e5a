"""How uneven features are: what a user can know of a table's compressibility before training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

SHARES = (0.001, 0.01, 0.1, 0.25, 0.5)
"""Of the features, most frequent first, for which the coverage is told."""
STEEPEST = 6.0
BLOCKS = "▁▂▃▄▅▆▇█"


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
