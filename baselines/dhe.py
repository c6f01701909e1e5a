"""Vectors computed by a network from hashes of the id, without a table."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Layout,
    Method,
    OneOf,
    to_numpy,
)
from pepbench.serve.hashing import CODE_BITS, box_muller, code_words, odd_multipliers
from pepbench.tables.layout import Floats, StoredFields, index, part, trained

from .hashing import HashSeed, drawn_seed

FEWEST_HASHES = 4
"""Two codes of 24 bits would distinguish all ids; a network needs a few more to learn from."""


@dataclass(frozen=True)
class DeepHash(Method):
    """Deep hash embedding (DHE): many hashes of the id are the input of a network.

    Kang, Cheng, Yao, Yi, Chen, Hong, Chi, "Learning to Embed Categorical Features without Embedding
    Tables for Recommendation", KDD 2021, arXiv 2010.10784. The encoding is fixed, and dense (§3.2,
    algorithms 2 and 3): K universal hashes of x, as real numbers in [−1, 1] (``codes="uniform"``),
    or pairs of them turned into normal ones by Box-Muller (``"gaussian"``). The decoder (§3.3) is a
    network with h hidden layers of width w, batch norm (BN) and Mish::

        z_0 = (g_1(x), …, g_K(x)),   z_l = mish(BN(W_l z_{l−1})),   v(x) = W z_h + b

    What is counted is what serving needs. There, BN is a fixed scale and shift, so it is folded
    into the layer before it: every layer is left with weights and a bias. (Training has one more
    number for each hidden unit, a scale that the weights then absorb.) The count is
    w(K + 1) + (h − 1) w(w + 1) + D(w + 1); the knob is w, the largest within B.

    Where we differ: the paper's K = 1024 leaves no width to networks of a few thousand parameters,
    so K is 4 w, and ``n_hashes`` at most; what is left over buys further hashes. There is no
    official code. The paper finds about five hidden layers best (§4.7); public code has five (Hetu)
    or three to five (recsys-benchmark), and a network for each large field, with plain rows for
    small ones. One network serves all fields here; it hashes global ids, which differ between
    fields, as a seed for each field would make them. BN sees each id of a batch once, since the
    network is computed once for each. The last layer starts such that vectors have mean zero and
    the variance of the uncompressed table. Expensive: every id costs a pass through the network.
    """

    name = "dhe"
    family = "factored"
    year = 2021
    version = 3

    n_hashes: Annotated[
        int,
        Between(FEWEST_HASHES, 65_536, tuned=False),
        "K, hash functions at most; fewer in networks narrower than K / 4",
    ] = 1024
    n_layers: Annotated[
        int, Between(2, 5, allow=(1, 16)), "h, the hidden layers, at most as many as fit"
    ] = 5
    codes: Annotated[
        str, OneOf("uniform", "gaussian"), "how hashes are distributed on the real line"
    ] = "uniform"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A network of the largest width within ``budget``; infeasible below width 1."""
        smallest = network_size(FEWEST_HASHES, 1, 1, dim)
        self.refuse_below(smallest, budget, f"width 1, {FEWEST_HASHES} hashes, 1 hidden layer")
        depth = self.n_layers
        while not (width := largest_width(self.n_hashes, depth, dim, budget)):
            depth -= 1
        more = (budget - network_size(0, width, depth, dim)) // width
        encoding = HashCodes(
            min(more, self.n_hashes), drawn_seed(self.hash_seed), self.codes == "gaussian"
        )
        return HashNetwork(encoding, width, depth, dim, fields.n_features)


def network_size(n_hashes: int, width: int, n_layers: int, dim: int) -> int:
    """Weights and biases of the network, batch norm folded in."""
    hidden = width * (n_hashes + 1) + (n_layers - 1) * width * (width + 1)
    return hidden + dim * (width + 1)


def largest_width(n_hashes: int, n_layers: int, dim: int, budget: int) -> int:
    """The largest w within ``budget``, with 4 w hashes but ``n_hashes`` at most; 0 if none fits.

    >>> largest_width(16, 2, 8, 400), network_size(16, 10, 2, 8)
    (10, 368)
    """

    def size(width: int) -> int:
        return network_size(min(4 * width, n_hashes), width, n_layers, dim)

    return bisect_right(range(1, budget + 1), budget, key=size)


@dataclass(frozen=True)
class HashCodes(StoredFields):
    """The K fixed functions of an id."""

    n_hashes: int
    seed: int = field(metadata=index("constants"))
    gaussian: bool = field(metadata=index("constants"))

    @cached_property
    def multipliers(self) -> NDArray[np.int64]:
        """Shape (K,): the odd constants of multiply-shift hashing."""
        return odd_multipliers(self.n_hashes, self.seed)


class HashNetwork(ComposedVectors):
    """Hash codes of an id, through the network.

    Parameters
    ----------
    encoding
        The hash functions.
    width, n_layers, dim
        w, h and D.
    n_features
        N, for the initial scale.
    """

    multipliers: Tensor
    unused_budget = "no wider network fits, and n_hashes is the most"

    def __init__(
        self, encoding: HashCodes, width: int, n_layers: int, dim: int, n_features: int
    ) -> None:
        super().__init__()
        self.dim, self.n_features = dim, n_features
        self.encoding = encoding
        multipliers = torch.from_numpy(encoding.multipliers)
        self.register_buffer("multipliers", multipliers, persistent=False)
        sizes = [encoding.n_hashes] + [width] * n_layers
        # The bias of a layer before batch norm would be without effect.
        self.layers = nn.ModuleList(nn.Linear(size, width, bias=False) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(n_layers))
        self.last = nn.Linear(width, dim)
        self._start_as_a_table(n_features)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        vectors: Tensor = self.last(self._hidden(features))
        return vectors

    def n_parameters(self) -> int:
        """Weights and biases that serving needs, batch norm folded in."""
        width = self.last.in_features
        return network_size(self.encoding.n_hashes, width, len(self.layers), self.dim)

    def export(self) -> NetworkLayout:
        """Folded weights and biases: W ← (γ/σ) W, b ← β − (γ/σ) μ."""
        weights, biases = [], []
        for layer, norm in self._hidden_layers():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weights.append(to_numpy(layer.weight * scale[:, None]))
            biases.append(to_numpy(norm.bias - scale * norm.running_mean))
        weights.append(to_numpy(self.last.weight))
        biases.append(to_numpy(self.last.bias))
        return NetworkLayout(tuple(weights), tuple(biases), self.encoding)

    def _hidden_layers(self) -> Iterator[tuple[nn.Linear, nn.BatchNorm1d]]:
        pairs = zip(self.layers, self.norms, strict=True)
        return cast(Iterator[tuple[nn.Linear, nn.BatchNorm1d]], pairs)

    def _hidden(self, ids: Tensor) -> Tensor:
        """The last hidden layer of distinct ids: (M,) → (M, w)."""
        words = code_words(ids.long(), self.multipliers)
        hidden = (words.to(self.last.weight.dtype) + 0.5) / 2 ** (CODE_BITS - 1)
        if self.encoding.gaussian:
            hidden = box_muller(hidden, torch)
        for layer, norm in self._hidden_layers():
            # A single id has no variance: it is seen as in evaluation.
            norm.train(self.training and len(ids) > 1)
            hidden = functional.mish(norm(layer(hidden)))
        return cast(Tensor, hidden)

    @torch.no_grad()
    def _start_as_a_table(self, n_features: int) -> None:
        sample = torch.arange(n_features)[:: max(1, n_features // 4096)]
        hidden = self._hidden(sample)
        vectors = (hidden - hidden.mean(0)) @ self.last.weight.T
        target = 2.0 / (n_features + self.dim)
        self.last.weight.mul_(math.sqrt(target / max(float(vectors.square().mean()), 1e-30)))
        self.last.bias.copy_(-(hidden.mean(0) @ self.last.weight.T))


@dataclass(frozen=True, eq=False)
class NetworkLayout(Layout):
    """A plain network on hash codes."""

    form = "hash-network"

    weights: tuple[Floats, ...] = field(metadata=trained("weight"))
    """Shapes (w, K), (w, w), …, (D, w)."""
    biases: tuple[Floats, ...] = field(metadata=trained("bias"))
    """Shapes (w,), …, (D,)."""
    encoding: HashCodes = field(metadata=part())
