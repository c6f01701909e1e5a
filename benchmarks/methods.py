"""Cost of each method, compared with ``uniform`` at the same budget: of a step, or of a whole fit.

``python -m benchmarks.methods --json``. Methods whose shape is fixed before training are compared
by their training step on rows drawn from Zipf's law (factorisation machine, D = 16, F = 39, batch
4096), in turns with ``uniform``; peak memory is that of a process of its own in which a few steps
are made. Methods that search are compared by their whole fit, search included, on the built-in
data set, each with its defaults. A budget of a tenth of the full table for all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import torch
from tabulate import tabulate

from benchmarks.problem import Problem, Size, zipf_problem
from benchmarks.studies import new_task, open_dataset
from benchmarks.timing import interleaved, piece
from pepbench.backbones.fm import FM
from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.harness.cells import training_spec
from pepbench.harness.environment import PeakMemory
from pepbench.method import Method
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
from pepbench.training.process_settings import keep_freed_memory
from pepbench.training.task import TrialTask

SHARE = 0.1
CONTROL = "uniform"
DIM, FIELDS, BATCH = 16, 39, 4096
STEPS_FOR_MEMORY = 12
DATASET = "synthetic"


def method_named(name: str) -> Method:
    """A method with its defaults."""
    return cast(Method, Catalog().load("method", name).from_options({}))


def fixed_shapes() -> list[str]:
    """Methods that build their embedding before training."""
    catalog = Catalog()
    names = catalog.entries("method")
    return [name for name in names if "embedding" in vars(catalog.load("method", name))]


def steps_of(name: str, problem: Problem) -> Iterator[int]:
    """Train without end; yields the samples of each step."""
    size = problem.size
    plan = Plan(dim=size.dim, batch_size=size.batch)
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
    rows = problem.rows
    task = TrialTask(problem.fields, size.dim, rows, rows, FM(), settings, seed=0)
    budget = task.full_parameters if name == "full" else int(task.full_parameters * SHARE)
    torch.manual_seed(0)
    model = task.model(method_named(name).embedding(problem.fields, size.dim, budget))
    before = 0
    for _ in task.steps(model):
        yield task.samples - before
        before = task.samples


def step_times(features: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A line for each method of fixed shape: its step and that of ``uniform``, in turns."""
    problem = zipf_problem(Size(features, DIM, FIELDS, BATCH))
    lines = []
    for name in fixed_shapes():
        print(f"N = {features:,}: {name}", file=sys.stderr)
        line: dict[str, Any] = {"method": name, "features": features}
        try:
            streams = {CONTROL: steps_of(CONTROL, problem), name: steps_of(name, problem)}
            for stream in streams.values():
                next(stream)
        except Infeasible as error:
            lines.append({**line, "infeasible": str(error)})
            continue
        pieces = {key: piece(stream, seconds) for key, stream in streams.items()}
        speeds = interleaved(pieces, rounds)
        line["samples_per_second"] = round(speeds[name])
        line["time_over_uniform"] = round(speeds[CONTROL] / speeds[name], 3)
        line["peak_memory_mib"] = round(peak_memory(name, features))
        lines.append(line)
    return lines


def peak_memory(name: str, features: int) -> float:
    """Peak resident MiB of a new process that trains a few steps."""
    command = [sys.executable, "-m", "benchmarks.methods", "--memory-of", name]
    command += ["--features", str(features)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def memory_here(name: str, features: int) -> float:
    """As :func:`peak_memory`, in this process."""
    problem = zipf_problem(Size(features, DIM, FIELDS, BATCH))
    memory = PeakMemory()
    for _ in islice(steps_of(name, problem), STEPS_FOR_MEMORY):
        pass
    return memory.mib()


def fit_times(epochs: int) -> list[dict[str, Any]]:
    """A line for each method that searches: its whole fit and that of ``uniform``."""
    splits, plan = open_dataset(DATASET), Plan(epochs=epochs, patience=epochs)
    catalog = Catalog()
    searching = [name for name in catalog.entries("method") if name not in fixed_shapes()]
    lines: list[dict[str, Any]] = []
    of_uniform = 0.0
    for name in (CONTROL, *searching):
        print(f"fit: {name}", file=sys.stderr)
        task = new_task(splits, plan, seed=0)
        start = time.perf_counter()
        fitted = method_named(name).fit(task, int(task.full_parameters * SHARE))
        seconds = time.perf_counter() - start
        of_uniform = of_uniform or seconds
        phases = {phase: round(wall, 2) for phase, (wall, _) in task.clock.seconds.items()}
        lines.append(
            {
                "method": name,
                "seconds": round(seconds, 2),
                "time_over_uniform": round(seconds / of_uniform, 2),
                "phases": phases,
                "validation_auc": round(fitted.validation.auc, 4),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a piece of work")
    parser.add_argument("--epochs", type=int, default=10, help="of the whole fits")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if arguments.memory_of:
        print(memory_here(arguments.memory_of, arguments.features[0]))
        return
    steps = [
        line
        for features in arguments.features
        for line in step_times(features, arguments.rounds, arguments.seconds)
    ]
    fits = fit_times(arguments.epochs)
    if arguments.json:
        print(json.dumps({"steps": steps, "fits": fits}, indent=2))
        return
    for lines in (steps, fits):
        print(tabulate(lines, headers="keys", tablefmt="github"), end="\n\n")


if __name__ == "__main__":
    main()
