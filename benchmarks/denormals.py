"""Training with and without numbers below the least normal one, by step.

``python -m benchmarks.denormals --json``. The built-in ``synthetic`` data set, DeepFM, a full
table, an L2 penalty from the upper end of what tuning tries. Both trainings take turns in one
process, on the same batches.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import torch
from tabulate import tabulate

from benchmarks.studies import open_dataset
from pepbench.backbones.deepfm import DeepFM
from pepbench.harness.cells import training_spec
from pepbench.method import Model, PlainTable
from pepbench.plan import Plan
from pepbench.records import DEFAULT_LEARNING_RATE
from pepbench.training.process_settings import flushed_denormals
from pepbench.training.task import TrialTask

TURN = 500
"""Steps."""


def share_of_denormals(model: Model) -> float:
    """Of the parameters that are not zero, how many are below the least normal number."""
    values = torch.cat([parameter.detach().ravel() for parameter in model.parameters()])
    sizes = values[values != 0].abs()
    return float((sizes < torch.finfo(torch.float32).tiny).float().mean())


def measure(steps: int, l2: float) -> list[dict[str, float]]:
    """An entry for each turn: samples per second as they are and flushed, and denormals before."""
    torch.set_num_threads(1)
    splits, plan = open_dataset("synthetic"), Plan(backbones=("deepfm",))
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, l2)
    models, trainings = [], []
    for _ in range(2):
        torch.manual_seed(0)
        task = TrialTask(
            splits.fields, plan.dim, splits.train, splits.validation, DeepFM(), settings, seed=0
        )
        models.append(task.model(PlainTable(splits.fields.n_features, plan.dim)))
        trainings.append(task.steps(models[-1]))
    lines = []
    for done in range(TURN, steps + 1, TURN):
        share = share_of_denormals(models[0])
        modes: tuple[AbstractContextManager[None], ...] = nullcontext(), flushed_denormals()
        seconds = []
        for training, mode in zip(trainings, modes, strict=True):
            with mode:
                start = time.perf_counter()
                for _ in islice(training, TURN):
                    pass
                seconds.append(time.perf_counter() - start)
        plain, flushed = (TURN * plan.batch_size / spent for spent in seconds)
        lines.append(
            {
                "steps": done,
                "denormal_share": share,
                "plain": round(plain),
                "flushed": round(flushed),
                "flushed_over_plain": flushed / plain,
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--l2", type=float, default=1e-3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    lines = measure(arguments.steps, arguments.l2)
    print(json.dumps(lines, indent=2) if arguments.json else tabulate(lines, headers="keys"))


if __name__ == "__main__":
    main()
