"""Replace the embeddings of a model by smaller ones, under one budget; end PEP's search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible, unknown_name
from pepbench.method import Fields, Method
from pepbench.nn.fixed_shape import CompressedEmbedding, Tables
from pepbench.nn.model_tables import Include, Table, find_tables, stale_references
from pepbench.nn.modules import (
    CompressError,
    DropIn,
    MaskedEmbedding,
    Settings,
    refuse_bare_table,
    replace_modules,
)
from pepbench.nn.pep import PEPEmbedding, Start, masks_within, parameters_of, searched
from pepbench.nn.report import Report, report

Frequencies = Mapping[str, ArrayLike]
"""By name of a module, how often each of its ids occurs in the training rows: (N,)."""


def compress(
    model: nn.Module,
    budget: str | int,
    method: str = "magnitude",
    frequencies: Frequencies | None = None,
    include: Include | None = None,
    *,
    search_steps: int | None = None,
    seed: int | None = None,
) -> Report:
    """Replace the ``nn.Embedding`` and ``nn.EmbeddingBag`` of a model, in place.

    Parameters
    ----------
    model
        Any model with embeddings. Tables that share a weight are counted once.
    budget
        For all tables together: a share of their entries (``"5%"``), a number of parameters
        (``"50k"``, 50000), or a size (``"2MB"``).
    method
        ``"magnitude"`` keeps the largest entries of trained tables and holds the others at zero
        through further training; the weights stay the same parameters, so that an optimizer goes
        on. ``"pep"`` starts a search, which :func:`~pepbench.nn.reached` watches and
        :func:`~pepbench.nn.prune` ends. Any method whose shape is fixed beforehand goes by its name
        and options, such as ``"qr:combine=add"``; its values are drawn anew, so that the model is
        to be trained, with a new optimizer.
    frequencies
        How often each id occurs in the training rows, for methods that depend on it.
    include
        Which modules, by name: ``"*user*"``; all by default.
    search_steps
        Of ``"pep"``: see :class:`~pepbench.nn.PEPEmbedding`.
    seed
        Of hash functions and drawn values; by default from torch's generator.

    Returns
    -------
    Report
        What the model's embeddings take; print it.

    Raises
    ------
    CompressError
        If the model, the method or an option does not fit; the model is unchanged.
    Infeasible
        If the method cannot be so small; likewise.
    """
    tables, left = find_tables(model, include)
    allowed = parameters_of(budget, sum(table.weight.numel() for table in tables))
    selection = Catalog().select("method", method)
    if search_steps is not None and selection.component.name != "pep":
        raise CompressError(f"search_steps is for method='pep', not {method!r}")
    if seed is not None and not (isinstance(seed, Integral) and abs(seed) < 2**63):
        raise CompressError(f"seed={seed!r} is no whole number of 64 bits")
    counts = read_frequencies(tables, frequencies)
    if selection.component.name == "magnitude":
        if selection.fixed:
            raise CompressError(f"{method!r}: no option of magnitude applies here; leave them out")
        new = magnitude_masked(tables, allowed)
    elif selection.component.name == "pep":
        refuse_tables(model, tables, method)
        new = under_search(tables, selection.fixed, search_steps)
    else:
        refuse_method(method)
        refuse_tables(model, tables, method)
        drawn = int(torch.randint(2**62, ())) if seed is None else seed
        new = of_fixed_shape(cast(Method, selection.default()), tables, counts, allowed, drawn)
    replace_modules(model, new)
    replaced = {table.name: [*table.modules.values(), table.weight] for table in tables}
    return replace(report(model), notes=(*left, *stale_references(model, replaced)))


def prune(model: nn.Module, budget: str | int, values: Start = "initial") -> Report:
    """Replace the PEP tables of a model by masked ones of exactly ``budget`` entries, in all.

    Parameters
    ----------
    model
        With at least one :class:`PEPEmbedding`; changed in place. Make a new optimizer afterwards.
    budget
        A share of the full tables, or a number of parameters.
    values
        As of :meth:`PEPEmbedding.pruned`.

    Returns
    -------
    Report
        As of :func:`compress`.
    """
    found = searched(model)
    refuse_bare_table(found)
    tables = list(found.values())
    allowed = parameters_of(budget, sum(table.values.numel() for table in tables))
    masks = masks_within([table.margins() for table in tables], allowed)
    pruned: dict[int, nn.Module] = {
        id(t): t.masked(m, values) for t, m in zip(tables, masks, strict=True)
    }
    replace_modules(model, pruned)
    replaced = {name: [table, *table.parameters()] for name, table in found.items()}
    return replace(report(model), notes=tuple(stale_references(model, replaced)))


def magnitude_masked(tables: Sequence[Table], allowed: int) -> dict[int, nn.Module]:
    """Masked tables of the ``allowed`` largest entries, by ``id`` of what they replace."""
    for table in tables:
        if not table.weight.isfinite().all():
            raise CompressError(f"{table.name} has weights that are not finite; train it anew")
    masks = masks_within([table.weight.detach().abs() for table in tables], allowed)
    return {
        id(module): _like(module, MaskedEmbedding(table.weight, mask, Settings.of(module)))
        for table, mask in zip(tables, masks, strict=True)
        for module in table.modules.values()
    }


def under_search(
    tables: Sequence[Table], options: Mapping[str, Any], search_steps: int | None
) -> dict[int, nn.Module]:
    """Tables under PEP's search that start from the present values."""
    names = {"granularity": "granularity", "init": "init", "threshold_target": "target"}
    for option in options:
        if option not in names:
            raise CompressError(
                f"option {option} of pep does not apply here; {', '.join(names)} do, and "
                "search_steps=…, the steps in which s rises to threshold_target"
            )
    if "threshold_target" in options and search_steps is None:
        raise CompressError("threshold_target needs search_steps=…, the steps to reach it in")
    given = {names[option]: value for option, value in options.items()}
    new: dict[int, nn.Module] = {}
    for table in tables:
        if len(table.modules) > 1:
            raise CompressError(
                f"pep: {' and '.join(table.modules)} share a weight; let them share a module"
            )
        settings = Settings.of(table.modules[table.name])
        embedding = PEPEmbedding(
            settings.num_embeddings,
            settings.embedding_dim,
            settings.padding_idx,
            search_steps=search_steps,
            values=table.weight,
            mode=settings.mode,
            include_last_offset=settings.include_last_offset,
            **given,
        )
        new[id(table.modules[table.name])] = _like(table.modules[table.name], embedding)
    return new


def _like(module: nn.Module, new: DropIn) -> DropIn:
    return new.train(module.training)


def refuse_method(method: str) -> None:
    """Refuse methods whose shape is not fixed beforehand."""
    kind = Catalog().load("method", method.split(":")[0])
    assert issubclass(kind, Method)
    if "+" in kind.name:
        raise CompressError(f"{method!r}: rounding comes after training; leave the suffix out")
    if kind.embedding is Method.embedding or kind.own_training:
        why = kind.own_training or "searches for its table"
        raise CompressError(
            f"{kind.name} {why}, which needs the harness; use magnitude, pep, or a method whose "
            "shape is fixed beforehand, such as qr"
        )


def refuse_tables(model: nn.Module, tables: Sequence[Table], method: str) -> None:
    """Refuse tables that new parameters cannot replace."""
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules()):
        raise CompressError(f"{method} makes new parameters: compress, then wrap the model by DDP")
    replaced = {id(module) for table in tables for module in table.modules.values()}
    for table in tables:
        for name, module in table.modules.items():
            Settings.of(module).refuse_special_gradients(name, method)
        if not table.weight.requires_grad:
            raise CompressError(
                f"{table.name} is frozen, and {method} has to be trained; use magnitude, or leave "
                "it out by include=…"
            )
        for name, other in model.named_modules():
            shares = any(p is table.weight for p in other.parameters(recurse=False))
            if shares and id(other) not in replaced:
                raise CompressError(
                    f"{name} uses the weight of {table.name}; use magnitude, or leave it out by "
                    "include=…"
                )


def read_frequencies(
    tables: Sequence[Table], frequencies: Frequencies | None
) -> dict[str, np.ndarray]:
    """Counts of each table, by its name."""
    known = {name: table for table in tables for name in table.modules}
    if not isinstance(frequencies, Mapping | None):
        raise CompressError(f"frequencies: give the counts by name, {{{tables[0].name!r}: counts}}")
    counts: dict[str, np.ndarray] = {}
    for name, given in (frequencies or {}).items():
        if name not in known:
            raise CompressError(unknown_name("table", name, known))
        found = np.asarray(given.cpu() if isinstance(given, torch.Tensor) else given)
        if found.shape != (n := len(known[name].weight),):
            raise CompressError(f"frequencies of {name} have shape {found.shape}, expected ({n},)")
        if found.dtype.kind not in "iuf" or not (np.isfinite(found) & (found >= 0)).all():
            raise CompressError(f"frequencies of {name} are not all numbers of at least 0")
        if not ((found % 1 == 0) & (found < 2**63)).all():
            raise CompressError(
                f"frequencies of {name} are not all whole numbers below 2^63; give counts"
            )
        # Modules that share a weight look up in it in turn: their counts add up.
        own = known[name].name
        counts[own] = found.astype(np.int64) + counts.get(own, 0)
    return counts


class MissingFrequencies(CompressError):
    """A method reads how often ids occur, which was not given."""


class UncountedFields(Fields):
    """Fields without frequencies, which ask for them where a method reads them."""

    def __getattribute__(self, name: str) -> Any:
        if name == "frequencies":
            raise MissingFrequencies(
                "the method depends on how often ids occur; give "
                f"frequencies={{{self.names[0]!r}: counts, …}} with the counts of all ids of "
                f"{', '.join(self.names)} in the training rows"
            )
        return super().__getattribute__(name)


def of_fixed_shape(
    method: Method,
    tables: Sequence[Table],
    counts: Mapping[str, np.ndarray],
    allowed: int,
    seed: int,
) -> dict[int, nn.Module]:
    """Replacements by a method whose shape is fixed beforehand.

    The tables of one width are the fields of one embedding. The widths share the budget in
    proportion to their entries, the smallest first: what it cannot use goes to the others, and what
    it needs beyond its share to be feasible is taken from them.
    """
    widths: dict[object, list[Table]] = {}
    for table in tables:
        weight = table.weight
        widths.setdefault((weight.shape[1], weight.dtype, weight.device), []).append(table)
    new: dict[int, nn.Module] = {}
    for members, made in _allocated(
        method, sorted(widths.values(), key=_entries), counts, allowed, seed
    ):
        made.to(members[0].weight)
        for number, table in enumerate(members):
            for module in table.modules.values():
                replacement = CompressedEmbedding(made, number, Settings.of(module))
                replacement.to(table.weight.device)
                new[id(module)] = _like(module, replacement)
    return new


def _allocated(
    method: Method,
    order: Sequence[Sequence[Table]],
    counts: Mapping[str, np.ndarray],
    allowed: int,
    seed: int,
    first: int = 0,
) -> list[tuple[Sequence[Table], Tables]]:
    """Tables for each width; the ``first`` widths are given what they need before the others."""
    left, entries = allowed, sum(map(_entries, order))
    made = []
    for position, members in enumerate(order):
        share = max(left * _entries(members) // entries, min(1, left))
        fields, dim = _fields(members, counts), members[0].weight.shape[1]
        try:
            tables = _made(method, fields, dim, share, left, seed)
        except Infeasible as error:
            if position < max(first, 1):
                raise Infeasible(f"tables of width {dim}: {error}") from None
            others = [*order[:position], *order[position + 1 :]]
            return _allocated(method, [members, *others], counts, allowed, seed, first + 1)
        made.append((members, tables))
        left -= tables.table.n_parameters()
        entries -= _entries(members)
    return made


def _made(method: Method, fields: Fields, dim: int, share: int, most: int, seed: int) -> Tables:
    """Tables of ``share`` parameters, or the smallest feasible ones of at most ``most``."""
    try:
        return Tables(method, fields, dim, share, seed)
    except Infeasible:
        low, high, smallest = share, most, Tables(method, fields, dim, most, seed)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            smallest, high = Tables(method, fields, dim, middle, seed), middle
        except Infeasible:
            low = middle
    return smallest


def _entries(tables: Sequence[Table]) -> int:
    return sum(table.weight.numel() for table in tables)


def _fields(tables: Sequence[Table], counts: Mapping[str, np.ndarray]) -> Fields:
    names = tuple(table.name for table in tables)
    sizes = tuple(len(table.weight) for table in tables)
    if all(name in counts for name in names):
        return Fields(names, sizes, np.concatenate([counts[name] for name in names]))
    return UncountedFields(names, sizes, np.empty(0, np.int64))
