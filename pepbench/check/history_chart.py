"""The history of checks as a picture: a row for each cell, its AUC and its times."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import numpy as np
import pandas as pd

from pepbench.check.output import common_start
from pepbench.report.charts.style import GREY, styled

ALARM, CALM = "#D55E00", "#0072B2"
PHASES = (CALM, "#009E73", "#CC79A7", "#56B4E9")
WIDTH, HEIGHT = 400, 110

_WHEN = alt.Axis(format="%Y-%m-%d", tickCount=4, labelOverlap=True, title=None)


def history_chart(frame: pd.DataFrame) -> alt.VConcatChart:
    """AUC and change of times over time, with a mark where a check found something worse.

    One row of two panels for each cell: its AUC, the baseline's dashed, and the cost of a step of
    each phase against the baseline's. A last row has memory and start-up. An alarm has the
    revision that was checked beside it; a cell that failed is drawn at the baseline's AUC.

    Parameters
    ----------
    frame
        As :func:`pepbench.check.history.read_history` returns it.
    """
    # Without its zone, lest it be drawn in that of the machine.
    created = pd.to_datetime(frame["created"], utc=True).dt.tz_localize(None)
    frame = frame.assign(
        created=created,
        revision=frame["git"].fillna("").str[:7],
        state=frame["verdict"].where(frame["verdict"] == "undecided", "shown or excluded"),
    )
    rows = [
        alt.hconcat(*panels, spacing=36).resolve_scale(color="independent", fill="independent")
        for panels in _rows(frame)
    ]
    return styled(
        alt.vconcat(*rows, spacing=20).resolve_scale(color="independent", fill="independent"),
        "Checks over time",
        "Triangles: shown to have got worse, with the revision. Hollow: undecided. "
        "Dashed: the baseline.",
    )


def _rows(frame: pd.DataFrame) -> Iterator[list[alt.LayerChart]]:
    accuracy = with_sizes(frame)
    times = frame[frame["kind"] == "time"]
    # A phase's subject is its cell's and the phase: "anime, fm, pep, 10%: train".
    named = [subject.rpartition(": ")[::2] for subject in times["subject"]]
    times = times.assign(cell=[cell for cell, _ in named], phase=[phase for _, phase in named])
    common = common_start([*accuracy["subject"].unique()])
    for cell in accuracy["subject"].unique():
        panels = [_auc_panel(accuracy[accuracy["subject"] == cell], cell.removeprefix(common))]
        if (of_cell := times[times["cell"] == cell]).size:
            panels.append(_change_panel(of_cell, "cost of a step"))
        yield panels
    others = [
        _change_panel(frame[frame["kind"] == kind].assign(phase=""), title)
        for kind, title in (("memory", "peak memory"), ("start-up", "start-up"))
        if (frame["kind"] == kind).any()
    ]
    if others:
        yield others


def with_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """The findings about accuracy; an alarm, too, where a cell's counts have changed."""
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


def _auc_panel(block: pd.DataFrame, title: str) -> alt.LayerChart:
    y = alt.Y("shown:Q", title="AUC", scale=alt.Scale(zero=False, padding=12), axis=_axis(".4f"))
    before = (
        alt.Chart(block)
        .mark_line(color=GREY, strokeDash=[5, 4], interpolate="step-after")
        .encode(x=alt.X("created:T", axis=_WHEN), y=alt.Y("baseline:Q"))
    )
    return _panel(block, y, title, before)


def _change_panel(block: pd.DataFrame, title: str) -> alt.LayerChart:
    y = alt.Y("change:Q", title="change", scale=alt.Scale(padding=12), axis=_axis("+.0%"))
    zero = alt.Chart(pd.DataFrame({"change": [0.0]})).mark_rule(color=GREY, strokeDash=[5, 4])
    return _panel(block[block["change"].notna()], y, title, zero.encode(y="change:Q"))


def _axis(form: str) -> alt.Axis:
    return alt.Axis(format=form, tickCount=4)


def _panel(block: pd.DataFrame, y: alt.Y, title: str, behind: alt.Chart) -> alt.LayerChart:
    phases = list(block["phase"].unique()) if "phase" in block else [""]
    block = block.assign(phase=block.get("phase", ""), named=_first_alarms(block))
    legend = alt.Legend(title=None, orient="right") if len(phases) > 1 else None
    scale = alt.Scale(domain=phases, range=PHASES[: len(phases)])
    colour = alt.Color("phase:N", scale=scale, legend=legend)
    base = alt.Chart(block).encode(x=alt.X("created:T", axis=_WHEN), y=y)
    filled = alt.Fill("phase:N", scale=scale, legend=None)
    hollow = alt.condition("datum.state == 'undecided'", alt.value("white"), filled)
    calm = base.transform_filter("!datum.alarm").mark_point(size=36, opacity=1)
    alarm = base.transform_filter("datum.alarm").mark_point(
        shape="triangle-up", size=110, opacity=1, color=ALARM, fill=ALARM
    )
    revision = base.transform_filter("datum.named").mark_text(
        align="right", dx=-9, color=ALARM, fontSize=11
    )
    layers = [
        behind,
        base.mark_line(opacity=0.5).encode(color=colour),
        calm.encode(color=colour, fill=hollow),
        alarm,
        revision.encode(text="revision:N"),
    ]
    return alt.LayerChart(layer=layers, width=WIDTH, height=HEIGHT, title=title)


def _first_alarms(block: pd.DataFrame) -> pd.Series[bool]:
    """The alarms that follow a check without one: the others would write over each other."""
    before = block.groupby("subject")["alarm"].shift(fill_value=False)
    return block["alarm"] & ~before.astype(bool)
