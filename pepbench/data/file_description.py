"""Descriptions of a user's own files: which column is used for what.

A description is TOML, written by the user, or by ``pepbench data add`` from its options. Those of
added data sets are stored in the cache as ``own/<name>.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pepbench.data.bags import LONGEST_BAG, BagOptions
from pepbench.data.cache import cache_root
from pepbench.data.dataset import MOST_ROWS, SCHEMES, SplitScheme
from pepbench.data.encoding import MOST_BINS, MOST_VALUES, FieldEncoding
from pepbench.data.readers.formats import FORMATS, format_of
from pepbench.data.readers.raw_files import existing
from pepbench.errors import DataError, quoted, unknown_name
from pepbench.records import write_atomically
from pepbench.serve.dense import Transform
from pepbench.serve.pooling import Pool
from pepbench.serve.transforms import ValueTransform

ROW_NUMBERS = re.compile(r"Unnamed: \d+|__index_level_\d+__")
"""Names that pandas gives to columns without one: no field unless asked for."""

SEPARATED = {"csv": ",", "tsv": "\t"}
OTHER_SEPARATORS = {
    "\t": "if tabs separate the values, say so with --format tsv",
    ",": "if commas separate the values, say so with --format csv",
    ";": "if semicolons separate the values, write commas instead, or a Parquet file",
    "|": "if bars separate the values, write commas instead, or a Parquet file",
}
"""What to do about a header that is taken for one name, by what is within it."""


class FileDescription(BaseModel):
    """How the columns of a file become fields, labels and splits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["csv", "tsv", "parquet", "libfm"]
    label: str
    """Column of the labels."""
    positive: str | None = None
    """The label, as text, that counts as 1; if not given, labels are 0 and 1, −1 and 1, or true and
    false."""
    fields: tuple[str, ...] = ()
    """Columns of categories."""
    numeric: tuple[str, ...] = ()
    """Columns of numbers, cut into bins."""
    log: tuple[str, ...] = ()
    """Columns of counts v, replaced by ⌊(ln v)²⌋."""
    multi: dict[str, str] = {}
    """Columns of several categories a row, with the separator of their texts; empty for lists."""
    pool: dict[str, Pool] = {}
    """How the vectors of a row's values become one: ``mean``, if not given."""
    max_values: int = Field(default=BagOptions().max_values, ge=1, le=LONGEST_BAG)
    """Most values of a row that are kept in a column of several categories."""
    dense: dict[str, Transform] = {}
    """Columns of numbers that backbones read as they are: ``standard`` or ``log1p``."""
    bins: int = Field(default=32, ge=2, le=MOST_BINS)
    """Number of bins of each column of numbers."""
    min_count: int = Field(default=1, ge=1, le=MOST_VALUES)
    """Fewest training rows of a category with a feature of its own."""
    top: int | None = Field(default=None, ge=1, le=MOST_VALUES)
    """Most categories of a field; the most frequent ones are taken."""
    hash: dict[str, int] = {}
    """Columns to hash, with their numbers of hash values."""
    split_by: str = "random"
    """``random``, ``time``, ``user`` or ``file``, with another column's name as in ``time:day``."""
    rows: int = Field(default=0, ge=0, le=MOST_ROWS)
    """Rows to take at random; 0 for all."""
    missing: tuple[str, ...] = ()
    """Words that stand for a missing value in every column, such as ``NA``."""

    @model_validator(mode="after")
    def _consistent(self) -> FileDescription:
        if self.split_by.partition(":")[0] not in SCHEMES:
            raise ValueError(unknown_name("way to split", self.split_by, SCHEMES))
        used = self.used_columns
        for name in used:
            if used.count(name) > 1:
                raise ValueError(f"column {name!r} has two uses")
        for name in self.pool:
            if name not in self.multi:
                raise ValueError(f"column {name!r} has nothing to pool; name it in multi, too")
        if self.split_column in self.multi:
            raise ValueError(f"rows cannot be split by column {self.split_column!r} of many values")
        unhashed = set(self.hash) - {*self.fields, *self.multi}
        if self.fields and unhashed:
            raise ValueError(
                f"column {min(unhashed)!r} is to be hashed but is not among the fields"
            )
        for name, size in self.hash.items():
            if not 1 <= size <= MOST_VALUES:
                raise ValueError(f"hash column {name!r} into 1 to {MOST_VALUES} values, not {size}")
        return self

    @property
    def scheme(self) -> SplitScheme:
        """The split scheme."""
        return SCHEMES[self.split_by.partition(":")[0]]

    @property
    def split_column(self) -> str | None:
        """The column that rows are split by; None for a random split."""
        way, _, column = self.split_by.partition(":")
        return None if way == "random" else column or way

    @property
    def used_columns(self) -> list[str]:
        """Label and fields; a column to split by may be among the fields, too."""
        return [self.label, *self.fields, *self.numeric, *self.log, *self.multi, *self.dense]

    @property
    def columns(self) -> list[str]:
        """All columns to read, each once."""
        split = [self.split_column] if self.split_column else []
        return list(dict.fromkeys([*self.used_columns, *split]))

    def encoding(self, field: str) -> FieldEncoding:
        """How a field's raw values become features."""
        if field in self.numeric:
            return FieldEncoding(bins=self.bins, missing=self.missing)
        return FieldEncoding(min_count=self.min_count, top=self.top, missing=self.missing)

    def value_transform(self, field: str) -> ValueTransform | None:
        """What the values of a column become before they are encoded."""
        return "log" if field in self.log else self.hash.get(field)

    def bag(self, field: str) -> BagOptions | None:
        """How a column of several categories is kept and pooled; None for other columns."""
        if field not in self.multi:
            return None
        return BagOptions(
            separator=self.multi[field],
            pool=self.pool.get(field, BagOptions().pool),
            max_values=self.max_values,
        )

    def identity(self) -> dict[str, Any]:
        """What decides the table: all entries but those of features that the file does not use."""
        content = self.model_dump(mode="json")
        unused: tuple[str, ...] = () if self.multi else ("multi", "pool", "max_values")
        unused += tuple(name for name in ("dense", "missing") if not getattr(self, name))
        return {name: value for name, value in content.items() if name not in unused}


def describe_file(source: Path, options: Mapping[str, Any]) -> tuple[Path, FileDescription]:
    """Complete the description of a file by looking into it.

    Parameters
    ----------
    source
        The file, or a ``.toml`` description that names it in ``from``.
    options
        Entries of :class:`FileDescription` given on the command line; they override the file's.

    Returns
    -------
    The file of rows, and its description with all fields named.

    Raises
    ------
    DataError
        For unknown columns, contradicting options, and files that cannot be read.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    where = str(source)
    if source.suffix == ".toml":
        written = read_toml(source)
        if "from" not in written:
            raise DataError(f'{source}: add from = "FILE", the file that it describes')
        given = {**written, **given}
        path = given.pop("from")
        if not isinstance(path, str) or "\0" in path:
            raise DataError(f"{source}: from is {path!r}, expected the name of a file")
        refuse_unknown_keys(given, where)
        source = source.parent / path
    if "label" not in given:
        raise DataError(f"{source}: say which column holds the labels with --label COLUMN")
    if not existing(source, "expected a file of rows").is_file():
        raise DataError(f"{source} is not a file; give one file of rows, its parts joined")
    if "format" not in given:
        given["format"] = format_of(source)
    description = validated(given, where)
    for option, what in (("bins", "numeric"), ("max_values", "multi")):
        if option in given and not getattr(description, what):
            raise DataError(f"{where}: {option} is of no use without columns in {what}")
    if description.split_column is None and ":" in description.split_by:
        raise DataError(f"{where}: split_by {description.split_by!r}: random takes no column")
    known = FORMATS[description.format].columns(source)
    if len(known) == 1:
        refuse_separator(source, *known)
    for name in [*description.columns, *description.hash]:
        if name not in known:
            hint = _hint(name, known, description.format)
            raise DataError(f"{source}: {unknown_name('column', name, known)}{hint}")
    if not description.fields:
        rest = tuple(
            name
            for name in known
            if name not in description.columns and not ROW_NUMBERS.fullmatch(name)
        )
        description = validated({**given, "fields": rest}, where)
    if len(description.used_columns) == 1 + len(description.dense):
        raise DataError(f"{source}: has no column beside the label to predict from")
    return source, description


def _hint(name: str, known: Iterable[str], form: str) -> str:
    """What to do about a name that is within a known one: other separators, or odd characters."""
    others = dict(OTHER_SEPARATORS) if form in SEPARATED else {}
    others.pop(SEPARATED.get(form, ""), None)
    for header in known:
        for separator, remedy in others.items():
            if separator in header and name in header.split(separator):
                return f"; row 1 has {header!r}: {remedy}"
        if name == header.strip() or (name and name in re.split("[,:=]", header)):
            return f"; name {header!r} in a description, a .toml file: there it may be written so"
    return ""


def refuse_separator(source: Path, header: str) -> None:
    """Raise :class:`DataError` if the only name in a header is several, separated otherwise."""
    for separator, remedy in OTHER_SEPARATORS.items():
        if separator in header:
            raise DataError(f"{source}, row 1: has one column, {quoted(header)}; {remedy}")


def refuse_unknown_keys(given: Iterable[str], where: str) -> None:
    """Raise :class:`DataError` for a key that no description has."""
    known = FileDescription.model_fields
    for key in given:
        if key not in known:
            raise DataError(f"{where}: {unknown_name('key', key, ['from', *known])}")


def validated(given: Mapping[str, Any], where: str) -> FileDescription:
    """A description from its entries; raises :class:`DataError`."""
    try:
        return FileDescription.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "tuple_type":
            message = f'{first["input"]!r} is not a list; write ["{first["input"]}"]'
        raise DataError(f"{where}: {option + ': ' if option else ''}{message}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The entries of a TOML file; raises :class:`DataError`."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is not TOML: {error}") from None


def check_name(name: str, taken: frozenset[str]) -> None:
    """Raise :class:`DataError` for names that are taken or unfit for a command line."""
    if name in taken:
        raise DataError(f"{name!r} is the name of a built-in data set; choose another")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise DataError(f"{name!r} will not do as a name; use a-z, 0-9, - and _")


def save_description(name: str, description: FileDescription) -> None:
    """Save the description of an added data set in the cache."""
    content = description.model_dump(mode="json", exclude_none=True)
    write_atomically(_path(name), tomli_w.dumps(content).encode())


def load_description(name: str) -> FileDescription | None:
    """The description of an added data set; None if there is none of this name.

    Raises :class:`DataError` for a damaged one.
    """
    if not name or not _path(name).is_file():
        return None
    try:
        return validated(read_toml(_path(name)), str(_path(name)))
    except DataError as error:
        again = f"add it again: pepbench data add {name} --from FILE --label COLUMN"
        raise DataError(f"{error}; {again}") from None


def saved_names() -> list[str]:
    """Names of the user's own data sets in the cache."""
    return sorted(path.stem for path in (cache_root() / "own").glob("*.toml"))


def full_spec(spec: str) -> str:
    """The spec of a data set that may be the user's own: ``mine`` is short for ``own:data=mine``.

    >>> full_spec("criteo:rows=1000")
    'criteo:rows=1000'
    """
    return f"own:data={spec}" if spec in saved_names() else spec


def _path(name: str) -> Path:
    return cache_root() / "own" / f"{name}.toml"
