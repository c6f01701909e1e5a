"""What the command ``run`` does, from plan to printed leaderboard."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console

from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.harness.cell_scheduler import Tally
from pepbench.harness.cells import Cell, expand
from pepbench.harness.environment import check_device
from pepbench.harness.executors import Settings, open_pool
from pepbench.harness.run import run_cells
from pepbench.harness.run_folder import Shard, claimed_folder
from pepbench.harness.status.live_files import LIVE_FOLDER
from pepbench.harness.status.progress import progress_on
from pepbench.harness.status.status_file import status_document, status_view, watch_status
from pepbench.harness.test_facts import keep_facts
from pepbench.harness.time_estimate import (
    START_SECONDS,
    CellEstimate,
    Estimate,
    estimate,
    readable_records,
)
from pepbench.harness.trial import TrialContext
from pepbench.plan import Plan
from pepbench.records import RecordStore
from pepbench.report.show import report
from pepbench.units import duration

RUNS = Path("runs")
"""Folder of runs that were not told where to go, below the working directory."""

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Where:
    """What a run needs beside its plan; decides no result."""

    folder: Path
    settings: Settings
    plugins: tuple[Path, ...] = ()
    executor: str | None = None
    """As ``--executor`` says; None: this machine."""
    join: bool = False
    """Share the folder with the run that holds it."""
    shard: Shard | None = None
    """Work on this part of the cells only."""
    only_missing: bool = False
    """Leave failed trials as they are."""
    start_seconds: float = START_SECONDS
    """How long this program took to start; estimates are made of it."""


def default_folder(plan: Plan) -> Path:
    """One folder for each plan, so that the same command finds its records again."""
    first = plan.datasets[0].replace(":", "-").replace("=", "-")
    return RUNS / f"{first}-{plan.digest()}"


def run(
    plan: Plan, where: Where, *, as_json: bool, quiet: bool, verbose: bool, command: str
) -> int:
    """Run what is missing of a plan, report, and return the exit code."""
    started = time.monotonic()
    stderr = Console(stderr=True)
    try:
        tally = _run_missing(
            plan, where, stderr, quiet or (as_json and not stderr.is_terminal), verbose
        )
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


def _run_missing(plan: Plan, where: Where, stderr: Console, quiet: bool, verbose: bool) -> Tally:
    """Make the records that are missing, and keep beside them what reports need."""
    check_device(plan.device, plan.optimizer, plan.precision)
    catalog = Catalog(where.plugins)
    cells = expand(plan, catalog)
    if where.shard is not None:
        cells = where.shard.cells(cells)
    live = where.folder / LIVE_FOLDER
    shared = where.join or where.shard is not None
    with claimed_folder(where.folder, plan, where.join, where.shard) as claims:
        progress = progress_on(stderr, quiet, verbose, live)
        store = RecordStore(where.folder, progress.warn)
        tally = run_cells(
            cells,
            store,
            progress,
            TrialContext(where.plugins, where.settings.threads, live),
            where.settings,
            lambda: open_pool(where.executor, where.settings),
            claims,
            retry_failed=not (where.only_missing or where.join),
            # Its file has one writer.
            journal=not shared,
        )
        _keep_all_facts(store, catalog, cells)
        if not shared:
            store.pack()
    return tally


def _keep_all_facts(store: RecordStore, catalog: Catalog, cells: Sequence[Cell]) -> None:
    """After the last fit: test labels and planted truth go beside the predictions."""
    for cell in {cell.splits.fingerprint: cell for cell in cells}.values():
        dataset = catalog.select("dataset", cell.data.spec).default()
        keep_facts(store, cast(Dataset, dataset), cell.splits)


def status(folder: Path, as_json: bool, watch: bool) -> int:
    """Print where a run stands; with ``watch`` again and again until it ends."""
    console = Console()
    if as_json:
        print(json.dumps(status_document(folder), indent=2, ensure_ascii=False))
    elif watch:
        watch_status(folder, console)
    else:
        console.print(status_view(folder, console), markup=False, highlight=False)
    return 0


def dry_run(plan: Plan, where: Where, as_json: bool) -> int:
    """Print the cells of a plan and how long it would take; runs and writes nothing."""
    cells = expand(plan, Catalog(where.plugins))
    expected = _estimated(cells, where)
    if as_json:
        document = {
            "folder": str(where.folder),
            "cells": [
                _cell_row(cell, left) for cell, left in zip(cells, expected.cells, strict=True)
            ],
            "trials": sum(left.runs for left in expected.cells),
            **_seconds(expected),
            "exceptions": [exception.describe() for exception in plan.exceptions],
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    for cell, left in zip(cells, expected.cells, strict=True):
        print(
            f"{' '.join(cell.name)}: at most {cell.budget_parameters:,} of "
            f"{cell.full_parameters:,} parameters, {_tuning_words(cell.plan)} + "
            f"{cell.plan.seeds} final runs; {left.runs} to do, {duration(left.seconds)} "
            f"(by {left.basis})"
        )
    for exception in plan.exceptions:
        print(f"except {exception.describe()}")
    runs = sum(left.runs for left in expected.cells)
    print(
        f"{len(cells)} cells, {runs} runs to do; {_in_words(expected, where)}.\n"
        f"Results would go to {where.folder}"
    )
    return 0


def print_estimate(plan: Plan, where: Where, as_json: bool) -> int:
    """Print how long what is missing of a plan will take."""
    cells = expand(plan, Catalog(where.plugins))
    expected = _estimated(cells, where)
    runs = sum(left.runs for left in expected.cells)
    if as_json:
        print(json.dumps({"runs": runs, **_seconds(expected)}))
    else:
        print(f"{runs} runs to do; {_in_words(expected, where)}")
    return 0


def _estimated(cells: Sequence[Cell], where: Where) -> Estimate:
    found = readable_records(where.folder)
    return estimate(cells, found, where.settings.jobs, where.start_seconds)


def _seconds(expected: Estimate) -> dict[str, float]:
    return {
        "seconds": round(expected.seconds, 1),
        "work_seconds": round(expected.work, 1),
        "around_seconds": round(expected.around, 1),
    }


def _in_words(expected: Estimate, where: Where) -> str:
    return (
        f"about {duration(expected.seconds)} on {where.settings.jobs} worker(s), "
        f"{duration(expected.around)} of it to start and to draw the report"
    )


def _tuning_words(plan: Plan) -> str:
    return f"{plan.trials} trials" if plan.tuning_time is None else f"{plan.tuning_time} of trials"


def _cell_row(cell: Cell, left: CellEstimate) -> dict[str, str | int | float | None]:
    dataset, backbone, method, budget = cell.name
    return {
        "dataset": dataset,
        "backbone": backbone,
        "method": method,
        "budget": budget,
        "budget_parameters": cell.budget_parameters,
        "full_parameters": cell.full_parameters,
        "trials": cell.plan.trials if cell.plan.tuning_time is None else None,
        "tuning_time": cell.plan.tuning_time,
        "seeds": cell.plan.seeds,
        "runs": left.runs,
        "seconds": round(left.seconds, 1),
        "basis": left.basis,
    }
