"""Which methods of a report are named in its fronts, and how each is drawn in all charts."""

from __future__ import annotations

import pandas as pd

from pepbench.report.charts.style import PALETTE, Mark, marks

MOST_NAMED = len(PALETTE)
"""More colours and names can hardly be told apart."""


def highlighted(frame: pd.DataFrame, contrasts: pd.DataFrame | None = None) -> list[str]:
    """At most ``MOST_NAMED`` methods, in alphabetical order, without the full table.

    Those of the primary contrasts come first, then those with most cells on a front, then those of
    the best mean rank within data set, backbone and budget.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.
    contrasts
        Of :class:`pepbench.analysis.leaderboard.Analysis`.
    """
    ok = frame[(frame["status"] == "ok") & (frame["verdict"] != "reference")]
    rank = ok.groupby(["dataset", "backbone", "budget"])["auc"].rank(ascending=False)
    methods = ok.assign(rank=rank).groupby("method").agg({"on_front": "sum", "rank": "mean"})
    primary = pd.DataFrame() if contrasts is None else contrasts[contrasts["primary"]]
    named = {*primary.get("method", ()), *primary.get("other", ())}
    order = methods.assign(
        exploratory=~methods.index.isin(list(named)), behind=-methods["on_front"]
    ).sort_values(["exploratory", "behind", "rank"], kind="stable")
    return sorted(order.index[:MOST_NAMED])


def report_marks(frame: pd.DataFrame, contrasts: pd.DataFrame | None = None) -> dict[str, Mark]:
    """Marks of all methods of a report, the same in all its charts.

    The highlighted ones have colours of their own.
    """
    return marks(frame["method"], first=highlighted(frame, contrasts))
