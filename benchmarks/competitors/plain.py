"""Models and training as one writes them with torch alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.pep import PlainPEP
from benchmarks.problem import Problem
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE


class Head(nn.Module):
    """Bias, pairwise products and, for DeepFM, the deep network: all but the tables."""

    def __init__(self, problem: Problem, backbone: str) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.deep: nn.Module | None = None
        if backbone == "deepfm":
            settings = problem.deepfm
            widths = [problem.size.fields * problem.size.dim, *[settings.units] * settings.layers]
            layers: list[nn.Module] = []
            for below, above in pairwise(widths):
                layers += [nn.Linear(below, above), nn.ReLU(), nn.Dropout(settings.dropout)]
            self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, vectors: Tensor, first_order: Tensor) -> Tensor:
        """Vectors (B, F, D) and first-order terms (B,) → logits (B,)."""
        pairs = 0.5 * (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(1)
        logits = self.bias + first_order + pairs
        return logits if self.deep is None else logits + self.deep(vectors.flatten(1)).squeeze(1)


class PlainModel(nn.Module):
    """FM or DeepFM on ``nn.Embedding``."""

    def __init__(self, problem: Problem, backbone: str, sparse: bool) -> None:
        super().__init__()
        n_features = problem.fields.n_features
        self.vectors = nn.Embedding(n_features, problem.size.dim, sparse=sparse)
        nn.init.xavier_uniform_(self.vectors.weight)
        self.linear = nn.Embedding(n_features, 1, sparse=sparse)
        nn.init.zeros_(self.linear.weight)
        self.head = Head(problem, backbone)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (B, F) → logits (B,)."""
        return self.head(self.vectors(ids), self.linear(ids).sum(1).squeeze(1))


def steps_of(model: nn.Module, optimizers: list[Optimizer], problem: Problem) -> Iterator[int]:
    """Train without end; yields the samples of each step."""
    criterion = nn.BCEWithLogitsLoss()
    for batch in problem.batches():
        for optimizer in optimizers:
            optimizer.zero_grad()
        criterion(model(batch.ids), batch.labels).backward()
        for optimizer in optimizers:
            optimizer.step()
        yield len(batch.labels)


def adam_steps(problem: Problem, backbone: str, **options: Any) -> Iterator[int]:
    """Dense Adam with L2 on everything; ``options`` choose its implementation."""
    model = PlainModel(problem, backbone, sparse=False)
    adam = torch.optim.Adam(
        model.parameters(), lr=DEFAULT_LEARNING_RATE, weight_decay=DEFAULT_L2, **options
    )
    return steps_of(model, [adam], problem)


def sparse_adam_steps(problem: Problem, backbone: str) -> Iterator[int]:
    """SparseAdam on the tables, which knows no L2, and Adam on the rest."""
    model = PlainModel(problem, backbone, sparse=True)
    tables = [model.vectors.weight, model.linear.weight]
    sparse = torch.optim.SparseAdam(tables, lr=DEFAULT_LEARNING_RATE)
    dense = torch.optim.Adam(
        model.head.parameters(), lr=DEFAULT_LEARNING_RATE, weight_decay=DEFAULT_L2
    )
    return steps_of(model, [sparse, dense], problem)


def pep_steps(problem: Problem, backbone: str) -> Iterator[int]:  # noqa: ARG001
    """The transcription of PEP with a factorisation machine, its count included."""
    model = PlainPEP(problem.fields.n_features, problem.size.dim)
    adam = torch.optim.Adam(model.parameters(), lr=DEFAULT_LEARNING_RATE, weight_decay=DEFAULT_L2)
    for samples in steps_of(model, [adam], problem):
        with torch.no_grad():
            torch.count_nonzero(model.sparse_table()).item()
        yield samples
