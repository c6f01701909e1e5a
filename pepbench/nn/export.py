"""Tables of a model in the folder that :mod:`pepbench.serve` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pepbench.errors import unknown_name
from pepbench.nn.modules import CompressError
from pepbench.nn.report import StoredTables, stored_tables


def export(
    model: nn.Module,
    folder: Path | str,
    vocabularies: Mapping[str, Iterable[object]] | None = None,
) -> dict[str, Path]:
    """Write the embeddings of a model for ``pepbench.serve.load``, which needs no torch.

    Tables that are stored together are the fields of one served table. Where a model has tables of
    several widths or methods, each such table is a subfolder, ``0``, ``1``, … Serving looks single
    ids up; it knows neither bags nor ``padding_idx``.

    Parameters
    ----------
    model
        With embeddings, compressed or not.
    folder
        New, or empty.
    vocabularies
        By name of a module, the raw values of its ids 1, 2, …, texts or numbers; id 0 is for all
        others. By default the raw values are the ids.

    Returns
    -------
    dict
        The folder of each table, by name of its module.
    """
    # Imported when it is used: it needs what importing torch models does not.
    from pepbench.data.values import text
    from pepbench.export.folder import refuse_occupied, write_export

    tables = stored_tables(model)
    if not tables:
        raise CompressError("the model has no embeddings to export")
    known = [name for stored in tables for name in stored.names]
    for name in vocabularies or {}:
        if name not in known:
            raise CompressError(unknown_name("table", name, known))
    fields = [_fields(stored, vocabularies or {}, text) for stored in tables]
    folder = Path(folder)
    refuse_occupied(folder)
    places: dict[str, Path] = {}
    for number, stored in enumerate(tables):
        place = folder if len(tables) == 1 else folder / str(number)
        places |= dict.fromkeys(stored.names, place)
        counts = {"parameters": stored.n_parameters, "full_parameters": stored.full_parameters}
        about = {"method": stored.method, "counts": counts | {"bytes": stored.n_bytes}}
        write_export(place, stored.layout, fields[number], stored.dim, about)
    return places


def _fields(
    stored: StoredTables,
    vocabularies: Mapping[str, Iterable[object]],
    text: Callable[[object], str],
) -> list[dict[str, Any]]:
    """What an export says of each table: name, cardinality, raw values as texts."""
    fields = []
    for name, cardinality in zip(stored.names, stored.cardinalities, strict=True):
        values = [text(value) for value in vocabularies.get(name, range(1, cardinality))]
        if len(values) != cardinality - 1:
            raise CompressError(
                f"{name}: {len(values)} values for {cardinality} ids; give those of 1 to "
                f"{cardinality - 1}"
            )
        if len(set(values)) < len(values):
            raise CompressError(f"{name}: a value occurs twice; each id needs one of its own")
        fields.append({"name": name, "cardinality": cardinality, "values": values})
    return fields
