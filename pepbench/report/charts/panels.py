"""Panels put together to charts: for a page, and for files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from altair.utils import schemapi
from altair.utils.schemapi import debug_mode

from pepbench.report.charts.style import CHOSEN, FONT, GREY, INK, LABEL_SIZE, LIGHT, NAMED

Panel = alt.LayerChart | alt.Chart
Spec = dict[str, Any]
"""Of Vega-Lite."""

_PNG_SCALE = 2.5
"""Pixels of a PNG for each pixel of the chart."""


@dataclass(frozen=True)
class PanelChart:
    """A chart of panels of the same kind.

    Attributes
    ----------
    name
        File name, without suffix.
    title, lines
        Above the picture: its title, and lines that say how to read it.
    label
        What a panel shows, for readers of the page who do not see it.
    panels
        By what each is about: data set, backbone and, for some charts, budget.
    columns
        Panels in a row of the picture.
    """

    name: str
    title: str
    label: str
    panels: Mapping[tuple[str, ...], Panel]
    lines: Sequence[str] = ()
    columns: int = 2

    @cached_property
    def specs(self) -> dict[tuple[str, ...], Spec]:
        """The specification of each panel, by what it is about."""
        return {name: _specification(panel) for name, panel in self.panels.items()}

    def picture(self) -> Spec:
        """The panels in rows; a notice where there are none."""
        specs = list(self.specs.values()) or [_specification(_notice("no cell has finished"))]
        shown = [_still(spec) for spec in specs]
        rows = [
            across(*shown[start : start + self.columns], spacing=28)
            for start in range(0, len(shown), self.columns)
        ]
        return styled(down(*rows, spacing=24), self.title, *self.lines)


def _notice(words: str) -> alt.Chart:
    """A panel that says why there is nothing to draw."""
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame({"text": [words]}))
        .mark_text(fontSize=14, color=GREY)
        .encode(text="text:N")
        .properties(width=330, height=80)
    )
    return chart


def _still(spec: Spec) -> Spec:
    """Without tooltips: a file shows none, and its descriptions of marks would repeat them."""
    layers = [_still(layer) for layer in spec.get("layer", ())]
    still = {**spec, "encoding": _without(spec.get("encoding", {}), "tooltip")}
    return {**still, "layer": layers} if layers else still


def across(*parts: Panel | Spec, **properties: Any) -> Spec:
    """Parts beside each other. Altair's own concatenation copies all of them again and again."""
    return _concatenated("hconcat", parts, properties)


def down(*parts: Panel | Spec, **properties: Any) -> Spec:
    """Parts below each other."""
    return _concatenated("vconcat", parts, properties)


def _concatenated(how: str, parts: Iterable[Panel | Spec], properties: Spec) -> Spec:
    specs = [part if isinstance(part, dict) else _specification(part) for part in parts]
    datasets = {name: rows for spec in specs for name, rows in spec["datasets"].items()}
    return {how: [_without(spec, "datasets") for spec in specs], "datasets": datasets, **properties}


def styled(chart: Spec, title: str, *lines: str) -> Spec:
    """The chart with a title, lines below it, and the fonts and colours of all charts."""
    words = {"text": title, "subtitle": lines, "anchor": "start", "offset": 14}
    return {
        **chart,
        "title": words,
        "padding": 12,
        "background": "white",
        "params": _PARAMETERS,
        "config": configuration(),
    }


_PARAMETERS = [{"name": CHOSEN, "value": []}, {"name": NAMED, "value": True}]


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


def page_spec(panel: Spec) -> Spec:
    """A panel as a chart of its own that takes the width of its place in a page."""
    return {
        "$schema": alt.SCHEMA_URL,
        **_without(panel, "title"),
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": _PARAMETERS,
        "config": configuration(),
    }


@contextmanager
def unchecked() -> Iterator[None]:
    """Without Altair's check of each part against Vega-Lite's schema, which takes most of the time.

    What charts are made of does not depend on the data; tests draw each kind with the check.
    """
    with debug_mode(False):
        yield


def svg_bytes(chart: Spec) -> bytes:
    """A finished chart as SVG."""
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(chart, vl_version=version)
    return svg.encode()


def png_bytes(chart: Spec) -> bytes:
    """A finished chart as PNG."""
    return png_of_svg(svg_bytes(chart))


def png_of_svg(svg: bytes) -> bytes:
    """A picture as PNG."""
    png: bytes = vl_convert.svg_to_png(svg.decode(), scale=_PNG_SCALE)
    return png


def _specification(panel: Panel) -> Spec:
    """Vega-Lite's, with all rows in it, however many, and nothing that a whole chart sets."""
    with alt.data_transformers.enable("default", max_rows=None):
        spec: Spec = panel.to_dict(validate=schemapi.DEBUG_MODE)
    return _without(spec, "$schema", "config")


def _without(spec: Spec, *keys: str) -> Spec:
    return {key: value for key, value in spec.items() if key not in keys}
