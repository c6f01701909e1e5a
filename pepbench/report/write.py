"""The files of a report."""

from __future__ import annotations

from pathlib import Path

from pepbench.records import write_atomically
from pepbench.report.charts import COSTS, pareto_chart
from pepbench.report.style import png_bytes, svg_bytes
from pepbench.report.markdown import leaderboard_csv, leaderboard_markdown
from pepbench.report.recovery import recovery_csv, recovery_markdown
from pepbench.report.summary import Findings
from pepbench.report.widths import picture_names, pictures


def write_reports(folder: Path, findings: Findings) -> list[Path]:
    """Write ``leaderboard.csv``, ``leaderboard.md``, ``pareto.svg`` and ``pareto.png``.

    For each method whose features have widths of their own, ``widths-METHOD.svg`` and ``.png``
    too, and ``widths.csv`` where something is known about widths or the Bayes AUC.

    Each file appears whole or not at all, and is byte-identical for the same records and versions
    of the libraries that draw.

    Parameters
    ----------
    folder
        Created if it is not there.
    findings
        As :func:`pepbench.report.summary.load_run` returns them.

    Returns
    -------
    list of Path
        The files, in the order above.
    """
    charts = {name: pareto_chart(findings.frame, name) for name in COSTS}
    charts |= pictures(findings.recovery)
    contents = {
        "leaderboard.csv": leaderboard_csv(findings.frame).encode(),
        "leaderboard.md": report_markdown(findings).encode(),
    }
    for name, chart in charts.items():
        contents |= {f"{name}.svg": svg_bytes(chart), f"{name}.png": png_bytes(chart)}
    if len(findings.recovery.frame):
        contents["widths.csv"] = recovery_csv(findings.recovery.frame).encode()
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def report_markdown(findings: Findings) -> str:
    """The whole page: the leaderboard, and what is known about widths."""
    page = leaderboard_markdown(findings.frame, findings.fronts)
    section = recovery_markdown(findings.recovery.frame, picture_names(findings.recovery))
    return f"{page}\n{section}" if section else page
