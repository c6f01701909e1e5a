"""Modules that take the place of ``torch.nn.Embedding`` and ``torch.nn.EmbeddingBag``."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook

from pepbench.errors import PepbenchError


class CompressError(PepbenchError, ValueError):
    """A model or an argument that :mod:`pepbench.nn` cannot use; says what to change."""


@dataclass(frozen=True)
class Settings:
    """The arguments of ``torch.nn.Embedding`` and ``torch.nn.EmbeddingBag``."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False
    mode: str | None = None
    """How a bag is pooled; None outside of bags."""
    include_last_offset: bool = False

    def __post_init__(self) -> None:
        """Refuse values that torch would refuse, some of them only when ids are looked up."""
        if self.mode not in (None, "sum", "mean", "max"):
            raise CompressError(f"mode={self.mode!r} is none of sum, mean, max")
        if self.padding_idx is not None and not 0 <= self.padding_idx < self.num_embeddings:
            raise CompressError(
                f"padding_idx={self.padding_idx} is no row of {self.num_embeddings}"
            )

    @classmethod
    def of(cls, module: nn.Module) -> Settings:
        """Those of a module of torch."""
        named = {f.name: getattr(module, f.name) for f in fields(cls) if hasattr(module, f.name)}
        return cls(**named)

    def refuse_special_gradients(self, name: str, method: str) -> None:
        """Refuse what only a table of rows has: ``max_norm``, and gradients by row."""
        for option, value in (
            ("max_norm", self.max_norm is not None),
            ("scale_grad_by_freq", self.scale_grad_by_freq),
            ("sparse", self.sparse),
        ):
            if value:
                raise CompressError(
                    f"{name}: {method} does not support {option}={getattr(self, option)}; "
                    "leave it out, or use method='magnitude', which does"
                )


class DropIn(nn.Module):
    """Base of the modules here: looks ids up as torch does, from :meth:`vectors`.

    ``input`` of any shape (…) → (…, D); with a ``mode``, bags as in ``torch.nn.EmbeddingBag``:
    (B, L), or (V,) with ``offsets`` (B,) → (B, D).
    """

    method: str
    """The method that made it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.num_embeddings, self.embedding_dim = settings.num_embeddings, settings.embedding_dim
        self.padding_idx, self.mode = settings.padding_idx, settings.mode

    @abstractmethod
    def vectors(self, ids: Tensor) -> Tensor:
        """Vectors of some ids: (V,) → (V, D)."""

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Vectors of ids, or of bags of ids."""
        if input.is_floating_point() or input.dtype == torch.bool:
            raise CompressError(f"ids are {input.dtype}; give whole numbers: ids.long()")
        ids = input.long()
        vectors = self.vectors(ids.reshape(-1))
        if self.mode is not None:
            return pooled(vectors, ids, offsets, per_sample_weights, self.settings)
        if offsets is not None or per_sample_weights is not None:
            raise CompressError("offsets and per_sample_weights are for EmbeddingBag only")
        return vectors.view(*ids.shape, self.embedding_dim)

    def extra_repr(self) -> str:
        """Sizes and method."""
        return f"{self.num_embeddings}, {self.embedding_dim}, method={self.method!r}"


def pooled(
    vectors: Tensor, ids: Tensor, offsets: Tensor | None, weights: Tensor | None, settings: Settings
) -> Tensor:
    """Bags of vectors (V, D) of ``ids`` (V,) or (B, L), pooled by torch: → (B, D)."""
    last = ids.numel()
    positions = torch.arange(last, device=ids.device).view_as(ids)
    padding = None
    if settings.padding_idx is not None or not last:
        vectors = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
    if settings.padding_idx is not None:
        positions, padding = positions.masked_fill(ids == settings.padding_idx, last), last
    return functional.embedding_bag(
        positions,
        vectors,
        offsets,
        mode=cast(str, settings.mode),
        per_sample_weights=None if weights is None else weights.to(vectors.dtype),
        include_last_offset=settings.include_last_offset,
        padding_idx=padding,
    )


class Computed(DropIn):
    """Base of modules whose vectors are no parameter."""

    @property
    def weight(self) -> Tensor:
        """The whole table as it is served, (N, D), with gradients."""
        device, training = next(self.parameters()).device, self.training
        # Networks that make vectors may normalise by batch in training.
        try:
            return self.eval().vectors(torch.arange(self.num_embeddings, device=device))
        finally:
            self.train(training)


class MaskedEmbedding(DropIn):
    """A table of which only the entries under a mask are used and trained; the others are zero.

    They get no gradient, and are set to zero after each step of an optimizer that moves them all
    the same, by a momentum from before the pruning.

    Parameters
    ----------
    weight
        Shape (N, D). A parameter is used as it is, so that its optimizer goes on with it.
    mask
        Shape (N, D), boolean: the entries to keep.
    settings
        As in torch; all are honoured.
    """

    weight: nn.Parameter
    mask: Tensor

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor,
        settings: Settings | None = None,
        method: str = "magnitude",
    ) -> None:
        if mask.shape != weight.shape or mask.dtype != torch.bool or weight.ndim != 2:
            raise CompressError(
                f"mask is {mask.dtype} {tuple(mask.shape)}; give torch.bool of the table's shape "
                f"(N, D), {tuple(weight.shape)}"
            )
        super().__init__(settings or Settings(*weight.shape))
        self.method = method
        own = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.detach().clone())
        self.register_parameter("weight", own)
        self.register_buffer("mask", mask.to(weight.device))
        self.clear()
        _watch(self)

    def vectors(self, ids: Tensor) -> Tensor:
        """Vectors of some ids: (V,) → (V, D)."""
        given = self.settings
        rows = functional.embedding(
            ids,
            self.weight,
            given.padding_idx,
            given.max_norm,
            given.norm_type,
            given.scale_grad_by_freq,
            given.sparse,
        )
        return torch.where(self.mask[ids], rows, 0.0)

    @torch.no_grad()
    def clear(self, rows: Tensor | None = None) -> None:
        """Set the entries outside of the mask to zero: all of them, or those of some rows (M,)."""
        if rows is None:
            self.weight.masked_fill_(~self.mask, 0.0)
        else:
            self.weight[rows] = torch.where(self.mask[rows], self.weight[rows], 0.0)

    def n_parameters(self) -> int:
        """Entries under the mask."""
        return int(self.mask.sum())

    def values_and_mask(self) -> tuple[Tensor, Tensor]:
        """The table and its mask, (N, D) each."""
        return self.weight.detach(), self.mask

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        _watch(self)


_MASKED: weakref.WeakSet[MaskedEmbedding] = weakref.WeakSet()


def _watch(module: MaskedEmbedding) -> None:
    """Clear ``module`` after each step of an optimizer that has its weight."""
    if not _HOOKS:
        _HOOKS.append(register_optimizer_step_post_hook(_clear_masked))
    _MASKED.add(module)


def _clear_masked(optimizer: torch.optim.Optimizer, *_: object) -> None:
    masked = {id(module.weight): module for module in _MASKED}
    for group in optimizer.param_groups if masked else ():
        for parameter in group["params"]:
            if (module := masked.get(id(parameter))) is not None:
                gradient = parameter.grad
                # A momentum moves rows of earlier gradients too.
                by_rows = gradient is not None and gradient.is_sparse and not group.get("momentum")
                module.clear(gradient._indices()[0] if by_rows else None)


_HOOKS: list[object] = []


def refuse_bare_table(names: Collection[str]) -> None:
    """Refuse a model that is itself one of the tables to replace, by their names."""
    if "" in names:
        raise CompressError(
            "the model is itself a table, which cannot be replaced in place; put it into a module"
        )


def replace_modules(model: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Replace modules within ``model``, by ``id``, wherever they are registered."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in new:
                parent._modules[name] = new[id(child)]
