"""The files of a report."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import pyarrow as pa

from pepbench.analysis.leaderboard import compression_at_parity
from pepbench.analysis.metrics import objective_name
from pepbench.records import write_atomically
from pepbench.records.files import parquet_bytes
from pepbench.report.charts.panels import png_of_svg, svg_bytes, unchecked
from pepbench.report.charts.report_charts import charts_of
from pepbench.report.charts.widths import picture_names, pictures
from pepbench.report.findings import Findings
from pepbench.report.latex import leaderboard_latex
from pepbench.report.markdown import (
    CONTRASTS_CSV,
    LEADERBOARD_CSV,
    LEADERBOARD_MD,
    PAIRS_CSV,
    WIDTHS_CSV,
    csv_text,
    detail_markdown,
    escape,
    leaderboard_csv,
    leaderboard_markdown,
    recovery_markdown,
)
from pepbench.report.page.html import PAGE, report_html
from pepbench.report.table_rows import has_folds


def write_reports(
    folder: Path, findings: Findings, rastered: Container[str] | None = None
) -> list[Path]:
    """Write the page, the leaderboard in four formats, and the charts as SVG and PNG.

    Each file appears whole or not at all, and is byte-identical for the same records and versions
    of the libraries that draw.

    Parameters
    ----------
    folder
        Created if it is not there.
    findings
        As :func:`pepbench.report.findings.load_runs` returns them.
    rastered
        Names of the charts that are written as PNG, too; all of them if not given.

    Returns
    -------
    list of Path
        The files.
    """
    with unchecked():
        charts = charts_of(findings)
    contents = {
        PAGE: report_html(findings, folder, charts).encode(),
        LEADERBOARD_CSV: leaderboard_csv(findings.frame).encode(),
        LEADERBOARD_MD: report_markdown(findings).encode(),
        "leaderboard.tex": leaderboard_latex(findings.frame).encode(),
        "leaderboard.parquet": leaderboard_parquet(findings),
    }
    with unchecked():
        drawn = {name: chart.picture() for name, chart in charts.items()}
        for name, chart in (drawn | pictures(findings.recovery)).items():
            contents[f"{name}.svg"] = svg = svg_bytes(chart)
            if rastered is None or name in rastered:
                contents[f"{name}.png"] = png_of_svg(svg)
    for name, frame in (
        ("fronts.csv", findings.analysis.fronts.points),
        (CONTRASTS_CSV, findings.contrasts),
        ("comparisons.csv", findings.comparisons),
        (PAIRS_CSV, findings.analysis.pairs),
        (WIDTHS_CSV, findings.recovery.frame),
    ):
        if len(frame):
            contents[name] = csv_text(frame).encode()
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def leaderboard_parquet(findings: Findings) -> bytes:
    """The leaderboard as a Parquet file, all columns in full precision."""
    return parquet_bytes(pa.Table.from_pandas(findings.frame, preserve_index=False))


def report_markdown(findings: Findings) -> str:
    """``leaderboard.md``: the leaderboard, comparisons and fronts in full, learnt widths."""
    page = leaderboard_markdown(
        findings.frame,
        findings.fronts,
        findings.leading,
        findings.margin,
        findings.contrasts,
        objective_name(findings.records),
        volumes=findings.analysis.fronts.summary.empty,
    )
    analysis = findings.analysis
    sections = (
        detail_markdown(
            analysis.comparisons,
            analysis.fronts,
            analysis.ranks,
            compression_at_parity(analysis.comparisons),
        ),
        recovery_markdown(
            findings.recovery.frame,
            picture_names(findings.recovery),
            has_folds(findings.frame),
        ),
    )
    notes = "\n".join(f"* {escape(note)}" for note in findings.notes)
    return "\n".join(part for part in [page, notes, *sections] if part)
