"""Early stopping on validation rows, with the best epoch restored."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pepbench.method import EpochScore
from pepbench.objective import Objective, goal


class EarlyStopping:
    """Ends a training whose validation figure no longer improves, and remembers its best epoch.

    Parameters
    ----------
    patience
        Epochs without a new best figure after which to stop.
    objective
        The figure.
    """

    def __init__(self, patience: int, objective: Objective = "auc") -> None:
        self.patience, self.objective = patience, objective
        self.best: EpochScore | None = None
        """The best epoch so far, the earliest of equals."""
        self._best_state: dict[str, Tensor] = {}

    def should_stop(self, score: EpochScore, model: nn.Module) -> bool:
        """Take note of an epoch and its model; whether to stop after it."""
        best = -math.inf if self.best is None else goal(self.best, self.objective)
        if self.best is None or goal(score, self.objective) > best:
            self.best = score
            self._best_state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            return False
        return score.epoch - self.best.epoch >= self.patience

    def restore(self, model: nn.Module) -> EpochScore:
        """Give ``model`` the values of the best epoch, which is returned."""
        assert self.best is not None, "no epoch has ended"
        model.load_state_dict(self._best_state)
        return self.best
