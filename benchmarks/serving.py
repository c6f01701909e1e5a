"""What serving costs: bytes on disk and in memory, lookups a second, latency of 1,000 rows.

``python -m benchmarks.serving --json``. A table of each family is exported at 10 % and 1 % of a
full table of 1M features (D = 16, F = 39, features by Zipf's law within their fields), beside the
full table and masked tables at 5 %; ``pepbench.serve`` looks up codes in it. Latencies do not
depend on what was learnt, so tables are as they are before training; masks that training would find
keep more of frequent features, as ``popularity-mask`` does. Each table takes turns with the full
one in one process, so that a change of the machine's speed meets both. Where other programs use the
machine, read ``cpu_over_full``: it is the ratio of medians of processor time, in which waiting for
a core does not count, as it does in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pepbench.baselines.cerp import CompositionalTable
from tabulate import tabulate

from benchmarks.methods import fixed_shapes, method_named
from benchmarks.problem import Problem, Size, zipf_problem
from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.export.folder import write_export
from pepbench.serve import ServedTable, load
from pepbench.serve.addresses import Positions, TwoRows
from pepbench.tables.embedding import Embedding, MaskedTable, xavier_uniform
from pepbench.tables.fields import Fields
from pepbench.tables.quantised import SCHEMES, QuantisedTable

DIM, FIELDS, ROWS = 16, 39, 1000
SHARES = (0.1, 0.01)
FULL = "full"
FEWEST_BATCHES = 20
TAKES_LONG = ("dhe",)
"""Measured only when named: a network for each feature takes minutes."""
MASKED_SHARE = 0.05
TABLES_AT_MASKED_SHARE = ("popularity-mask", "random-mask", "popularity-mask+int8")
ROUNDED = ("full+int8", "full+int4", "full+fp16")


class Times(NamedTuple):
    """Seconds of one lookup."""

    wall: float
    cpu: float


def embedding_of(name: str, fields: Fields, budget: int) -> Embedding:
    """An untrained table of a method, as it would be served."""
    base, _, suffix = name.partition("+")
    torch.manual_seed(0)
    if base == "cerp":
        embedding: Embedding = composed(fields, budget)
    else:
        method = method_named(base)
        trained_of = getattr(method, "training_table", method.embedding)
        embedding = cast(Embedding, trained_of(fields, DIM, budget))
    embedding.eval()
    return QuantisedTable(embedding, SCHEMES[suffix]) if suffix else embedding


def composed(fields: Fields, budget: int) -> CompositionalTable:
    """Two masked tables as ``cerp`` ends with, the entries at random."""
    positions = Positions(np.asarray(fields.cardinalities), seed=0)
    shape = TwoRows(positions, max(1, budget // DIM))
    tables = [xavier_uniform(rows, DIM) for rows in shape.n_rows]
    n_entries = sum(table.numel() for table in tables)
    masks = [torch.rand(table.shape) < budget / n_entries for table in tables]
    p, q = (MaskedTable(table, mask) for table, mask in zip(tables, masks, strict=True))
    return CompositionalTable(shape, p, q)


def write(name: str, fields: Fields, share: float, folder: Path) -> None:
    """Export a table; codes are looked up, so its fields have no vocabularies."""
    budget = int(fields.n_features * DIM * (1 if name.partition("+")[0] == FULL else share))
    embedding = embedding_of(name, fields, budget)
    described = [
        {"name": field, "cardinality": n, "edges": []}
        for field, n in zip(fields.names, fields.cardinalities, strict=True)
    ]
    write_export(folder, embedding.export(), described, embedding.dim, {})


def code_batches(problem: Problem) -> list[NDArray[np.int64]]:
    """Codes (1000, F) within their fields, batch after batch."""
    codes = problem.rows.ids.astype(np.int64) - problem.fields.offsets
    return np.split(codes[: len(codes) // ROWS * ROWS], len(codes) // ROWS)


def in_turns(
    table: ServedTable, full: ServedTable, batches: Iterator[NDArray[np.int64]], seconds: float
) -> tuple[list[Times], list[Times]]:
    """Times of each lookup in either table, on the same batches in turns."""
    ours, theirs = [], []
    for contender in (table, full):
        contender.lookup(next(batches))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(ours) < FEWEST_BATCHES:
        batch = next(batches)
        ours.append(time_of(table, batch))
        theirs.append(time_of(full, batch))
    return ours, theirs


def time_of(table: ServedTable, batch: NDArray[np.int64]) -> Times:
    """Look a batch up once."""
    wall, cpu = time.perf_counter(), time.process_time()
    table.lookup(batch)
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def line_of(
    name: str, share: float, folder: Path, full: ServedTable, problem: Problem, seconds: float
) -> dict[str, Any]:
    """All figures of one table."""
    table = load(folder)
    ours, theirs = in_turns(table, full, cycle(code_batches(problem)), seconds)
    wall = [times.wall for times in ours]
    median = statistics.median(wall)
    cpu, full_cpu = (statistics.median(t.cpu for t in times) for times in (ours, theirs))
    return {
        "table": name,
        "share": share,
        "form": table.form.name,
        "bytes_on_disk": sum(path.stat().st_size for path in folder.iterdir()),
        "resident_bytes": resident(folder, problem.size.features),
        "lookups_per_second": round(ROWS * FIELDS / median),
        "p50_ms": round(1e3 * median, 3),
        "p99_ms": round(1e3 * float(np.quantile(wall, 0.99)), 3),
        "cpu_ms": round(1e3 * cpu, 3),
        "cpu_over_full": round(cpu / full_cpu, 2),
        "batches": len(ours),
    }


def resident(folder: Path, features: int) -> int:
    """By how much a process of its own grows when it opens a table and looks up every feature."""
    command = [sys.executable, "-m", "benchmarks.serving", "--resident-of", str(folder)]
    command += ["--features", str(features)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def resident_here(folder: Path, rows_at_a_time: int = 1 << 14) -> int:
    """As :func:`resident`, in this process."""
    before = resident_set()
    table = load(folder, verify=False)
    n_features = sum(field.cardinality for field in table.fields)
    for start in range(0, n_features, rows_at_a_time):
        table.lookup_ids(np.arange(start, min(start + rows_at_a_time, n_features)))
    return resident_set() - before


def resident_set() -> int:
    """Bytes of this process that are in memory now, mapped files included."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/smaps_rollup has no Rss")


def tables() -> list[tuple[str, float]]:
    """What is measured: names and shares."""
    catalog = Catalog()
    coded = [
        name
        for name in catalog.entries("method")
        if hasattr(catalog.load("method", name), "training_table")
    ]
    names = [*(name for name in fixed_shapes() if name != FULL), "cerp", *coded]
    compressed = [(name, share) for share in SHARES for name in names]
    masked = [(name, MASKED_SHARE) for name in TABLES_AT_MASKED_SHARE]
    return [(FULL, 1.0), *((name, 1.0) for name in ROUNDED), *masked, *compressed]


def measure(features: int, seconds: float, only: set[str]) -> dict[str, Any]:
    """A line for each table."""
    problem = zipf_problem(Size(features, DIM, FIELDS, ROWS))
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        write(FULL, problem.fields, 1.0, Path(place) / FULL)
        full = load(Path(place) / FULL)
        for name, share in tables():
            if name not in only if only else name in TAKES_LONG:
                continue
            print(f"{name} at {share:.0%}", file=sys.stderr)
            folder = Path(place) / f"{name}-{share}"
            try:
                write(name, problem.fields, share, folder)
            except Infeasible as error:
                lines.append({"table": name, "share": share, "infeasible": str(error)})
                continue
            lines.append(line_of(name, share, folder, full, problem, seconds))
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    return {"features": features, "dim": DIM, "fields": FIELDS, "rows": ROWS, "tables": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each pair of tables")
    parser.add_argument("--only", default="", help="comma-separated names")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--resident-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resident_of:
        print(resident_here(arguments.resident_of))
        return
    only = {name for name in arguments.only.split(",") if name}
    found = measure(arguments.features, arguments.seconds, only)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    measured = [line for line in found["tables"] if "infeasible" not in line]
    print(tabulate(measured, headers="keys", tablefmt="github"))
    for line in found["tables"]:
        if "infeasible" in line:
            print(f"{line['table']} at {line['share']:.0%}: {line['infeasible']}")


if __name__ == "__main__":
    main()
