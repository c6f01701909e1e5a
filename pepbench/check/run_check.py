"""What the command ``check`` does: measure, then record, or compare and print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pepbench.check.accuracy import measure_accuracy
from pepbench.check.baseline import Baseline, CellFigures, Metric, read_baseline, write_baseline
from pepbench.check.findings import Tolerance, check_comparable, find_all, same_machine
from pepbench.check.history import append_history, read_history
from pepbench.check.history_chart import history_chart
from pepbench.check.output import Checked, ChecksView, as_json, as_junit, as_markdown
from pepbench.check.plan import cells_of, check_plan, trials_of
from pepbench.check.timing import FEWEST_REPETITIONS, RECORDED, measure_time
from pepbench.errors import EXIT_FAILED, PlanError
from pepbench.harness.cells import Cell
from pepbench.harness.environment import calibration_seconds, check_device, environment
from pepbench.harness.trial import TrialContext
from pepbench.plan import Plan
from pepbench.records import now, write_atomically
from pepbench.report.charts.style import png_bytes, svg_bytes

TimePart = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class How:
    """How to measure; decides no verdict but by noise."""

    plugins: tuple[Path, ...] = ()
    jobs: int = 1
    repetitions: int = 7
    """Worker processes that time the cells."""
    time: TimePart = "auto"
    """When slowness fails a check: on the baseline's kind of machine, or always; or not timed."""
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.time != "never" and self.repetitions < FEWEST_REPETITIONS:
            raise PlanError(
                f"--repetitions {self.repetitions}: a test of times needs {FEWEST_REPETITIONS} or "
                "more; to leave times out, write --time never"
            )


def record(path: Path, plan_file: Path | None, how: How) -> Baseline:
    """Measure a plan and write the baseline file.

    Raises
    ------
    PlanError
        If the plan cannot be run, or one of its cells fails.
    """
    plan = check_plan(plan_file, how.plugins)
    check_device(plan.device, plan.optimizer, plan.precision)
    cells = cells_of(plan, how.plugins)
    figures = _accuracy(cells, how)
    for cell in figures:
        if cell.status == "failed":
            raise PlanError(
                f"cell {cell.cell.listed()} fails: {cell.reason}; "
                "mend it or leave it out of the plan"
            )
    baseline = Baseline(
        created=now(),
        environment=environment(1),
        calibration_seconds=calibration_seconds(),
        plan=plan,
        cells=figures,
        metrics=_times(plan, how, RECORDED * how.repetitions),
    )
    write_baseline(path, baseline)
    return baseline


def check(path: Path, tolerance: Tolerance, how: How) -> Checked:
    """Measure the baseline's plan again and compare.

    Raises
    ------
    RecordError
        If the file is no baseline, or its rows are not those of now.
    """
    began = time.monotonic()
    baseline = read_baseline(path)
    check_device(baseline.plan.device, baseline.plan.optimizer, baseline.plan.precision)
    cells = cells_of(baseline.plan, how.plugins)
    check_comparable(baseline, [trials_of(cell)[0] for cell in cells])
    here = environment(1)
    alike = same_machine(baseline.environment, here)
    warnings = []
    if how.time == "auto" and baseline.metrics and not alike:
        warnings.append(
            "The baseline's processor or versions differ from this machine's: times are told, "
            "and fail nothing. To judge them, record a baseline of the old code here."
        )
    if how.time != "never" and not baseline.metrics:
        warnings.append("The baseline holds no times: it was recorded with --time never.")
    counts = how.time == "always" or alike
    figures = _accuracy(cells, how)
    metrics = _times(baseline.plan, how, how.repetitions) if baseline.metrics else []
    findings = find_all(
        baseline,
        figures,
        metrics,
        _labels_of(cells),
        Tolerance(tolerance.margin, tolerance.time_margin, tolerance.strict, counts),
    )
    return Checked(baseline, here, tuple(findings), tuple(warnings), time.monotonic() - began)


def run_check(
    path: Path,
    tolerance: Tolerance,
    how: How,
    *,
    json_wanted: bool,
    junit: Path | None,
    summary: Path | None,
    history: Path | None,
) -> int:
    """Check, write what was asked for, and return the exit code."""
    checked = check(path, tolerance, how)
    if junit is not None:
        write_atomically(junit, as_junit(checked))
    if summary is not None:
        # Appended: a job's page is one file for all of its steps.
        with summary.open("a", encoding="utf-8") as file:
            file.write(as_markdown(checked))
    if history is not None:
        append_history(history, now(), checked.environment, checked.findings)
    if json_wanted:
        print(json.dumps(as_json(checked), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        Console().print(ChecksView(checked))
    return EXIT_FAILED if checked.failed else 0


def run_record(path: Path, plan_file: Path | None, how: How) -> int:
    """Record, and say what was recorded."""
    baseline = record(path, plan_file, how)
    size = path.stat().st_size / 1024
    print(f"{path}: {len(baseline.cells)} cells, {len(baseline.metrics)} times, {size:,.0f} KiB")
    return 0


def plot_history(history: Path, plot: Path) -> int:
    """Draw the history of checks as SVG or PNG, by the name's ending."""
    frame = read_history(history, lambda line: print(f"pepbench: {line}", file=sys.stderr))
    draw = {".svg": svg_bytes, ".png": png_bytes}.get(plot.suffix.lower())
    if draw is None:
        raise PlanError(f"--plot {plot}: write a name that ends in .svg or .png")
    write_atomically(plot, draw(history_chart(frame)))
    print(plot)
    return 0


def _accuracy(cells: list[Cell], how: How) -> list[CellFigures]:
    return measure_accuracy(cells, TrialContext(how.plugins), how.jobs, _teller("runs", how))


def _times(plan: Plan, how: How, repetitions: int) -> list[Metric]:
    if how.time == "never":
        return []
    return measure_time(plan, how.plugins, repetitions, _teller("timings", how))


def _labels_of(cells: list[Cell]) -> Callable[[CellFigures], NDArray[np.integer]]:
    splits = {cell.splits.fingerprint: cell.splits for cell in cells}
    return lambda figures: splits[figures.data.split_fingerprint].open_test().labels


def _teller(what: str, how: How) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if how.quiet:
            return
        end = "\n" if done == total or not sys.stderr.isatty() else "\r"
        print(f"{what}: {done} of {total}", end=end, file=sys.stderr, flush=True)

    return tell
