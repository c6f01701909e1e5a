"""A training step against what a user would write or install instead, over the size of the table.

``python -m benchmarks.training --json``. Factorisation machine and DeepFM on ids drawn from Zipf's
law, the same rows for all, from memory. Contenders take turns in one process, pieces of equal time;
figures are medians, for one thread and for two. Ours are the suite's own task with a full table
(``uniform``), under a mask of a tenth (``mask``), in PEP's search (dense and by row), and scoring
``validation`` rows; theirs are in :mod:`benchmarks.competitors`. With them come the machine's
memory bandwidth, the fraction of it that a step reaches, and the seconds until a training on a
cached data set has made its first step.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import ours
from benchmarks.bandwidth import bytes_of_step, triad_bandwidth
from benchmarks.competitors import BACKBONES, COMPETITORS, not_installed
from benchmarks.goals import goals
from benchmarks.problem import SIZES, Problem, Size, zipf_problem
from benchmarks.start import start_seconds
from benchmarks.tables import into_readme, markdown, text
from benchmarks.timing import interleaved, piece
from pepbench.harness.environment import environment

README = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Options:
    """How to measure."""

    rounds: int
    seconds: float
    """Of a piece of work."""
    threads: tuple[int, ...]


def measure(problem: Problem, backbone: str, options: Options) -> list[dict[str, Any]]:
    """Samples per second of every contender on one problem, an entry for each number of threads."""
    torch.manual_seed(0)
    steps = ours.contenders(problem, backbone)
    absent = not_installed()
    for competitor in COMPETITORS:
        fits = problem.size.features <= competitor.most_features
        if fits and backbone in competitor.backbones and competitor.package not in absent:
            steps[competitor.name] = competitor.steps(problem, backbone)
    work = {name: piece(stream, options.seconds) for name, stream in steps.items()}
    results = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        speeds = interleaved(work, options.rounds)
        result: dict[str, Any] = {**asdict(problem.size), "backbone": backbone, "threads": threads}
        result["samples_per_second"] = {name: round(speed) for name, speed in speeds.items()}
        result["ours_over_theirs"] = {
            competitor.name: round(max(speeds[name] for name in competitor.counterpart) / speed, 3)
            for competitor in COMPETITORS
            if (speed := speeds.get(competitor.name)) is not None
        }
        results.append(result)
    return results


def bound_of(problem: Problem) -> dict[str, Any]:
    """What a step of the factorisation machine on a full table must move."""
    dense = not ours.trains_by_row(problem)
    return {
        "optimizer": "dense Adam" if dense else "Adam by the row",
        "distinct_features": round(problem.distinct_features),
        "bytes_of_step": round(bytes_of_step(problem, dense)),
    }


def reached(bound: dict[str, Any], result: dict[str, Any], bandwidth: float) -> dict[str, Any]:
    """The bound in samples per second, and the fraction of it that ours reaches."""
    limit = bandwidth / bound["bytes_of_step"] * result["batch"]
    fraction = result["samples_per_second"][ours.UNIFORM] / limit
    return {**bound, "samples_per_second": round(limit), "fraction": round(fraction, 3)}


def study(sizes: tuple[Size, ...], backbones: tuple[str, ...], options: Options) -> dict[str, Any]:
    """The whole document."""
    before = machine()
    bandwidth = {threads: triad_bandwidth(threads) for threads in options.threads}
    results = []
    for size in sizes:
        problem = zipf_problem(size)
        for backbone in backbones:
            print(f"{size}, {backbone}", file=sys.stderr)
            of_backbone = measure(problem, backbone, options)
            gc.collect()  # the contenders' tables
            if backbone == "fm":
                bound = bound_of(problem)
                for result in of_backbone:
                    result["bound"] = reached(bound, result, bandwidth[result["threads"]])
            results += of_backbone
    document: dict[str, Any] = {
        "machine": before,
        "rounds": options.rounds,
        "not_installed": not_installed(),
        "bandwidth": {str(threads): round(speed) for threads, speed in bandwidth.items()},
        "results": results,
        "start_seconds": {k: round(v, 3) for k, v in start_seconds(options.rounds).items()},
    }
    return document | {"goals": [asdict(goal) for goal in goals(document)]}


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    here = environment(1)
    cores = torch.multiprocessing.cpu_count()
    versions = {"python": platform.python_version(), "torch": here.torch, "numpy": np.__version__}
    load = round(os.getloadavg()[0], 2)
    revision = here.git or here.pepbench
    return {"cpu": here.cpu, "cores": cores, "load": load, **versions, "pepbench": revision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a piece of work")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, choices=BACKBONES)
    parser.add_argument(
        "--features",
        type=int,
        nargs="+",
        default=[size.features for size in SIZES],
        choices=[size.features for size in SIZES],
        metavar="N",
        help="sizes of the table; default: all",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--markdown", action="store_true", help="print tables as in the README")
    form.add_argument("--readme", action="store_true", help="put these tables into the README")
    arguments = parser.parse_args()
    absent = not_installed()
    if absent:
        packages = "; ".join(f"{package} ({reason})" for package, reason in absent.items())
        print(f"left out, not installed: {packages}", file=sys.stderr)
    options = Options(arguments.rounds, arguments.seconds, tuple(arguments.threads))
    sizes = tuple(size for size in SIZES if size.features in arguments.features)
    document = study(sizes, tuple(arguments.backbones), options)
    if arguments.json:
        print(json.dumps(document, indent=2))
    elif arguments.markdown:
        print(markdown(document))
    elif arguments.readme:
        README.write_text(into_readme(README.read_text(), markdown(document)))
    else:
        print(text(document))


if __name__ == "__main__":
    main()
