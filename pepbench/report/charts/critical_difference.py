"""Critical-difference diagrams: methods by their mean rank over data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from pepbench.analysis.ranks import RankTables
from pepbench.report.charts.panels import Panel, PanelChart
from pepbench.report.charts.style import GREY, INK, Mark, colour, opacity, shape

_WIDTH, _ROW = 330, 22


def critical_difference_chart(ranks: RankTables, all_marks: Mapping[str, Mark]) -> PanelChart:
    """Mean ranks, a panel for each tested budget; bars join methods within the critical difference.

    Budgets without a test are not drawn: their ranks are descriptive.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006).
    """
    panels: dict[tuple[str, ...], Panel] = {}
    for test in ranks.tests.to_dict("records"):
        budget = test["budget"]
        ordered = ranks.ranks[ranks.ranks["budget"] == budget].sort_values(["mean_rank", "method"])
        most = max(2, len(ordered))
        x = alt.Scale(domain=[0.7, most + 0.3], nice=False)
        axis = alt.Axis(values=list(range(1, most + 1)), format="d", grid=True)
        base = alt.Chart(ordered[["method", "mean_rank"]]).encode(
            x=alt.X("mean_rank:Q", title="mean rank", scale=x, axis=axis),
            y=alt.Y(
                "method:N",
                sort=ordered["method"].tolist(),
                title=None,
                axis=alt.Axis(labelLimit=220),
            ),
            color=colour(all_marks),
            opacity=opacity(),
            tooltip=["method", alt.Tooltip("mean_rank", title="mean rank", format=".2f")],
        )
        stems = base.mark_rule(strokeWidth=1).encode(x2=alt.datum(0.7))
        points = base.mark_point(size=80, filled=True).encode(shape=shape(all_marks))
        bars = _bars(ordered, ranks.cliques[ranks.cliques["budget"] == budget], x)
        panels[(f"at {budget}",)] = alt.LayerChart(
            layer=[stems, points, *bars],
            width=_WIDTH,
            height=_ROW * len(ordered),
            title=_title(test),
        )
    return PanelChart(
        name="critical-difference",
        title="Mean rank over data sets",
        label="Mean ranks",
        panels=panels,
        lines=["1 is the best. Grey bars join methods within Nemenyi's critical difference."],
    )


def _bars(ordered: pd.DataFrame, cliques: pd.DataFrame, x: alt.Scale) -> list[alt.Chart]:
    """A bar for each group, at the height of its best method."""
    bars, order = [], ordered["method"].tolist()
    for clique in cliques.to_dict("records"):
        inside = ordered["mean_rank"].between(clique["from_rank"] - 1e-9, clique["to_rank"] + 1e-9)
        best = ordered.loc[inside, "method"].iloc[0]
        data = pd.DataFrame([{**clique, "method": best}])[["method", "from_rank", "to_rank"]]
        bar = alt.Chart(data).mark_rule(strokeWidth=5, color=GREY, opacity=0.45, yOffset=8)
        bars.append(
            bar.encode(
                x=alt.X("from_rank:Q", scale=x), x2="to_rank:Q", y=alt.Y("method:N", sort=order)
            )
        )
    return bars


def _title(test: dict[Any, Any]) -> alt.TitleParams:
    words = (
        f"{test['blocks']} data sets, Friedman p = {test['p']:.2g}, "
        f"critical difference {test['critical_difference']:.2f}"
    )
    return alt.TitleParams(text=f"at {test['budget']}", subtitle=words, subtitleColor=INK)
