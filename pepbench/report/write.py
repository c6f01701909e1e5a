"""The files of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.records import write_atomically
from pepbench.report.charts import pareto_chart, png_bytes, svg_bytes
from pepbench.report.markdown import leaderboard_csv, leaderboard_markdown


def write_reports(folder: Path, frame: pd.DataFrame, fronts: list[dict[str, Any]]) -> list[Path]:
    """Write ``leaderboard.csv``, ``leaderboard.md``, ``pareto.svg`` and ``pareto.png``.

    Each file appears whole or not at all, and is byte-identical for the same records and versions
    of the libraries that draw.

    Parameters
    ----------
    folder
        Created if it is not there.
    frame, fronts
        As :func:`pepbench.report.summary.load_run` returns them.

    Returns
    -------
    list of Path
        The files, in the order above.
    """
    chart = pareto_chart(frame)
    contents = {
        "leaderboard.csv": leaderboard_csv(frame).encode(),
        "leaderboard.md": leaderboard_markdown(frame, fronts).encode(),
        "pareto.svg": svg_bytes(chart),
        "pareto.png": png_bytes(chart),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]
