"""What all charts share: fonts and colours, composition, files, the choice of methods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from altair.utils import schemapi
from altair.utils.schemapi import debug_mode

from pepbench.report.charts.palette import Mark

GREY, LIGHT, INK = "#555555", "#E6E6E6", "#222222"
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
LABEL_SIZE = 12

_PNG_SCALE = 2.5
"""Pixels of a PNG to the chart's one."""

CHOSEN = "chosen"
"""Signal of every chart: the methods that are picked out; none picks all."""
NAMED = "named"
"""Signal of every chart: whether names are written beside points; a page turns it off if narrow."""
_FAINT = 0.13
_IS_CHOSEN = f"length({CHOSEN}) == 0 || indexof({CHOSEN}, datum.method) >= 0"

Panel = alt.LayerChart | alt.Chart


def opacity(shown: float = 1.0) -> alt.OpacityValue:
    """Opacity of marks whose data has a ``method``: faint where other methods are chosen."""
    return alt.OpacityValue(_FAINT, condition={"test": _IS_CHOSEN, "value": shown})


def named_opacity() -> alt.OpacityValue:
    """Opacity of names: none where they are turned off or other methods are chosen."""
    return alt.OpacityValue(0, condition={"test": f"{NAMED} && ({_IS_CHOSEN})", "value": 1})


def colour(all_marks: Mapping[str, Mark]) -> alt.Color:
    """The colour of ``method``, without a legend: labels stand beside the marks."""
    names = list(all_marks)
    scale = alt.Scale(domain=names, range=[all_marks[name].colour for name in names])
    return alt.Color("method:N", scale=scale, legend=None)


def filled(test: str, all_marks: Mapping[str, Mark]) -> alt.FillValue:
    """Fill in the colour of ``method`` where an expression of Vega's holds, else in white."""
    names = list(all_marks)
    field = {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": names, "range": [all_marks[name].colour for name in names]},
        "legend": None,
    }
    return alt.FillValue("white", condition={"test": test, **field})


def shape(all_marks: Mapping[str, Mark]) -> alt.Shape:
    """The shape of ``method``."""
    names = list(all_marks)
    scale = alt.Scale(domain=names, range=[all_marks[name].shape for name in names])
    return alt.Shape("method:N", scale=scale, legend=None)


def composed(
    panels: Sequence[Panel],
    columns: int,
    title: str,
    lines: Sequence[str] = (),
    foot: Panel | None = None,
) -> alt.VConcatChart:
    """Panels in rows, as one picture, with a foot below them; a notice where there is none."""
    shown = list(panels) or [notice("no cell has finished")]
    rows: list[alt.HConcatChart | Panel] = [
        alt.hconcat(*shown[start : start + columns], spacing=28)
        for start in range(0, len(shown), columns)
    ]
    if foot is not None:
        rows.append(foot)
    return styled(alt.vconcat(*rows, spacing=24), title, *lines)


def notice(words: str) -> alt.Chart:
    """A panel that says why there is nothing to draw."""
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame({"text": [words]}))
        .mark_text(fontSize=14, color=GREY)
        .encode(text="text:N")
        .properties(width=330, height=80)
    )
    return chart


def styled(chart: alt.VConcatChart, title: str, *lines: str) -> alt.VConcatChart:
    """The chart with a title, lines below it, and the fonts and colours of all charts."""
    finished: alt.VConcatChart = (
        chart.properties(
            title=alt.TitleParams(text=title, subtitle=list(lines), anchor="start", offset=14),
            padding=12,
            background="white",
        )
        .add_params(*_parameters())
        .configure(**configuration())
    )
    return finished


def _parameters() -> tuple[alt.Parameter, alt.Parameter]:
    return alt.param(name=CHOSEN, value=[]), alt.param(name=NAMED, value=True)


def configuration() -> dict[str, Any]:
    """Vega-Lite's ``config`` of all charts."""
    return {
        "font": FONT,
        "view": {"stroke": LIGHT},
        "axis": {
            "gridColor": LIGHT,
            "domainColor": GREY,
            "tickColor": GREY,
            "labelFontSize": LABEL_SIZE,
            "titleFontSize": LABEL_SIZE,
            "titleFontWeight": "normal",
            "titleColor": INK,
            "labelColor": INK,
            "tickCount": 6,
        },
        "title": {
            "fontSize": 14,
            "subtitleFontSize": LABEL_SIZE,
            "color": INK,
            "subtitleColor": GREY,
        },
        "legend": {"labelFontSize": 12.5, "labelColor": INK, "titleColor": INK},
    }


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with steps between them where the range is short."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= 6:
            break
    return inside


def page_spec(panel: Panel) -> dict[str, Any]:
    """A panel as a specification of its own that takes the width of its place in a page."""
    alone = panel.add_params(*_parameters()).properties(
        width="container", autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    return _specification(alone.configure(**configuration()))


@contextmanager
def unchecked() -> Iterator[None]:
    """Without Altair's check of each part against Vega-Lite's schema, which takes most of the time.

    What charts are made of does not depend on the data; tests draw each kind with the check.
    """
    with debug_mode(False):
        yield


def svg_bytes(chart: alt.VConcatChart) -> bytes:
    """The chart as SVG."""
    return _svg(chart).encode()


def png_bytes(chart: alt.VConcatChart) -> bytes:
    """The chart as PNG."""
    return _png(_svg(chart))


def svg_and_png(chart: alt.VConcatChart) -> tuple[bytes, bytes]:
    """The chart as SVG and as PNG, drawn once."""
    svg = _svg(chart)
    return svg.encode(), _png(svg)


def _svg(chart: alt.VConcatChart) -> str:
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(_specification(chart), vl_version=version)
    return svg


def _png(svg: str) -> bytes:
    png: bytes = vl_convert.svg_to_png(svg, scale=_PNG_SCALE)
    return png


def _specification(chart: alt.VConcatChart | Panel) -> dict[str, Any]:
    """Vega-Lite's, with all rows in it, however many."""
    with alt.data_transformers.enable("default", max_rows=None):
        spec: dict[str, Any] = chart.to_dict(validate=schemapi.DEBUG_MODE)
    return spec
