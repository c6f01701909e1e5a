"""Whether published tables are those of the committed records, without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pepbench.analysis.significance import holm
from pepbench.catalog import Catalog
from pepbench.leaderboards.board_summary import board_summary
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.evidence import Evidence
from pepbench.leaderboards.pages import is_in_step
from pepbench.leaderboards.publish import README
from pepbench.records import CELL_COLUMNS

ROUNDING = 1e-9
"""Largest difference that the order of additions may make in an AUC or a p-value."""


@dataclass(frozen=True)
class Check:
    """Something that was looked at.

    Attributes
    ----------
    good
        Whether it is as it should be; None if it could not be looked at here.
    line
        What, and with what outcome.
    """

    good: bool | None
    line: str


def check_board(board: Board, evidence: Evidence, catalog: Catalog) -> Iterator[Check]:
    """Compare all that a leaderboard publishes with its records, evidence and plan."""
    for name, content in evidence.tables().items():
        yield _same_bytes(board.folder / name, content)
    page = board.folder / README
    in_step = is_in_step(page, board_summary(board, evidence))
    yield Check(in_step, f"{page}: {'as' if in_step else 'not as'} the records give it")
    for problem, what in (
        (_foreign_record(board, evidence, catalog), "every record belongs to the plan"),
        (_wrong_difference(evidence), "ΔAUC of every cell is the difference of its records' AUCs"),
        (_wrong_holm(evidence.comparisons), "adjusted p-values follow from the others"),
    ):
        yield Check(not problem, f"{board.folder}: {problem or what}")


def _same_bytes(path: Path, content: bytes) -> Check:
    if not path.is_file():
        return Check(False, f"{path}: missing; the records give one")
    there, given = path.read_bytes().splitlines(), content.splitlines()
    if there == given:
        return Check(True, f"{path}: as the records give it")
    pairs = enumerate(zip(there, given, strict=False), 1)
    number = next((i for i, (a, b) in pairs if a != b), min(len(there), len(given)) + 1)
    return Check(False, f"{path}: line {number} is not what the records give")


def _foreign_record(board: Board, evidence: Evidence, catalog: Catalog) -> str:
    plan = board.plan(catalog)
    for record in evidence.records:
        dataset, backbone, method, _ = record.spec.cell
        settings = (record.spec.dim, record.spec.data.split_seed, record.spec.training.clip)
        if (
            dataset not in plan.datasets
            or backbone not in plan.backbones
            or method not in plan.methods
            or settings != (plan.dim, plan.split_seed, plan.clip)
        ):
            return f"record {record.key[:12]} ({', '.join(record.spec.cell)}) is not of the plan"
    return ""


def _wrong_difference(evidence: Evidence) -> str:
    aucs = evidence.frame.set_index(CELL_COLUMNS)["auc"]
    for row in evidence.comparisons.dropna(subset=["difference"]).to_dict("records"):
        own = aucs[row["dataset"], row["backbone"], row["method"], row["budget"]]
        base = aucs[row["dataset"], row["backbone"], row["reference"], row["reference_budget"]]
        if abs(own - base - row["difference"]) > ROUNDING:
            name = ", ".join(row[column] for column in CELL_COLUMNS)
            return f"ΔAUC of {name} is {row['difference']:+.6f}, its records say {own - base:+.6f}"
    return ""


def _wrong_holm(comparisons: pd.DataFrame) -> str:
    compared = comparisons.dropna(subset=["difference"])
    for name, family in compared.groupby(["dataset", "backbone", "budget"]):
        if not np.allclose(holm(family["p"]), family["p_holm"], rtol=0, atol=ROUNDING):
            return f"adjusted p-values of {', '.join(map(str, name))} do not follow from the others"
    return ""
