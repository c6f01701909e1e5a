"""The tables of a model: which modules look up in them, and what else refers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import nn

from pepbench.nn.modules import CompressError, DropIn, refuse_bare_table

Include = str | Iterable[str] | Callable[[str, nn.Module], bool]
"""Names of modules, with ``*`` as in file names, or a function of a name and its module."""

Embeddings = Mapping[str, nn.Embedding | nn.EmbeddingBag]
"""Modules by name."""


@dataclass(frozen=True, eq=False)
class Table:
    """A weight, and the modules that look up in it."""

    modules: Embeddings

    @property
    def name(self) -> str:
        """Of the first module."""
        return next(iter(self.modules))

    @property
    def weight(self) -> nn.Parameter:
        """Shape (N, D)."""
        return cast(nn.Parameter, self.modules[self.name].weight)


def find_tables(model: nn.Module, include: Include | None) -> tuple[list[Table], list[str]]:
    """The tables to compress, in the order of the model, and a note on embeddings that are not.

    Raises
    ------
    CompressError
        If there are none, or a pattern of ``include`` names none.
    """
    modules: dict[int, dict[str, nn.Embedding | nn.EmbeddingBag]] = {}
    others = []
    seen = {n: m for n, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    for name, module in _chosen(seen, include).items():
        own = "forward" in vars(module)
        if own or type(module).forward not in (nn.Embedding.forward, nn.EmbeddingBag.forward):
            others.append(f"left {name}: {type(module).__name__} looks up in its own way")
        elif "weight" not in module._parameters:
            others.append(f"left {name}: its weight is computed (torch.nn.utils)")
        elif _has_hooks(module):
            others.append(f"left {name}: it has hooks, which a new module would not have")
        else:
            modules.setdefault(id(module.weight), {})[name] = module
    if not modules:
        raise _nothing_to_compress(model, seen)
    refuse_bare_table(seen)
    return [Table(found) for found in modules.values()], others


_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_post_accumulate_grad_hooks",
)
"""Where torch keeps the hooks of modules and tensors."""


def _has_hooks(owner: object) -> bool:
    return any(getattr(owner, kind, None) for kind in _HOOKS)


def _chosen(seen: Embeddings, include: Include | None) -> Embeddings:
    if include is None:
        return seen
    if callable(include):
        return {name: module for name, module in seen.items() if include(name, module)}
    patterns = [include] if isinstance(include, str) else list(include)
    for pattern in patterns:
        if seen and not any(fnmatchcase(name, pattern) for name in seen):
            raise CompressError(
                f"include={pattern!r} names no embedding; the model has: {', '.join(seen)}"
            )
    return {n: m for n, m in seen.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}


def _nothing_to_compress(model: nn.Module, seen: Iterable[str]) -> CompressError:
    done = [name for name, module in model.named_modules() if isinstance(module, DropIn)]
    compressed = f"; compressed already: {', '.join(done)}" if done else ""
    return CompressError(
        f"no nn.Embedding or nn.EmbeddingBag to compress; the model has: "
        f"{', '.join(seen) or 'none'}{compressed}"
    )


def stale_references(model: nn.Module, replaced: Mapping[str, Iterable[object]]) -> Iterator[str]:
    """Notes on what still goes by old modules or weights: attributes of the model, and hooks.

    Parameters
    ----------
    model
        As it is now.
    replaced
        By name of a table, its modules and weights before; those that it still has do not matter.
    """
    present = {id(each) for each in (*model.modules(), *model.parameters())}
    gone = {
        name: [e for e in of_name if id(e) not in present] for name, of_name in replaced.items()
    }
    old = {id(each) for of_name in gone.values() for each in of_name}
    for module in model.modules():
        for name, value in vars(module).items():
            if _holds(value, old):
                yield f"{type(module).__name__}.{name} still holds what was replaced; set it anew"
    for name, of_name in gone.items():
        if any(map(_has_hooks, of_name)):
            yield f"{name} had hooks, which are gone with what was replaced; register them anew"


def _holds(value: object, old: set[int], depth: int = 3) -> bool:
    if id(value) in old:
        return True
    inner: Iterable[object] = value.values() if isinstance(value, dict) else ()
    if isinstance(value, torch.optim.Optimizer):
        inner = value.param_groups
    elif isinstance(value, list | tuple | set):
        inner = value
    return depth > 0 and any(_holds(item, old, depth - 1) for item in inner)
