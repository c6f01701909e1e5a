"""A trained table as it is served: raw values or codes in, vectors out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pepbench.errors import ServeError
from pepbench.serve.columns import by_name
from pepbench.serve.dense import DenseScale, dense_inputs, read_scales
from pepbench.serve.files import META_FILE, TABLE_FILE, open_tensors, read_meta
from pepbench.serve.forms import FORMS, Form
from pepbench.serve.numbers import SCHEMES, Numbers
from pepbench.serve.parts import Parts
from pepbench.serve.pooling import EXPONENTS, PADDING, pooled
from pepbench.serve.vocabulary import FieldVocabulary, finite_numbers, read_fields

FieldValues = Mapping[str, Iterable[Any]] | Sequence[Sequence[Any]] | NDArray[Any]
"""Data frames of pandas, polars and Arrow are taken as mappings."""


@dataclass(frozen=True, eq=False)
class ServedTable:
    """Vectors of the values of F fields; made by :func:`load`."""

    meta: Mapping[str, Any]
    """All that ``meta.json`` says."""
    fields: tuple[FieldVocabulary, ...]
    """The F fields, in the order of columns."""
    form: Form
    """How the table is stored."""
    stored_bytes: int
    """Bytes of all tensors, which stay in the file until a lookup needs them."""
    dense_fields: Mapping[str, DenseScale] = field(default_factory=dict)
    """How the numbers of dense fields become inputs of the backbone; none of them is looked up."""

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return self.form.dim

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields, in the order of columns."""
        return tuple(field.name for field in self.fields)

    def lookup(self, field_values: FieldValues) -> NDArray[np.float32]:
        """Vectors of B rows of raw values, or of codes: (B, F, D) float32.

        Parameters
        ----------
        field_values
            A mapping, or a data frame, from every field's name to its B raw values; or a
            two-dimensional array (B, F) of text, columns as in :attr:`field_names`; or a
            two-dimensional array (B, F) of whole numbers, which are codes within their fields. What
            training has not seen has code 0, None and NaN are missing values. The raw value of a
            multi-valued field is a list, or a text with the separator of its column; each such
            field takes as many columns of codes as it has ``max_values``, with −1 behind the last
            code of a row.

        Raises
        ------
        ServeError
            If a field is missing, columns differ in length, or a code is out of its field's range.
        """
        ids = self.global_ids(field_values)
        if not self._has_bags.any():
            return self.lookup_ids(ids)
        given = ids != PADDING
        starts = np.cumsum(self._slots) - self._slots
        lengths = np.add.reduceat(given, starts, axis=1, dtype=np.int64)
        exponents = [0.0 if f.bag is None else EXPONENTS[f.bag.pool] for f in self.fields]
        return pooled(self._vectors(ids[given]), lengths, np.array(exponents))

    def codes(self, field_values: FieldValues) -> NDArray[np.int64]:
        """Codes within the fields, 0 for unseen values: (B, F). Takes what :meth:`lookup` does."""
        ids = self.global_ids(field_values)
        return np.where(ids == PADDING, PADDING, ids - self._offsets)

    def global_ids(self, field_values: FieldValues) -> NDArray[np.int64]:
        """Rows of the full table, (B, F): the second input of an exported backbone.

        A multi-valued field has a column for each of its ``max_values``, −1 for no value.
        """
        if (columns := by_name(field_values)) is not None:
            return self._ids(self._encoded(self._columns(columns)))
        try:
            array = np.asarray(field_values)
            if array.dtype.kind == "U" and not isinstance(field_values, np.ndarray):
                # numpy made text of all values, NaN and True among them.
                array = np.asarray(field_values, dtype=object)
        except ValueError:
            raise ServeError("rows differ in their numbers of values") from None
        if array.dtype.kind not in "iuUOST":
            raise ServeError(
                f"values are {array.dtype}; give text, whole numbers, which are codes, or a "
                "mapping from fields to raw values"
            )
        are_codes = array.dtype.kind in "iu"
        n_columns = int(self._slots.sum()) if are_codes else len(self.fields)
        if array.ndim != 2 or array.shape[1] != n_columns:
            raise ServeError(
                f"values have shape {array.shape}, expected (rows, {n_columns}): "
                f"{', '.join(self.field_names)}"
            )
        return self._checked(array) if are_codes else self._ids(self._encoded(list(array.T)))

    def dense_inputs(self, field_values: Mapping[str, Iterable[Any]]) -> NDArray[np.float32]:
        """Inputs of the backbone from the numbers of the dense fields: (B, M) float32.

        Parameters
        ----------
        field_values
            A mapping, or a data frame, from every dense field's name to its B numbers, or texts of
            them. None, NaN, empty texts and the words declared missing are missing.

        Raises
        ------
        ServeError
            If a field is missing, columns differ in length, or a value is no number.
        """
        given = by_name(field_values) or {}
        words = frozenset(word for field in self.fields for word in field.missing_words)
        columns = []
        for name in self.dense_fields:
            if name not in given:
                raise ServeError(f"no values for dense field {name!r}")
            columns.append(finite_numbers(name, given[name], words))
        if not columns:
            raise ServeError("the table has no dense fields")
        if len({len(column) for column in columns}) > 1:
            raise ServeError("dense fields differ in their numbers of values")
        return dense_inputs(np.stack(columns, axis=1), self.dense_fields)

    def lookup_ids(self, ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of global ids of any shape: (…) → (…, D).

        Raises
        ------
        ServeError
            If an id is no whole number or out of range, or the stored arrays point outside of
            themselves.
        """
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise ServeError(f"ids are {ids.dtype}; give whole numbers")
        if ids.size and (ids.min() < 0 or ids.max() >= self._ends[-1]):
            raise ServeError(f"an id is outside 0 to {self._ends[-1] - 1}")
        return self._vectors(np.asarray(ids, dtype=np.int64))

    def _vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        try:
            return cast(NDArray[np.float32], self.form.lookup(ids))
        except (IndexError, ValueError) as error:
            # Numpy refuses to read outside of an array; only a forged file makes it try.
            raise ServeError(f"{TABLE_FILE} points outside of its own arrays: {error}") from None

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([field.cardinality for field in self.fields], dtype=np.int64)

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """Columns of codes of each field, (F,)."""
        return np.array([field.slots for field in self.fields], dtype=np.int64)

    @cached_property
    def _has_bags(self) -> NDArray[np.bool_]:
        """Which columns of codes are of multi-valued fields, (Σ slots,)."""
        return np.repeat([field.bag is not None for field in self.fields], self._slots)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        """First global id of the field of each column of codes, (Σ slots,)."""
        starts = np.concatenate([np.zeros(1, np.int64), self._ends[:-1]])
        return np.repeat(starts, self._slots)

    def _ids(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = codes.astype(np.int64) + self._offsets
        return np.where((codes == PADDING) & self._has_bags, PADDING, ids)

    def _columns(self, values: Mapping[str, Iterable[Any]]) -> list[Iterable[Any]]:
        missing = [name for name in self.field_names if name not in values]
        if missing:
            raise ServeError(f"no values for field {missing[0]!r}; the table needs all its fields")
        return [values[name] for name in self.field_names]

    def _encoded(self, columns: Sequence[Iterable[Any]]) -> NDArray[np.int64]:
        codes = [
            vocabulary.slot_codes(column)
            for vocabulary, column in zip(self.fields, columns, strict=True)
        ]
        for name, column in zip(self.field_names, codes, strict=True):
            if len(column) != len(codes[0]):
                raise ServeError(
                    f"field {name!r} has {len(column)} values, "
                    f"{self.fields[0].name!r} has {len(codes[0])}"
                )
        return np.hstack(codes)

    def _checked(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        ids = self._ids(codes)
        ends = np.repeat(self._ends, self._slots)
        wrong = (ids < self._offsets) | (ids >= ends)
        wrong &= ~((ids == PADDING) & self._has_bags)
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            wanted = self.fields[np.repeat(np.arange(len(self.fields)), self._slots)[column]]
            raise ServeError(
                f"row {row + 1}: code {codes[row, column]} of field {wanted.name!r} is outside "
                f"0 to {wanted.cardinality - 1}; use 0 for what is not known"
            )
        return ids


def load(folder: Path | str, *, verify: bool = True) -> ServedTable:
    """Open a table that ``pepbench export`` wrote. Needs numpy and safetensors, and runs no code.

    Parameters
    ----------
    folder
        Where ``meta.json`` and ``table.safetensors`` are.
    verify
        Whether to compare the file with its checksum, for which it is read once. Without, a file
        of any size opens at once; a damaged one then gives wrong vectors or a
        :class:`~pepbench.errors.ServeError`, but never reads outside of the file.

    Raises
    ------
    ServeError
        If a file is missing, cut off, changed, or contradicts itself.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    try:
        checksum = str(meta["sha256"]) if verify else None
        name, dim, arrays = str(meta["form"]), meta["dim"], dict(meta["arrays"])
        constants = dict(meta["constants"])
        fields = read_fields(meta["fields"])
        dense = read_scales(meta.get("dense", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise ServeError(f"{folder / META_FILE} is not complete: {error}") from None
    if name not in FORMS:
        raise ServeError(f"{folder / META_FILE}: unknown form {name!r}; use a newer pepbench")
    tensors = open_tensors(folder / TABLE_FILE, checksum)
    try:
        form = FORMS[name](_parts(tensors, arrays, constants))
        n_features = sum(field.cardinality for field in fields)
        if not fields or form.dim != dim or form.n_features not in (None, n_features):
            raise ServeError("fields, width and arrays do not fit together; export it again")
    except ServeError as error:
        raise ServeError(f"{folder}: {error}") from None
    except (IndexError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ServeError(f"{folder} is damaged: {error}; export the table again") from None
    stored_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return ServedTable(meta, fields, form, stored_bytes, dense)


def _parts(
    tensors: Mapping[str, NDArray[np.generic]],
    arrays: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Any],
) -> Parts:
    """Tensors sorted into trained numbers, ``name.part`` each, and index arrays."""
    numbers: dict[str, Numbers] = {}
    used = set()
    for name, entry in arrays.items():
        kind = SCHEMES.get(entry["scheme"])
        if kind is None:
            raise ServeError(f"array {name!r} has the unknown scheme {entry['scheme']!r}")
        kept = {part: f"{name}.{part}" for part in kind.dtypes}
        used |= set(kept.values())
        stored = {part: tensors[full] for part, full in kept.items() if full in tensors}
        numbers[name] = kind(stored, tuple(int(size) for size in entry["shape"]))
    structure = {name: tensor for name, tensor in tensors.items() if name not in used}
    return Parts(numbers, structure, constants)
