"""PEP in a user's own model: a table that learns thresholds, and the end of its search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pepbench.method import largest_entries, xavier_uniform
from pepbench.nn.modules import (
    CompressError,
    Computed,
    MaskedEmbedding,
    Settings,
)
from pepbench.pep import soft_threshold, threshold_shape
from pepbench.units import Budget

Start = Literal["initial", "searched"]
"""Values that training goes on from: those before the search, or those that it found."""

GRANULARITIES = ("feature_dim", "dimension", "feature", "global")


class PEPEmbedding(Computed):
    """An embedding that learns which of its entries are needed; a drop-in for ``nn.Embedding``.

    Liu, Gao, Chen, Jin, Li, "Learnable Embedding Sizes for Recommender Systems", ICLR 2021, arXiv
    2101.07577. Vectors are rows of V̂ = sign(V) · relu(|V| − σ(s)) (eq. 8) with trained thresholds
    s. Train until :meth:`reached`, take the :meth:`pruned` table, and train again::

        model.items = PEPEmbedding(10_000, 16, search_steps=5_000)
        train(model, until=lambda: model.items.reached("5%"))
        model.items = model.items.pruned("5%")
        train(model)

    Parameters
    ----------
    num_embeddings, embedding_dim, padding_idx
        N, D, and an id that gets no gradient, as in torch.
    granularity
        What shares one threshold: ``feature_dim``, ``dimension``, ``feature`` or ``global``.
    init
        Initial s.
    search_steps
        None is the paper's search: the optimizer moves s, and needs weight decay for it (Adam with
        L2 raises s by its learning rate in each step). With a number, s rises from ``init`` to
        ``target`` in so many steps whatever the optimizer, and what the optimizer adds is learnt. A
        step is a call in training: a table that is called twice for each batch takes two.
    target
        Where s rises to with ``search_steps``.
    values
        Shape (N, D): initial V. Xavier-uniform by default.
    mode, include_last_offset
        Of ``nn.EmbeddingBag``; None is ``nn.Embedding``.

    Examples
    --------
    >>> embedding = PEPEmbedding(100, 8)
    >>> embedding(torch.tensor([[1, 2, 3]])).shape, embedding.reached("50%")
    (torch.Size([1, 3, 8]), False)
    >>> embedding.pruned("50%").n_parameters()
    400
    """

    method = "pep"
    initial: Tensor
    step: Tensor
    """Calls in training so far."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        granularity: str = "feature_dim",
        init: float | None = None,
        search_steps: int | None = None,
        target: float = 5.0,
        values: Tensor | None = None,
        mode: str | None = None,
        include_last_offset: bool = False,
    ) -> None:
        if granularity not in GRANULARITIES:
            raise CompressError(
                f"granularity={granularity!r} is none of {', '.join(GRANULARITIES)}; a table is "
                "one field, so that 'field' is 'global' and 'field_dim' is 'dimension'"
            )
        if search_steps is not None and not (
            isinstance(search_steps, Integral) and search_steps >= 1
        ):
            raise CompressError(f"search_steps={search_steps!r} is no whole number of at least 1")
        for name, value in (("init", 0.0 if init is None else init), ("target", target)):
            if not (isinstance(value, Real) and math.isfinite(value)):
                raise CompressError(f"{name}={value!r} is no finite number")
        if padding_idx is not None and padding_idx < 0:
            padding_idx += num_embeddings
        shape = num_embeddings, embedding_dim
        if values is not None and tuple(values.shape) != shape:
            raise CompressError(f"values are {tuple(values.shape)}, and the table is {shape}")
        super().__init__(
            Settings(*shape, padding_idx, mode=mode, include_last_offset=include_last_offset)
        )
        drawn = xavier_uniform(*shape) if values is None else values.detach().clone()
        if values is None and padding_idx is not None:
            drawn[padding_idx] = 0.0
        start = init if init is not None else -15.0 if search_steps is None else -8.0
        self.granularity, self.init, self.target = granularity, start, target
        self.search_steps = search_steps
        self.values = nn.Parameter(drawn)
        raw = start if search_steps is None else 0.0
        self.raw = nn.Parameter(
            torch.full(threshold_shape(granularity, num_embeddings, 1, embedding_dim), raw).to(
                drawn
            )
        )
        self.register_buffer("initial", drawn.clone())
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=drawn.device))

    def vectors(self, ids: Tensor) -> Tensor:
        """Rows of V̂: (V,) → (V, D)."""
        values = functional.embedding(ids, self.values, self.padding_idx)
        by_feature = self.granularity in ("feature", "feature_dim")
        raw = functional.embedding(ids, self.raw) if by_feature else self.raw
        return soft_threshold(values, self._gate(raw))

    def _gate(self, raw: Tensor) -> Tensor:
        if self.search_steps is None:
            return torch.sigmoid(raw)
        share = (self.step / self.search_steps).clamp(max=1.0)
        return torch.sigmoid(raw + (self.init + (self.target - self.init) * share).to(raw.dtype))

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Vectors of ids, or of bags of ids; in training, a step of the thresholds' schedule."""
        if self.training and self.search_steps is not None:
            self.step += 1
        return super().forward(input, offsets, per_sample_weights)

    @torch.no_grad()
    def margins(self) -> Tensor:
        """|V| − σ(s), (N, D): above zero where V̂ is not zero."""
        return self.values.abs() - self._gate(self.raw)

    def n_parameters(self) -> int:
        """Non-zeros of V̂."""
        return int((self.margins() > 0).sum())

    def sparsity(self) -> float:
        """Share of entries of V̂ that are zero."""
        return 1.0 - self.n_parameters() / self.values.numel()

    def reached(self, budget: str | int) -> bool:
        """Whether at most ``budget`` entries are left: ``"5%"``, ``"50k"``, ``"2MB"``, or 50000."""
        return reached(self, budget)

    def pruned(self, budget: str | int, values: Start = "initial") -> MaskedEmbedding:
        """The table of exactly ``budget`` entries, those of the largest |V| − σ(s).

        Parameters
        ----------
        budget
            A share of the full table, or a number of parameters.
        values
            ``"initial"``, as in the paper (§4.2), or those that the search found.
        """
        (mask,) = masks_within([self.margins()], parameters_of(budget, self.values.numel()))
        return self.masked(mask, values)

    def masked(self, mask: Tensor, values: Start) -> MaskedEmbedding:
        """The table under a mask (N, D)."""
        if values not in ("initial", "searched"):
            raise CompressError(f"values={values!r} is neither 'initial' nor 'searched'")
        table = self.initial if values == "initial" else self.weight.detach()
        return MaskedEmbedding(table, mask, self.settings, self.method).train(self.training)

    def values_and_mask(self) -> tuple[Tensor, Tensor]:
        """V̂ and its non-zeros, (N, D) each."""
        table = self.weight.detach()
        return table, table != 0


def masks_within(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Masks of the ``count`` largest entries over all tables, of their shapes."""
    device = scores[0].device
    flat = torch.cat([score.reshape(-1).to(device) for score in scores])
    masks = torch.split(largest_entries(flat, count), [score.numel() for score in scores])
    return [m.view_as(s).to(s.device) for m, s in zip(masks, scores, strict=True)]


def parameters_of(budget: str | int, full: int) -> int:
    """The number of parameters that a budget allows of ``full``."""
    if isinstance(budget, bool) or not isinstance(budget, str | Integral):
        raise CompressError(f"budget={budget!r}: write a text such as '5%', or a whole number")
    return Budget(str(budget)).parameters(full)


def searched(model: nn.Module) -> dict[str, PEPEmbedding]:
    """The tables under search, by name; refuses a model without any."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, PEPEmbedding)}
    if not found:
        raise CompressError("the model has no PEPEmbedding; compress(model, …, method='pep') first")
    return found


def reached(model: nn.Module, budget: str | int) -> bool:
    """Whether the PEP tables of a model have at most ``budget`` entries left, in all."""
    tables = searched(model).values()
    allowed = parameters_of(budget, sum(table.values.numel() for table in tables))
    return sum(table.n_parameters() for table in tables) <= allowed
