"""The margin that a report tests against: what the runs' plans say, or the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pepbench.analysis.significance import MARGIN
from pepbench.errors import PlanError, RecordError
from pepbench.plan import PLAN_FILE


def checked_margin(margin: float, source: str) -> float:
    """The margin, if it can be one.

    Parameters
    ----------
    margin
        In AUC.
    source
        Where it comes from, for the message.

    Raises
    ------
    PlanError
        If it is not above 0 and below 0.5.
    """
    if not 0 < margin < 0.5:
        raise PlanError(f"{source}: {margin:g} is no margin of AUC; write, say, 0.001")
    return float(margin)


def margin_of_plan(path: Path) -> float:
    """What a plan file says; the default if it says nothing, is missing or cannot be read.

    Raises
    ------
    PlanError
        If it says what cannot be a margin.
    """
    try:
        margin = tomllib.loads(path.read_text("utf-8")).get("margin", MARGIN)
    except (OSError, ValueError):
        return MARGIN
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise PlanError(f"{path}: margin: {margin!r} is no number; write, say, 0.001")
    return checked_margin(margin, f"{path}: margin")


def margin_of(folders: Sequence[Path]) -> float:
    """The margin that the plans of all runs agree on.

    Raises
    ------
    RecordError
        If they do not.
    """
    said = {folder: margin_of_plan(folder / PLAN_FILE) for folder in folders}
    first, margin = next(iter(said.items()))
    for folder, other in said.items():
        if other != margin:
            raise RecordError(
                f"{first} and {folder} have plans with different margins ({margin:g} and "
                f"{other:g}); choose one for the report with --margin"
            )
    return margin
