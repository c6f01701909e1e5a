"""CPU seconds of a small board by phase: data, search, training, validation, harness.

``python -m benchmarks.board --json``. A fixed plan: factorisation machine and DeepFM, eight
methods, two data sets: the built-in ``synthetic`` and, with the folder of its files (``--raw``),
``ml-100k-ids``. Everything runs in this process on one thread, in a folder of its own. ``data``
is the reading and encoding of both sets into an empty cache; ``search`` and ``training`` are the
phases of the trials without their validation, which has an entry of its own; ``harness`` is the
rest of the run: tuning, records, test predictions, report.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from pepbench.cli import main as command
from pepbench.training.task import LAST_PHASE, TrialTask

METHODS = ("full", "uniform", "random-mask", "mde", "hash", "qr", "magnitude", "pep")
BACKBONES = ("fm", "deepfm")
DRAWN, REAL = "synthetic", "ml-100k-ids"
SETTINGS = {"--budgets": "10%", "--trials": "1", "--seeds": "1", "--epochs": "3", "--dim": "16"}


class Meter:
    """CPU seconds of the trials that are made while it is attached, by phase and validation."""

    def __init__(self) -> None:
        self.tasks: list[TrialTask] = []
        self.validation: dict[str, float] = {}

    def attach(self) -> None:
        """Watch every task of this process from now on."""
        initialise, validate = TrialTask.__init__, TrialTask.validate

        def watched_initialise(task: TrialTask, *args: Any, **kwargs: Any) -> None:
            initialise(task, *args, **kwargs)
            self.tasks.append(task)

        def watched_validate(task: TrialTask, *args: Any) -> Any:
            start, phase = time.process_time(), task.clock.running
            try:
                return validate(task, *args)
            finally:
                spent = time.process_time() - start
                self.validation[phase] = self.validation.get(phase, 0.0) + spent

        TrialTask.__init__ = watched_initialise  # type: ignore[method-assign]
        TrialTask.validate = watched_validate  # type: ignore[method-assign]

    def seconds(self) -> dict[str, float]:
        """CPU seconds of search, training and validation."""
        phases: dict[str, float] = {}
        for task in self.tasks:
            for phase, (_, cpu) in task.clock.seconds.items():
                phases[phase] = phases.get(phase, 0.0) + cpu
        training = phases.get(LAST_PHASE, 0.0) - self.validation.get(LAST_PHASE, 0.0)
        validation = sum(self.validation.values())
        search = sum(phases.values()) - training - validation
        return {"search": search, "training": training, "validation": validation}


def board_seconds(raw: Path | None, methods: Sequence[str]) -> dict[str, float]:
    """CPU seconds by phase of the whole board, and their ``total``."""
    datasets = [DRAWN] if raw is None else [DRAWN, REAL]
    meter = Meter()
    meter.attach()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PEPBENCH_CACHE"] = f"{folder}/cache"
        start = time.process_time()
        for dataset in datasets:
            _call("data", "add", dataset, *([] if dataset == DRAWN else ["--from", str(raw)]))
        added = time.process_time()
        lists = {"datasets": datasets, "backbones": BACKBONES, "methods": methods}
        options = [word for name, names in lists.items() for word in (f"--{name}", ",".join(names))]
        options += [word for pair in SETTINGS.items() for word in pair]
        _call("run", *options, "--jobs", "1", "--out", f"{folder}/run")
        ended = time.process_time()
    phases = meter.seconds()
    harness = ended - added - sum(phases.values())
    return {"data": added - start, **phases, "harness": harness, "total": ended - start}


def _call(*words: str) -> None:
    sys.argv = ["pepbench", *words]
    try:
        with redirect_stdout(sys.stderr):
            command()
    except SystemExit as exit_:
        if exit_.code:
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help=f"folder of the raw files of {REAL}")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="instead of the plan's eight")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = board_seconds(arguments.raw, arguments.methods)
    if arguments.json:
        print(json.dumps(seconds, indent=2))
        return
    for phase, value in seconds.items():
        print(f"{phase:>10}: {value:8.2f} s")


if __name__ == "__main__":
    main()
