"""Primary contrasts of all leaderboards over folds, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from pepbench.analysis.folds import BASIS
from pepbench.analysis.significance import Verdict
from pepbench.leaderboards.board_page import markdown
from pepbench.leaderboards.board_results import BoardResults
from pepbench.records import Record
from pepbench.report.markdown import escape
from pepbench.report.phrases import NOT_COMPARED, block_title, rounded
from pepbench.units import Budget

SHOWN = tuple(verdict for verdict in get_args(Verdict) if verdict != "undecided")
"""Verdicts that say something."""


def primary_contrasts(boards: Sequence[BoardResults], sources: Mapping[str, str]) -> pd.DataFrame:
    """The primary contrasts of leaderboards whose inference is over folds.

    Parameters
    ----------
    boards
        Results.
    sources
        The source of each data set's rows; drawn data have none.

    Returns
    -------
    pandas.DataFrame
        Columns of :data:`pepbench.analysis.primary.CONTRAST_COLUMNS`, and ``contrast``, ``source``
        and ``rows_per_feature``, the mean over folds of training rows by features, NaN where
        records do not have it. ``source`` is NaN for drawn data. Data sets with few rows a feature
        come first.
    """
    parts = []
    for results in boards:
        found = results.contrasts
        if found is None or BASIS not in set(found.loc[found["primary"], "basis"]):
            continue
        rows = rows_per_feature(results.records)
        parts.append(
            found[found["primary"]].assign(
                contrast=found["method"] + " − " + found["other"],
                source=found["dataset"].map(dict(sources)),
                rows_per_feature=found["dataset"].map(rows).astype(float),
            )
        )
    if not parts:
        return pd.DataFrame()
    return pd.concat(parts, ignore_index=True).sort_values("rows_per_feature", kind="stable")


def rows_per_feature(records: Sequence[Record]) -> dict[str, float]:
    """Training rows a feature by data set, mean over folds, where records name the rows."""
    folds = pd.DataFrame(
        {
            "dataset": data.spec,
            "fold": data.fold,
            "rows": data.training_rows * record.spec.dim / record.spec.full_parameters,
        }
        for record in records
        if (data := record.spec.data).training_rows
    )
    if folds.empty:
        return {}
    means = folds.drop_duplicates(["dataset", "fold"]).groupby("dataset")["rows"].mean()
    return dict(zip(map(str, means.index), means, strict=True))


def contrasts_section(contrasts: pd.DataFrame) -> Iterator[str]:
    """What primary contrasts came to on all boards, in Markdown; nothing if there are none.

    Parameters
    ----------
    contrasts
        Of :func:`primary_contrasts`.
    """
    if contrasts.empty:
        return
    yield (
        "Test AUC of the first method minus that of the second, mean over folds, with the verdict, "
        "on leaderboards over folds. The last column counts the sources of real data on which the "
        "same is shown; one source is a hint."
    )
    blocks = contrasts.drop_duplicates(["dataset", "backbone"]).to_dict("records")
    rows = [["training rows a feature", "", *map(_rows_a_feature, blocks), ""]]
    by_size = contrasts.sort_values(
        "budget", key=lambda texts: -texts.map(lambda text: Budget(text).order), kind="stable"
    )
    for (contrast, budget), here in by_size.groupby(["contrast", "budget"], sort=False):
        cells = {(row["dataset"], row["backbone"]): _cell(row) for row in here.to_dict("records")}
        figures = (cells.get((block["dataset"], block["backbone"]), "") for block in blocks)
        rows.append([escape(str(contrast)), escape(str(budget)), *figures, _shown(here)])
    names = [escape(block_title((block["dataset"], block["backbone"]))) for block in blocks]
    yield markdown(rows, ["contrast", "budget", *names, "shown"], texts=2)


def _rows_a_feature(block: Mapping[Any, Any]) -> str:
    rows = block["rows_per_feature"]
    return "" if pd.isna(rows) else f"{rows:.3g}"


def _cell(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return NOT_COMPARED
    value, _, _ = rounded(row["difference"], row["low"], row["high"])
    return f"{value} {escape(row['verdict'])}"


def _shown(rows: pd.DataFrame) -> str:
    """Each verdict with the number of sources on which it is shown."""
    counts = {
        verdict: rows.loc[rows["verdict"] == verdict, "source"].nunique() for verdict in SHOWN
    }
    return ", ".join(f"{verdict}: {count}" for verdict, count in counts.items() if count)
