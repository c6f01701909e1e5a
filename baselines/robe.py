"""Vectors read chunk by chunk from one circular array."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Layout,
    Method,
    to_numpy,
)
from pepbench.serve.addresses import ChunkAddresses
from pepbench.tables.layout import Floats, part, trained

from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class ROBE(Method):
    """All features of all fields read their chunks from one array, at hashed addresses.

    Desai, Chou, Shrivastava, "Random Offset Block Embedding (ROBE) for Compressed Embedding
    Tables in Deep Learning Recommendation Systems", MLSys 2022, arXiv 2108.02191. The array A has
    M floats. Dimension i of the vector of x is in its chunk c = ⌊i / Z⌋::

        v(x)_i = g(x, c) · A[(h(x, c) + i mod Z) mod M]

    with h hashed to {0, …, M − 1} and g to {−1, 1}; a chunk that reaches the end wraps around.
    The count is exactly M. The knob is M = B.

    Where we differ: one sign for a chunk; the released code has none. Its hash is linear in x and
    c, modulo a prime and then M − Z + 1, so that no chunk wraps around; by the luck of its
    constants hardly any features share a chunk, or most do, and then often all their chunks. Ours
    scrambles its input first. If Z does not divide D, the last chunk is shorter; Z beyond D is D.
    Below D floats no vector could have D different numbers, so D is the smallest size.
    """

    name = "robe"
    family = "hashing"
    notes_training_bytes = True
    year = 2022
    version = 3

    chunk: Annotated[
        int,
        Between(0, 2**16, tuned=False),
        "Z, neighbours in the array, at most D; 0: by chunk_place",
    ] = 0
    chunk_place: Annotated[
        float,
        Between(0.0, 1.0),
        "which of the powers of two 1, 2, 4, …, D is Z: 0 the first, 1 the last",
    ] = 0.7
    hash_seed: HashSeed = -1

    def unread(self) -> tuple[str, ...]:
        """``chunk`` takes the place of ``chunk_place``."""
        return ("chunk_place",) if self.chunk else ()

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """An array of ``budget`` floats; infeasible below D."""
        self.refuse_below(dim, budget)
        seed = drawn_seed(self.hash_seed)
        chunk = min(self.chunk, dim) if self.chunk else self.power_of_two(dim)
        return CircularArray(ChunkAddresses(budget, chunk, dim, seed), fields.n_features)

    def power_of_two(self, dim: int) -> int:
        """The power of two up to D that ``chunk_place`` names; each has an equal part of [0, 1].

        >>> [ROBE(chunk_place=place).power_of_two(12) for place in (0.0, 0.3, 0.7, 1.0)]
        [1, 2, 4, 8]
        """
        choices = dim.bit_length()
        return 1 << min(int(self.chunk_place * choices), choices - 1)


class CircularArray(ComposedVectors):
    """v(x)_i = g(x, c) · A[(h(x, c) + i mod Z) mod M].

    The hashes are computed for each batch: the addresses of all N features could take more memory
    than the full table.

    Parameters
    ----------
    addresses
        h, g, and the sizes of array and vectors.
    n_features
        N.
    """

    def __init__(self, addresses: ChunkAddresses, n_features: int) -> None:
        super().__init__()
        self.dim = addresses.dim
        self.addresses = addresses
        self.n_features = n_features
        bound = (6.0 / (n_features + self.dim)) ** 0.5
        # Not a RowTable: rows of one float cost a lazy optimizer three times what dense Adam does.
        self.array = nn.Parameter(torch.empty(addresses.n_floats).uniform_(-bound, bound))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        arange = partial(torch.arange, device=features.device)
        indices, signs = self.addresses.of(features.long(), arange)
        floats = self.array.gather(0, indices.reshape(-1)).view(-1, self.dim)
        return floats * signs.repeat_interleave(self.addresses.chunk, -1)[:, : self.dim]

    def export(self) -> ROBELayout:
        """The array, and the addresses of vectors in it."""
        return ROBELayout(to_numpy(self.array), self.addresses)


@dataclass(frozen=True, eq=False)
class ROBELayout(Layout):
    """An array, and the addresses of vectors in it."""

    form = "circular-array"

    array: Floats = field(metadata=trained())
    """Shape (M,)."""
    addresses: ChunkAddresses = field(metadata=part())
