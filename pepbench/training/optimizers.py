"""Optimizers with L2 by one interface: dense and exact, or by rows for large tables."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from pepbench.component import OptimizerKind
from pepbench.method import Embedding, Factors
from pepbench.tables.rows import RowState, RowTable, release
from pepbench.training.row_optimizers import RowAdagrad, RowAdam, RowWise
from pepbench.training.uncompiled import Adagrad, Adam

LAZY_FROM = 2.0
"""Entries of row tables, for each that a batch can look up, from which ``auto`` is lazy Adam.
On rows from Zipf's law both take the same time at 1; at 2 lazy Adam is faster."""


def resolve_optimizer(kind: OptimizerKind, model: nn.Module, lookups: int) -> OptimizerKind:
    """The kind that ``auto`` stands for, by the size of the model's row tables.

    ``lookups`` is how many a batch makes in each, B·F.
    """
    if kind != "auto":
        return kind
    tables = [p for p in model.parameters() if isinstance(p, RowTable)]
    entries = sum(table.numel() for table in tables)
    looked_up = sum(lookups * table[0].numel() for table in tables)
    large = tables and entries >= LAZY_FROM * looked_up
    return "lazy-adam" if large and _on_cpu(model.parameters()) else "adam"


def make_optimizer(
    kind: OptimizerKind,
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: Factors | None = None,
    decays: Factors | None = None,
) -> torch.optim.Optimizer:
    """An optimizer for every trainable parameter of ``model``, with L2 in the gradient.

    Parameters
    ----------
    kind
        ``adam`` (Kingma & Ba 2015) and ``adagrad`` (Duchi, Hazan, Singer 2011) are dense. By rows
        on row tables, and dense on the other parameters, are ``lazy-adam``
        (:class:`~pepbench.training.row_optimizers.RowAdam`) and ``row-adagrad``
        (:class:`~pepbench.training.row_optimizers.RowAdagrad`). Not ``auto``: see
        :func:`resolve_optimizer`.
    model
        Its trainable parameters are updated, from now on by no other optimizer. Those for which an
        embedding in it has :meth:`~pepbench.method.Embedding.row_states` are updated by these,
        whatever the kind.
    learning_rate, l2
        Common learning rate and L2 weight.
    rates, decays
        Factors on them for single parameters. An embedding in the model may have factors on the L2
        weight of its own, :meth:`~pepbench.method.Embedding.decays`; ``decays`` override them.
    """
    rates = rates or {}
    of_embeddings: dict[nn.Parameter, float] = {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows: dict[nn.Parameter, RowState] = {}
    for module in model.modules():
        if isinstance(module, Embedding):
            rows |= module.row_states(learning_rate, l2)
            of_embeddings |= module.decays()
    decays = {**of_embeddings, **(decays or {})}
    # Parameters of one learning rate and L2 weight together, as torch's optimizers take them.
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in trained:
        if parameter in rows:
            continue
        rate, decay = rates.get(parameter, 1.0), decays.get(parameter, 1.0)
        if kind in _BY_ROWS and isinstance(parameter, RowTable):
            rows[parameter] = _BY_ROWS[kind](parameter, learning_rate * rate, l2 * decay)
        else:
            release(parameter)
            groups.setdefault((rate, decay), []).append(parameter)
    settings = [
        {"params": members, "lr": learning_rate * rate, "weight_decay": l2 * decay}
        for (rate, decay), members in groups.items()
    ]
    if rows and not settings:
        return RowWise(trained, rows, None)
    dense: torch.optim.Optimizer
    if kind in ("adam", "lazy-adam"):
        dense = Adam(settings, fused=True)
    else:
        # Adagrad's fused form is for the CPU only.
        dense = Adagrad(settings, fused=_on_cpu(trained))
    return RowWise(trained, rows, dense) if rows or kind in _BY_ROWS else dense


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All gradients that the next step will use."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if isinstance(optimizer, RowWise):
        merged = [state.merged_gradient() for state in optimizer.rows.values()]
        gradients += [pair[1] for pair in merged if pair is not None]
    return gradients


def _on_cpu(parameters: Iterable[nn.Parameter]) -> bool:
    return all(parameter.device.type == "cpu" for parameter in parameters)


_BY_ROWS: dict[OptimizerKind, type[RowAdam | RowAdagrad]] = {
    "lazy-adam": RowAdam,
    "row-adagrad": RowAdagrad,
}
