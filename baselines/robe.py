"""Vectors read from one circular array, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Infeasible,
    Layout,
    Method,
    OneOf,
    to_numpy,
)
from pepbench.serve.hashing import Ints, hashed, signs
from pepbench.tables.layout import Floats

from .hashing import drawn_seed


@dataclass(frozen=True)
class ROBE(Method):
    """All features of all fields read their chunks from one array, at hashed places.

    Desai, Chou, Shrivastava, "Random Offset Block Embedding (ROBE) for Compressed Embedding
    Tables in Deep Learning Recommendation Systems", MLSys 2022, arXiv 2108.02191. The array A has
    M floats. Dimension i of the vector of x is in its chunk c = ⌊i / Z⌋::

        v(x)_i = g(x, c) · A[(h(x, c) + i mod Z) mod M]

    with h hashed to {0, …, M − 1} and g to {−1, 1}; a chunk that reaches the end goes on at the
    beginning. The count is exactly M. The knob is M = B.

    Where we differ: one sign for a chunk. If Z does not divide D, the last chunk is shorter; Z
    beyond D is D. Under D floats no vector could have D different numbers, so that D is the
    smallest size.
    """

    name = "robe"
    family = "hashing"
    year = 2022
    version = 2

    chunk: Annotated[
        int, OneOf(1, 2, 4, 8, 16, 32, 64, 128), "Z, neighbours in the array; at most D"
    ] = 8
    hash_seed: Annotated[
        int,
        Between(-1, 2**31 - 1, tuned=False),
        "which hash functions of the family; -1: drawn by each seed",
    ] = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """An array of ``budget`` floats; infeasible under D."""
        if budget < dim:
            raise Infeasible(f"robe: smallest possible is {dim} parameters, {budget} allowed")
        places = ChunkAddresses(budget, min(self.chunk, dim), dim, drawn_seed(self.hash_seed))
        return CircularArray(places, fields.n_features)


@dataclass(frozen=True)
class ChunkAddresses:
    """All that must be known to find a vector in the array."""

    n_floats: int
    """M."""
    chunk: int
    """Z."""
    dim: int
    seed: int

    @property
    def n_chunks(self) -> int:
        """Of a vector: ⌈D / Z⌉."""
        return -(-self.dim // self.chunk)

    def starts_of(self, chunks: Ints) -> Ints:
        """h: where chunks of any shape, numbered x·⌈D/Z⌉ + c, start."""
        return hashed(chunks, self.n_floats, self.seed, 0)

    def signs_of(self, chunks: Ints) -> Ints:
        """g: −1 or 1."""
        return signs(chunks, self.seed, 1)


class CircularArray(ComposedVectors):
    """v(x)_i = g(x, c) · A[(h(x, c) + i mod Z) mod M].

    The hashes are computed for each batch: places of all N features could take more memory than
    the full table.

    Parameters
    ----------
    places
        h, g, and the sizes of array and vectors.
    n_features
        N.
    """

    def __init__(self, places: ChunkAddresses, n_features: int) -> None:
        super().__init__()
        self.dim = places.dim
        self.places = places
        self.n_features = n_features
        bound = (6.0 / (n_features + places.dim)) ** 0.5
        # Not a RowTable: rows of one float cost a lazy optimizer three times what dense Adam does.
        self.array = nn.Parameter(torch.empty(places.n_floats).uniform_(-bound, bound))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        places = self.places
        numbers = torch.arange(places.n_chunks, device=features.device)
        chunks = features.long().unsqueeze(-1) * places.n_chunks + numbers
        within = torch.arange(places.chunk, device=features.device)
        indices = (places.starts_of(chunks).unsqueeze(-1) + within) % places.n_floats
        # (M, C, Z), of which the last chunk may be too long.
        indices = indices.flatten(-2)[:, : self.dim]
        factors = places.signs_of(chunks).repeat_interleave(places.chunk, -1)[:, : self.dim]
        floats = self.array.gather(0, indices.reshape(-1)).view(-1, self.dim)
        return floats * factors

    def export(self) -> ROBELayout:
        """The array, and the constants that find vectors in it."""
        return ROBELayout(to_numpy(self.array), self.places)


@dataclass(frozen=True, eq=False)
class ROBELayout(Layout):
    """An array, and the constants of the hashes into it."""

    form = "circular-array"

    array: Floats
    """Shape (M,)."""
    places: ChunkAddresses

    def values(self) -> Mapping[str, Floats]:
        """The array."""
        return {"array": self.array}

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Z, D and the seed."""
        places = self.places
        return {"constants": np.array([places.chunk, places.dim, places.seed], dtype=np.uint32)}
