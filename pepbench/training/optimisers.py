"""Adam with L2: dense and exact, or by the row for large tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pepbench.rows import AdamSettings, RowAdam, RowTable

LAZY_FROM = 4_000_000
"""Entries of row tables from which ``auto`` leaves dense Adam: below, exactness costs little."""


def choose_adam(
    kind: str,
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Mapping[nn.Parameter, float] | None = None,
    decays: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser that ``kind`` names: ``adam``, ``lazy-adam``, or ``auto`` by table size."""
    if kind == "auto":
        entries = sum(p.numel() for p in model.parameters() if isinstance(p, RowTable))
        on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
        kind = "lazy-adam" if entries >= LAZY_FROM and on_cpu else "adam"
    make = LazyAdam if kind == "lazy-adam" else adam
    return make(model, learning_rate, l2, rates, decays)


def adam(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Mapping[nn.Parameter, float] | None = None,
    decays: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Adam:
    """Dense Adam (Kingma & Ba 2015) with L2 added to the gradient of every parameter.

    Parameters
    ----------
    model
        Whose trainable parameters are updated.
    learning_rate, l2
        Common to all parameters.
    rates, decays
        Factors on the learning rate and on the L2 weight of single parameters.
    """
    rates, decays = rates or {}, decays or {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            factors = (rates.get(parameter, 1.0), decays.get(parameter, 1.0))
            groups.setdefault(factors, []).append(parameter)
    settings = [
        {"params": members, "lr": learning_rate * rate, "weight_decay": l2 * decay}
        for (rate, decay), members in groups.items()
    ]
    return torch.optim.Adam(settings, lr=learning_rate, fused=True)


class LazyAdam(torch.optim.Optimizer):
    """Adam with L2 by the row on all row tables, and dense on the other parameters.

    For tables of which a batch needs few rows; see :class:`~pepbench.rows.RowAdam` for where it
    differs from dense Adam.

    Parameters
    ----------
    model
        Whose trainable parameters are updated.
    learning_rate, l2
        Common to all parameters.
    rates, decays
        Factors on the learning rate and on the L2 weight of single parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        l2: float,
        rates: Mapping[nn.Parameter, float] | None = None,
        decays: Mapping[nn.Parameter, float] | None = None,
    ) -> None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        super().__init__(trained, {"lr": learning_rate})
        rates, decays = rates or {}, decays or {}
        self.rows = {
            parameter: RowAdam(
                parameter,
                AdamSettings(
                    learning_rate * rates.get(parameter, 1.0), l2 * decays.get(parameter, 1.0)
                ),
            )
            for parameter in trained
            if isinstance(parameter, RowTable)
        }
        others = nn.ParameterList(p for p in trained if not isinstance(p, RowTable))
        self._dense = adam(others, learning_rate, l2, rates, decays) if len(others) else None

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
            # One that is held does not age, as in torch's optimisers.
            if parameter.requires_grad:
                state.step()
                state.sweep()

    def flush(self) -> None:
        """Bring every row of every table up to date, before it is read whole."""
        for state in self.rows.values():
            state.flush()


def gradients_of(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """All gradients that the next step will use."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if isinstance(optimiser, LazyAdam):
        merged = [state.merged_gradient() for state in optimiser.rows.values()]
        gradients += [pair[1] for pair in merged if pair is not None]
    return gradients
