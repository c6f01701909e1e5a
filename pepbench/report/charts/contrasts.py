"""Primary contrasts of several leaderboards: a panel for each, a row for each data set."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pepbench.report.charts.panels import Panel, PanelChart
from pepbench.report.charts.style import GREY, INK, LIGHT, PALETTE
from pepbench.report.phrases import block_title
from pepbench.units import Budget

CONTRASTS = "contrasts"
"""Name of the chart."""

_WIDTH, _ROW, _COLUMNS = 230, 15, 2
_SHAPES = {"circle": "Circles", "square": "squares", "triangle-up": "triangles"}
"""Of budgets, largest first, with their names in a sentence."""


def contrasts_chart(contrasts: pd.DataFrame) -> PanelChart:
    """Differences of AUC of primary contrasts, by data set, backbone and budget.

    Differences within the margin do not matter. It is drawn as a band, if all leaderboards have
    the same.

    Parameters
    ----------
    contrasts
        Of :func:`pepbench.leaderboards.across_boards.primary_contrasts`.
    """
    known = contrasts[contrasts["difference"].notna()]
    drawn = known.assign(
        row=[
            block_title((row["dataset"], row["backbone"]))
            + ("" if pd.isna(row["rows_per_feature"]) else f" ({row['rows_per_feature']:.3g})")
            for row in known.to_dict("records")
        ],
        shown=known["verdict"].isin(["better", "worse"]),
    )
    budgets = sorted(drawn["budget"].unique(), key=lambda size: -Budget(size).order)
    named = ", ".join(
        f"{_SHAPES[shape]} {size}" for shape, size in zip(_SHAPES, budgets, strict=False)
    )
    names = list(dict.fromkeys(drawn["contrast"]))
    margins = drawn["margin"].unique().tolist()
    margin = margins[0] if len(margins) == 1 else None
    return PanelChart(
        name=CONTRASTS,
        title="Test AUC of the first method minus the second's",
        label="Differences of AUC by data set",
        panels={
            (name,): _panel(name, drawn, budgets, margin, labelled=number % _COLUMNS == 0)
            for number, name in enumerate(names)
        },
        lines=[
            f"{named}. Bars: 95% intervals over folds. Filled: shown better or worse."
            + ("" if margin is None else f" Band: ±{margin:g}."),
            "In brackets: training rows a feature; data sets with few come first.",
        ],
        columns=_COLUMNS,
    )


def _panel(
    name: str, drawn: pd.DataFrame, budgets: list[str], margin: float | None, *, labelled: bool
) -> Panel:
    """One contrast, on axes that all panels share; with names of the rows if ``labelled``."""
    rows = list(dict.fromkeys(drawn["row"]))
    columns = ["row", "budget", "difference", "low", "high", "verdict", "shown"]
    colours = alt.Scale(domain=budgets, range=list(PALETTE[: len(budgets)]))
    shapes = alt.Scale(domain=budgets, range=list(_SHAPES)[: len(budgets)])
    ends = alt.Scale(domain=[drawn["low"].min(), drawn["high"].max()], nice=True)
    x = alt.X(
        "low:Q",
        scale=ends,
        title="ΔAUC",
        axis=alt.Axis(format="+~f", tickCount=5, labelOverlap="parity"),
    )
    base = alt.Chart(drawn.loc[drawn["contrast"] == name, columns]).encode(
        y=alt.Y(
            "row:N",
            scale=alt.Scale(domain=rows),
            title=None,
            axis=alt.Axis(labelLimit=260, grid=False, ticks=False, labels=labelled),
        ),
        yOffset=alt.YOffset("budget:N", scale=alt.Scale(domain=budgets)),
        color=alt.Color("budget:N", scale=colours, legend=None),
        tooltip=columns[:-1],
    )
    half = margin or 0.0
    band = alt.Chart(pd.DataFrame({"low": [-half], "high": [half], "zero": [0.0]}))
    filled = {"field": "budget", "type": "nominal", "scale": colours.to_dict(), "legend": None}
    layers = [
        band.mark_rect(color=LIGHT).encode(x=x, x2="high:Q"),
        band.mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=alt.X("zero:Q", title="ΔAUC")),
        base.mark_rule(strokeWidth=1.6).encode(x=x, x2="high:Q"),
        base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
            x=alt.X("difference:Q", title="ΔAUC"),
            shape=alt.Shape("budget:N", scale=shapes, legend=None),
            fill=alt.FillValue("white", condition={"test": "datum.shown", **filled}),
        ),
    ]
    return alt.LayerChart(
        layer=layers,
        width=_WIDTH,
        height=_ROW * len(budgets) * len(rows),
        title=alt.TitleParams(text=name, fontSize=12, color=INK),
    )
