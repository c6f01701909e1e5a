"""What the command ``run`` does, from plan to printed leaderboard."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console

from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.harness.cells import Cell, expand
from pepbench.harness.environment import check_device
from pepbench.harness.estimate import estimated_seconds
from pepbench.harness.live import LIVE_FOLDER
from pepbench.harness.progress import duration, progress_on
from pepbench.harness.recovery import keep_facts
from pepbench.harness.run import claimed_folder, run_cells
from pepbench.harness.trial import Surroundings
from pepbench.plan import Plan
from pepbench.records import RecordStore
from pepbench.report.command import report

RUNS = Path("runs")
"""Folder of runs that were not told where to go, below the working directory."""

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Where:
    """What a run needs beside its plan; decides no result."""

    folder: Path
    jobs: int
    threads: int
    plugins: tuple[Path, ...]


def default_folder(plan: Plan) -> Path:
    """One folder for each plan, so that the same command finds its records again."""
    digest = hashlib.sha256(plan.to_toml().encode()).hexdigest()[:8]
    first = plan.datasets[0].replace(":", "-").replace("=", "-")
    return RUNS / f"{first}-{digest}"


def run(
    plan: Plan, where: Where, *, as_json: bool, quiet: bool, verbose: bool, command: str
) -> int:
    """Run what is missing of a plan, report, and return the exit code."""
    started = time.monotonic()
    stderr = Console(stderr=True)
    live = where.folder / LIVE_FOLDER
    progress = progress_on(stderr, quiet or (as_json and not stderr.is_terminal), verbose, live)
    surroundings = Surroundings(where.plugins, where.threads, live)
    check_device(plan.device, plan.optimizer, plan.precision)
    try:
        catalog = Catalog(where.plugins)
        cells = expand(plan, catalog)
        with claimed_folder(where.folder, plan):
            store = RecordStore(where.folder, progress.warn)
            tally = run_cells(cells, store, progress, surroundings, where.jobs)
            # After the last fit: test labels and planted truth go beside the predictions.
            for cell in {cell.splits.fingerprint: cell for cell in cells}.values():
                dataset = catalog.select("dataset", cell.data.spec).default()
                keep_facts(store, cast(Dataset, dataset), cell.splits)
            failed = report([where.folder], "json" if as_json else "terminal")
    except KeyboardInterrupt:
        message = f"Interrupted; finished trials are kept. To go on: {command}"
        stderr.print(message, markup=False, highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if not quiet:
        summary = (
            f"{tally.made} trials run, {tally.reused} reused, "
            f"{duration(time.monotonic() - started)}. Everything is in {where.folder}"
        )
        stderr.print(summary, markup=False, highlight=False, soft_wrap=True)
    return failed


def dry_run(plan: Plan, where: Where, as_json: bool) -> int:
    """Print the cells of a plan and how long it would take at most; runs and writes nothing."""
    cells = expand(plan, Catalog(where.plugins))
    seconds = estimated_seconds(cells, where.jobs)
    if as_json:
        document = {
            "folder": str(where.folder),
            "cells": [_cell_row(cell) for cell in cells],
            "trials": sum(cell.plan.trials + cell.plan.seeds for cell in cells),
            "seconds_at_most": round(seconds),
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    for cell in cells:
        print(
            f"{' '.join(cell.name)}: at most {cell.budget_parameters:,} of "
            f"{cell.full_parameters:,} parameters, {plan.trials} trials + {plan.seeds} final runs"
        )
    print(
        f"{len(cells)} cells, {len(cells) * (plan.trials + plan.seeds)} runs; at most "
        f"{duration(seconds)} on {where.jobs} worker(s), less where training stops early.\n"
        f"Results would go to {where.folder}"
    )
    return 0


def _cell_row(cell: Cell) -> dict[str, str | int]:
    dataset, backbone, method, budget = cell.name
    return {
        "dataset": dataset,
        "backbone": backbone,
        "method": method,
        "budget": budget,
        "budget_parameters": cell.budget_parameters,
        "full_parameters": cell.full_parameters,
        "trials": cell.plan.trials,
        "seeds": cell.plan.seeds,
        "most_steps": cell.most_steps(),
    }
