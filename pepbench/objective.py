"""What tuning maximises on validation rows, the same for all methods."""

from __future__ import annotations

import math
from typing import Literal, Protocol

Objective = Literal["auc", "logloss", "gauc"]
"""Validation figure by which epochs, trials and finalists are chosen, the same for all methods."""

GOALS: dict[Objective, str] = {"auc": "AUC", "logloss": "-log loss", "gauc": "gAUC"}
"""What each objective maximises, as :func:`goal` has it, in words."""


class Scored(Protocol):
    """Figures of predictions."""

    @property
    def auc(self) -> float:
        """AUC over all rows."""

    @property
    def log_loss(self) -> float:
        """Mean binary cross-entropy in nats."""

    @property
    def gauc(self) -> float | None:
        """AUC within users; None where it was not computed."""


def goal(scores: Scored, objective: Objective) -> float:
    """The figure that an objective maximises: AUC, gAUC, or minus the log loss.

    NaN where it was not computed.
    """
    if objective == "logloss":
        return -scores.log_loss
    value = scores.auc if objective == "auc" else scores.gauc
    return math.nan if value is None else value
