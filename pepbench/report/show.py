"""The commands ``pepbench report`` and ``pepbench compare``."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from pepbench.analysis.metrics import metric_named
from pepbench.analysis.pair import chosen_pairs
from pepbench.errors import EXIT_FAILED, RecordError
from pepbench.printing import print_json
from pepbench.report.beside_board import opened
from pepbench.report.findings import (
    Findings,
    check_metric,
    json_document,
    load_runs,
    margin_of,
)
from pepbench.report.latex import leaderboard_latex
from pepbench.report.markdown import leaderboard_csv
from pepbench.report.table_rows import has_folds
from pepbench.report.terminal.leaderboard_view import LeaderboardView, RecoveryView
from pepbench.report.terminal.pair_view import PairView, pair_json
from pepbench.report.terminal.tuning_view import TuningView

Format = Literal["terminal", "markdown", "csv", "latex", "html", "parquet", "json"]

_WIDE = 160


def report(
    folders: Sequence[Path],
    form: Format,
    *,
    out: Path | None = None,
    wide: bool = False,
    tuning: bool = False,
    open_page: bool = False,
    margin: float | None = None,
    metric: str = "auc",
) -> int:
    """Write tables, charts and the page anew from records, and print one of them.

    Parameters
    ----------
    folders
        Of the runs.
    form
        What to print.
    out
        Where to write; by default the folder, if it is a single one, else nothing is written.
    wide
        On a terminal, all columns.
    tuning
        Print trials and gains of tuning instead; nothing is written.
    open_page
        Show ``report.html`` in the browser.
    margin
        Of equivalence and non-inferiority, in the metric; None: that of the runs' plans.
    metric
        What verdicts are about.

    Returns
    -------
    int
        1 if cells have failed, else 0.

    Raises
    ------
    RecordError
        As :func:`pepbench.analysis.runs.open_runs` and :func:`pepbench.report.findings.margin_of`.
    PlanError
        If ``margin`` or ``metric`` cannot be one.
    """
    findings = load_runs(folders, _warn, margin, metric=metric_named(metric))
    target = out or (folders[0] if len(set(folders)) == 1 else None)
    if tuning:
        _console(wide).print(TuningView(findings.records))
        return 0
    if open_page and target is None:
        raise RecordError("--open needs a page of several runs to be written; add --out FOLDER")
    try:
        written = _written(target, findings)
    except OSError as error:
        why = f"{target} cannot be written ({error.strerror or error})"
        if out is not None:
            raise RecordError(f"{why}; choose another folder with --out") from None
        _warn(f"{why}: nothing is written; add --out FOLDER")
        written = None
    _print(findings, form, target or folders[0], wide)
    if target is None:
        _warn("several runs: nothing is written without --out FOLDER")
    if open_page and written is not None:
        webbrowser.open(written.resolve().as_uri())
    return EXIT_FAILED if findings.failed else 0


def compare(
    folders: Sequence[Path],
    methods: tuple[str, str],
    *,
    dataset: str | None,
    budget: str | None,
    backbone: str | None,
    as_json: bool,
    margin: float | None = None,
    metric: str = "auc",
) -> int:
    """Print one pair of methods in full, wherever both have a cell.

    ``margin`` and ``metric`` are as of :func:`report`. Returns 1 if one of the pairs could not be
    compared, else 0.
    """
    about = metric_named(metric)
    runs = opened(folders, _warn)
    check_metric(runs.records, about)
    within = margin_of(runs.folders, margin)
    pairs = chosen_pairs(runs, methods, dataset, budget, backbone, within, about)
    if as_json:
        print_json([pair_json(pair, within) for pair in pairs])
    else:
        _console(False).print(*(PairView(pair, margin=within) for pair in pairs))
    return EXIT_FAILED if any(pair.comparison is None for pair in pairs) else 0


def _written(target: Path | None, findings: Findings) -> Path | None:
    if target is None:
        return None
    # Drawing libraries take a second to import.
    from pepbench.report.page.html import PAGE
    from pepbench.report.write import write_reports

    write_reports(target, findings)
    return target / PAGE


def _print(findings: Findings, form: Format, folder: Path, wide: bool) -> None:
    if form == "json":
        print_json(json_document(folder, findings))
    elif form == "csv":
        print(leaderboard_csv(findings.frame), end="")
    elif form == "latex":
        print(leaderboard_latex(findings.frame), end="")
    elif form == "terminal":
        board = LeaderboardView(
            findings.frame, findings.fronts, wide, findings.margin, findings.contrasts
        )
        widths = RecoveryView(findings.recovery.frame, has_folds(findings.frame))
        _console(wide).print(board, widths, *(Text(note) for note in findings.notes))
    else:
        _print_file(findings, form, folder)


def _print_file(findings: Findings, form: Format, folder: Path) -> None:
    from pepbench.report.page.html import report_html
    from pepbench.report.write import leaderboard_parquet, report_markdown

    if form == "markdown":
        print(report_markdown(findings), end="")
    elif form == "html":
        print(report_html(findings, folder), end="")
    elif sys.stdout.isatty():
        raise RecordError(
            "--format parquet prints bytes: redirect them to a file, or take leaderboard.parquet "
            f"from {folder}"
        )
    else:
        sys.stdout.buffer.write(leaderboard_parquet(findings))


def _console(wide: bool) -> Console:
    console = Console()
    return Console(width=max(_WIDE, console.width)) if wide else console


def _warn(line: str) -> None:
    print(f"pepbench: {line}", file=sys.stderr)
