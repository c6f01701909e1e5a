"""Own rows for the features with the largest gradients, updated during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Embedding,
    Fields,
    Layout,
    Method,
    View,
    lookup,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.addresses import FieldRows
from pepbench.tables.layout import Floats, part, trained

from .hashing import HashSeed, hashed_rows


@dataclass(frozen=True)
class Cafe(Method):
    """Features that currently receive large gradients own a row; the others share hashed ones.

    Zhang, Liu, Chen, Zhao, Zhao, Yang, Cui, "CAFE: Towards Compact, Adaptive, and Fast
    Embedding for Large-scale Recommendation Models", SIGMOD 2024, arXiv 2312.03256. The
    importance of a feature is the sum of the norms of the gradients that its vector received,
    decayed from time to time::

        s(x) ← s(x) + ‖∂L/∂v(x)‖₂ at every lookup,   s ← ``decay`` · s at every migration

    Every ``migrate_every`` steps the features of largest s become the hot ones. One that enters
    starts its row from the hashed row that it had; one that leaves goes back to the hashed row,
    and its own is lost. The count is hot·D + m·D, whether or not all rows are in use. The knob is
    the number of rows ⌊B / D⌋, of which ``hot_share`` are for hot features and the others are
    distributed among the fields as m_i = min(n_i, c). Features of fields that are not hashed have
    their own rows anyway, and never become hot. Which feature owns which row costs bytes.

    Where we differ: the paper keeps s of the most important features only, in a sketch of few
    buckets (HotSketch), in which features may displace each other. We keep s of all features:
    N numbers that are needed while training, not for serving, and are not counted. It is what the
    sketch approximates. Hot are a fixed number of features, those of largest s. In the released
    code a feature becomes hot when its s passes a threshold that the user sets (500), while rows
    are free, and cools down only when a decay takes it below; the norms of a batch are divided by
    their mean in each field first. There is no second hash table for features of middling
    importance. Adam's moments of a row pass to its next owner.
    """

    name = "cafe"
    family = "hashing"
    notes_training_bytes = True
    year = 2024
    version = 3

    hot_share: Annotated[
        float, Between(0.1, 0.9, allow=(0.0, 1.0)), "share of the rows that hot features own"
    ] = 0.5
    decay: Annotated[
        float, Between(0.5, 1.0, allow=(0.0, 1.0)), "of importances, at every migration"
    ] = 0.98
    migrate_every: Annotated[
        int, Between(1, 10**6, tuned=False), "steps from one migration to the next"
    ] = 20
    hash_seed: HashSeed = -1

    def unread(self) -> tuple[str, ...]:
        """Importances decide nothing where no row is for hot features."""
        return () if self.hot_share else ("decay",)

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """⌊budget / D⌋ rows; infeasible below one shared row per field."""
        n_rows = min(budget // dim, fields.n_features)
        self.refuse_below(fields.n_fields * dim, budget, "one shared row a field")
        n_hot = min(round(self.hot_share * n_rows), n_rows - fields.n_fields)
        shared = hashed_rows(fields, n_rows - n_hot, self.hash_seed)
        return HotTable(shared, n_hot, dim, self.decay, self.migrate_every)


class HotTable(Embedding):
    """One table: rows of hot features, then shared ones.

    Parameters
    ----------
    shared
        The row of each feature while it is not hot.
    n_hot
        Features that own a row, at most; none do at first.
    dim
        D.
    decay, migrate_every
        Of importances, and steps between migrations.
    """

    row: Tensor
    """Shape (N,): the row of each feature at present."""
    shared_row: Tensor
    """Shape (N,): its row while it is not hot."""
    owner: Tensor
    """Shape (n_hot,): the feature that owns each row, −1 where it is free."""
    importance: Tensor
    """Shape (N,): s."""
    hashed: Tensor
    """Shape (N,): whether the feature shares its row while it is not hot."""

    def __init__(
        self, shared: FieldRows, n_hot: int, dim: int, decay: float, migrate_every: int
    ) -> None:
        super().__init__()
        self.dim = dim
        self.shared = shared
        self.decay, self.migrate_every = decay, migrate_every
        n_features = shared.n_features
        shared_row = n_hot + torch.from_numpy(shared.rows_of(np.arange(n_features)))
        self.register_buffer("shared_row", shared_row, persistent=False)
        self.register_buffer("row", shared_row.clone())
        self.register_buffer("owner", torch.full((n_hot,), -1))
        self.register_buffer("importance", torch.zeros(n_features))
        hashed = np.repeat(shared.rows < shared.cardinalities, shared.cardinalities)
        self.register_buffer("hashed", torch.from_numpy(hashed), persistent=False)
        # Not a row table: migrations write rows, which a lazy optimizer would not know of.
        self.table = nn.Parameter(xavier_uniform(n_hot + shared.n_rows, dim, fan=n_features))
        self._steps = 0
        self._looked_up = False

    def as_table(self, ids: Tensor) -> View | None:
        """The table in evaluation; training must see the gradients of the vectors."""
        return None if self.training else View(self.table, self.row[ids], None)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        if not (self.training and torch.is_grad_enabled()):
            return lookup(self.table, self.row[ids])
        if self._steps >= self.migrate_every:
            self.migrate()
        vectors = lookup(self.table, self.row[ids])
        if vectors.requires_grad:
            self._looked_up = True
            vectors.register_hook(lambda gradient: self._observe(ids, gradient))  # type: ignore[no-untyped-call]
        return vectors

    def _observe(self, ids: Tensor, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        norms = torch.linalg.vector_norm(gradient, dim=-1).reshape(-1)
        self.importance.index_add_(0, ids.reshape(-1).long(), norms.to(self.importance.dtype))
        # A model may look up several times in one step: a step ends with the first gradient.
        self._steps += self._looked_up
        self._looked_up = False

    @torch.no_grad()
    def migrate(self) -> None:
        """Give the own rows to the features of largest importance; ties go to the lowest id."""
        self._steps = 0
        importance = self.importance * self.hashed
        order = torch.sort(importance, descending=True, stable=True).indices
        wanted = order[: len(self.owner)]
        wanted = wanted[importance[wanted] > 0]
        is_hot = self.row < len(self.owner)
        stays = torch.zeros_like(is_hot)
        stays[wanted] = True
        leaving = is_hot & ~stays
        self.owner[self.row[leaving]] = -1
        self.row[leaving] = self.shared_row[leaving]
        entering = wanted[~is_hot[wanted]]
        free = (self.owner < 0).nonzero().squeeze(1)[: len(entering)]
        self.table[free] = self.table[self.shared_row[entering]]
        self.owner[free] = entering
        self.row[entering] = free
        self.importance.mul_(self.decay)

    def export(self) -> CafeLayout:
        """Rows of hot features by id, unused ones, shared ones; and which features are hot."""
        n_hot = len(self.owner)
        owner = self.owner.cpu().numpy()
        order = np.argsort(np.where(owner < 0, len(self.row), owner), kind="stable")
        table = to_numpy(self.table)
        table[:n_hot] = table[:n_hot][order]
        return CafeLayout(table, np.sort(owner[owner >= 0]), n_hot, self.shared)


@dataclass(frozen=True, eq=False)
class CafeLayout(Layout):
    """Own rows in the order of their owners' ids, then the shared ones."""

    form = "hot-rows"

    table: Floats = field(metadata=trained())
    """Shape (hot + Σ m_i, D)."""
    hot: NDArray[np.integer]
    """Rising ids of the features that own a row, ``n_hot`` at most."""
    n_hot: int
    shared: FieldRows = field(metadata=part())

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Hot features by the cheaper of a list and a bitmap; the hash of the others."""
        stored = dict(super().structure())
        stored["constants"] = np.append(stored.pop("seed"), np.uint32(self.n_hot))
        n_features = self.shared.n_features
        if 4 * len(self.hot) <= (n_features + 7) // 8:
            return {"hot": self.hot.astype(np.uint32), **stored}
        bitmap = np.zeros(n_features, dtype=np.bool_)
        bitmap[self.hot] = True
        return {"hot_bitmap": np.packbits(bitmap), **stored}
