"""Primary contrasts of all leaderboards over folds, beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pepbench.analysis.cells import REFERENCE
from pepbench.analysis.folds import BASES
from pepbench.leaderboards.board_page import markdown
from pepbench.leaderboards.board_results import BoardResults
from pepbench.records import Record
from pepbench.report.markdown import escape
from pepbench.report.phrases import NOT_COMPARED, block_title, rounded
from pepbench.report.verdict_sentences import (
    FLATTERED,
    SHOWN,
    UNDECIDED,
    best_cells,
    code,
    contrasts_at_budgets,
    shown,
)
from pepbench.units import Budget

KEYS = ["method", "other", "budget"]
"""Of a contrast on one data set."""

BEST = "highest AUC − full"
"""Name of the rows of :func:`best_methods`."""

ENOUGH = 2
"""Sources of data on which a verdict has to be shown; on fewer it is a hint."""

NON_INFERIOR = "non-inferior"
STRONGER = ("better", "equivalent")
"""Verdicts that imply :data:`NON_INFERIOR`: their intervals lie above the margin, too."""


def primary_contrasts(
    boards: Mapping[str, BoardResults], sources: Mapping[str, str]
) -> pd.DataFrame:
    """The primary contrasts of leaderboards whose inference is over folds.

    Parameters
    ----------
    boards
        Results by name.
    sources
        The source of each data set's rows; drawn data have none.

    Returns
    -------
    pandas.DataFrame
        Columns of :data:`pepbench.analysis.primary.CONTRAST_COLUMNS`, and ``board``, its
        ``margin``, ``contrast``, ``source`` and ``rows_per_feature``, the mean over folds of
        training rows by features, NaN where records do not have it. ``source`` is NaN for drawn
        data. Data sets with few rows a feature come first.
    """
    parts = []
    for name, results in boards.items():
        found = results.primary
        if not found["basis"].isin(BASES).any():
            continue
        rows = rows_per_feature(results.records)
        parts.append(
            found.assign(
                board=name,
                margin=results.margin,
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


def best_methods(boards: Mapping[str, BoardResults], contrasts: pd.DataFrame) -> pd.DataFrame:
    """The method of highest AUC of each data set, backbone and budget, against the full table.

    Parameters
    ----------
    boards
        Results by name.
    contrasts
        Of :func:`primary_contrasts`: data sets and backbones that are looked at, in their order.

    Returns
    -------
    pandas.DataFrame
        Columns as ``contrasts``, with a ``contrast`` of the same name in all rows.
    """
    blocks = contrasts.drop_duplicates(["dataset", "backbone"])
    shown = (boards[name] for name in dict.fromkeys(blocks["board"]))
    best = pd.concat([best_cells(one.frame) for one in shown])
    differences = (
        best[best["verdict"] != "reference"]
        .rename(columns={"delta_auc": "difference", "delta_low": "low", "delta_high": "high"})
        .assign(other=REFERENCE, contrast=BEST)
    )
    of_boards = blocks[["dataset", "backbone", "board", "source", "rows_per_feature"]]
    return of_boards.merge(differences, on=["dataset", "backbone"])


def contrasts_section(contrasts: pd.DataFrame, best: pd.DataFrame) -> Iterator[str]:
    """What primary contrasts came to on all boards, in Markdown; nothing if there are none.

    Contrasts that could be made on no board are named below the table.

    Parameters
    ----------
    contrasts
        Of :func:`primary_contrasts`.
    best
        Of :func:`best_methods`; they come first at each budget.
    """
    if contrasts.empty:
        return
    yield (
        "Test AUC of the first method minus that of the second, mean over folds, with the verdict, "
        "on leaderboards over folds; *highest AUC* is the method, named in a cell, that has it at "
        f"a budget, {FLATTERED}. The last column counts the sources of real data on which each "
        "verdict is shown; *better* and *equivalent* count as *non-inferior*, too. One source "
        "alone is a hint."
    )
    blocks = contrasts.drop_duplicates(["dataset", "backbone"]).to_dict("records")
    rows = [["training rows a feature", "", *map(_rows_a_feature, blocks), ""]]
    by_size = pd.concat([best, contrasts]).sort_values(
        "budget", key=lambda texts: -texts.map(lambda text: Budget(text).order), kind="stable"
    )
    nowhere = []
    for (contrast, budget), here in by_size.groupby(["contrast", "budget"], sort=False):
        if here["difference"].isna().all():
            nowhere.append(here.head(1))
            continue
        cells = {(row["dataset"], row["backbone"]): _cell(row) for row in here.to_dict("records")}
        figures = (cells.get((block["dataset"], block["backbone"]), "") for block in blocks)
        rows.append([escape(str(contrast)), escape(str(budget)), *figures, _shown(here)])
    names = [_linked(block) for block in blocks]
    yield markdown(rows, ["contrast", "budget", *names, "shown"], texts=2)
    if nowhere:
        yield f"Could be compared on no leaderboard: {contrasts_at_budgets(pd.concat(nowhere))}."


def sentences_across(contrasts: pd.DataFrame, margin: str) -> Iterator[str]:
    """What is shown on how many sources of data, by backbone, and what is undecided on all.

    Parameters
    ----------
    contrasts
        Of :func:`primary_contrasts`; drawn data, which have no source, are left out.
    margin
        Of equivalence and non-inferiority, in words.
    """
    real = contrasts[contrasts["source"].notna() & (contrasts["verdict"] != "")]
    for backbone, block in real.groupby("backbone", sort=False):
        several = real["backbone"].nunique() > 1
        with_backbone = f"With {escape(str(backbone))}, " if several else ""
        counts = pd.DataFrame(
            [
                (*key, verdict, number, rows["source"].nunique())
                for key, rows in block.groupby(KEYS, sort=False)
                for verdict, number in _sources(rows).items()
            ],
            columns=[*KEYS, "verdict", "shown", "of"],
        )
        counts["named"] = [
            f"{code(method)} ({number} of {all_of_them})"
            for method, number, all_of_them in counts[["method", "shown", "of"]].to_numpy()
        ]
        for enough, where in (
            (True, f"{with_backbone}shown on two sources or more to be"),
            (False, f"{with_backbone}shown on a single source, so a hint, to be"),
        ):
            found = counts[(counts["shown"] >= ENOUGH) == enough]
            yield from (_sentence(f"{where} {what}.") for what in shown(found, margin))
        decided = counts["verdict"].ne(UNDECIDED).groupby([counts[key] for key in KEYS])
        rows = counts[~decided.transform("any")]
        if len(rows):
            yield _sentence(f"{with_backbone}undecided on all: {contrasts_at_budgets(rows)}.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _linked(block: Mapping[Any, Any]) -> str:
    title = escape(block_title((block["dataset"], block["backbone"])))
    return f"[{title}]({block['board']}/README.md)"


def _rows_a_feature(block: Mapping[Any, Any]) -> str:
    rows = block["rows_per_feature"]
    return "" if pd.isna(rows) else f"{rows:.3g}"


def _cell(row: Mapping[Any, Any]) -> str:
    named = f"{escape(row['method'])} " if row["contrast"] == BEST else ""
    if pd.isna(row["difference"]):
        return f"{named}{NOT_COMPARED}"
    value, _, _ = rounded(row["difference"], row["low"], row["high"])
    return f"{named}{value} {escape(row['verdict'])}"


def _sources(rows: pd.DataFrame) -> dict[str, int]:
    """Number of sources by verdict; what is better or equivalent is non-inferior, too."""
    sources = {
        str(verdict): set(found["source"].dropna()) for verdict, found in rows.groupby("verdict")
    }
    if NON_INFERIOR in sources:
        sources[NON_INFERIOR].update(*(sources.get(verdict, ()) for verdict in STRONGER))
    return {verdict: len(found) for verdict, found in sources.items()}


def _shown(rows: pd.DataFrame) -> str:
    """Each verdict with the number of sources on which it is shown."""
    counts = _sources(rows)
    return ", ".join(f"{verdict}: {counts[verdict]}" for verdict in SHOWN if counts.get(verdict))
