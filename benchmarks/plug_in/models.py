"""Three models, each with what measuring needs: an epoch of training, and its figure of merit.

The layers of the first two are DeepCTR-Torch's and FuxiCTR's own, in their default settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.plug_in import data

BATCH = 1024
DIM = 16


class Subject(ABC):
    """A model, its rows and its training."""

    figure = "AUC"
    include: str
    """Which tables are compressed: those of vectors, not those of first-order weights."""
    model: nn.Module
    steps_per_epoch: int

    @abstractmethod
    def prepare(self) -> None:
        """Make a new optimizer."""

    @abstractmethod
    def epoch(self) -> None:
        """Train for one epoch."""

    @abstractmethod
    def score(self, part: int) -> float:
        """The figure on validation (1) or test (2) rows."""


class DeepCTR(Subject):
    """DeepFM of DeepCTR-Torch, trained by its own ``fit``."""

    include = "embedding_dict.*"

    def __init__(self, seed: int) -> None:
        from deepctr_torch.inputs import SparseFeat
        from deepctr_torch.models import DeepFM

        self.data = data.clicks(0)
        columns = [
            SparseFeat(name, size, embedding_dim=DIM) for name, size in self.data.sizes.items()
        ]
        self.model = DeepFM(columns, columns, seed=seed)
        self.steps_per_epoch = -(-int((self.data.part == 0).sum()) // BATCH)

    def prepare(self) -> None:
        """Make a new optimizer."""
        self.model.compile("adam", "binary_crossentropy")

    def epoch(self) -> None:
        """Train for one epoch."""
        ids, labels = self.data.rows(0)
        self.model.fit(ids, labels, batch_size=BATCH, epochs=1, verbose=0)

    def score(self, part: int) -> float:
        """AUC."""
        ids, labels = self.data.rows(part)
        return float(roc_auc_score(labels, self.model.predict(ids, 8192)[:, 0]))


class FuxiDeepFM(nn.Module):
    """DeepFM of FuxiCTR's layers, as in its model zoo."""

    def __init__(self, feature_map: Any) -> None:
        super().__init__()
        from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block

        self.embedding_layer = FeatureEmbedding(feature_map, DIM)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(feature_map.num_fields * DIM, [64, 64, 64], output_dim=1)

    def forward(self, ids: dict[str, Tensor]) -> Tensor:
        """Logits (B,)."""
        vectors = self.embedding_layer(ids)
        logits: Tensor = self.fm(ids, vectors) + self.mlp(vectors.flatten(start_dim=1))
        return logits.squeeze(1)


class Fuxi(Subject):
    """DeepFM of FuxiCTR's layers in a plain loop."""

    include = "embedding_layer.*"

    def __init__(self, seed: int) -> None:
        from fuxictr.features import FeatureMap

        torch.manual_seed(seed)
        self.data = data.clicks(0)
        feature_map = FeatureMap("ml-100k", "")
        feature_map.features = OrderedDict(
            (name, {"type": "categorical", "source": "", "vocab_size": size, "padding_idx": 0})
            for name, size in self.data.sizes.items()
        )
        feature_map.num_fields = len(self.data.sizes)
        self.model = FuxiDeepFM(feature_map)
        self.steps_per_epoch = -(-int((self.data.part == 0).sum()) // BATCH)

    def prepare(self) -> None:
        """Make a new optimizer."""
        self.optimizer = torch.optim.Adam(self.model.parameters(), weight_decay=1e-5)

    def epoch(self) -> None:
        """Train for one epoch."""
        self.model.train()
        ids, labels = self.data.rows(0)
        for rows in torch.randperm(len(labels)).split(BATCH):
            batch = {name: torch.from_numpy(column[rows]) for name, column in ids.items()}
            self.optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                self.model(batch), torch.from_numpy(labels[rows])
            )
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def score(self, part: int) -> float:
        """AUC."""
        self.model.eval()
        ids, labels = self.data.rows(part)
        logits = self.model({name: torch.from_numpy(column) for name, column in ids.items()})
        return float(roc_auc_score(labels, logits.numpy()))


class TwoTowerModel(nn.Module):
    """A tower of a user and the films liked before, and a tower of a film and its genres."""

    def __init__(self, likes: data.Likes) -> None:
        super().__init__()
        self.user = nn.Embedding(likes.n_users, DIM)
        self.history = nn.EmbeddingBag(likes.n_items, 2 * DIM, mode="mean", padding_idx=0)
        self.item = nn.Embedding(likes.n_items, 2 * DIM)
        self.genres = nn.EmbeddingBag(20, DIM // 2, mode="mean", padding_idx=0)
        self.query = nn.Sequential(nn.Linear(3 * DIM, 64), nn.ReLU(), nn.Linear(64, 32))
        self.document = nn.Sequential(nn.Linear(5 * DIM // 2, 64), nn.ReLU(), nn.Linear(64, 32))

    def users(self, users: Tensor, history: Tensor) -> Tensor:
        """Unit vectors of queries: (B, 32)."""
        vectors = self.query(torch.cat([self.user(users), self.history(history)], dim=1))
        return nn.functional.normalize(vectors, dim=1)

    def items(self, items: Tensor, genres: Tensor) -> Tensor:
        """Unit vectors of films: (B, 32)."""
        vectors = self.document(torch.cat([self.item(items), self.genres(genres)], dim=1))
        return nn.functional.normalize(vectors, dim=1)


class TwoTower(Subject):
    """Retrieval with softmax over the batch, corrected by popularity (Yi et al., RecSys 2019)."""

    figure = "recall@20"
    include = "*"

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.data = data.likes()
        self.model = TwoTowerModel(self.data)
        train = self.data.part == 0
        self.steps_per_epoch = -(-int(train.sum()) // BATCH)
        counts = np.bincount(self.data.items[train], minlength=self.data.n_items)
        self.log_share = torch.from_numpy(np.log(np.maximum(counts, 1) / counts.sum())).float()

    def prepare(self) -> None:
        """Make a new optimizer."""
        self.optimizer = torch.optim.Adam(self.model.parameters(), weight_decay=1e-5)

    def epoch(self) -> None:
        """Train for one epoch."""
        self.model.train()
        chosen = np.flatnonzero(self.data.part == 0)
        for rows in torch.from_numpy(chosen)[torch.randperm(len(chosen))].split(BATCH):
            users, items, history = (
                torch.from_numpy(column[rows.numpy()])
                for column in (self.data.users, self.data.items, self.data.history)
            )
            self.optimizer.zero_grad()
            genres = torch.from_numpy(self.data.genres)[items]
            logits = 20.0 * self.model.users(users, history) @ self.model.items(items, genres).T
            logits = logits - self.log_share[items]
            same = (items[:, None] == items) & ~torch.eye(len(items), dtype=torch.bool)
            loss = nn.functional.cross_entropy(
                logits.masked_fill(same, -torch.inf), torch.arange(len(items))
            )
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def score(self, part: int) -> float:
        """Share of users whose film is among the 20 best of those not seen before."""
        self.model.eval()
        chosen = self.data.part == part
        users, items = self.data.users[chosen], self.data.items[chosen]
        films = self.model.items(
            torch.arange(self.data.n_items), torch.from_numpy(self.data.genres)
        )
        queries = self.model.users(
            torch.from_numpy(users), torch.from_numpy(self.data.history[chosen])
        )
        scores = (queries @ films.T).numpy()
        row_of = np.full(self.data.n_users, -1)
        row_of[users] = np.arange(len(users))
        seen = (self.data.part == 0) if part == 1 else (self.data.part != 2)
        rows = row_of[self.data.users[seen]]
        scores[rows[rows >= 0], self.data.items[seen][rows >= 0]] = -np.inf
        scores[:, 0] = -np.inf
        own = scores[np.arange(len(users)), items]
        return float(((scores > own[:, None]).sum(axis=1) < 20).mean())


SUBJECTS: dict[str, type[Subject]] = {"deepctr": DeepCTR, "fuxictr": Fuxi, "two-tower": TwoTower}
