"""The key of a picture: each method's mark and name, for where names have no room beside points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import altair as alt
import pandas as pd

from pepbench.report.charts.palette import Mark
from pepbench.report.charts.style import INK, LABEL_SIZE, colour, shape

_CHARACTER, _ROW = 7.0, 18
"""Pixels of a character, and from one name to the one below it."""
_BESIDE = 10
"""Pixels from a mark to its name; three times that is left before the next mark."""


def key(all_marks: Mapping[str, Mark], methods: Iterable[str], width: int) -> alt.LayerChart:
    """Marks and names in columns, read downwards, in alphabetical order.

    Parameters
    ----------
    all_marks
        Of :func:`pepbench.report.charts.palette.marks`, the same as in the panels above.
    methods
        Those that are drawn, at least one; duplicates allowed.
    width
        Pixels to fill; a name that is longer still has a column.
    """
    names = sorted(set(methods))
    longest = max(map(len, names))
    columns = max(1, int(width // (_CHARACTER * longest + 4 * _BESIDE)))
    rows = math.ceil(len(names) / columns)
    columns = math.ceil(len(names) / rows)
    data = pd.DataFrame(
        {
            "method": names,
            "column": [place // rows for place in range(len(names))],
            "row": [place % rows for place in range(len(names))],
        }
    )
    left = alt.Scale(domain=[0, columns], nice=False, zero=False)
    top = alt.Scale(domain=[rows - 0.5, -0.5], nice=False, zero=False)
    base = alt.Chart(data).encode(
        x=alt.X("column:Q", axis=None, scale=left), y=alt.Y("row:Q", axis=None, scale=top)
    )
    points = base.mark_point(size=80, strokeWidth=2, opacity=1, xOffset=_BESIDE).encode(
        color=colour(all_marks), shape=shape(all_marks)
    )
    text = base.mark_text(
        align="left", baseline="middle", dx=2 * _BESIDE, fontSize=LABEL_SIZE, color=INK
    ).encode(text="method:N")
    return alt.LayerChart(
        layer=[points, text], width=width, height=_ROW * rows, view=alt.ViewBackground(stroke=None)
    )
