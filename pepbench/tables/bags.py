"""Bags: the ids of a batch with multi-valued or dense fields, and how vectors are pooled.

An embedding maps ids to vectors and knows nothing of bags. :class:`Bags` holds the values of all
rows one after another, so that lookup and pooling cost in proportion to values, as with the offsets
of ``torch.nn.EmbeddingBag``; slots behind a row's last value are not looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.errors import PepbenchError
from pepbench.lazy import LazyModule
from pepbench.serve.pooling import factors_of
from pepbench.tables.fields import Fields

if TYPE_CHECKING:
    from pepbench.tables import kernels
else:
    kernels = LazyModule("pepbench.tables.kernels")


@dataclass(frozen=True, eq=False)
class Bags:
    """The ids of B rows in F fields, of which some have several values a row, or none.

    Examples
    --------
    Two rows of two fields; the second field has two values in the first row and none in the other.

    >>> from pepbench.tables.fields import BagField
    >>> fields = Fields(("user", "tags"), (3, 4), np.zeros(7, int), {"tags": BagField(2)})
    >>> bags = bags_of(np.array([[1, 4, 6], [2, -1, -1]]), fields)
    >>> bags.ids.ravel().tolist(), bags.places.tolist(), bags.factors.tolist()
    ([1, 4, 6, 2], [0, 1, 1, 2], [1.0, 0.5, 0.5, 1.0])
    >>> bags.pooled(torch.tensor([[[1.0]], [[2.0]], [[4.0]], [[8.0]]])).tolist()
    [[[1.0], [3.0]], [[8.0], [0.0]]]
    """

    ids: Tensor
    """Shape (V, 1): global ids of all values, row by row and field by field."""
    places: Tensor
    """Shape (V,): the bag of each value, row · F + field."""
    factors: Tensor
    """Shape (V,): factor of each value's vector in the sum of its bag."""
    shape: tuple[int, int]
    """(B, F)."""
    dense: Tensor | None = None
    """Shape (B, M): the dense inputs; None if there are no dense fields."""

    @property
    def device(self) -> torch.device:
        """Where the ids are."""
        return self.ids.device

    def to(self, device: torch.device, dtype: torch.dtype) -> Bags:
        """The same bags on a device, with factors of a floating-point type."""
        return Bags(
            self.ids.to(device, non_blocking=True),
            self.places.to(device, non_blocking=True),
            self.factors.to(device, dtype, non_blocking=True),
            self.shape,
            None if self.dense is None else self.dense.to(device, dtype, non_blocking=True),
        )

    def pooled(self, vectors: Tensor) -> Tensor:
        """One vector for each row and field from those of the values: (V, 1, D) → (B, F, D).

        Raises
        ------
        PepbenchError
            If the vectors have another shape.
        """
        if vectors.ndim != 3 or vectors.shape[:2] != self.ids.shape:
            raise PepbenchError(
                f"the embedding gives vectors {tuple(vectors.shape)} for ids "
                f"{tuple(self.ids.shape)}; with multi-valued fields it must map each id by itself, "
                "whatever its column: see fields.field_of_feature"
            )
        rows, fields = self.shape
        weighted = vectors.squeeze(1) * self.factors.to(vectors.dtype)[:, None]
        total = weighted.new_zeros(rows * fields, vectors.shape[2])
        return total.index_add(0, self.places, weighted).view(rows, fields, -1)

    def summed(self, weights: Tensor) -> Tensor:
        """Sum over a row's fields of their pooled weights, one weight a value: (V,) → (B,)."""
        rows, fields = self.shape
        weighted = weights * self.factors.to(weights.dtype)
        total = weighted.new_zeros(rows)
        return total.index_add(0, self.places.div(fields, rounding_mode="floor"), weighted)


Ids = Tensor | Bags
"""Global ids of a batch: (B, F), or bags where a field has several values a row."""


def bags_of(
    ids: NDArray[np.integer],
    fields: Fields,
    order: NDArray[np.int64] | None = None,
    dense: NDArray[np.float32] | None = None,
) -> Bags:
    """The bags of rows that are stored in slots.

    Parameters
    ----------
    ids
        Shape (n, Σ slots): global ids, padded with −1 behind the last value of a field.
    fields
        Which columns belong to which field.
    order
        Shape (B,): the rows to take; all if not given.
    dense
        Shape (n, M): the dense inputs, if any.
    """
    if order is None:
        order = np.arange(len(ids))
    ends = np.cumsum(fields.slots)
    lengths = np.empty((len(order), fields.n_fields), dtype=np.int64)
    kernels.count_values(ids, order, ends, lengths)
    values = np.empty((int(lengths.sum()), 1), dtype=np.int64)
    kernels.take_values(ids, order, ends, lengths, values)
    flat = lengths.ravel()
    factors = factors_of(lengths, fields.pool_exponents).ravel()
    return Bags(
        torch.from_numpy(values),
        torch.from_numpy(np.repeat(np.arange(flat.size), flat)),
        torch.from_numpy(np.repeat(factors, flat)),
        (len(order), fields.n_fields),
        None if dense is None else torch.from_numpy(dense[order]),
    )
