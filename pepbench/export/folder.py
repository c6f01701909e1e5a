"""The folder of an exported table: ``table.safetensors`` and ``meta.json``."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

import pepbench
from pepbench.data.dataset import Dataset
from pepbench.data.encoding import numbers_of
from pepbench.data.splits import Splits
from pepbench.errors import PepbenchError
from pepbench.records import write_atomically
from pepbench.serve.files import FORMAT, META_FILE, TABLE_FILE, VERSION
from pepbench.tables.layout import Layout

CHECKED_ROWS = 4096
"""Rows of the validation set on which the written files are checked."""


class ExportError(PepbenchError):
    """A run or method that cannot be exported, or a folder that cannot be written."""


def write_export(
    folder: Path,
    layout: Layout,
    fields: Sequence[Mapping[str, Any]],
    dim: int,
    about: Mapping[str, Any],
    further: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a table atomically: the folder appears complete, or not at all.

    Parameters
    ----------
    folder
        New, or empty.
    layout
        The table as it is stored.
    fields
        As :func:`described_fields` gives them.
    dim
        D.
    about
        Further entries of ``meta.json``: method, counts, origin of the table.
    further
        Called with the unfinished folder, to check it or add files; if it raises, nothing is left.

    Raises
    ------
    ExportError
        If the folder has files in it or cannot be written, or the layout has no storage form.
    """
    refuse_occupied(folder)
    tensors = stored_tensors(layout)
    content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "pepbench": pepbench.__version__,
        "form": layout.form,
        "dim": dim,
        "constants": dict(layout.constants()),
        "arrays": {
            name: {"scheme": numbers.scheme, "shape": list(numbers.shape)}
            for name, numbers in layout.numbers().items()
        },
        "sha256": hashlib.sha256(content).hexdigest(),
        **about,
        "fields": list(fields),
    }
    text = json.dumps(meta, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
            unfinished = Path(place) / "export"
            write_atomically(unfinished / TABLE_FILE, content)
            write_atomically(unfinished / META_FILE, text.encode() + b"\n")
            further(unfinished)
            unfinished.replace(folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror or error}") from None


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder with content, as an export replaces nothing, and one that cannot be written.

    Called before a table is trained, which may take long.

    Raises
    ------
    ExportError
        If it is a file, a folder with files in it, or where no file can be made.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ExportError(f"{folder} exists; remove it, or name a new folder")
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror or error}") from None


def stored_tensors(layout: Layout) -> dict[str, NDArray[np.generic]]:
    """All arrays of a table, by their names in the file; they take its ``n_bytes``.

    Trained numbers are ``name.values``, or ``name.codes`` and ``name.scales``; index arrays have
    plain names.

    Raises
    ------
    ExportError
        If the layout has no storage form.
    """
    if layout.form is None:
        raise ExportError(
            f"layout {type(layout).__name__} has a lookup of its own, which files cannot hold; "
            "let export() give one of the layouts in pepbench.tables.layout"
        )
    tensors = {
        f"{name}.{part}": array
        for name, numbers in layout.numbers().items()
        for part, array in numbers.stored.items()
    }
    return tensors | dict(layout.structure())


def described_fields(splits: Splits, dataset: Dataset) -> list[dict[str, Any]]:
    """For each field its name, cardinality, and values in the order of their codes; or its bins.

    The code of a value is its position plus one; code 0 is for all others. The data set says which
    raw values were transformed before.
    """
    table = splits.table
    described = []
    for field, name in enumerate(splits.fields.names):
        codes = splits.codes_of_values(field)
        entry: dict[str, Any] = {"name": name, "cardinality": splits.fields.cardinalities[field]}
        if table.meta.kind(name) != "text":
            entry["kind"] = table.meta.kind(name)
        if name in table.meta.bags:
            bag = table.meta.bags[name]
            entry["bag"] = bag.model_dump(include={"max_values", "pool", "separator"})
        transform = dataset.value_transform(name)
        if transform is not None:
            entry |= {"log": True} if transform == "log" else {"hash": transform}
        encoding = table.meta.encoding(name)
        if encoding.missing:
            entry["missing_words"] = list(encoding.missing)
        values = table.values_of(field)
        if encoding.bins is None:
            order = np.argsort(codes, kind="stable")
            kept = order[np.count_nonzero(codes == 0) :]
            entry["values"] = [values[index] for index in kept.tolist()]
        else:
            entry |= bins_of(codes, numbers_of(values))
        described.append(entry)
    return described


def bins_of(codes: NDArray[np.integer], numbers: NDArray[np.float64]) -> dict[str, Any]:
    """Bounds between a field's bins, and the code of a missing number, 0 if there is none.

    Parameters
    ----------
    codes
        Shape (n,): of each raw value, bins counted from 1.
    numbers
        Shape (n,): the raw values, NaN for the missing one.

    Examples
    --------
    >>> bins_of(np.array([2, 3, 1, 1]), np.array([3.0, np.nan, 1.0, 2.0]))
    {'edges': [3.0], 'missing': 3}
    """
    real = ~np.isnan(numbers)
    missing = int(codes[~real].max(initial=0))
    n_bins = int(codes[real].max(initial=0))
    # A bound is a training value and belongs to the bin above: the least number there.
    edges = [float(numbers[real & (codes == code)].min()) for code in range(2, n_bins + 1)]
    return {"edges": edges, "missing": missing}
