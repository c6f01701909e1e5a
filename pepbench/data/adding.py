"""``pepbench data add``: find or describe the data set, add it, and report on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from pepbench.component import split_spec
from pepbench.data.bags import BagOptions
from pepbench.data.dataset import MOST_ROWS, Dataset
from pepbench.data.encoding import MOST_VALUES
from pepbench.data.file_description import (
    ROW_NUMBERS,
    FileDescription,
    check_name,
    describe_file,
    full_spec,
    save_description,
)
from pepbench.data.manage import add
from pepbench.data.progress import progress_line
from pepbench.data.readers.formats import FORMATS
from pepbench.data.readers.raw_files import estimated_rows
from pepbench.data.row_checks import warnings_of
from pepbench.data.splits import open_splits
from pepbench.data.table import Table
from pepbench.data.values import text
from pepbench.errors import DataError, quoted
from pepbench.printing import prints_to_stderr
from pepbench.serve.dense import TRANSFORMS

OWN = "own"
MOST_LABELS = 5
"""So many labels that count as 0 are shown."""
LISTS = ("fields", "numeric", "log", "missing")
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class Datasets(Protocol):
    """The part of the catalog that is used here."""

    def entries(self, kind: Any) -> Mapping[str, Any]:
        """All components of a kind, by name."""

    def load(self, kind: Any, name: str) -> Any:
        """The class of a component."""

    def select(self, kind: Any, spec: str) -> Any:
        """The component of a spec."""


def own_options(**given: str | int | None) -> dict[str, Any]:
    """Command-line options as entries of a description, without those that were not given.

    >>> own_options(label="y", fields="a, b", hash="a=10", top=None)
    {'label': 'y', 'fields': ('a', 'b'), 'hash': {'a': 10}}
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in LISTS:
        if name in options:
            parts = tuple(part.strip() for part in options[name].split(",") if part.strip())
            if not parts and name != "missing":
                raise DataError(f"--{name} {options[name]!r}: names no column; leave it out")
            options[name] = parts
    for name, parsed in (("hash", _hashed), ("dense", _transformed), ("pool", _pooled)):
        if name in options:
            options[name] = _each_once(name, map(parsed, options[name].split(",")))
    if "multi" in options:
        options["multi"] = separators(options["multi"])
    return options


def separators(text: str) -> dict[str, str]:
    """Columns of several values and what is between two of them; empty for columns of lists.

    >>> separators("genres:|,tags:;,history,keys:,,words: ")
    {'genres': '|', 'tags': ';', 'history': '', 'keys': ',', 'words': ' '}
    """
    found = re.findall(r"([^:,]+)(?::(,|[^,]*))?(?:,|$)", text)
    if "".join(name for name, _ in found) == "":
        raise DataError(f"--multi {text!r}: write column:separator, such as 'genres:|'")
    return _each_once("multi", ((name.strip(), separator) for name, separator in found))


def add_named(
    catalog: Datasets,
    name: str,
    source: Path | None,
    rows: str | None,
    options: Mapping[str, Any],
) -> Dataset:
    """Add a data set by name, or a user's own file under a new name.

    The columns found in an own file, and warnings about the rows, are printed on standard error.

    Raises
    ------
    PepbenchError
        If there is no such data set, an option does not apply to it, or its rows cannot be read or
        split; an own file is not added then.
    """
    known = frozenset(catalog.entries("dataset"))
    is_new = split_spec(name)[0] not in known
    if is_new and source is not None and (options or source.suffix == ".toml"):
        return _add_own(catalog, name, source, rows, options, known)
    if options:
        raise DataError(
            f"--{min(options).replace('_', '-')} is for files of your own, "
            f"however: {name!r} is built in"
            if not is_new
            else f"data set {name!r} needs --from FILE"
        )
    spec = full_spec(name)
    if rows and spec != name:
        raise DataError(
            f"--rows: {name!r} has the options that it was added with; to add it anew, give "
            "--label and the others, too"
        )
    spec += f":rows={number_of_rows(rows)}" if rows else ""
    dataset = cast(Dataset, catalog.select("dataset", spec).default())
    _warn(dataset, _add(dataset, source))
    return dataset


def number_of_rows(text: str) -> int:
    """A number of rows such as ``1M``, ``250k`` or ``5_000``.

    >>> number_of_rows("1.5M")
    1500000
    """
    match = re.fullmatch(r"([0-9_]+(?:\.[0-9]+)?)([kmg]?)", text.strip().lower())
    n_rows = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < n_rows <= MOST_ROWS or not n_rows.is_integer():
        raise DataError(
            f"--rows {text}: write a number of rows, such as 1M, 250k or 5000, up to 1024G"
        )
    return int(n_rows)


def _each_once(option: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """What an option says of each column; raises :class:`DataError` for a column named twice."""
    found: dict[str, Any] = {}
    for column, value in pairs:
        if column in found:
            raise DataError(f"--{option} names column {column!r} twice")
        found[column] = value
    return found


def _hashed(part: str) -> tuple[str, int]:
    column, _, size = part.rpartition("=")
    if not column or not re.fullmatch("[0-9]{1,10}", size.strip()):
        raise DataError(
            f"--hash {part!r}: write column=number of values up to {MOST_VALUES}, such as "
            "url=100000"
        )
    return column.strip(), int(size)


def _transformed(part: str) -> tuple[str, str]:
    column, _, transform = part.partition(":")
    if not column.strip():
        raise DataError(f"--dense {part!r}: write column, or column:log1p")
    return column.strip(), transform.strip() or TRANSFORMS[0]


def _pooled(part: str) -> tuple[str, str]:
    column, _, pool = part.rpartition(":")
    if not column:
        raise DataError(f"--pool {part!r}: write column:mean, column:sum or column:sqrtn")
    return column.strip(), pool.strip()


def _add_own(
    catalog: Datasets,
    name: str,
    source: Path,
    rows: str | None,
    options: Mapping[str, Any],
    known: frozenset[str],
) -> Dataset:
    check_name(name, known)
    sampled = {"rows": number_of_rows(rows)} if rows else {}
    path, description = describe_file(source, {**options, **sampled})
    _print_columns(path, description)
    dataset = cast(Dataset, catalog.load("dataset", OWN).described(name, description))
    table = _add(dataset, path)
    save_description(name, description)
    _warn(dataset, table)
    _print(f"Use it as: pepbench run --datasets {name}")
    return dataset


def _add(dataset: Dataset, source: Path | None) -> Table:
    total = dataset.sample
    if total is None and source is not None:
        total = estimated_rows(dataset.raw_files(source))
    with progress_line(f"reading {dataset.spec}", total) as progress, prints_to_stderr():
        # The split is what is described next; a table that cannot be split is not added.
        return add(dataset, source, progress=progress, check=lambda table: open_splits(table, 0))


def _print_columns(path: Path, description: FileDescription) -> None:
    kinds = FORMATS[description.format].columns(path)
    uses = {
        **dict.fromkeys(kinds, "not used"),
        **dict.fromkeys(description.fields, "categories"),
        **dict.fromkeys(description.numeric, f"{description.bins} bins of equal frequency"),
        **dict.fromkeys(description.log, "logarithmic buckets"),
        **{name: f"dense ({way})" for name, way in description.dense.items()},
        description.label: _use_of_label(path, description),
    }
    for column in description.multi:
        pool = description.pool.get(column, BagOptions().pool)
        uses[column] = f"up to {description.max_values} categories a row, pooled by {pool}"
    for column, size in description.hash.items():
        uses[column] = f"{uses[column] if column in description.multi else 'categories'}, " + (
            f"hashed into {size}"
        )
    if description.split_column:
        use = f"splits rows by {description.split_by.partition(':')[0]}"
        before = uses[description.split_column]
        uses[description.split_column] = use if before == "not used" else f"{before}; {use}"
    _print(f"{path} ({description.format}):")
    width = max(map(len, kinds))
    for column, kind in kinds.items():
        use = uses[column]
        if use == "not used" and ROW_NUMBERS.fullmatch(column):
            use = "not used: it has no name of its own; to use it, name it in --fields"
        _print(f"  {column:<{width}}  {kind:<13}  {use}")
    for column in description.fields:
        if kinds[column] == "numbers" and column not in description.hash:
            _print(
                f"warning: column {column!r} holds numbers that may have fractions and is taken as "
                f"categories; --numeric {column} would cut it into bins"
            )


def _use_of_label(path: Path, description: FileDescription) -> str:
    """With ``positive``, the first other labels of the file's start: a typing error is seen so."""
    if description.positive is None:
        return "label"
    start = next(FORMATS[description.format].chunks(path, description.columns), None)
    if start is None:
        raise DataError(f"{path} has no rows")
    positive = text(description.positive, start.kind(description.label))
    others = sorted({*start.distinct(description.label)[0].to_pylist()} - {positive})
    listed = ", ".join(map(quoted, others[:MOST_LABELS])) + (", …" if others[MOST_LABELS:] else "")
    return f"label: {positive!r} is 1" + (f"; {listed}: 0" if others else "")


def _warn(dataset: Dataset, table: Table) -> None:
    for warning in warnings_of(dataset, table):
        _print(f"warning: {warning}")


def _print(line: str) -> None:
    print(line, file=sys.stderr)
