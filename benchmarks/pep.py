"""PEP's search step against a plain transcription of it, FM on MovieLens-100K, one thread.

``python -m benchmarks.pep --json``. Both sides train on the same shuffled batches from memory:
ours through the suite's task, dense and by rows, the transcription by what the paper's equations
say, written as one would: the soft threshold over the full table, ``functional.embedding``, the
factorisation machine's sum of squares, gradient clipping and dense Adam over every parameter. Like
the released code it thresholds the table once more after the step, to count what is left.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.studies import open_dataset
from benchmarks.timing import interleaved
from pepbench.backbones.fm import FM
from pepbench.data.splits import Splits
from pepbench.harness.cells import training_spec
from pepbench.method import Embedding, OptimizerKind, PlainTable, xavier_uniform
from pepbench.pep import ThresholdedTable, Thresholds
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
from pepbench.training.task import TrialTask

STEPS = 150
INIT = -15.0


class PlainPEP(nn.Module):
    """PEP with a factorisation machine, as the equations read."""

    def __init__(self, n_features: int, dim: int) -> None:
        super().__init__()
        self.v = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_features, dim)))
        self.s = nn.Parameter(torch.full((n_features, dim), INIT))
        self.linear = nn.Embedding(n_features, 1)
        self.bias = nn.Parameter(torch.zeros(1))

    def sparse_table(self) -> torch.Tensor:
        return torch.sign(self.v) * torch.relu(torch.abs(self.v) - torch.sigmoid(self.s))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        vectors = functional.embedding(ids, self.sparse_table())
        square_of_sum = vectors.sum(dim=1) ** 2
        sum_of_square = (vectors**2).sum(dim=1)
        pairs = 0.5 * (square_of_sum - sum_of_square).sum(dim=1)
        return self.bias + self.linear(ids).sum(dim=1).squeeze(1) + pairs


def plain_steps(splits: Splits, plan: Plan) -> Callable[[], int]:
    """A piece of work of the transcription."""
    model = PlainPEP(splits.fields.n_features, plan.dim)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=DEFAULT_LEARNING_RATE, weight_decay=DEFAULT_L2
    )
    criterion = nn.BCEWithLogitsLoss()
    ids, labels = splits.train
    rng = np.random.default_rng(0)

    def work() -> int:
        samples = 0
        order = rng.permutation(len(labels))
        batches = [order[k : k + plan.batch_size] for k in range(0, len(order), plan.batch_size)]
        for step in range(STEPS):
            rows = batches[step % len(batches)]
            optimizer.zero_grad()
            loss = criterion(
                model(torch.from_numpy(ids[rows].astype(np.int64))),
                torch.from_numpy(labels[rows]).float(),
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimizer.step()
            with torch.no_grad():
                torch.count_nonzero(model.sparse_table()).item()
            samples += len(rows)
        return samples

    return work


def suite_steps(
    splits: Splits,
    plan: Plan,
    table: Embedding,
    kind: OptimizerKind = "auto",
) -> Callable[[], int]:
    """A piece of work of the suite's training with ``table``."""
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
    task = TrialTask(
        splits.fields, plan.dim, splits.train, splits.validation, FM(), settings, seed=0
    )
    model = task.model(table)
    steps = task.steps(model, task.optimizer(model, kind=kind))

    def work() -> int:
        before = task.samples
        for _ in islice(steps, STEPS):
            pass
        return task.samples - before

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    plan = Plan(dim=arguments.dim)
    splits = open_dataset(arguments.dataset)
    fields = splits.fields

    def searched() -> ThresholdedTable:
        thresholds = Thresholds("feature_dim", fields, plan.dim, INIT)
        return ThresholdedTable(xavier_uniform(fields.n_features, plan.dim), thresholds)

    dense, by_row = searched(), searched()

    speeds = interleaved(
        {
            "plain PEP": plain_steps(splits, plan),
            "pepbench PEP": suite_steps(splits, plan, dense, "adam"),
            "pepbench PEP by rows": suite_steps(splits, plan, by_row, "lazy-adam"),
            "pepbench uniform": suite_steps(splits, plan, PlainTable(fields.n_features, plan.dim)),
        },
        arguments.rounds,
    )
    faster = max(speeds["pepbench PEP"], speeds["pepbench PEP by rows"])
    document = {
        "dataset": arguments.dataset,
        "features": fields.n_features,
        "dim": plan.dim,
        "batch_size": plan.batch_size,
        "threads": 1,
        "samples_per_second": {name: round(speed) for name, speed in speeds.items()},
        "pep_over_plain": round(faster / speeds["plain PEP"], 2),
        "pep_step_over_uniform_step": round(speeds["pepbench uniform"] / faster, 2),
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        for name, speed in speeds.items():
            print(f"{name:>20}: {speed:>12,.0f} samples/s")
        print(f"PEP here over the plain transcription: {document['pep_over_plain']}x")


if __name__ == "__main__":
    main()
