"""What all charts share: colours, shapes, fonts, ticks and tooltips."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import altair as alt
import pandas as pd

from pepbench.analysis.metrics import METRICS

GREY, LIGHT, INK = "#555555", "#E6E6E6", "#222222"
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
LABEL_SIZE = 12

CHOSEN = "chosen"
"""Signal of every chart: the highlighted methods; an empty list shows all."""
NAMED = "named"
"""Signal of every chart: whether names are written beside points; a narrow page turns it off."""
_FAINT = 0.13
_IS_CHOSEN = f"length({CHOSEN}) == 0 || indexof({CHOSEN}, datum.method) >= 0"

_TOOLTIPS = {
    "method": ("method", ""),
    "budget": ("budget", ""),
    "parameters": ("parameters", ","),
    "share": ("share of the full table", ".2%"),
    "bytes": ("bytes", ","),
    "seeds": ("seeds", ""),
    "auc": ("test AUC", ".5f"),
    "auc_low": ("interval from", ".5f"),
    "auc_high": ("interval to", ".5f"),
    "log_loss": ("log loss", ".5f"),
    **{f"delta_{metric}": (card.difference, "+.5f") for metric, card in METRICS.items()},
    "delta_low": ("Δ from", "+.5f"),
    "delta_high": ("Δ to", "+.5f"),
    "p_holm": ("p (Holm)", ".2g"),
    "verdict": ("verdict", ""),
    "verdict_note": ("of the verdict", ""),
    "on_front": ("on the front", ""),
    "parameters_front": ("chance on the front of parameters", ""),
    "bytes_front": ("… of bytes", ""),
    "time_front": ("… of parameters and time", ""),
    "cpu_seconds": ("CPU, s", ".1f"),
    "search_seconds": ("search, s wall", ".1f"),
    "train_seconds": ("training, s wall", ".1f"),
    "peak_memory_mib": ("peak memory, MiB", ".0f"),
}
"""Title and format of the lines of a tooltip, by column of the leaderboard, or of those that
:func:`pepbench.report.page.tables.with_detail` adds to it."""

# Okabe & Ito's palette, distinct under every common colour vision deficiency; its yellow is
# darkened so that a thin line shows on white. Shapes carry the same information in greyscale.
PALETTE = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # pink
    "#E69F00",  # orange
    "#000000",  # black
    "#56B4E9",  # sky blue
    "#A08C00",  # dark yellow
)
_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "triangle-right",
    "triangle-left",
)

DARK = {
    "#0072B2": "#4FB3E8",
    "#D55E00": "#FF8A3D",
    "#009E73": "#2FCF9F",
    "#CC79A7": "#E9A3C9",
    "#E69F00": "#FFC44D",
    "#000000": "#F5F5F5",
    "#56B4E9": "#A7DBFF",
    "#A08C00": "#D6C438",
    "#555555": "#B5BAC2",
    "#E6E6E6": "#3A404A",
    "#222222": "#E4E6EA",
    "white": "#14171C",
}
"""What each colour of a chart becomes on a dark page."""


@dataclass(frozen=True)
class Mark:
    """How a method is drawn."""

    colour: str
    shape: str


def marks(methods: Iterable[str], first: Iterable[str] = ()) -> dict[str, Mark]:
    """Assign marks to methods.

    A method's place follows from a checksum of its name, so that it looks the same whatever else
    is drawn; only where two methods of one chart fall on the same place does the later in the
    alphabet move to the next one that is free. No two methods share a mark up to 64 of them, and
    no two share a colour up to 8.

    Parameters
    ----------
    methods
        Names (specs), in any order, duplicates allowed.
    first
        Those that are assigned before the others: up to 8 of them have colours of their own.

    Returns
    -------
    dict
        In alphabetical order.
    """
    early, names = set(first), sorted(set(methods))
    places = len(PALETTE)
    taken: set[int] = set()
    assigned: dict[str, Mark] = {}
    for number, name in enumerate(sorted(names, key=lambda name: name not in early)):
        place = zlib.crc32(name.encode()) % places
        turn = number // places
        if number % places == 0:
            taken.clear()
        while place in taken:
            place = (place + 1) % places
        taken.add(place)
        # From the ninth method on, colours come back with another shape.
        assigned[name] = Mark(PALETTE[place], _SHAPES[(place + turn) % len(_SHAPES)])
    return {name: assigned[name] for name in names}


def opacity(shown: float = 1.0) -> alt.OpacityValue:
    """Opacity of marks whose data has a ``method``: faint where other methods are chosen."""
    return alt.OpacityValue(_FAINT, condition={"test": _IS_CHOSEN, "value": shown})


def named_opacity() -> alt.OpacityValue:
    """Opacity of names: none where they are turned off or other methods are chosen."""
    return alt.OpacityValue(0, condition={"test": f"{NAMED} && ({_IS_CHOSEN})", "value": 1})


def colour(all_marks: Mapping[str, Mark]) -> alt.Color:
    """The colour of ``method``, without a legend: names are written beside the marks."""
    return alt.Color("method:N", scale=_colours(all_marks), legend=None)


def filled(test: str, all_marks: Mapping[str, Mark]) -> alt.FillValue:
    """Fill in the colour of ``method`` where an expression of Vega's holds, else in white."""
    field = {
        "field": "method",
        "type": "nominal",
        "scale": _colours(all_marks).to_dict(),
        "legend": None,
    }
    return alt.FillValue("white", condition={"test": test, **field})


def _colours(all_marks: Mapping[str, Mark]) -> alt.Scale:
    return alt.Scale(domain=list(all_marks), range=[mark.colour for mark in all_marks.values()])


def shape(all_marks: Mapping[str, Mark]) -> alt.Shape:
    """The shape of ``method``."""
    scale = alt.Scale(domain=list(all_marks), range=[mark.shape for mark in all_marks.values()])
    return alt.Shape("method:N", scale=scale, legend=None)


def tooltip_columns(block: pd.DataFrame) -> list[str]:
    """The columns that :func:`tooltips` shows."""
    return [column for column in _TOOLTIPS if column in block]


def tooltips(block: pd.DataFrame) -> list[alt.Tooltip]:
    """Tooltip of a cell: all of its figures."""
    return [_tooltip(column, *_TOOLTIPS[column]) for column in tooltip_columns(block)]


def _tooltip(column: str, title: str, form: str) -> alt.Tooltip:
    """A line of a tooltip. Its type is given: Altair cannot tell that of an empty column."""
    if form:
        return alt.Tooltip(f"{column}:Q", title=title, format=form)
    return alt.Tooltip(f"{column}:N", title=title)


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with steps between them where the range is short."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= 6:
            break
    return inside
