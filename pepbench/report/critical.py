"""Critical-difference diagrams: methods by their mean rank over data sets."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pepbench.report.palette import marks
from pepbench.report.style import GREY, INK, Panel, colour, composed, opacity, shape

_WIDTH, _ROW = 330, 22


def critical_chart(
    ranks: pd.DataFrame, tests: pd.DataFrame, cliques: pd.DataFrame
) -> alt.VConcatChart:
    """Mean ranks, a panel for each budget, with bars over methods that are not told apart.

    Parameters
    ----------
    ranks
        ``budget``, ``method``, ``mean_rank`` (1 is the best), ``blocks`` (data sets),
        ``descriptive`` (whether there are too few for a test).
    tests
        ``budget``, ``p`` (Friedman's), ``critical_difference`` (Nemenyi's); a row for each budget
        that was tested.
    cliques
        ``budget``, ``from_rank``, ``to_rank``: the groups within the critical difference.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006).
    """
    lines = [
        "1 is the best. Grey bars: groups within Nemenyi's critical difference.",
        "Descriptive: too few data sets for a test.",
    ]
    panels = list(critical_panels(ranks, tests, cliques).values())
    return composed(panels, 2, "Mean rank over data sets", lines)


def critical_panels(
    ranks: pd.DataFrame, tests: pd.DataFrame, cliques: pd.DataFrame
) -> dict[tuple[str, ...], Panel]:
    """The panels of :func:`critical_chart`, by budget."""
    all_marks = marks(ranks["method"])
    panels: dict[tuple[str, ...], Panel] = {}
    for budget, block in ranks.groupby("budget", sort=False):
        ordered = block.sort_values(["mean_rank", "method"])
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
        layers = [stems, points, *_bars(ordered, cliques[cliques["budget"] == budget], x)]
        panels[(str(budget),)] = alt.LayerChart(
            layer=layers,
            width=_WIDTH,
            height=_ROW * len(ordered),
            title=_title(str(budget), ordered, tests),
        )
    return panels


def _bars(ordered: pd.DataFrame, cliques: pd.DataFrame, x: alt.Scale) -> list[alt.Chart]:
    """A bar for each group, at the height of its best method."""
    bars, order = [], ordered["method"].tolist()
    for clique in cliques.to_dict("records"):
        inside = ordered["mean_rank"].between(clique["from_rank"] - 1e-9, clique["to_rank"] + 1e-9)
        members = ordered.loc[inside, "method"]
        rows = [{**clique, "method": method} for method in members]
        data = pd.DataFrame(rows)[["method", "from_rank", "to_rank"]].head(1)
        bar = alt.Chart(data).mark_rule(strokeWidth=5, color=GREY, opacity=0.45, yOffset=8)
        bars.append(
            bar.encode(
                x=alt.X("from_rank:Q", scale=x), x2="to_rank:Q", y=alt.Y("method:N", sort=order)
            )
        )
    return bars


def _title(budget: str, ordered: pd.DataFrame, tests: pd.DataFrame) -> alt.TitleParams:
    here = tests[tests["budget"] == budget]
    blocks = int(ordered["blocks"].max())
    words = f"{blocks} data sets: descriptive"
    if len(here):
        row = here.iloc[0]
        words = (
            f"{blocks} data sets, Friedman p = {row['p']:.2g}, "
            f"critical difference {row['critical_difference']:.2f}"
        )
    return alt.TitleParams(text=f"at {budget}", subtitle=words, subtitleColor=INK)
