"""Modules that take the place of ``torch.nn.Embedding`` and ``torch.nn.EmbeddingBag``."""

from __future__ import annotations

import weakref
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from pepbench.errors import PepbenchError
from pepbench.method import Embedding, Fields, Method


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
    positions = torch.arange(ids.numel(), device=ids.device).view_as(ids)
    padding = settings.padding_idx
    if padding is not None or not ids.numel():
        vectors = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
    if padding is not None:
        positions = positions.masked_fill(ids == padding, padding := ids.numel())
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


_MASKED: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _watch(module: MaskedEmbedding) -> None:
    """Let ``module`` be cleared after each step of an optimizer that has its weight."""
    if not _HOOKS:
        _HOOKS.append(register_optimizer_step_post_hook(_clear_masked))
    _MASKED[module.weight] = weakref.ref(module)


def _clear_masked(optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            reference = _MASKED.get(parameter)  # type: ignore[no-untyped-call]
            if reference is not None and (module := reference()) is not None:
                gradient = parameter.grad
                sparse = gradient is not None and gradient.is_sparse
                module.clear(gradient._indices()[0] if sparse else None)


_HOOKS: list[object] = []


class Tables(nn.Module):
    """The tables of one width of a model, made by a method whose shape is fixed beforehand.

    The random choices of the method follow from ``seed``, which the ``state_dict`` holds: loading
    one restores the hash functions that its values were trained with.

    Parameters
    ----------
    method, fields, dim, budget
        What :meth:`pepbench.method.Method.embedding` is given; a field is a table of the model.
    seed
        Of initial values and hash functions.
    """

    def __init__(self, method: Method, fields: Fields, dim: int, budget: int, seed: int) -> None:
        super().__init__()
        self.method, self.fields, self.dim, self.budget = method, fields, dim, budget
        self.seed = seed
        self.table = self._built(seed)

    def _built(self, seed: int) -> Embedding:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            table = self.method.embedding(self.fields, self.dim, self.budget)
        if table.dim != self.dim:
            raise CompressError(
                f"{self.method.name} makes vectors {table.dim} wide, the model needs {self.dim}; "
                "use a method that projects or pads, such as low-rank or mde"
            )
        self.checksum = checksum_of_structure(table)
        return table

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids over all tables: (V,) → (V, D)."""
        vectors: Tensor = self.table(ids[:, None])
        return vectors.squeeze(1)

    def get_extra_state(self) -> Tensor:
        """The seed, and a checksum of what follows from it."""
        return torch.tensor([self.seed, self.checksum])

    def set_extra_state(self, state: Tensor) -> None:
        """Make the table anew for another seed; parameters of the same shape stay the same objects.

        Raises
        ------
        CompressError
            If the state is of another method, budget or frequencies.
        """
        seed, checksum = state.tolist()
        if (seed, checksum) == (self.seed, self.checksum):
            return
        old = dict(self.table.named_parameters())
        first = next(iter(old.values()))
        table = self._built(seed).to(first)
        if self.checksum != checksum:
            raise CompressError(
                "the state_dict is of tables with another method, budget or frequencies than "
                f"{self.method.name} with {self.budget} parameters; compress the model as it was"
            )
        for name, parameter in table.named_parameters():
            if name in old and old[name].shape == parameter.shape:
                owner, _, last = name.rpartition(".")
                table.get_submodule(owner).register_parameter(last, old[name])
        self.seed, self.table = seed, table


def checksum_of_structure(table: Embedding) -> int:
    """A checksum of everything in a stored table that is not trained: hashes, sizes, masks."""
    layout = table.export()
    parts = {name: array.shape for name, array in layout.values().items()}
    checksum = zlib.crc32(repr((parts, layout.constants())).encode())
    for array in layout.structure().values():
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return checksum


class CompressedEmbedding(Computed):
    """One table of a model, as a field of :class:`Tables`.

    The vector of ``padding_idx`` is zero and gets no gradient.

    Parameters
    ----------
    tables
        Shared with the other tables of this width.
    field
        Which of them.
    settings
        As in torch.
    """

    offset: Tensor

    def __init__(self, tables: Tables, field: int, settings: Settings) -> None:
        super().__init__(settings)
        self.method = tables.method.name
        self.tables = tables
        offset = torch.tensor([int(tables.fields.offsets[field])])
        self.register_buffer("offset", offset, persistent=False)

    def vectors(self, ids: Tensor) -> Tensor:
        """Vectors of some ids: (V,) → (V, D)."""
        if not ids.numel():
            return next(self.parameters()).new_zeros(0, self.embedding_dim)
        # Refuses ids out of range as torch does, which may be rows of another table.
        offsets = self.offset.expand(self.num_embeddings).index_select(0, ids)
        vectors: Tensor = self.tables(ids + offsets)
        if self.padding_idx is None:
            return vectors
        return vectors.masked_fill((ids == self.padding_idx)[:, None], 0.0)


def replace_modules(model: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Replace modules within ``model``, by ``id``, wherever they are registered.

    Raises
    ------
    CompressError
        If the model itself is to be replaced.
    """
    if id(model) in new:
        raise CompressError(
            "the model is itself a table, which cannot be replaced in place; put it into a module"
        )
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in new:
                parent._modules[name] = new[id(child)]
