"""FBGEMM's table-batched embeddings on the CPU, whose backward pass updates the rows it touches.

This is what torchrec's sharded modules run on a CPU; here without their jagged tensors, which only
cost time. One table a field, as torchrec has it, with exact row-wise Adagrad and L2 on the rows of
the batch. A row has four more columns than a vector, since widths must be multiples of four: the
first of them is the feature's first-order weight, which makes one lookup of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import numpy as np
import torch
from torch import nn

from benchmarks.competitors.plain import Head
from benchmarks.problem import Problem
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE


def steps(problem: Problem, backbone: str) -> Iterator[int]:
    """Train without end; yields the samples of each step."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        EmbeddingLocation,
        PoolingMode,
        SplitTableBatchedEmbeddingBagsCodegen,
        WeightDecayMode,
    )

    n_fields, dim = problem.size.fields, problem.size.dim
    width = dim + 4
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [
            (cardinality, width, EmbeddingLocation.HOST, ComputeDevice.CPU)
            for cardinality in problem.fields.cardinalities
        ],
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=DEFAULT_LEARNING_RATE,
        pooling_mode=PoolingMode.SUM,
        weight_decay=DEFAULT_L2,
        weight_decay_mode=WeightDecayMode.L2,
    )
    tables.init_embedding_weights_uniform(-problem.initial_bound, problem.initial_bound)
    head = Head(problem, backbone)
    adam = torch.optim.Adam(
        head.parameters(), lr=DEFAULT_LEARNING_RATE, weight_decay=DEFAULT_L2, fused=True
    )
    criterion = nn.BCEWithLogitsLoss()
    offsets = torch.arange(problem.size.batch * n_fields + 1)
    for ids, labels in _batches_by_field(problem):
        adam.zero_grad()
        rows = tables(ids, offsets).view(len(labels), n_fields, width)
        logits = head(rows[:, :, :dim], rows[:, :, dim].sum(1))
        criterion(logits, labels).backward()
        adam.step()
        yield len(labels)


def _batches_by_field(problem: Problem) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end, their ids counted within fields and laid out field by field."""
    local = (problem.rows.ids - problem.fields.offsets).astype(np.int64)
    ids = [
        torch.from_numpy(block.T.ravel())
        for block in np.split(local, len(local) // problem.size.batch)
    ]
    labels = torch.from_numpy(problem.rows.labels).float().split(problem.size.batch)
    return cycle(list(zip(ids, labels, strict=True)))
