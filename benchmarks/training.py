"""A training step beside what a user would write with torch, over the size of the table.

``python -m benchmarks.training --json``. A factorisation machine on ids drawn from Zipf's law, the
same batches for all, from memory. Contenders take turns in one process; figures are medians. Ours
are the suite's own task with a full table (``uniform``), under a mask of a tenth (``mask``), and in
PEP's search (``pep``, and ``pep fast``); theirs are ``torch.nn.Embedding`` with Adam (its default
loop, foreach, fused) or with ``sparse=True`` and SparseAdam, and the plain transcription of PEP.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.pep import PlainPEP
from benchmarks.timing import interleaved
from pepbench.backbones.fm import FM
from pepbench.data.splits import Rows
from pepbench.fields import Fields
from pepbench.harness.cells import DEFAULT_L2, DEFAULT_LEARNING_RATE, training_spec
from pepbench.method import Batch, Embedding, MaskedTable, PlainTable, xavier_uniform
from pepbench.pep import PEP
from pepbench.plan import Plan
from pepbench.thresholded import ThresholdedTable, Thresholds
from pepbench.training.task import TrialTask

ZIPF = 1.1


@dataclass(frozen=True)
class Size:
    """Shape of a problem."""

    features: int
    dim: int
    fields: int
    batch: int


SIZES = (
    Size(10_000, 32, 7, 1024),
    Size(100_000, 16, 39, 4096),
    Size(1_000_000, 16, 39, 4096),
)
LARGEST = Size(10_000_000, 16, 39, 4096)
"""For the row-wise optimiser only; the others would need gigabytes and seconds a step."""


def zipf_rows(size: Size, batches: int, seed: int = 0) -> tuple[Fields, Rows]:
    """Rows whose features follow Zipf's law within each field, scattered over the ids."""
    rng = np.random.default_rng(seed)
    cardinality = size.features // size.fields
    weights = np.arange(1, cardinality + 1, dtype=np.float64) ** -ZIPF
    edges = np.cumsum(weights) / weights.sum()
    n = batches * size.batch
    ids = np.empty((n, size.fields), dtype=np.int32)
    for field in range(size.fields):
        ranks = np.searchsorted(edges, rng.random(n))
        ids[:, field] = rng.permutation(cardinality)[ranks] + field * cardinality
    labels = (rng.random(n) < 0.3).astype(np.uint8)
    total = cardinality * size.fields
    names = tuple(f"f{field}" for field in range(size.fields))
    frequencies = np.bincount(ids.ravel(), minlength=total)
    return Fields(names, (cardinality,) * size.fields, frequencies), Rows(ids, labels)


class PlainFM(nn.Module):
    """A factorisation machine as one writes it with torch."""

    def __init__(self, n_features: int, dim: int, sparse: bool) -> None:
        super().__init__()
        self.vectors = nn.Embedding(n_features, dim, sparse=sparse)
        nn.init.xavier_uniform_(self.vectors.weight)
        self.linear = nn.Embedding(n_features, 1, sparse=sparse)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        vectors = self.vectors(ids)
        pairs = 0.5 * (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(1)
        return self.bias + self.linear(ids).sum(1).squeeze(1) + pairs


def plain_batches(rows: Rows, size: int) -> Iterator[Batch]:
    ids = torch.from_numpy(rows.ids.astype(np.int64))
    labels = torch.from_numpy(rows.labels).float()
    return cycle(Batch(i, y) for i, y in zip(ids.split(size), labels.split(size), strict=True))


def plain_work(
    model: nn.Module, optimisers: list[torch.optim.Optimizer], batches: Iterator[Batch], steps: int
) -> Callable[[], int]:
    criterion = nn.BCEWithLogitsLoss()

    def work() -> int:
        samples = 0
        for batch in islice(batches, steps):
            for optimiser in optimisers:
                optimiser.zero_grad()
            criterion(model(batch.ids), batch.labels).backward()
            for optimiser in optimisers:
                optimiser.step()
            samples += len(batch.labels)
        return samples

    return work


def theirs(size: Size, fields: Fields, rows: Rows, steps: int) -> dict[str, Callable[[], int]]:
    n = fields.n_features
    rate, l2 = DEFAULT_LEARNING_RATE, DEFAULT_L2
    contenders: dict[str, Callable[[], int]] = {}
    for name, options in {
        "torch Adam": {"foreach": False},
        "torch Adam foreach": {"foreach": True},
        "torch Adam fused": {"fused": True},
    }.items():
        model: nn.Module = PlainFM(n, size.dim, sparse=False)
        adam = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=l2, **options)
        contenders[name] = plain_work(model, [adam], plain_batches(rows, size.batch), steps)
    model = PlainFM(n, size.dim, sparse=True)
    sparse = torch.optim.SparseAdam([model.vectors.weight, model.linear.weight], lr=rate)
    bias = torch.optim.Adam([model.bias], lr=rate)
    contenders["torch SparseAdam"] = plain_work(
        model, [sparse, bias], plain_batches(rows, size.batch), steps
    )
    model = PlainPEP(n, size.dim)
    adam = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=l2)
    contenders["plain PEP"] = plain_work(
        model, [adam], plain_batches(rows, size.batch), max(1, steps // 4)
    )
    return contenders


def ours(
    size: Size, fields: Fields, rows: Rows, steps: int, kinds: tuple[str, ...]
) -> dict[str, Callable[[], int]]:
    plan = Plan(dim=size.dim, batch_size=size.batch)
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)

    def values() -> torch.Tensor:
        return xavier_uniform(fields.n_features, size.dim)

    def thresholded() -> ThresholdedTable:
        return ThresholdedTable(values(), Thresholds("feature_dim", fields, size.dim, -15.0))

    makers: dict[str, Callable[[], Embedding]] = {
        "uniform": lambda: PlainTable(fields.n_features, size.dim),
        "mask": lambda: MaskedTable(values(), torch.rand(fields.n_features, size.dim) < 0.1),
        "pep": thresholded,
        "pep fast": thresholded,
    }

    def work_of(kind: str) -> Callable[[], int]:
        task = TrialTask(fields, size.dim, rows, rows, FM(), settings, seed=0)
        table = makers[kind]()
        model = task.model(table)
        optimiser = None
        if isinstance(table, ThresholdedTable):
            adam = "lazy-adam" if kind == "pep fast" else "adam"
            optimiser = PEP().optimiser(task, model, table.thresholds, adam)
        stream = task.steps(model, optimiser)

        def work() -> int:
            before = task.samples
            for _ in islice(stream, steps):
                if kind == "pep":
                    torch.count_nonzero(table.table_in_use).item()  # type: ignore[operator]
                elif kind == "pep fast":
                    table.count_swept_rows()  # type: ignore[operator]
            return task.samples - before

        return work

    return {f"pepbench {kind}": work_of(kind) for kind in kinds}


def measure(size: Size, rounds: int, steps: int) -> dict[str, Any]:
    """Samples per second of every contender at one size."""
    torch.manual_seed(0)
    fields, rows = zipf_rows(size, batches=40)
    if size == LARGEST:
        contenders = ours(size, fields, rows, steps, ("uniform", "pep fast"))
    else:
        contenders = ours(size, fields, rows, steps, ("uniform", "mask", "pep", "pep fast"))
        contenders |= theirs(size, fields, rows, steps)
    speeds = interleaved(contenders, rounds)
    return {
        "features": fields.n_features,
        "dim": size.dim,
        "fields": size.fields,
        "batch": size.batch,
        "samples_per_second": {name: round(speed) for name, speed in speeds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--largest", action="store_true", help="add 10 million features")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = (*SIZES, LARGEST) if arguments.largest else SIZES
    results = [measure(size, arguments.rounds, arguments.steps) for size in sizes]
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "sizes": results}, indent=2))
        return
    for result in results:
        print(", ".join(f"{key} {result[key]:,}" for key in ("features", "dim", "fields", "batch")))
        for name, speed in result["samples_per_second"].items():
            print(f"{name:>20}: {speed:>12,} samples/s")


if __name__ == "__main__":
    main()
