"""Learnt widths for pictures: a sample of features, and profiles by planted width and frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepbench.records import CELL_COLUMNS

POINT_COLUMNS = (
    *CELL_COLUMNS,
    "planted",
    "place",
    "frequency",
    "learnt",
)
"""Columns of the sample of features."""

PROFILE_COLUMNS = (*CELL_COLUMNS, "by", "at", "mean", "low", "high")
"""Columns of the profiles."""

MOST_FEATURES = 300_000
"""Points and profiles are made from at most this many features, evenly spaced by global id."""
MOST_POINTS = 120
"""Features of each planted width that pictures show at most."""
BAND = (0.1, 0.9)
"""Quantiles of learnt widths around a profile's mean."""


def sampled(features: pd.DataFrame, learnt: NDArray[Any], most: int = MOST_POINTS) -> pd.DataFrame:
    """Features for a picture: of each planted width ``most`` at most, evenly spaced by frequency.

    Parameters
    ----------
    features
        ``frequency`` and ``planted_width`` of n features.
    learnt
        Shape (n,): their learnt widths.

    Returns
    -------
    pandas.DataFrame
        ``planted``, ``place``, ``frequency``, ``learnt``.
    """
    frame = pd.DataFrame(
        {
            "planted": features["planted_width"].to_numpy(dtype=np.float64),
            "frequency": features["frequency"].to_numpy(),
            "learnt": learnt.astype(np.int64),
        }
    ).sort_values(["planted", "frequency"], kind="stable")
    parts = []
    for _, group in frame.groupby("planted", dropna=False):
        places = (np.arange(len(group)) + 0.5) / len(group)
        chosen = np.unique(
            np.linspace(0, len(group) - 1, min(most, len(group))).round().astype(int)
        )
        parts.append(group.assign(place=places).iloc[chosen])
    return pd.concat(parts, ignore_index=True)


def profiled(features: pd.DataFrame, learnt: NDArray[Any]) -> pd.DataFrame:
    """Learnt widths by planted width and by frequency.

    Parameters
    ----------
    features
        ``frequency`` (at least 1) and ``planted_width`` of n features.
    learnt
        Shape (S, n): their learnt widths, one line for each seed.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``at``, ``mean``, ``low``, ``high``, in ascending order.
    """
    long = pd.DataFrame(
        {
            "planted": np.tile(features["planted_width"].to_numpy(dtype=np.float64), len(learnt)),
            "frequency": np.tile(features["frequency"].to_numpy(dtype=np.float64), len(learnt)),
            "learnt": learnt.ravel(),
        }
    )
    octave = np.floor(np.log2(long["frequency"]))
    return pd.concat(
        [
            _summary("planted", long.dropna().groupby("planted")),
            _summary("frequency", long.groupby(octave.rename("octave"))),
        ],
        ignore_index=True,
    )


def _summary(by: str, groups: Any) -> pd.DataFrame:
    learnt = groups["learnt"]
    return pd.DataFrame(
        {
            "by": by,
            "at": groups[by].mean(),
            "mean": learnt.mean(),
            "low": learnt.quantile(BAND[0]),
            "high": learnt.quantile(BAND[1]),
        }
    ).reset_index(drop=True)
