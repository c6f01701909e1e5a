"""What search methods share: bi-level training, and the last training under a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from torch import Tensor, nn
from torch.optim import Optimizer

from pepbench.method import Fitted, MaskedTable, Model, OneOf, Part, Task

SearchSplit = Annotated[
    str, OneOf("validation", "train", tuned=False), "rows on which α is trained"
]
"""``"train"`` holds a tenth of the training rows out from the weights, and trains α on it."""

LastStart = Annotated[
    str,
    OneOf("initial", "trained", tuned=False),
    "values (and backbone) from which the last training starts",
]


def bilevel_steps(
    task: Task,
    model: Model,
    alpha: nn.Parameter,
    alpha_optimizer: Callable[[], Optimizer],
    split: str,
    n_steps: int,
) -> Iterator[int]:
    """Train the weights on a training batch and ``alpha`` on one of ``split``, in turn.

    A bi-level search of first order: DARTS, Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055.

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
        yield step
    _train_only(weights, [alpha])
    task.flush(weights_optimizer)


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
