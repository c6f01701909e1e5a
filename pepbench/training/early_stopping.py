"""Early stopping on validation AUC, with the best epoch restored."""

from __future__ import annotations

from torch import Tensor, nn

from pepbench.method import EpochScore


class EarlyStopping:
    """Ends a training whose validation AUC no longer rises, and remembers its best epoch.

    Parameters
    ----------
    patience
        Epochs without a new best AUC after which to stop.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best: EpochScore | None = None
        """The epoch of the highest AUC so far, the earliest of equals."""
        self._best_state: dict[str, Tensor] = {}

    def should_stop(self, score: EpochScore, model: nn.Module) -> bool:
        """Take note of an epoch and its model; whether to stop after it."""
        if self.best is None or score.auc > self.best.auc:
            self.best = score
            self._best_state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            return False
        return score.epoch - self.best.epoch >= self.patience

    def restore(self, model: nn.Module) -> EpochScore:
        """Give ``model`` the values of the best epoch, which is returned."""
        assert self.best is not None, "no epoch has ended"
        model.load_state_dict(self._best_state)
        return self.best
