"""What search methods share: bi-level training, its best epoch, and the last training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from torch import Tensor, nn
from torch.optim import Optimizer

from pepbench.method import Diverged, Fitted, MaskedTable, Model, OneOf, Part, Task

SearchSplit = Annotated[
    str, OneOf("validation", "train", tuned=False), "rows on which α is trained"
]
"""``"train"`` holds a tenth of the training rows out from the weights, and trains α on it."""

LastStart = Annotated[
    str,
    OneOf("initial", "trained", tuned=False),
    "from which the last training starts: initial values and a new backbone, or both as trained",
]


def bilevel_steps(
    task: Task,
    model: Model,
    alpha: nn.Parameter,
    alpha_optimizer: Callable[[], Optimizer],
    split: str,
    n_steps: int,
    best_epoch: BestEpoch | None = None,
) -> Iterator[int]:
    """Train the weights on a training batch and ``alpha`` on one of ``split``, in turn.

    A bi-level search of first order: DARTS, Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055,
    eqs. 3, 4 and 6 with ξ = 0.

    Parameters
    ----------
    task, model, alpha
        ``alpha`` is a parameter of the model, the weights are all others.
    alpha_optimizer
        Makes the optimizer of ``alpha``, while the weights require no gradient.
    split
        A :data:`SearchSplit`.
    n_steps
        Of both.
    best_epoch
        If given, it sees the model after each epoch of the weights, and restores the best.

    Yields
    ------
    int
        How many steps both have made.
    """
    weights = [parameter for parameter in model.parameters() if parameter is not alpha]
    weights_part: Part = "train" if split == "validation" else "held-in"
    alpha_part: Part = "validation" if split == "validation" else "held-out"
    _train_only(weights, [alpha])
    weights_optimizer = task.optimizer(model)
    weight_steps = task.steps(model, weights_optimizer, weights_part)
    _train_only([alpha], weights)
    alpha_steps = task.steps(model, alpha_optimizer(), alpha_part)
    for step in range(1, n_steps + 1):
        _train_only(weights, [alpha])
        next(weight_steps)
        _train_only([alpha], weights)
        next(alpha_steps)
        if best_epoch is not None and best_epoch.is_due(step, n_steps):
            task.flush(weights_optimizer)
            best_epoch.see()
        yield step
    _train_only(weights, [alpha])
    task.flush(weights_optimizer)
    if best_epoch is not None:
        best_epoch.restore()


class BestEpoch:
    """The values of a model after its best epoch on the validation rows.

    Parameters
    ----------
    task, model
        The model is validated as it is when seen.
    """

    def __init__(self, task: Task, model: Model) -> None:
        self.task, self.model = task, model
        self.score = -math.inf
        self._state: dict[str, Tensor] = {}

    def is_due(self, step: int, last: int) -> bool:
        """Whether an epoch of the training rows, or the training, ends with ``step``."""
        return step % self.task.steps_per_epoch == 0 or step == last

    def see(self) -> None:
        """Validate the model, and remember it if it is the best so far."""
        score = self.task.score(self.model)
        if score > self.score:
            self.score = score
            self._state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def restore(self) -> None:
        """Give the model the values of its best epoch.

        Raises
        ------
        Diverged
            If no epoch had a score that is a number.
        """
        if not self._state:
            raise Diverged(
                "the score on the validation rows was NaN after every epoch of the search"
            )
        self.model.load_state_dict(self._state)


def _train_only(these: Iterable[nn.Parameter], not_those: Iterable[nn.Parameter]) -> None:
    for parameter in these:
        parameter.requires_grad_(True)
    for parameter in not_those:
        parameter.requires_grad_(False)


def train_under_mask(
    task: Task, start: str, initial: Tensor, trained: Tensor, mask: Tensor, backbone: nn.Module
) -> Fitted:
    """Train the entries under ``mask`` (N, D) with early stopping.

    From the ``initial`` values and a new backbone with ``start="initial"``, else from the
    ``trained`` values and their ``backbone``.
    """
    if start == "initial":
        return task.train(task.model(MaskedTable(initial, mask.to(initial.device))))
    return task.train(Model(MaskedTable(trained, mask), backbone))
