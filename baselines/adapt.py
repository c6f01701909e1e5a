"""Own rows for frequent features, one hashed row for each other feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from pepbench.method import Between, Embedding, Fields, Method, lookup_rows

from .double_hash import DoubleHashTable, own_or_hashed
from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class AdaptEmb(Method):
    """Features above a frequency cut own a row; the others of their field share hashed ones.

    The adaptive embedding of Alibaba's DeepRec library, compared as AdaptEmb by Zhang, Zhao, Miao,
    Shao, Liu, Yang, Cui, "Experimental Analysis of Large-scale Learnable Vector Storage
    Compression", PVLDB 17(4), 2023, arXiv 2311.15578::

        v(x) = E[rank of x]  if x is among the k most frequent features,  E_i[h(x)]  otherwise

    It is ``frequency`` with a hash instead of one shared row, and ``double-hash`` with one hash
    instead of two. The knob is the number of rows, ⌊B / D⌋: k = ``frequent`` of them, the others go
    to the fields as in ``double-hash``; a field with rows enough for all of its features is not
    hashed.

    Where we differ: h is a random multiply-shift hash, drawn by each seed, where the released code
    takes the id modulo m_i; so results hold for any numbering of the features. The cut is a share
    of the rows, since a least count of occurrences would not meet a budget.
    """

    name = "adapt"
    family = "hashing"
    year = 2023
    version = 2

    frequent: Annotated[
        float,
        Between(0.0, 0.9, allow=(0.0, 1.0)),
        "share of the rows that belong to one frequent feature each",
    ] = 0.5
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of ⌊budget / D⌋ rows; infeasible below one row per field."""
        self.refuse_below(fields.n_fields * dim, budget, "one row a field")
        rows = own_or_hashed(fields, budget // dim, self.frequent, drawn_seed(self.hash_seed))
        return OwnOrHashedTable(rows, dim, combine="first")


class OwnOrHashedTable(DoubleHashTable):
    """Own rows, and hashed ones of which each feature reads one."""

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        return lookup_rows(self.table, self.row_pairs[features, 0])
