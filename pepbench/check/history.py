"""The history of checks: one JSON line for each, which may be drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import altair as alt
import pandas as pd
from filelock import FileLock

from pepbench.check.findings import Finding
from pepbench.errors import RecordError
from pepbench.records import Environment
from pepbench.report.palette import marks
from pepbench.report.style import GREY, styled

COLUMNS = ("created", "git", "failed", "kind", "subject", "verdict", "current", "unit", "change")
"""Of the frame that :func:`read_history` gives."""

_TITLES = {
    "accuracy": "ΔAUC against the baseline",
    "time": "cost of a step against the baseline",
    "memory": "peak memory against the baseline",
    "start-up": "start-up against the baseline",
}


def append_history(
    path: Path, created: datetime, environment: Environment, findings: Sequence[Finding]
) -> None:
    """Append one check as one line, whole or not at all, also with others who append."""
    line = {
        "created": created.isoformat(),
        "git": environment.git,
        "pepbench": environment.pepbench,
        "cpu": environment.cpu,
        "failed": any(finding.failed for finding in findings),
        "findings": [vars(finding) for finding in findings],
    }
    content = json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            # A line that a crash cut short must not swallow the next.
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_history(path: Path, warn: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """A row for each finding of each check, oldest first: the columns :data:`COLUMNS`.

    Parameters
    ----------
    warn
        Called with one line for each line of the file that cannot be read; it is left out.

    Raises
    ------
    RecordError
        If the file cannot be read at all, or holds no check.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise RecordError(f"{path}: {reason}; append to it with: --history {path}") from None
    rows = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            check = json.loads(text)
            common = {name: check[name] for name in ("created", "git", "failed")}
            common["created"] = datetime.fromisoformat(common["created"])
            chosen = COLUMNS[len(common) :]
            found = [{name: finding[name] for name in chosen} for finding in check["findings"]]
        except (ValueError, KeyError, TypeError):
            warn(f"{path}: line {number} is no whole check; left out")
            continue
        rows += [common | finding for finding in found]
    if not rows:
        raise RecordError(f"{path}: holds no check; append one with: --history {path}")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values("created", kind="stable", ignore_index=True)


def history_chart(frame: pd.DataFrame) -> alt.VConcatChart:
    """Change against the baseline over time: a panel for each kind, a line for each subject.

    Points are filled where the check failed.

    Parameters
    ----------
    frame
        As :func:`read_history` returns it.
    """
    drawn = frame[frame["change"].notna()].assign(
        regression=frame["verdict"].isin(["worse", "slower", "larger"]),
        # Without its zone, lest it be drawn in that of the machine.
        created=pd.to_datetime(frame["created"], utc=True).dt.tz_localize(None),
    )
    panels = [_panel(drawn[drawn["kind"] == kind], title) for kind, title in _TITLES.items()]
    chart = alt.vconcat(*[panel for panel in panels if panel is not None], spacing=24)
    return styled(
        chart.resolve_scale(color="independent", shape="independent", fill="independent"),
        "Checks over time",
        "Filled points: a loss beyond the margin was shown.",
    )


def _panel(block: pd.DataFrame, title: str) -> alt.LayerChart | None:
    if block.empty:
        return None
    looks = marks(block["subject"])
    share = not title.startswith("ΔAUC")
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=600, symbolOpacity=1)
    colour = alt.Color(
        "subject:N",
        scale=alt.Scale(domain=list(looks), range=[look.colour for look in looks.values()]),
        legend=legend,
    )
    shape = alt.Shape(
        "subject:N",
        scale=alt.Scale(domain=list(looks), range=[look.shape for look in looks.values()]),
        legend=legend,
    )
    y = alt.Y("change:Q", title="change", axis=alt.Axis(format="+.0%" if share else "+.4f"))
    when = alt.Axis(format="%Y-%m-%d %H:%M", tickCount=5, labelOverlap=True)
    base = alt.Chart(block).encode(
        x=alt.X("created:T", title="time of the check (UTC)", axis=when), y=y, color=colour
    )
    zero = alt.Chart(pd.DataFrame({"change": [0.0]})).mark_rule(color=GREY, strokeDash=[5, 4])
    points = base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
        shape=shape, fill=alt.condition("datum.regression", colour, alt.value("white"))
    )
    layers = [zero.encode(y="change:Q"), base.mark_line(opacity=0.6), points]
    return alt.LayerChart(layer=layers, width=560, height=180, title=title)
