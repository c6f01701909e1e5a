"""Criteo-like text to encoded splits, compared with what a user would write with pandas.

``python -m benchmarks.ingest --json``. Contenders take turns; each reads the same file in a new
process. Figures are medians: rows per second over both passes (text to table, table to splits),
CPU seconds, which depend less on other work on the machine, and peak resident memory. Rows are
drawn once and repeated, so that memory can be compared over the number of rows with the same
vocabularies. FuxiCTR's preprocessing is included if ``--fuxictr-python`` names an interpreter that
has it (2.3 needs ``polars>=1,<2``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from pepbench.data.adding import number_of_rows
from pepbench.harness.environment import PeakMemory

NUMBERS = 13
CARDINALITIES = (
    1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194,
    27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
)  # fmt: skip
"""Cardinalities of Criteo's 26 categorical fields, as published."""
ZIPF_SHAPE = 0.35
DRAWN_ROWS = 1_000_000
"""Rows drawn; further rows repeat them."""
BLOCK_ROWS = 100_000
COLUMNS = ("Label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27)))
BATCH = 4_096


def write_rows(path: Path, n_rows: int, seed: int = 0) -> None:
    """Criteo-like text: a label, counts, and hexadecimal categories with a long tail."""
    rng = np.random.default_rng(seed)
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    drawn = min(n_rows, DRAWN_ROWS)
    with path.open("wb") as file:
        for start in range(0, drawn, BLOCK_ROWS):
            n = min(BLOCK_ROWS, drawn - start)
            columns = [pa.array(rng.integers(0, 2, n))]
            for _ in range(NUMBERS):
                counts = np.floor(rng.lognormal(1.5, 1.5, n)).astype(np.int64)
                columns.append(pa.array(counts, mask=rng.random(n) < 0.2))
            for cardinality in CARDINALITIES:
                ranks = np.minimum(rng.pareto(ZIPF_SHAPE, n), cardinality - 1).astype(np.uint64)
                codes = (ranks * np.uint64(2_654_435_761) + np.uint64(cardinality)) % 2**32
                values, where = np.unique(codes, return_inverse=True)
                texts = pa.array([f"{value:08x}" for value in values.tolist()])
                columns.append(texts.take(pa.array(where)))
            csv.write_csv(pa.table(columns, names=COLUMNS), file, options)
    once = path.read_bytes()
    with path.open("ab") as file:
        for _ in range(n_rows // DRAWN_ROWS - 1):
            file.write(once)


def ours(path: Path) -> None:
    """The suite: text to table, table to splits."""
    os.environ["PEPBENCH_CACHE"] = str(path.parent / "cache")
    from pepbench.catalog import Catalog
    from pepbench.data.manage import add
    from pepbench.data.splits import open_splits

    dataset: Any = Catalog().select("dataset", "criteo").default()
    open_splits(add(dataset, path), 0)


def pandas(path: Path) -> None:
    """A user's pandas code: read, bucket the counts, factorise, split, encode again."""
    import pandas as pd

    frame = pd.read_csv(
        path,
        sep="\t",
        header=None,
        names=list(COLUMNS),
        dtype=dict.fromkeys(COLUMNS[1 + NUMBERS :], str),
    )
    labels = frame.pop("Label").to_numpy(np.uint8)
    train = np.random.default_rng(0).random(len(frame)) < 0.8
    ids = np.empty(frame.shape, dtype=np.int32)
    for field, name in enumerate(frame.columns):
        column = frame[name]
        if name.startswith("I"):
            column = column.where(column <= 2, np.floor(np.log(column.clip(lower=1)) ** 2))
        codes, _ = pd.factorize(column, use_na_sentinel=False)
        counts = np.bincount(codes[train], minlength=codes.max() + 1)
        kept = counts >= (10 if name.startswith("C") else 1)
        ids[:, field] = (np.cumsum(kept) * kept)[codes]
    np.save(path.parent / "pandas-ids.npy", ids)
    np.save(path.parent / "pandas-labels.npy", labels)


CONTENDERS: dict[str, Callable[[Path], None]] = {"pepbench": ours, "pandas": pandas}

FUXICTR = """
import sys, re, time
from pathlib import Path
from fuxictr.preprocess import FeatureProcessor, build_dataset
path, folder = sys.argv[1], sys.argv[2]
names = ["Label"] + [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
parts = [f"{folder}/{part}.csv" for part in ("train", "valid", "test")]
files = [open(part, "w") for part in parts]
for file in files:
    file.write(",".join(names) + "\\n")
with open(path) as rows:
    for i, row in enumerate(rows):
        files[max(0, i % 10 - 7)].write(row.replace("\\t", ","))
for file in files:
    file.close()
start, begun = time.perf_counter(), time.process_time()
columns = [
    {"name": names[1:14], "active": True, "dtype": "float", "type": "numeric", "fill_na": 0},
    {"name": names[14:], "active": True, "dtype": "str", "type": "categorical", "fill_na": ""},
]
processor = FeatureProcessor(
    feature_cols=columns, label_col={"name": "Label", "dtype": "float"}, dataset_id="d",
    data_root=folder,
)
build_dataset(
    processor, train_data=parts[0], valid_data=parts[1], test_data=parts[2], min_categr_count=10,
    data_format="csv", data_block_size=0,
)
seconds, cpu = time.perf_counter() - start, time.process_time() - begun
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(seconds, cpu, int(peak[1]) / 1024 if peak else 0)
"""


def timed(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak resident MiB of a contender's process."""
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=folder)
    seconds, cpu, peak = map(float, ran.stdout.split()[-3:])
    return seconds, cpu, peak


def worker(name: str, path: Path) -> None:
    """Run one contender in this process and print seconds and peak MiB."""
    CONTENDERS[name](_warm_up(path))
    memory = PeakMemory()
    start, begun = time.perf_counter(), time.process_time()
    CONTENDERS[name](path)
    seconds, cpu = time.perf_counter() - start, time.process_time() - begun
    print(seconds, cpu, memory.mib())


def _warm_up(path: Path) -> Path:
    """A file of a few rows, to import and compile before the timing."""
    small = path.parent / "warm" / "few.txt"
    # A table in the cache would leave nothing to warm up with.
    shutil.rmtree(small.parent, ignore_errors=True)
    small.parent.mkdir()
    with path.open("rb") as file:
        small.write_bytes(b"".join(file.readline() for _ in range(2_000)))
    return small


def batches(path: Path) -> dict[str, float]:
    """Rows per second of batches from the cache: as stored, and as shuffled for training."""
    os.environ["PEPBENCH_CACHE"] = str(path.parent / "cache")
    import torch

    from pepbench.catalog import Catalog
    from pepbench.data.manage import add
    from pepbench.data.splits import open_splits
    from pepbench.training.batches import BatchMaker

    dataset: Any = Catalog().select("dataset", "criteo").default()
    rows = open_splits(add(dataset, path), 0).train
    maker = BatchMaker(BATCH, torch.device("cpu"), torch.float32)

    def plain() -> None:
        for start in range(0, len(rows.labels), BATCH):
            rows.ids[start : start + BATCH].copy()

    def consume(made: Iterable[object]) -> None:
        for _ in made:
            pass

    ways: dict[str, Callable[[], None]] = {
        "as they lie": plain,
        "in order, 64-bit": lambda: consume(maker.in_order(rows)),
        "shuffled, 64-bit": lambda: consume(maker.shuffled(rows, (0,))),
    }
    speeds = {}
    for name, way in ways.items():
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
        speeds[name] = len(rows.labels) / statistics.median(seconds[1:])
    return speeds


def measure(sizes: list[int], rounds: int, fuxictr: str | None) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="pepbench-ingest-") as name:
        folder = Path(name)
        path = folder / "rows.txt"
        write_rows(path, sizes[0])
        commands = {name: _command(name, path) for name in CONTENDERS}
        if fuxictr:
            commands["fuxictr"] = [fuxictr, "-c", FUXICTR, str(path), str(folder / "fuxictr")]
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for contender, command in commands.items():
                for left in ("cache", "fuxictr"):
                    shutil.rmtree(folder / left, ignore_errors=True)
                (folder / "fuxictr").mkdir()
                figures[contender].append(timed(command, Path.cwd()))
        medians = {
            n: [statistics.median(v) for v in zip(*f, strict=True)] for n, f in figures.items()
        }
        speeds = {name: sizes[0] / seconds for name, (seconds, _, _) in medians.items()}
        report: dict[str, Any] = {
            "rows": sizes[0],
            "text_mib": path.stat().st_size / 2**20,
            "rows_per_second": speeds,
            "load": os.getloadavg()[0],
            "times_as_fast_as": {
                name: _median_ratio(figures["pepbench"], theirs, 0)
                for name, theirs in figures.items()
            },
            "cpu_seconds": {name: cpu for name, (_, cpu, _) in medians.items()},
            "times_less_cpu_than": {
                name: _median_ratio(figures["pepbench"], theirs, 1)
                for name, theirs in figures.items()
            },
            "peak_mib": {name: peak for name, (_, _, peak) in medians.items()},
        }
        report["batch_rows_per_second"] = batches(path)
        report["over_rows"] = {}
        for size in sizes:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            write_rows(path, size)
            seconds, cpu, peak = timed(_command("pepbench", path), Path.cwd())
            bytes_kept = sum(p.stat().st_size for p in folder.glob("cache/tables/*/*.npy"))
            report["over_rows"][size] = {
                "rows_per_second": size / seconds,
                "cpu_seconds": cpu,
                "peak_mib": peak,
                "load": os.getloadavg()[0],
                "table_bytes_per_value": bytes_kept / size / (len(COLUMNS) - 1),
            }
    return report


def _median_ratio(
    ours: list[tuple[float, float, float]], theirs: list[tuple[float, float, float]], which: int
) -> float:
    """Median over rounds of one figure, theirs divided by ours."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(other[which] / own[which] for own, other in pairs)


def _command(contender: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.ingest", "--worker", contender, str(path)]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", default="1M,10M", help="sizes; contenders meet on the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fuxictr-python", help="an interpreter that has FuxiCTR")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker[0], Path(arguments.worker[1]))
        return
    sizes = [number_of_rows(size) for size in arguments.rows.split(",")]
    report = measure(sizes, arguments.rounds, arguments.fuxictr_python)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
