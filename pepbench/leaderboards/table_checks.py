"""Checks of a leaderboard's published tables against its records.

Over folds, figures, tests and verdicts follow from records alone, so all of them are computed
again. Of a single split most need test predictions, which are not published.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pepbench.analysis.folds import BASES
from pepbench.analysis.significance import holm
from pepbench.leaderboards.board_results import BoardResults, from_records
from pepbench.leaderboards.boards import Board
from pepbench.records import CELL_COLUMNS, FEWEST_FOLDS, CellName
from pepbench.report.findings import contrasts_of
from pepbench.units import FULL

ROUNDING = 1e-9
"""Largest difference that the order of additions may make in an AUC or a p-value."""

_NOT_GIVEN = ("note", "share_rows", "share_seeds", "share_tuning_and_split")
"""Columns that need predictions, or are words for people."""


def other_figure(board: Board, results: BoardResults) -> str:
    """The first published figure or verdict that records and plan give otherwise; else empty.

    Of a single split, only what the leaderboard has from records is compared.
    """
    found = from_records(
        results.records,
        margin=results.margin,
        contrasts=contrasts_of([board.folder]),
        draws=1,
        folds=results.folds,
    )
    pair = ["dataset", "backbone", "budget", "method", "other", "primary"]
    return next(
        (
            problem
            for name, keys, published, given in (
                ("leaderboard", CELL_COLUMNS, results.frame, found.frame),
                ("comparisons", CELL_COLUMNS, results.comparisons, found.comparisons),
                ("contrasts", pair, results.contrasts, found.contrasts),
            )
            for problem in _other_rows(name, keys, published, given)
        ),
        "",
    )


def _other_rows(
    name: str, keys: list[str], published: pd.DataFrame, given: pd.DataFrame
) -> Iterator[str]:
    there, here = (
        {tuple(row[key] for key in keys): row for row in frame.to_dict("records")}
        for frame in (published, given)
    )
    over_folds = {key for key, row in (*there.items(), *here.items()) if _is_over_folds(row)}
    for key in sorted(over_folds, key=str) if name != "leaderboard" else here:
        where = f"{name}: {', '.join(map(str, key))}"
        if key not in there or key not in here:
            yield f"{where}: {'not published' if key in here else 'not given by the records'}"
            continue
        for column, value in here[key].items():
            if column in _NOT_GIVEN or (key not in over_folds and _is_missing(value)):
                continue
            shown = there[key].get(column)
            if not _agree(shown, value):
                yield f"{where}: {column} is {shown}, and {value} by the records"


def _is_over_folds(row: Mapping[Any, Any]) -> bool:
    return bool(row["basis"] in BASES if "basis" in row else row["folds"] >= FEWEST_FOLDS)


def _agree(one: Any, other: Any) -> bool:
    if _is_missing(one) or _is_missing(other):
        return _is_missing(one) and _is_missing(other)
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _is_missing(value: Any) -> bool:
    return value == "" or bool(pd.isna(value))


def wrong_difference(results: BoardResults) -> str:
    """The first difference that is not that of the AUCs of its cells; else empty."""
    aucs: dict[CellName, float] = {
        CellName.of_row(row): row["auc"] for row in results.frame.to_dict("records")
    }
    for row in _compared(results.comparisons):
        base = CellName(row["dataset"], row["backbone"], row["reference"], row["reference_budget"])
        expected = aucs[CellName.of_row(row)] - aucs[base]
        if abs(expected - row["difference"]) > ROUNDING:
            name = CellName.of_row(row).listed()
            return f"ΔAUC of {name} is {row['difference']:+.6f}, its records say {expected:+.6f}"
    for row in _compared(results.contrasts):
        places = [CellName.of_row({**row, "method": row[side]}) for side in ("method", "other")]
        # Methods of fixed size have one cell, at 100%.
        own, other = (aucs.get(place, aucs.get(place._replace(budget=FULL))) for place in places)
        if own is None or other is None or abs(own - other - row["difference"]) > ROUNDING:
            return f"the contrast {places[0].listed()} − {row['other']} is not that of its records"
    return ""


def _compared(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.dropna(subset=["difference"]).to_dict("records")


def wrong_holm(results: BoardResults) -> str:
    """The first family whose adjusted p-values do not follow from the others; else empty."""
    exploratory = results.contrasts[~results.contrasts["primary"]]
    # By the difference and not the budget, of which a method of fixed size has another.
    key = ["dataset", "backbone", "method", "reference", "difference"]
    named = results.primary.rename(columns={"other": "reference", "p_holm": "p_primary"})
    named = named.dropna(subset=["difference"])[[*key, "p_primary"]]
    compared = results.comparisons.merge(named, on=key, how="left")
    for frame, columns in (
        (compared, ["dataset", "backbone", "budget"]),
        (results.primary.assign(p_primary=math.nan), ["dataset", "backbone"]),
        (exploratory.assign(p_primary=math.nan), ["dataset", "backbone", "budget"]),
    ):
        for name, family in frame.dropna(subset=["difference"]).groupby(columns):
            # What a primary contrast says of a cell takes the place of its family's p-value.
            given = family["p_primary"].fillna(pd.Series(holm(family["p"]), family.index))
            if not np.allclose(given, family["p_holm"], rtol=0, atol=ROUNDING):
                where = ", ".join(map(str, name))
                return f"adjusted p-values of {where} do not follow from the others"
    return ""
