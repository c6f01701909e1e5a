"""What is stored of a table: marks on the fields of a dataclass, and the parts that are read back.

A dataclass that derives from :class:`StoredFields` marks the fields that a file must hold:

>>> from dataclasses import field
>>> @dataclass(frozen=True, eq=False)
... class Hashed(StoredFields):
...     table: Floats = field(metadata=trained())
...     seed: int = field(metadata=index())
...     function: str = field(metadata=constant())
>>> hashed = Hashed(np.eye(2), 7, "universal")
>>> sorted(hashed.values()), hashed.structure(), hashed.constants()
(['table'], {'seed': array([7], dtype=uint32)}, {'function': 'universal'})
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pepbench.errors import ServeError
from pepbench.serve.numbers import Floats, Numbers

Constant = int | str
Kind = Literal["trained", "index", "constant", "part"]

_MARK = "pepbench.stored"


def trained(name: str = "") -> Mapping[str, Any]:
    """Mark an array of trained numbers, or a tuple of such arrays.

    Array k of a tuple is stored as ``name_k``; None in a tuple is not stored. As for all marks, the
    name is the field's by default.
    """
    return {_MARK: ("trained", name)}


def index(name: str = "") -> Mapping[str, Any]:
    """Mark an index: an array, or a number, that tells where trained numbers belong.

    Booleans are stored as one bit each, unsigned arrays as they are, other whole numbers in 32
    bits. Fields of one name are stacked, in the order of the fields.
    """
    return {_MARK: ("index", name)}


def constant() -> Mapping[str, Any]:
    """Mark a number or word that goes into the header of the file, under the field's name."""
    return {_MARK: ("constant", "")}


def part(prefix: str = "") -> Mapping[str, Any]:
    """Mark a field that is :class:`StoredFields` itself; its names get the prefix."""
    return {_MARK: ("part", prefix)}


class StoredFields:
    """A dataclass that says by the marks on its fields what is stored of it."""

    def values(self) -> Mapping[str, Floats]:
        """Trained floating-point arrays; every number in them is a parameter."""
        values: dict[str, Floats] = {}
        for _, kind, name, value in self._marked():
            if kind == "part":
                values |= _prefixed(name, value.values())
            elif kind == "trained" and isinstance(value, tuple):
                values |= {f"{name}_{k}": a for k, a in enumerate(value) if a is not None}
            elif kind == "trained":
                values[name] = value
        return values

    def with_values(self, values: Mapping[str, Floats]) -> Self:
        """The same with other trained numbers, of the names and shapes of :meth:`values`.

        A name that belongs to no marked field is that of a field.
        """
        changes: dict[str, Any] = dict(values)
        for key, kind, name, value in self._marked():
            if kind == "part":
                own = {stored: changes.pop(name + stored) for stored in value.values()}
                changes[key] = value.with_values(own)
            elif kind == "trained" and isinstance(value, tuple):
                changes[key] = tuple(
                    None if array is None else changes.pop(f"{name}_{k}")
                    for k, array in enumerate(value)
                )
            elif kind == "trained":
                changes[key] = changes.pop(name)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Index arrays that tell where the values belong; they cost bytes, not parameters."""
        arrays: dict[str, NDArray[np.generic]] = {}
        stacks: dict[str, list[NDArray[np.generic]]] = {}
        for _, kind, name, value in self._marked():
            if kind == "part":
                arrays |= _prefixed(name, value.structure())
            elif kind == "index":
                stacks.setdefault(name, []).append(_index_array(value))
        for name, stack in stacks.items():
            is_array = len(stack) == 1 and stack[0].ndim > 0
            arrays[name] = stack[0] if is_array else np.stack(stack)
        return arrays

    def constants(self) -> Mapping[str, Constant]:
        """Numbers and words for the header of the file."""
        constants: dict[str, Constant] = {}
        for _, kind, name, value in self._marked():
            if kind == "part":
                constants |= _prefixed(name, value.constants())
            elif kind == "constant":
                constants[name] = value
        return constants

    def _marked(self) -> Iterator[tuple[str, Kind, str, Any]]:
        """Name, kind of mark, stored name (or prefix) and value of each marked field."""
        # A user's own layout need not be a dataclass.
        for field in getattr(self, "__dataclass_fields__", {}).values():
            if _MARK in field.metadata:
                kind, name = field.metadata[_MARK]
                stored = name or ("" if kind == "part" else field.name)
                yield field.name, kind, stored, getattr(self, field.name)


def _prefixed(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in named.items()}


def _index_array(value: Any) -> NDArray[np.generic]:
    array = np.asarray(value)
    if array.dtype == np.bool_ and array.ndim:
        return np.packbits(array)
    return array if array.dtype.kind == "u" else array.astype(np.uint32)


@dataclass(frozen=True, eq=False)
class Parts:
    """All that is stored of a table, as a form reads it."""

    numbers: Mapping[str, Numbers]
    """Trained numbers."""
    structure: Mapping[str, NDArray[np.generic]]
    """Index arrays."""
    constants: Mapping[str, Constant]
    """Single numbers and words."""

    def array(self, name: str, kind: type[np.generic] = np.unsignedinteger) -> NDArray[np.integer]:
        """An index array, which must exist with integers ≥ 0."""
        array = self.structure.get(name)
        if array is None or not np.issubdtype(array.dtype, kind):
            raise ServeError(f"array {name!r} is missing or of another type; export it again")
        return array  # type: ignore[return-value]

    def octets(self, name: str) -> NDArray[np.uint8]:
        """An array of packed bits."""
        return self.array(name, np.uint8)  # type: ignore[return-value]

    def number(self, name: str, n_dimensions: int = 2) -> Numbers:
        """Trained numbers, which must exist with so many dimensions."""
        numbers = self.numbers.get(name)
        if numbers is None or len(numbers.shape) != n_dimensions:
            raise ServeError(f"array {name!r} is missing or of another shape; export it again")
        return numbers

    def numbered(self, stem: str) -> list[Numbers]:
        """Trained numbers ``stem_0``, ``stem_1``, … as far as they go."""
        found: list[Numbers] = []
        while f"{stem}_{len(found)}" in self.numbers:
            found.append(self.numbers[f"{stem}_{len(found)}"])
        return found

    def integers(self, name: str, count: int) -> list[int]:
        """An index array of ``count`` numbers, as integers."""
        array = self.array(name)
        require(array.shape == (count,), f"{name} has another length")
        return [int(number) for number in array]

    def count(self, name: str, most: int = 2**40) -> int:
        """A constant that is a whole number from 0 to ``most``."""
        value = self.constants.get(name)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise ServeError(f"constant {name!r} is missing or out of range; export it again")
        return value

    def word(self, name: str, *allowed: str) -> str:
        """A constant that is one of some words."""
        value = self.constants.get(name)
        if value not in allowed:
            raise ServeError(f"constant {name!r} is not one of {', '.join(allowed)}")
        return str(value)

    def below(self, prefix: str) -> Parts:
        """The parts with names that begin with ``prefix``, which is cut off; and all constants."""

        def cut(named: Mapping[str, object]) -> dict[str, object]:
            start = len(prefix)
            return {k[start:]: v for k, v in named.items() if k.startswith(prefix)}

        return Parts(
            cut(self.numbers),  # type: ignore[arg-type]
            cut(self.structure),  # type: ignore[arg-type]
            {**self.constants, **cut(self.constants)},  # type: ignore[dict-item]
        )


def require(condition: bool, what: str) -> None:
    """Refuse parts that contradict each other."""
    if not condition:
        raise ServeError(f"the table contradicts itself: {what}; export it again")
