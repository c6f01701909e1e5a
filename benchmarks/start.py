"""Seconds from asking for a cached data set to the first step of training on it.

``python -m benchmarks.start --json``. The built-in ``synthetic`` data set, FM, a full table. Each
round is a process of its own, timed from after its imports: table and splits opened, model built,
one step done. One more round has no compiled code in its cache, as after installation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

DATASET = "synthetic"


def one_start() -> dict[str, float]:
    """Seconds of each part, in this process."""
    from pepbench.backbones.fm import FM
    from pepbench.catalog import Catalog
    from pepbench.data.manage import open_table
    from pepbench.data.splits import open_splits
    from pepbench.harness.cells import training_spec
    from pepbench.method import PlainTable
    from pepbench.plan import Plan
    from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
    from pepbench.training.task import TrialTask

    dataset = Catalog().select("dataset", DATASET).default()
    plan = Plan()
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
    times = [time.perf_counter()]
    splits = open_splits(open_table(dataset), plan.split_seed)  # type: ignore[arg-type]
    fields, train, validation = splits.fields, splits.train, splits.validation
    times.append(time.perf_counter())
    task = TrialTask(fields, plan.dim, train, validation, FM(), settings, seed=0)
    model = task.model(PlainTable(fields.n_features, plan.dim))
    times.append(time.perf_counter())
    next(task.steps(model))
    times.append(time.perf_counter())
    return {
        "open": times[1] - times[0],
        "build": times[2] - times[1],
        "first_step": times[3] - times[2],
        "total": times[3] - times[0],
    }


def start_seconds(rounds: int) -> dict[str, float]:
    """Medians of the parts, and the total of a start that has to compile."""
    _in_new_process({})  # makes the data set and compiles, where that has not been done
    starts = [_in_new_process({}) for _ in range(rounds)]
    with tempfile.TemporaryDirectory() as empty:
        compiling = _in_new_process({"NUMBA_CACHE_DIR": empty})
    medians = {part: statistics.median(start[part] for start in starts) for part in starts[0]}
    return medians | {"total_when_compiling": compiling["total"]}


def _in_new_process(variables: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.start", "--once"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(one_start()))
        return
    seconds = start_seconds(arguments.rounds)
    if arguments.json:
        print(json.dumps(seconds, indent=2))
        return
    for part, value in seconds.items():
        print(f"{part:>22}: {value:.3f} s")


if __name__ == "__main__":
    main()
