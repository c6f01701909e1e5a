"""The command ``check``: measure, then record a baseline or compare with one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pepbench.catalog import Catalog
from pepbench.check import REPETITIONS
from pepbench.check.accuracy import LoadRows, measure_accuracy
from pepbench.check.baseline import (
    Baseline,
    CellFigures,
    Metric,
    read_baseline,
    refuse_other_files,
    write_baseline,
)
from pepbench.check.findings import Tolerance, check_comparable, find_all
from pepbench.check.history import append_history, history_chart, read_history
from pepbench.check.output import Checked, as_json, as_junit, as_markdown, as_table
from pepbench.check.plan import check_plan, trials_of
from pepbench.check.timing import FEWEST_REPETITIONS, RECORDED, measure_time
from pepbench.data.dataset import Dataset
from pepbench.data.splits import open_splits
from pepbench.errors import EXIT_FAILED, PlanError
from pepbench.harness.cells import Cell, expand
from pepbench.harness.environment import check_device, environment
from pepbench.harness.planted_facts import users_of_rows
from pepbench.harness.trial import TrialContext
from pepbench.plan import Plan
from pepbench.printing import print_json, prints_to_stderr
from pepbench.records import now, write_atomically
from pepbench.report.charts.panels import png_bytes, svg_bytes

TimePart = Literal["auto", "always", "never"]
PICTURES = {".svg": svg_bytes, ".png": png_bytes}
"""How a chart becomes a picture, by the suffix of its file."""


@dataclass(frozen=True)
class CheckOptions:
    """How a check measures; affects verdicts only through noise."""

    plugins: tuple[Path, ...] = ()
    jobs: int = 1
    repetitions: int = REPETITIONS
    """Worker processes that time the cells."""
    time: TimePart = "auto"
    """When a slowdown fails the check: on the same kind of machine, or always; or not timed."""
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.time != "never" and self.repetitions < FEWEST_REPETITIONS:
            raise PlanError(
                f"--repetitions {self.repetitions}: a test of times needs {FEWEST_REPETITIONS} or "
                "more; to leave times out, write --time never"
            )


def record(path: Path, plan_file: Path | None, options: CheckOptions) -> Baseline:
    """Measure a plan and write the baseline file.

    Raises
    ------
    PlanError
        If the plan cannot be run, one of its cells fails, or the file holds something else.
    """
    refuse_other_files(path)
    refuse_unwritable(path)
    plan = check_plan(plan_file, options.plugins)
    check_device(plan.device, plan.optimizer, plan.precision)
    cells = expand(plan, Catalog(options.plugins))
    figures = _accuracy(cells, options)
    for cell in figures:
        if cell.status == "failed":
            raise PlanError(
                f"cell {cell.cell.listed()} fails: {cell.reason}; "
                "fix it or leave it out of the plan"
            )
    baseline = Baseline(
        created=now(),
        environment=environment(1),
        plan=plan,
        cells=figures,
        metrics=_times(plan, options, RECORDED * options.repetitions),
    )
    write_baseline(path, baseline)
    return baseline


def check(path: Path, tolerance: Tolerance, options: CheckOptions) -> Checked:
    """Measure the baseline's plan again and compare.

    Raises
    ------
    RecordError
        If the file is not a baseline, or the rows have changed since it was recorded.
    """
    began = time.monotonic()
    baseline = read_baseline(path)
    check_device(baseline.plan.device, baseline.plan.optimizer, baseline.plan.precision)
    catalog = Catalog(options.plugins)
    cells = expand(baseline.plan, catalog)
    check_comparable(baseline, [trials_of(cell)[0] for cell in cells])
    here = environment(1)
    alike = baseline.environment.alike(here)
    warnings = []
    if options.time == "auto" and baseline.metrics and not alike:
        warnings.append(
            "The baseline's processor or versions differ from this machine's: times are shown, "
            "but fail nothing. To judge them, record a baseline of the old code here."
        )
    if options.time != "never" and not baseline.metrics:
        warnings.append("The baseline holds no times: it was recorded with --time never.")
    counts = options.time == "always" or alike
    figures = _accuracy(cells, options)
    metrics = _times(baseline.plan, options, options.repetitions) if baseline.metrics else []
    findings = find_all(
        baseline,
        figures,
        metrics,
        _rows_of(cells, catalog),
        Tolerance(tolerance.margin, tolerance.time_margin, tolerance.strict, counts),
    )
    return Checked(baseline, here, tuple(findings), tuple(warnings), time.monotonic() - began)


def run_check(
    path: Path,
    tolerance: Tolerance,
    options: CheckOptions,
    *,
    json_wanted: bool,
    junit: Path | None,
    summary: Path | None,
    history: Path | None,
) -> int:
    """Check, print the outcome, write the requested files, and return the exit code."""
    for wanted in filter(None, (junit, summary, history)):
        refuse_unwritable(wanted)
    with prints_to_stderr():
        checked = check(path, tolerance, options)
    # First of all, so that a file which cannot be written does not cost the outcome.
    if json_wanted:
        print_json(as_json(checked))
    else:
        Console().print(as_table(checked))
    if junit is not None:
        write_atomically(junit, as_junit(checked))
    if summary is not None:
        # A CI job has one summary file for all of its steps.
        with summary.open("a", encoding="utf-8") as file:
            file.write(as_markdown(checked))
    if history is not None:
        append_history(history, now(), checked.environment, checked.findings)
    return EXIT_FAILED if checked.failed else 0


def run_record(path: Path, plan_file: Path | None, options: CheckOptions) -> int:
    """Record a baseline, and print a summary."""
    with prints_to_stderr():
        baseline = record(path, plan_file, options)
    size = path.stat().st_size / 1024
    print(f"{path}: {len(baseline.cells)} cells, {len(baseline.metrics)} times, {size:,.0f} KiB")
    return 0


def refuse_unwritable(path: Path) -> None:
    """Raise :class:`PlanError` for a file that cannot be written, before hours of work."""
    folder = path.parent
    known = path if path.exists() else folder
    if not folder.is_dir() or not os.access(known, os.W_OK) or path.is_dir():
        raise PlanError(f"{path} cannot be written; name a file in a folder that can")


def refuse_picture(plot: Path) -> None:
    """Raise :class:`PlanError` for a picture of another format than those of :data:`PICTURES`."""
    if plot.suffix.lower() not in PICTURES:
        raise PlanError(f"--plot {plot}: write a name that ends in {' or '.join(PICTURES)}")


def plot_history(history: Path, plot: Path) -> None:
    """Draw the history of checks as one of :data:`PICTURES`."""
    frame = read_history(history, lambda line: print(f"pepbench: {line}", file=sys.stderr))
    write_atomically(plot, PICTURES[plot.suffix.lower()](history_chart(frame)))


def _accuracy(cells: list[Cell], options: CheckOptions) -> list[CellFigures]:
    return measure_accuracy(
        cells, TrialContext(options.plugins), options.jobs, _progress("runs", options)
    )


def _times(plan: Plan, options: CheckOptions, repetitions: int) -> list[Metric]:
    if options.time == "never":
        return []
    return measure_time(plan, options.plugins, repetitions, _progress("timings", options))


def _rows_of(cells: list[Cell], catalog: Catalog) -> LoadRows:
    """Labels and users of the test rows of these cells."""
    splits = {cell.splits.fingerprint: cell.splits for cell in cells}

    def load(figures: CellFigures) -> tuple[NDArray[np.integer], NDArray[np.integer] | None]:
        found = splits[figures.data.split_fingerprint]
        dataset = cast(Dataset, catalog.select("dataset", figures.data.spec).default())
        test = open_splits(found.table, found.meta.seed, found.fold).open_test()
        return test.labels, users_of_rows(dataset, found, "test")

    return load


def _progress(what: str, options: CheckOptions) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if options.quiet:
            return
        end = "\n" if done == total or not sys.stderr.isatty() else "\r"
        print(f"{what}: {done} of {total}", end=end, file=sys.stderr, flush=True)

    return show
