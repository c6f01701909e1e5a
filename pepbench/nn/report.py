"""What the tables of a model take, by the accounting rule of the suite."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pepbench.method import to_numpy
from pepbench.nn.fixed_shape import CompressedEmbedding, Tables
from pepbench.nn.modules import DropIn, MaskedEmbedding
from pepbench.nn.pep import PEPEmbedding
from pepbench.tables.layout import Dense, Layout, Masked
from pepbench.units import byte_size


@dataclass(frozen=True, eq=False)
class StoredTables:
    """Tables of one width that are stored together."""

    names: tuple[str, ...]
    """Of the modules, in the order of their rows."""
    cardinalities: tuple[int, ...]
    """Rows of each, before compression."""
    dim: int
    """D."""
    method: str
    """``none`` where nothing is compressed."""
    layout: Layout = field(repr=False)
    """The arrays."""

    @property
    def full_parameters(self) -> int:
        """Σ n · D: entries before compression."""
        return sum(self.cardinalities) * self.dim

    @property
    def n_parameters(self) -> int:
        """Trained numbers that serving needs."""
        return self.layout.n_parameters

    @property
    def n_bytes(self) -> int:
        """Bytes of these and of what finds them."""
        return self.layout.n_bytes


@dataclass(frozen=True)
class Report:
    """Parameters and bytes of the embeddings of a model; ``print`` shows a table."""

    tables: tuple[StoredTables, ...]
    notes: tuple[str, ...] = ()
    """What the user should know: embeddings that were left, references to replaced ones."""

    @property
    def full_parameters(self) -> int:
        """Before compression."""
        return sum(table.full_parameters for table in self.tables)

    @property
    def n_parameters(self) -> int:
        """Trained numbers that serving needs."""
        return sum(table.n_parameters for table in self.tables)

    @property
    def n_bytes(self) -> int:
        """Bytes that serving stores."""
        return sum(table.n_bytes for table in self.tables)

    def __str__(self) -> str:
        lines = [f"{'tables':40} {'width':>5} {'method':>12} {'parameters':>24} {'bytes':>9}"]
        for table in self.tables:
            names = ", ".join(table.names)
            shown = names if len(names) <= 40 else f"{names[:37]}..."
            lines.append(
                f"{shown:40} {table.dim:5} {table.method:>12} "
                + _sizes(table.full_parameters, table.n_parameters, table.n_bytes)
            )
        total = _sizes(self.full_parameters, self.n_parameters, self.n_bytes)
        return "\n".join([*lines, f"{'total':59} {total}", *self.notes])


def _sizes(full: int, left: int, n_bytes: int) -> str:
    counts = f"{full:,} → {left:,}" if left != full else f"{full:,}"
    return f"{counts:>24} {byte_size(n_bytes):>9}"


def report(model: nn.Module) -> Report:
    """Parameters and bytes of all embeddings of a model, those of torch included.

    A weight that several modules share is counted once. Bytes are those of :func:`export`: float32
    numbers, and what finds them.
    """
    return Report(tuple(stored_tables(model)))


def stored_tables(model: nn.Module) -> list[StoredTables]:
    """The tables of a model as they are stored: those of one width and kind together."""
    shared: dict[Tables, dict[int, str]] = {}
    groups: dict[tuple[int, str], list[tuple[str, Tensor, Tensor | None]]] = {}
    seen: set[int] = set()
    # A weight that a masked table shares with one of torch is stored as the masked one.
    modules = sorted(model.named_modules(), key=lambda named: not isinstance(named[1], DropIn))
    for name, module in modules:
        if isinstance(module, CompressedEmbedding):
            shared.setdefault(module.tables, {}).setdefault(module.field, name)
        elif isinstance(module, MaskedEmbedding | PEPEmbedding):
            key = module.embedding_dim, module.method
            parameter = module.values if isinstance(module, PEPEmbedding) else module.weight
            if id(parameter) not in seen:
                seen.add(id(parameter))
                groups.setdefault(key, []).append((name, *module.values_and_mask()))
        elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
            key = module.embedding_dim, "none"
            weight = module._parameters.get("weight", module)
            if id(weight) not in seen:
                seen.add(id(weight))
                groups.setdefault(key, []).append((name, module.weight.detach(), None))
    found = [_of_fixed_shape(tables, names) for tables, names in shared.items()]
    for (dim, method), members in groups.items():
        names, tensors, masks = zip(*members, strict=True)
        table = to_numpy(torch.cat([values.float().cpu() for values in tensors]))
        layout: Layout = Dense(table)
        if method != "none":
            layout = Masked.from_table(table, to_numpy(torch.cat([m.cpu() for m in masks])))
        found.append(StoredTables(names, tuple(map(len, tensors)), dim, method, layout))
    return found


def _of_fixed_shape(tables: Tables, names: Mapping[int, str]) -> StoredTables:
    """Tables under the present names of their modules, by number of the field."""
    fields, table = tables.fields, tables.table
    if any(tensor.dtype != torch.float32 for tensor in table.parameters()):
        table = copy.deepcopy(table).float()  # numpy has no bfloat16
    return StoredTables(
        tuple(names.get(number, name) for number, name in enumerate(fields.names)),
        fields.cardinalities,
        tables.dim,
        tables.method.name,
        table.export(),
    )
