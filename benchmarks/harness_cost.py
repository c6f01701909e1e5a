"""CPU time of a run that no trial accounts for: start, coordinator, workers' set-up, records.

    python -m benchmarks.harness_cost --folds 5,10 --jobs 1,2 --json

A plan of many trials of a few milliseconds on drawn data is run in a process of its own. Its CPU
time and that of its workers, less the CPU seconds of its records' phases, is the harness's. A
second run of the same folder reuses all records; it is what a run costs that has nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

METHODS = ("full", "uniform", "random-mask", "frequency", "low-rank")
BUDGETS = ("50%", "30%", "20%")
TRIALS = 10

CHILD = """
import sys, pepbench
pepbench.run(sys.argv[1], out=sys.argv[2], jobs=int(sys.argv[3]))
"""
START = "import pepbench; pepbench.run"


def plan_text(folds: int, trials: int) -> str:
    """A plan of small trials: a few hundred training rows, two epochs."""
    names = ", ".join(f'"{name}"' for name in METHODS)
    budgets = ", ".join(f'"{budget}"' for budget in BUDGETS)
    return (
        f"methods = [{names}]\nbudgets = [{budgets}]\n"
        'datasets = ["synthetic:rows=1000:features=60:fields=4"]\n'
        f"dim = 8\ntrials = {trials}\nfolds = {folds}\nepochs = 2\nbatch_size = 256\n"
        'sampler = "halton"\n'
    )


def cpu_seconds(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command and the processes that it has waited for."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def measure(folds: int, jobs: int, trials: int = TRIALS) -> dict[str, Any]:
    """Run a plan twice in a new folder; the figures of both runs, per trial."""
    from pepbench.records import RecordStore

    with tempfile.TemporaryDirectory() as name:
        plan, out = Path(name) / "plan.toml", Path(name) / "run"
        plan.write_text(plan_text(folds, trials))
        command = [sys.executable, "-c", CHILD, str(plan), str(out), str(jobs)]
        start, _ = cpu_seconds([sys.executable, "-c", START])
        total, wall = cpu_seconds(command)
        again, _ = cpu_seconds(command)
        records = list(RecordStore(out))
    inside = sum(record.cpu_seconds() for record in records)
    count = len(records)
    return {
        "folds": folds,
        "jobs": jobs,
        "trials": count,
        "failed": sum(record.status != "ok" for record in records),
        "wall_seconds": wall,
        "inside_ms": 1000 * inside / count,
        "harness_ms": 1000 * (total - inside) / count,
        "start_seconds": start,
        "harness_ms_without_start": 1000 * (total - inside - (jobs + (jobs > 1)) * start) / count,
        "resume_ms": 1000 * (again - start) / count,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", default="5,10")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for folds in map(int, arguments.folds.split(",")):
        for jobs in map(int, arguments.jobs.split(",")):
            row = measure(folds, jobs, arguments.trials) | {"load": psutil.getloadavg()[0]}
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
