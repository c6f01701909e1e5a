"""A random choice of entries, more of them in the rows of popular features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.method import Between, Embedding, Fields, MaskedTable, Method, xavier_uniform


@dataclass(frozen=True)
class PopularityMask(Method):
    """A random mask of exactly B entries, in which the counts of rows follow popularity^α.

    What a search must beat to have learnt more than "popular features need wider rows". The count
    of row x is proportional to f_x^α, f_x its frequency in the training split (at least 1), at
    most D, and rounded by largest remainders; equal remainders are broken at random, so that
    α = 0 is blind to popularity. Which entries of a row are kept is random. The values are
    trained from initialisation. Any budget is feasible.
    """

    name = "popularity-mask"
    family = "controls"

    alpha: Annotated[
        float,
        Between(0.0, 1.0),
        "how strongly a row's count follows popularity; 0 gives all rows the same",
    ] = 0.5

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A masked table of ``budget`` entries."""
        values = xavier_uniform(fields.n_features, dim)
        order = torch.rand(fields.n_features).numpy()
        popularity = np.maximum(fields.frequencies, 1).astype(np.float64)
        counts = row_counts(popularity**self.alpha, dim, budget, order)
        rank_in_row = torch.rand(values.shape).argsort(dim=1).argsort(dim=1)
        return MaskedTable(values, rank_in_row < torch.from_numpy(counts)[:, None])


def row_counts(
    weights: NDArray[np.float64], dim: int, budget: int, order: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Counts (N,) ∝ ``weights``, at most ``dim`` each, that add up to ``budget`` (or N·D).

    Equal remainders go by rising ``order`` (N,).

    >>> row_counts(np.array([8.0, 2.0, 1.0]), 4, 7, np.arange(3.0)).tolist()
    [4, 2, 1]
    """
    budget = min(budget, len(weights) * dim)
    quotas = _capped_shares(weights, dim, budget)
    counts = np.floor(quotas).astype(np.int64)
    remainders = np.where(counts < dim, quotas - counts, -1.0)
    left = budget - int(counts.sum())
    counts[np.lexsort((order, -remainders))[:left]] += 1
    return counts


def _capped_shares(weights: NDArray[np.float64], cap: int, total: int) -> NDArray[np.float64]:
    """min(λ w, cap), with the λ for which they add up to ``total``."""
    falling = np.sort(weights)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]
    # With the j largest at the cap, λ = (total − j·cap) / (weight of the others).
    scales = (total - cap * np.arange(len(weights))) / rest
    fits = np.flatnonzero(scales * falling <= cap)
    scale = scales[fits[0]] if len(fits) else np.inf
    shares: NDArray[np.float64] = np.minimum(scale * weights, cap)
    return shares
