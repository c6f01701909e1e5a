"""Replication: the primary contrasts of a run beside those of a second one, drawn anew.

A verdict is *shown* unless it is ``undecided``. A sign is shown where the difference is shown not
to be zero, whatever the verdict is (:func:`~pepbench.analysis.significance.direction`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import pandas as pd

from pepbench.analysis.significance import direction

Outcome = Literal[
    "shown again",
    "another verdict",
    "undecided, same sign",
    "undecided, other sign",
    "reversed",
    "shown the second time",
    "undecided both times",
    "not compared",
]
"""What became of a first verdict in the second run. The first five are outcomes of shown verdicts:
``reversed`` if both signs are shown and differ, ``another verdict`` if the second is shown too but
neither the same nor of the opposite sign, such as ``non-inferior`` after ``better``."""

OF_SHOWN: tuple[Outcome, ...] = get_args(Outcome)[:5]

FIGURES = ("difference", "low", "high", "p_holm", "verdict")
KEYS = ["dataset", "backbone", "budget", "method", "other"]


def replication_frame(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The primary contrasts of two runs side by side.

    Parameters
    ----------
    first, second
        Frames with the columns :data:`pepbench.analysis.primary.CONTRAST_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        A row for each primary contrast of ``first``, in its order: ``KEYS``, ``FIGURES`` of both as
        ``first_…`` and ``second_…`` (missing where the second has no such contrast), ``outcome``,
        and ``first_sign``, ``second_sign``: ``higher`` or ``lower`` where shown, else empty.
    """
    sides = [
        run[run["primary"].astype(bool)][[*KEYS, *FIGURES]].rename(
            columns={name: f"{side}_{name}" for name in FIGURES}
        )
        for side, run in (("first", first), ("second", second))
    ]
    frame = sides[0].merge(sides[1], on=KEYS, how="left")
    for side in ("first", "second"):
        frame[f"{side}_verdict"] = frame[f"{side}_verdict"].fillna("").astype(object)
        pairs = zip(frame[f"{side}_difference"], frame[f"{side}_p_holm"], strict=True)
        frame[f"{side}_sign"] = [direction(float(d), float(p)) for d, p in pairs]
    frame["outcome"] = [outcome(row) for row in frame.to_dict("records")]
    return frame


def outcome(row: Mapping[Any, Any]) -> Outcome:
    """What became of the first verdict in a row of :func:`replication_frame`.

    >>> outcome({"first_verdict": "better", "first_difference": 0.004, "first_sign": "higher",
    ...          "second_verdict": "undecided", "second_difference": 0.001, "second_sign": ""})
    'undecided, same sign'
    """
    first, second = row["first_verdict"], row["second_verdict"]
    signs = {row["first_sign"], row["second_sign"]}
    if not (first and second):
        return "not compared"
    if first == "undecided":
        return "undecided both times" if second == "undecided" else "shown the second time"
    if signs == {"higher", "lower"}:
        return "reversed"
    if first == second:
        return "shown again"
    if second != "undecided":
        return "another verdict"
    return "undecided, same sign" if same_sign(row) else "undecided, other sign"


def same_sign(row: Mapping[Any, Any]) -> bool:
    """Whether both differences of a row are above zero, or both below."""
    return bool(row["first_difference"] * row["second_difference"] > 0)
