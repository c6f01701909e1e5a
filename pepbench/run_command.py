"""The commands ``pepbench run`` and ``pepbench status``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from pepbench import api
from pepbench.catalog import Catalog
from pepbench.errors import EXIT_INTERRUPTED
from pepbench.harness.cells import Cell, expand
from pepbench.harness.environment import check_device
from pepbench.harness.executors import executor_of
from pepbench.harness.run_options import RunOptions
from pepbench.harness.status.status_file import status_document, status_view, watch_status
from pepbench.harness.time_estimate import RunEstimate, estimate, readable_records
from pepbench.objective import GOALS
from pepbench.plan import Plan
from pepbench.printing import print_json, prints_to_stderr
from pepbench.report.show import report
from pepbench.units import duration


def run_and_report(
    plan: Plan | Path | None,
    out: Path | None,
    *,
    command: str,
    as_json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    before_report: Callable[[Path], None] = lambda _folder: None,
    **options: Any,
) -> int:
    """Run a plan with progress, write and print its report, and return the exit code.

    Parameters
    ----------
    plan, out
        What is run, and where; as in :func:`pepbench.api.run`.
    command
        The command that continues an interrupted run.
    as_json
        Print one JSON document instead of tables.
    quiet, verbose
        Report less or more while the plan runs.
    before_report
        Called with the run's folder when the run is complete.
    options
        Further arguments of :func:`pepbench.api.run`.
    """
    started = time.monotonic()
    stderr = Console(stderr=True)
    silent = quiet or (as_json and not stderr.is_terminal)
    try:
        with prints_to_stderr():
            results = api.run(
                plan,
                out=out,
                progress="warnings" if silent else "verbose" if verbose else True,
                **options,
            )
        before_report(results.folder)
        code = report([results.folder], "json" if as_json else "terminal")
    except KeyboardInterrupt:
        message = f"Interrupted; finished trials are kept. To go on: {command}"
        stderr.print(message, markup=False, highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if not quiet:
        summary = (
            f"{results.trials_run} trials run, {results.trials_reused} reused, "
            f"{duration(time.monotonic() - started)}. Everything is in {results.folder}"
        )
        stderr.print(summary, markup=False, highlight=False, soft_wrap=True)
    return code


def status(folder: Path, as_json: bool, watch: bool) -> int:
    """Print the state of a run; with ``watch`` again and again until it ends."""
    console = Console()
    if as_json:
        print_json(status_document(folder))
    elif watch:
        watch_status(folder, console)
    else:
        console.print(status_view(folder, console), markup=False, highlight=False)
    return 0


def dry_run(plan: Plan, folder: Path, options: RunOptions, as_json: bool) -> int:
    """Print the cells of a plan, or of a shard, and the time for them; runs and writes nothing.

    Where a fold has not been encoded, which may take long, sizes are those of the first fold.
    """
    everything, cells, expected = _expected(plan, folder, options)
    first = {cell.name: cell for cell in reversed(everything)}
    sized = [cell if cell.rows.known else first[cell.name] for cell in cells]
    exceptions = [exception.describe() for exception in plan.exceptions]
    if as_json:
        rows = [
            {
                **cell.name._asdict(),
                "fold": cell.fold.number + 1,
                "budget_parameters": size.budget_parameters,
                "full_parameters": size.full_parameters,
                "sizes_of_fold": size.fold.number + 1,
                "trials": cell.plan.trials if cell.plan.tuning_time is None else None,
                "tuning_time": cell.plan.tuning_time,
                "finalists": cell.plan.finalists,
                "seeds": cell.plan.seeds,
                "runs": left.runs,
                "seconds": round(left.seconds, 1),
                "basis": left.basis,
            }
            for cell, size, left in zip(cells, sized, expected.cells, strict=True)
        ]
        document = {"folder": str(folder), "cells": rows, "trials": expected.runs}
        document |= _seconds(expected) | {"exceptions": exceptions}
        print_json(document)
        return 0
    for cell, size, left in zip(cells, sized, expected.cells, strict=True):
        print(
            f"{cell}: at most {size.budget_parameters:,} of {size.full_parameters:,} "
            f"parameters, {cell.plan.tuning_time or cell.plan.trials}"
            f"{'' if cell.plan.tuning_time is None else ' of'} trials + {_choice(cell.plan)}"
            f"{cell.plan.seeds} final runs; {left.runs} to do, {duration(left.seconds)} "
            f"(by {left.basis})"
        )
    print(f"trials are chosen by validation {GOALS[plan.objective]}")
    for line in exceptions:
        print(f"except {line}")
    if sized != cells:
        print("Sizes are those of the first fold; vocabularies of others differ a little.")
    print(f"{len(cells)} cells, {_in_words(expected, options.jobs)}.\nResults would go to {folder}")
    return 0


def print_estimate(plan: Plan, folder: Path, options: RunOptions, as_json: bool) -> int:
    """Print how long it takes to run what is missing of a plan, or of a shard."""
    expected = _expected(plan, folder, options)[-1]
    if as_json:
        print_json({"runs": expected.runs, **_seconds(expected)})
    else:
        print(_in_words(expected, options.jobs))
    return 0


def _expected(
    plan: Plan, folder: Path, options: RunOptions
) -> tuple[list[Cell], list[Cell], RunEstimate]:
    """All cells of a plan, those of the shard, and the time for these."""
    executor_of(options)  # refuses an unknown one
    # Where nothing is recorded yet, a few steps are timed on the plan's device.
    check_device(plan.device, plan.optimizer, plan.precision)
    with prints_to_stderr():
        everything = expand(plan, Catalog(options.context.plugins))
        cells = everything if options.shard is None else options.shard.cells(everything)
        return everything, cells, estimate(cells, readable_records(folder), options.jobs)


def _choice(plan: Plan) -> str:
    if plan.finalists == 1:
        return ""
    return f"{plan.finalists} finalists × {plan.finalist_seeds} seeds + "


def _seconds(expected: RunEstimate) -> dict[str, Any]:
    return {
        "seconds": round(expected.seconds, 1),
        "work_seconds": round(expected.work, 2),
        "around_seconds": round(expected.around, 1),
    }


def _in_words(expected: RunEstimate, jobs: int) -> str:
    return (
        f"{expected.runs} runs to do; about {duration(expected.seconds)} on {jobs} worker(s), "
        f"{duration(expected.around)} of it to start and to draw the report"
    )
