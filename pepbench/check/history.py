"""The history of checks: a file with one JSON line for each check, and its chart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from filelock import FileLock

from pepbench.check.findings import Finding
from pepbench.check.output import common_start
from pepbench.errors import RecordError
from pepbench.records import Environment
from pepbench.report.charts.panels import Spec, across, down, styled
from pepbench.report.charts.style import GREY, PALETTE

_OF_CHECK = ("created", "git", "failed")
_OF_FINDING = ("kind", "subject", "verdict", "baseline", "current", "unit", "change")
COLUMNS = (*_OF_CHECK, *_OF_FINDING, "alarm")
"""Columns of :func:`read_history`; ``failed`` is about the check, ``alarm`` about the finding."""

BAD = ("worse", "slower", "larger")
"""Verdicts that are marked in the chart even if they did not fail the check."""

ALARM = PALETTE[1]
PHASES = (PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[6])
WIDTH, HEIGHT = 400, 110

_WHEN = alt.Axis(format="%Y-%m-%d", tickCount=4, labelOverlap=True, title=None)


def append_history(
    path: Path, created: datetime, environment: Environment, findings: Sequence[Finding]
) -> None:
    """Append a check as one line, under a lock: several processes may append at once."""
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
            # After a crash the last line may be incomplete; start a new one.
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_history(path: Path, warn: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """A row for each finding of each check, oldest first: the columns :data:`COLUMNS`.

    Parameters
    ----------
    warn
        Called with a message for each line that cannot be read and is left out.

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
            common = {name: check[name] for name in _OF_CHECK}
            common["created"] = datetime.fromisoformat(common["created"])
            found = [
                {name: finding[name] for name in _OF_FINDING}
                | {"alarm": bool(finding["failed"]) or finding["verdict"] in BAD}
                for finding in check["findings"]
            ]
        except (ValueError, KeyError, TypeError):
            warn(f"{path}: line {number} is no whole check; left out")
            continue
        rows += [common | finding for finding in found]
    if not rows:
        raise RecordError(f"{path}: holds no check; append one with: --history {path}")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values("created", kind="stable", ignore_index=True)


def history_chart(frame: pd.DataFrame) -> Spec:
    """Chart of AUC and of changes in time, with a mark where a check found something worse.

    Each cell has a row of two panels: its AUC, with the baseline's dashed, and the change in the
    cost of a step by phase. The last row shows memory and start-up. Alarms are labelled with the
    revision that was checked; a cell that failed is drawn at the baseline's AUC.

    Parameters
    ----------
    frame
        As returned by :func:`read_history`.
    """
    # Charts convert times with a zone to the machine's own zone.
    created = pd.to_datetime(frame["created"], utc=True).dt.tz_localize(None)
    frame = frame.assign(
        created=created, revision=frame["git"].fillna("").str[:7], phase="", dashed=0.0
    )
    own = {"resolve": {"scale": {"color": "independent"}}}
    rows = [across(*panels, spacing=36, **own) for panels in _rows(frame) if panels]
    return styled(
        down(*rows, spacing=20, **own),
        "Checks over time",
        "Triangles: shown to have got worse, with the revision. Hollow: undecided. "
        "Dashed: the baseline.",
    )


def _rows(frame: pd.DataFrame) -> Iterator[list[alt.LayerChart]]:
    accuracy = with_sizes(frame)
    # A phase's subject is its cell's and the phase: "anime, fm, pep, 10%: train".
    parts = frame["subject"].str.rpartition(": ")
    frame = frame.assign(cell=parts[0])
    times = frame[frame["kind"] == "time"].assign(phase=parts[2])
    common = common_start([*accuracy["subject"].unique()])
    for cell, block in accuracy.groupby("subject", sort=False):
        name, of_cell = str(cell), times[times["cell"] == cell]
        yield [
            _panel(block.assign(dashed=block["baseline"]), "AUC", name.removeprefix(common)),
            *([_panel(of_cell, "change", "cost of a step")] if len(of_cell) else []),
        ]
    yield [
        _panel(frame[frame["kind"] == kind], "change", title)
        for kind, title in (("memory", "peak memory"), ("start-up", "start-up"))
        if (frame["kind"] == kind).any()
    ]


def with_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """The findings about accuracy; a changed size is an alarm too."""
    accuracy = frame[frame["kind"] == "accuracy"]
    changed = frame[(frame["kind"] == "size") & frame["alarm"]]
    keys = set(zip(changed["created"], changed["subject"], strict=True))
    resized = [key in keys for key in zip(accuracy["created"], accuracy["subject"], strict=True)]
    return accuracy.assign(
        alarm=accuracy["alarm"] | pd.Series(resized, index=accuracy.index, dtype=bool),
        revision=accuracy["revision"].where(
            ~np.array(resized, dtype=bool), "size, " + accuracy["revision"]
        ),
        shown=accuracy["current"].fillna(accuracy["baseline"]),
    )


def _panel(block: pd.DataFrame, what: str, title: str) -> alt.LayerChart:
    """A line for each phase, over time; ``what`` is ``AUC`` or ``change``."""
    column, form = ("shown", ".4f") if what == "AUC" else ("change", "+.0%")
    block = block[block[column].notna()]
    # Only the first alarm of several in a row has a label, since labels would overlap.
    before = block.groupby("subject")["alarm"].shift(fill_value=False).astype(bool)
    block = block.assign(first=block["alarm"] & ~before)
    phases = list(block["phase"].unique())
    colour = alt.Color(
        "phase:N",
        scale=alt.Scale(domain=phases, range=PHASES[: len(phases)]),
        legend=alt.Legend(title=None, orient="right") if len(phases) > 1 else None,
    )

    def y(column: str) -> alt.Y:
        scale, axis = alt.Scale(zero=False, padding=12), alt.Axis(format=form, tickCount=4)
        return alt.Y(f"{column}:Q", title=what, scale=scale, axis=axis)

    base = alt.Chart(block).encode(x=alt.X("created:T", axis=_WHEN), y=y(column), color=colour)
    dashed = base.mark_line(strokeDash=[5, 4], interpolate="step-after")
    point, alarm = base.transform_filter("!datum.alarm"), base.transform_filter("datum.alarm")
    layers = [
        dashed.encode(y=y("dashed"), color=alt.value(GREY)),
        base.mark_line(opacity=0.5),
        point.transform_filter("datum.verdict != 'undecided'").mark_point(
            filled=True, size=36, opacity=1
        ),
        point.transform_filter("datum.verdict == 'undecided'").mark_point(
            fill="white", size=36, opacity=1
        ),
        alarm.mark_point(shape="triangle-up", filled=True, size=110, opacity=1).encode(
            color=alt.value(ALARM)
        ),
        base.transform_filter("datum.first")
        .mark_text(align="right", dx=-9, fontSize=11)
        .encode(text="revision:N", color=alt.value(ALARM)),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT, title=title)
