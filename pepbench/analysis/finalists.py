"""What finalists changed: how often another trial than the best was chosen, and how good it is."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean

import pandas as pd

from pepbench.analysis.tuning import by_cell
from pepbench.records import (
    CELL_COLUMNS,
    Record,
    best_trial,
    finalists,
    is_extract,
    validation_goal,
)

FINALIST_COLUMNS = (*CELL_COLUMNS, "choices", "changed", "fall")
"""Columns of :func:`finalists_frame`."""


def finalists_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each cell in which finalists were trained with further seeds, in any fold.

    Returns
    -------
    pandas.DataFrame
        Columns ``FINALIST_COLUMNS``. ``choices``: folds with such finalists; ``changed``: those in
        which not the best trial was chosen; ``fall``: by how much the mean score of the
        chosen one, over its trial and further seeds, is below that of its trial, mean over folds.
    """
    rows = []
    for name, members in by_cell(records).items():
        if is_extract(members):
            continue
        folds = {record.spec.data.fold for record in members}
        outcomes = [
            outcome
            for fold in sorted(folds)
            if (outcome := _outcome([r for r in members if r.spec.data.fold == fold])) is not None
        ]
        if outcomes:
            changed, falls = zip(*outcomes, strict=True)
            rows.append((*name, len(outcomes), sum(changed), mean(falls)))
    return pd.DataFrame(rows, columns=list(FINALIST_COLUMNS))


def _outcome(members: list[Record]) -> tuple[bool, float] | None:
    """Whether the choice differs from the best trial, and the fall; None without further seeds."""
    chosen = best_trial(members)
    if chosen is None or chosen.validation is None:
        return None
    settings = chosen.spec.settings()
    further = [
        validation_goal(record)
        for record in members
        if record.spec.role == "finalist" and record.spec.settings() == settings
        if record.validation is not None
    ]
    if not further:
        return None
    first = finalists(members, 1)[0]
    alone = validation_goal(chosen)
    return first.spec.settings() != settings, alone - mean([alone, *further])
