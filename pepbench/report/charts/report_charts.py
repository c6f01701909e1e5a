"""The charts of a report, each listed once: for its page and for its files."""

from __future__ import annotations

import pandas as pd

from pepbench.analysis.tuning import curves_frame, trials_frame
from pepbench.report.charts.critical_difference import critical_difference_chart
from pepbench.report.charts.curves import curves_chart, pruning_chart, pruning_frame, trials_chart
from pepbench.report.charts.forest import forest_chart
from pepbench.report.charts.highlight import highlighted, report_marks
from pepbench.report.charts.panels import PanelChart
from pepbench.report.charts.pareto import ABSOLUTE, FRONTS, front_chart
from pepbench.report.findings import Findings
from pepbench.report.page.tables import with_detail


def front_charts(
    frame: pd.DataFrame, contrasts: pd.DataFrame | None, attainment: pd.DataFrame | None = None
) -> list[PanelChart]:
    """All fronts of a leaderboard, with the same methods named in each.

    Parameters
    ----------
    frame, contrasts
        Of :class:`pepbench.analysis.leaderboard.Analysis`.
    attainment
        The band of the front of AUCs, which is left out without one.
    """
    all_marks = report_marks(frame, contrasts)
    named = {name: all_marks[name] for name in highlighted(frame, contrasts)}
    names = [name for name in FRONTS if name != ABSOLUTE or attainment is not None]
    return [front_chart(frame, name, named, attainment) for name in names]


def charts_of(findings: Findings) -> dict[str, PanelChart]:
    """Charts of panels, by file name, in the order of the page.

    Pruning curves and critical differences are there only if there is something to draw.

    Parameters
    ----------
    findings
        Of :func:`pepbench.report.findings.load_runs`.
    """
    frame = with_detail(findings)
    records, ranks = findings.records, findings.analysis.ranks
    all_marks = report_marks(frame, findings.contrasts)
    pruning, trials = pruning_frame(records), trials_frame(records)
    charts = [
        *front_charts(frame, findings.contrasts, findings.analysis.fronts.attainment),
        forest_chart(frame, findings.margin, all_marks),
        curves_chart(curves_frame(records), all_marks),
        *([pruning_chart(pruning, all_marks)] if len(pruning) else []),
        trials_chart(trials[trials["fold"] == 0], all_marks),
        *([critical_difference_chart(ranks, all_marks)] if len(ranks.tests) else []),
    ]
    return {chart.name: chart for chart in charts}
