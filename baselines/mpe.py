"""Bits by frequency: groups of features learn how many bits their numbers have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Fields,
    Fitted,
    Layout,
    Method,
    Model,
    RowTable,
    Task,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.packing import bits_needed, packed
from pepbench.tables.layout import Floats, Mixed
from pepbench.tables.quantised import Quantised, packed_integers

from .frequency import by_frequency
from .lsq import integers, quantise

BITS = (0, 1, 2, 3, 4, 5, 6)
"""Candidates; features of 0 bits have vectors of zeros."""


@dataclass(frozen=True)
class MixedPrecision(Method):
    """Mixed-precision embeddings (MPE): each group of features has bits as it needs.

    Li, Hu, Tang, Wang, Xu, Luo, Li, He, Li, "Mixed-Precision Embeddings for Large-Scale
    Recommendation Models", 2024, arXiv 2409.20305. Features are sorted by training frequency and
    cut into G groups of equal size. In a search, group g learns logits γ_g over the bits
    b ∈ {0, …, 6}, with p_g = softmax(γ_g / τ), and a feature's row e is seen as::

        v = Σ_b p_gb Q_b(e),    Q_b(e) = α_b · round(clip((e − β) / α_b, −2^(b−1), 2^(b−1) − 1)) + β

    Q_0 is 0. Each number of bits has a learnt step α_b, each column a learnt offset β; gradients
    are those of LSQ and LSQ+ (see ``lsq``). A penalty λ Σ_g Σ_b p_gb b / c_g pulls towards few
    bits, with c_g how often features of the group occur, relative to the rarest group. The search
    ends by early stopping. Each group then gets the most bits of those with p_gb ≥ 1 / (2 · 7), and
    training starts again from the initial rows, with steps, offsets and the backbone of the search.

    The table has N rows of width ⌊B / N⌋, as for ``uniform``; rows of 0 bits are not stored, so the
    count can stay below B: the note ``share_without_bits`` says by how much, ``mean_bits`` has the
    bits of a number on average over all N rows. Compare it over bytes. λ is ``bit_weight``;
    validation AUC alone, by which it is tuned, prefers more bits.

    Where we differ: the released code counts frequencies in all rows, test rows included; here it
    is in training rows. What is trained is log α_b, as in ``lsq``, without L2 and without a factor
    on its gradient. It has τ = 0.003, for groups of thousands of features. In small groups, bits
    then follow the noise of the first batches: on drawn data with 4 and 15 features a group, means
    of two seeds are 0.011 of validation AUC below those of the default; with 60 a group, they are
    the same (measured when L2 reached the logits, too). 0.003 is within the range that is tuned.
    """

    name = "mpe"
    family = "quantised"
    year = 2024
    version = 3

    bit_weight: Annotated[
        float,
        Between(1e-7, 1e-3, log=True, allow=(0.0, 1e6)),
        "λ, the weight of the penalty on bits",
    ] = 1e-5
    n_groups: Annotated[
        int, Between(1, 100_000, tuned=False), "G, at most; one feature a group if N is smaller"
    ] = 128
    temperature: Annotated[
        float, Between(3e-3, 0.3, log=True, allow=(1e-4, 10.0)), "τ of the softmax over bits"
    ] = 0.03

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Search, and training under the bits that it found."""
        return 2 * steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search bits by group, choose them, train again; infeasible below N."""
        table = self.search_table(task.fields, task.dim, budget)
        initial = table.table.detach().clone()
        model = task.model(table)
        task.train(model, phase="search")
        chosen = FixedBits(initial, table.chosen_bits(), table)
        fitted = task.train(Model(chosen, model.backbone).to(task.device))
        bits = chosen.bits_of.double()
        return fitted.with_notes(
            mean_bits=float(bits.mean()),
            share_without_bits=float((bits == 0).double().mean()),
        ).with_budget_note(task, budget)

    def search_table(self, fields: Fields, dim: int, budget: int) -> SoftBits:
        """The table of the search."""
        self.refuse_below(fields.n_features, budget, "one a feature")
        values = xavier_uniform(fields.n_features, min(dim, budget // fields.n_features))
        groups = frequency_groups(fields.frequencies, self.n_groups)
        counts = np.maximum(np.bincount(groups, fields.frequencies), 1.0)
        weights = self.bit_weight * counts.min() / counts
        return SoftBits(values, groups, weights, self.temperature)


def frequency_groups(frequencies: NDArray[np.integer], n_groups: int) -> NDArray[np.int64]:
    """Groups of equal size, the most frequent features first, ties at random: (N,) → (N,).

    >>> frequency_groups(np.array([5, 0, 9, 2]), 2).tolist()
    [0, 1, 0, 1]
    """
    size = -(-len(frequencies) // n_groups)
    groups = np.empty(len(frequencies), dtype=np.int64)
    groups[by_frequency(frequencies)] = np.arange(len(frequencies)) // size
    return groups


class BitMixture(ComposedVectors):
    """Rows as mixtures of what they are at each number of bits.

    Parameters
    ----------
    values
        Shape (N, w): initial values.
    log_steps
        Shape (7,): log α_b; that of 0 bits has no effect.
    offsets
        Shape (w,): β.
    candidates
        Numbers of bits above 0 that any row may have.
    """

    def __init__(
        self, values: Tensor, log_steps: Tensor, offsets: Tensor, candidates: Sequence[int]
    ) -> None:
        super().__init__()
        self.candidates = candidates
        self.n_features, self.dim = values.shape
        self.table = RowTable(values)
        self.log_steps = nn.Parameter(log_steps)
        self.offsets = nn.Parameter(offsets)

    def shares(self, features: Tensor) -> Tensor:
        """The share of each number of bits in the rows of features: (M,) → (M, 7)."""
        raise NotImplementedError

    def vectors(self, features: Tensor) -> Tensor:
        """Mixtures for distinct features: (M,) → (M, w)."""
        shares, steps = self.shares(features), self.log_steps.exp()
        centred = lookup_rows(self.table, features) - self.offsets
        total = torch.zeros_like(centred)
        for bits in self.candidates:
            rounded = quantise(centred, steps[bits], bits) + self.offsets
            total = total + shares[:, bits, None] * rounded
        return total

    def decays(self) -> dict[nn.Parameter, float]:
        """L2 on the rows alone, as in the released code."""
        return {self.log_steps: 0.0, self.offsets: 0.0}


class SoftBits(BitMixture):
    """The table of the search.

    Parameters
    ----------
    values
        Shape (N, w): initial values.
    groups
        Shape (N,): the group of each feature.
    weights
        Shape (G,): of the penalty on a group's bits, λ / c_g.
    temperature
        τ.
    """

    group_of: Tensor
    """Shape (N,)."""
    weights: Tensor
    """Shape (G,)."""

    def __init__(
        self, values: Tensor, groups: NDArray[np.int64], weights: Floats, temperature: float
    ) -> None:
        mean = values.abs().mean()
        # The released code takes 2^(b − 1), one more than LSQ's Q_P.
        steps = torch.stack([2 * mean / 2 ** (max(bits - 1, 0) / 2) for bits in BITS])
        super().__init__(values, steps.log(), values.new_zeros(values.shape[1]), BITS[1:])
        self.temperature = temperature
        self.logits = nn.Parameter(values.new_zeros(len(weights), len(BITS)))
        self.register_buffer("group_of", torch.from_numpy(groups), persistent=False)
        self.register_buffer("weights", torch.from_numpy(weights).to(values), persistent=False)

    def decays(self) -> dict[nn.Parameter, float]:
        """No L2 on the logits either, which it would pull towards equal probabilities."""
        return {**super().decays(), self.logits: 0.0}

    def probabilities(self) -> Tensor:
        """Of each number of bits, by group: (G, 7)."""
        return torch.softmax(self.logits / self.temperature, dim=1)

    def shares(self, features: Tensor) -> Tensor:
        """Probabilities of the features' groups: (M,) → (M, 7)."""
        return self.probabilities()[self.group_of[features]]

    def penalty(self) -> Tensor:
        """Expected bits of the groups, weighted."""
        expected = self.probabilities() @ self.logits.new_tensor(BITS)
        return (self.weights * expected).sum()

    def chosen_bits(self) -> Tensor:
        """The most bits of those with half of an equal share, by feature: (N,)."""
        likely = self.probabilities() >= 1 / (2 * len(BITS))
        by_group = (likely * torch.tensor(BITS, device=likely.device)).amax(dim=1)
        return by_group[self.group_of]

    def export(self) -> Layout:
        """Not possible: a mixture is not stored."""
        raise NotImplementedError("mpe: the mixture of the search cannot be stored")


class FixedBits(BitMixture):
    """A table of which each row has a fixed number of bits.

    Parameters
    ----------
    values
        Shape (N, w): initial values.
    bits_of
        Shape (N,): the bits of each feature.
    search
        The table whose steps and offsets it starts from.
    """

    bits_of: Tensor
    unused_budget = "rows of 0 bits are not stored; widths are whole"

    def __init__(self, values: Tensor, bits_of: Tensor, search: SoftBits) -> None:
        used = sorted({bits for bits in bits_of.tolist() if bits})
        log_steps, offsets = search.log_steps.detach().clone(), search.offsets.detach().clone()
        super().__init__(values, log_steps, offsets, used)
        self.register_buffer("bits_of", bits_of)

    def shares(self, features: Tensor) -> Tensor:
        """One for the row's number of bits, else zero: (M,) → (M, 7)."""
        return nn.functional.one_hot(self.bits_of[features], len(BITS)).to(self.table.dtype)

    def n_parameters(self) -> int:
        """Numbers of the rows that have bits: steps and offsets are part of how they are stored."""
        return int((self.bits_of > 0).sum()) * self.dim

    @torch.no_grad()
    def export(self) -> Quantised:
        """A table of packed integers for each number of bits that is in use."""
        bits_of, steps, offsets = self.bits_of.cpu().numpy(), self.log_steps.exp(), self.offsets
        used = np.unique(bits_of)
        tables, numbers = [], {}
        for block, bits in enumerate(used.tolist()):
            rows = self.table[self.bits_of == bits]
            if bits == 0:
                tables.append(to_numpy(rows[:, :0]))
                continue
            codes = to_numpy(integers(rows - offsets, steps[bits], bits))
            step = to_numpy(steps[bits : bits + 1])
            stored = packed_integers(codes, bits, step, offsets=to_numpy(offsets))
            tables.append(stored.whole())
            numbers[f"table_{block}"] = stored
        block_of_feature = np.searchsorted(used, bits_of)
        layout = BlocksByBits(tuple(tables), (None,) * len(used), block_of_feature, self.dim)
        return Quantised.from_numbers(layout, numbers)


@dataclass(frozen=True, eq=False)
class BlocksByBits(Mixed):
    """One block for each number of bits in use; features have their block's number in few bits."""

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Packed numbers of blocks."""
        if len(self.tables) == 1:
            return super().structure()
        bits = bits_needed(np.array([len(self.tables)]))
        return {
            "block_codes": packed(
                self.block_of_feature, np.broadcast_to(bits, self.block_of_feature.shape)
            )
        }
