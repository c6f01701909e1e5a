"""Optimizers with L2 by one interface: dense and exact, or by the row for large tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pepbench.method import Factors
from pepbench.records import OptimizerKind
from pepbench.tables.rows import RowState, RowTable
from pepbench.training.row_adagrad import RowAdagrad
from pepbench.training.row_adam import AdamSettings, RowAdam

LAZY_FROM = 2.0
"""Entries of row tables, for each that a batch can look up, from which ``auto`` leaves dense Adam.
On rows from Zipf's law the two take the same time at 1, and at 2 the one by the row is ahead."""


class Maker(Protocol):
    """Makes an optimizer for every trainable parameter of a model."""

    def __call__(
        self,
        model: nn.Module,
        learning_rate: float,
        l2: float,
        rates: Factors | None = None,
        decays: Factors | None = None,
    ) -> torch.optim.Optimizer:
        """Common learning rate and L2 weight, and factors on them for single parameters."""


def resolved(kind: OptimizerKind, model: nn.Module, lookups: int) -> OptimizerKind:
    """The kind that ``auto`` stands for, by the size of the model's row tables.

    ``lookups`` is how many a batch makes in each, B·F.
    """
    if kind != "auto":
        return kind
    tables = [p for p in model.parameters() if isinstance(p, RowTable)]
    entries = sum(table.numel() for table in tables)
    looked_up = sum(lookups * table[0].numel() for table in tables)
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return "lazy-adam" if tables and entries >= LAZY_FROM * looked_up and on_cpu else "adam"


def make_optimizer(
    kind: OptimizerKind,
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> torch.optim.Optimizer:
    """The optimizer that ``kind``, which is not ``auto``, names."""
    return _MAKERS[kind](model, learning_rate, l2, rates, decays)


def adam(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> torch.optim.Adam:
    """Dense Adam (Kingma & Ba 2015) with L2 added to the gradient of every parameter."""
    groups = _groups(_trained(model), learning_rate, l2, rates, decays)
    return torch.optim.Adam(groups, lr=learning_rate, fused=True)


def adagrad(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> torch.optim.Adagrad:
    """Dense Adagrad (Duchi, Hazan, Singer 2011) with L2 added to the gradient."""
    groups = _groups(_trained(model), learning_rate, l2, rates, decays)
    # The fused form exists for the CPU only.
    fused = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return torch.optim.Adagrad(groups, lr=learning_rate, fused=fused)


def lazy_adam(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> RowWise:
    """Adam by the row on row tables (:class:`~pepbench.training.row_adam.RowAdam`)."""

    def state(parameter: RowTable, rate: float, decay: float) -> RowAdam:
        return RowAdam(parameter, AdamSettings(rate, decay))

    return RowWise(model, state, adam, learning_rate, l2, rates, decays)


def row_adagrad(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> RowWise:
    """Adagrad by the row on row tables (:class:`~pepbench.training.row_adagrad.RowAdagrad`)."""
    return RowWise(model, RowAdagrad, adagrad, learning_rate, l2, rates, decays)


class RowWise(torch.optim.Optimizer):
    """One optimizer by the row on all row tables, and a dense one on the other parameters.

    Parameters
    ----------
    model
        Whose trainable parameters are updated.
    make_state
        Makes the state of a table from its learning rate and L2 weight.
    dense
        Makes the optimizer of the other parameters.
    learning_rate, l2, rates, decays
        As of :class:`Maker`.
    """

    def __init__(
        self,
        model: nn.Module,
        make_state: Callable[[RowTable, float, float], RowState],
        dense: Maker,
        learning_rate: float,
        l2: float,
        rates: Factors | None = None,
        decays: Factors | None = None,
    ) -> None:
        trained = _trained(model)
        super().__init__(trained, {"lr": learning_rate})
        rates, decays = rates or {}, decays or {}
        self.rows = {
            parameter: make_state(
                parameter,
                learning_rate * rates.get(parameter, 1.0),
                l2 * decays.get(parameter, 1.0),
            )
            for parameter in trained
            if isinstance(parameter, RowTable)
        }
        others = nn.ParameterList(p for p in trained if not isinstance(p, RowTable))
        self._dense = dense(others, learning_rate, l2, rates, decays) if len(others) else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for state in self.rows.values():
            state.gradients.clear()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update."""
        if self._dense is not None:
            self._dense.step()
        for parameter, state in self.rows.items():
            # One that is held does not age, as in torch's optimizers.
            if parameter.requires_grad:
                state.step()
                state.sweep()

    def flush(self) -> None:
        """Bring every row of every table up to date, before it is read whole."""
        for state in self.rows.values():
            state.flush()


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All gradients that the next step will use."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if isinstance(optimizer, RowWise):
        merged = [state.merged_gradient() for state in optimizer.rows.values()]
        gradients += [pair[1] for pair in merged if pair is not None]
    return gradients


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _groups(
    parameters: list[nn.Parameter],
    learning_rate: float,
    l2: float,
    rates: Factors | None,
    decays: Factors | None,
) -> list[dict[str, Any]]:
    """Parameters of one learning rate and L2 weight together, as torch's optimizers take them."""
    rates, decays = rates or {}, decays or {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        factors = (rates.get(parameter, 1.0), decays.get(parameter, 1.0))
        groups.setdefault(factors, []).append(parameter)
    return [
        {"params": members, "lr": learning_rate * rate, "weight_decay": l2 * decay}
        for (rate, decay), members in groups.items()
    ]


_MAKERS: dict[OptimizerKind, Maker] = {
    "adam": adam,
    "lazy-adam": lazy_adam,
    "adagrad": adagrad,
    "row-adagrad": row_adagrad,
}
