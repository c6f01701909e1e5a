"""What a coordinator costs per trial, and a store per record, at sizes of a cluster.

    python -m benchmarks.scaling --trials 100000 --workers 200 --records 1000000 --json

The trials are stand-ins that sleep for 10 ms in a thread and answer with a record; everything else
is what a run does: studies, locks, records on disk, counts, the status file. The store holds
records of real size in segments, as runs pack them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from pepbench.catalog import Catalog
from pepbench.harness.cells import Cell, expand
from pepbench.harness.coordinator import run_cells
from pepbench.harness.environment import environment
from pepbench.harness.executors.calls import Answer, Call, PackedOutcome, Pool
from pepbench.harness.run_folder import LOCKS_FOLDER
from pepbench.harness.run_options import RunOptions
from pepbench.harness.status.reporter import Reporter
from pepbench.harness.trial import Outcome
from pepbench.harness.trial_locks import TrialLocks
from pepbench.harness.tuning.study import cell_failure_spec
from pepbench.plan import Plan
from pepbench.records import (
    EpochRecord,
    PhaseSeconds,
    Record,
    RecordStore,
    ScoresRecord,
    TrialSpec,
    figures_of,
    now,
)
from pepbench.records.segments import segment_bytes

TRIAL_SECONDS = 0.01
TRIALS_OF_CELL = 5
FINALS_OF_CELL = 5
SEGMENT_ROWS = 50_000
LOOSE_RECORDS = 5_000
GETS = 500


class SleepingPool(Pool):
    """Virtual workers: threads that sleep as long as a trial would take."""

    workers = 0

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, call: Call) -> Future[Answer]:
        return self._threads.submit(self._sleep, call)

    def _sleep(self, call: Call) -> Answer:
        time.sleep(TRIAL_SECONDS)
        return [PackedOutcome.pack(Outcome(record_of(spec))) for spec in call.specs]

    def close(self) -> None:
        self._threads.shutdown()

    def stop_at_once(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def record_of(spec: TrialSpec) -> Record:
    """A record as large as a real one, with a curve of ten epochs."""
    auc = 0.5 + int(spec.key()[:8], 16) / 2**33
    scores = ScoresRecord(auc=auc, log_loss=0.6)
    return Record(
        key=spec.key(),
        spec=spec,
        status="ok",
        n_parameters=spec.budget_parameters,
        n_bytes=4 * spec.budget_parameters,
        validation=scores,
        test=scores if spec.role == "final" else None,
        curve=[EpochRecord(epoch=e, train_loss=0.6, auc=auc, log_loss=0.6) for e in range(10)],
        seconds={"search": PhaseSeconds(wall=1.0, cpu=1.0), "train": PhaseSeconds(wall=2, cpu=2)},
        environment=environment(1),
        created=now(),
    )


def cells_of(count: int) -> list[Cell]:
    """``count`` cells of one method, which differ in their budgets."""
    plan = Plan(
        methods=("uniform",),
        datasets=("synthetic:rows=2000:features=60:fields=4",),
        budgets=("50%",),
        dim=4,
        trials=TRIALS_OF_CELL,
        seeds=FINALS_OF_CELL,
    )
    (cell,) = expand(plan, Catalog())
    return [dataclasses.replace(cell, budget=str(number)) for number in range(1, count + 1)]


def coordinate(trials: int, workers: int) -> dict[str, float]:
    """Run stand-in trials through a whole coordinator."""
    cells = cells_of(trials // (TRIALS_OF_CELL + FINALS_OF_CELL))
    process = psutil.Process()
    memory: list[float] = []

    def note(text: str) -> None:
        del text
        memory.append(process.memory_info().rss / 1e6)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = RecordStore(folder)
        progress = Reporter(folder / "live", Console(stderr=True), quiet=True)
        done = progress.trial_done
        seen = 0

        def counted(cell: Cell, record: Record, reused: bool) -> None:
            nonlocal seen
            seen += 1
            if seen % max(1, trials // 10) == 0:
                note("")
            done(cell, record, reused)

        progress.trial_done = counted  # type: ignore[method-assign]
        with TrialLocks(folder / LOCKS_FOLDER) as locks:
            wall, cpu = time.perf_counter(), time.process_time()
            tally = run_cells(
                cells,
                store,
                progress,
                RunOptions(jobs=workers),
                locks,
                lambda _: SleepingPool(workers),
            )
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        began = time.perf_counter()
        packed = store.pack()
        packing = time.perf_counter() - began
    return {
        "trials": tally.made,
        "workers": workers,
        "wall_ms_per_trial": 1000 * wall / tally.made,
        "cpu_ms_per_trial": 1000 * cpu / tally.made,
        "rss_mb_at_10_percent": memory[0],
        "rss_mb_at_50_percent": memory[len(memory) // 2 - 1],
        "rss_mb_at_100_percent": memory[-1],
        "packed": packed,
        "pack_ms_per_record": 1000 * packing / max(packed, 1),
    }


def fill(store: RecordStore, count: int) -> None:
    """Put records into segments, by replacing what differs in the text of one."""
    (cell,) = cells_of(1)
    model = record_of(cell_failure_spec(cell, []))
    row = figures_of(model)
    mark = f'"seed":{model.spec.seed},'
    text = model.model_dump_json()
    store.segments.mkdir(parents=True)
    for start in range(0, count, SEGMENT_ROWS):
        rows = []
        for seed in range(start, min(start + SEGMENT_ROWS, count)):
            mine = f'"seed":{seed},'
            key = model.spec.model_copy(update={"seed": seed}).key()
            own = text.replace(mark, mine).replace(model.key, key)
            figures = {"budget": str(seed % 1000), "validation_auc": 0.5 + seed % 997 / 3000}
            rows.append(row | figures | {"key": key, "seed": seed, "record": own.encode()})
        (store.segments / f"{start:09d}.parquet").write_bytes(segment_bytes(rows))


def measure_segments(count: int) -> dict[str, float]:
    """Open a store of many records, aggregate it, and read some of them."""
    with tempfile.TemporaryDirectory() as name:
        fill(RecordStore(Path(name)), count)
        before = psutil.Process().memory_info().rss
        began, cpu = time.perf_counter(), time.process_time()
        store = RecordStore(Path(name))
        frame = store.figures()
        cells = frame.groupby(["dataset", "backbone", "method", "budget"])["validation_auc"]
        table = cells.agg(["max", "mean", "count"])
        opening, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert int(table["count"].sum()) == count
        after = psutil.Process().memory_info().rss
        keys = np.random.default_rng(0).choice(frame["key"], min(GETS, count), replace=False)
        began = time.process_time()
        assert all(store.get(key) is not None for key in keys)
        getting = time.process_time() - began
        size = sum(path.stat().st_size for path in store.segments.iterdir())
    return {
        "records": count,
        "open_and_aggregate_seconds": opening,
        "open_and_aggregate_cpu_seconds": cpu,
        "added_rss_mb": (after - before) / 1e6,
        "get_cpu_ms": 1000 * getting / len(keys),
        "bytes_per_record": size / count,
    }


def measure_single_files(count: int) -> dict[str, float]:
    """The same with a file for each record, which is what segments are for."""
    (cell,) = cells_of(1)
    spec = cell_failure_spec(cell, [])
    with tempfile.TemporaryDirectory() as name:
        store = RecordStore(Path(name))
        store.records.mkdir(parents=True)
        for seed in range(count):
            record = record_of(spec.model_copy(update={"seed": seed}))
            content = record.model_dump_json(indent=1).encode()
            (store.records / f"{record.key}.json").write_bytes(content)
        began = time.process_time()
        assert len(store.figures()) == count
        seconds = time.process_time() - began
    return {"records": count, "cpu_ms_per_record": 1000 * seconds / count}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    load = psutil.getloadavg()[0]
    result: dict[str, Any] = {"load_average_before": load, "cores": psutil.cpu_count()}
    if arguments.trials:
        result["coordinator"] = coordinate(arguments.trials, arguments.workers)
    if arguments.records:
        result["segments"] = measure_segments(arguments.records)
        result["single_files"] = measure_single_files(min(LOOSE_RECORDS, arguments.records))
    result["load_average_after"] = psutil.getloadavg()[0]
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for part, figures in result.items():
        print(part if isinstance(figures, dict) else f"{part}: {figures:.2f}")
        if isinstance(figures, dict):
            for name, value in figures.items():
                print(f"  {name:28s} {value:,.2f}")


if __name__ == "__main__":
    main()
