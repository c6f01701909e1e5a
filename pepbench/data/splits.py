"""Splits: training, validation and test rows, encoded with the features of the training rows.

A split's folder holds ``<part>-ids.npy`` (n, Σ slots) int32 and ``<part>-labels.npy`` (n,) uint8
for each part, ``features.npy`` (global id of each raw value of the table, int32),
``frequencies.npy`` (N,) int64 and ``meta.json``; ``<part>-dense.npy`` (n, M) float32, if any.
Long because writing, opening and verifying these files belong together.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pepbench.data.arrays import (
    ArrayWriter,
    array_digest,
    json_digest,
    map_array,
    read_rows,
    row_blocks,
    write_array,
)
from pepbench.data.cache import (
    building,
    cache_root,
    evict_folds,
    file_sizes,
    locked,
    table_bytes,
    wrong_sizes,
)
from pepbench.data.dense import input_names, scales_of
from pepbench.data.features import global_ids
from pepbench.data.kernels import count_training, encode_part
from pepbench.data.pipeline import ordered_map
from pepbench.data.row_checks import check_ranges, mark_checked
from pepbench.data.split_schemes import PARTS, SINGLE, TRAIN, VALIDATION, Fold, parts_of
from pepbench.data.table import Table
from pepbench.errors import FULL_DISK, DataError
from pepbench.records import LARGEST_SEED, write_atomically
from pepbench.serve.dense import DenseScale, dense_inputs
from pepbench.tables.fields import BagField, Fields
from pepbench.units import byte_size

FEWEST_ROWS = 10


class SplitMeta(BaseModel):
    """Content of a split's ``meta.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal[1] = 1
    table_fingerprint: str
    seed: int
    fold: int = 0
    folds: int = 1
    fields: tuple[str, ...]
    """Names of the F fields."""
    cardinalities: tuple[int, ...]
    """Features of each field: those of raw values seen in training, and one for all others."""
    n_rows: dict[str, int]
    """Rows of each part."""
    n_positive: dict[str, int]
    n_unseen: dict[str, int]
    """For each part, how many of its values are unseen, or too rare, in training."""
    n_values: dict[str, int] = {}
    """Values of each part, where rows have different numbers of them; else they are n·F."""
    dense: dict[str, DenseScale] = {}
    """How the numbers of the dense fields become inputs, fitted on training rows."""
    fingerprint: str
    """First 16 hex digits of the SHA-256 over ``digests``, seed and table fingerprint."""
    digests: dict[str, str]
    """SHA-256 of the rows of each array."""
    sizes: dict[str, int]
    """Bytes of the other files in the folder."""


class Rows(NamedTuple):
    """Encoded rows of one part, in the table's order; memory-mapped."""

    ids: NDArray[np.int32]
    """Shape (n, Σ slots): global ids, −1 behind the last value of a multi-valued field."""
    labels: NDArray[np.uint8]
    """Shape (n,): 0 or 1."""
    dense: NDArray[np.float32] | None = None
    """Shape (n, M): inputs of the dense fields; None if there are none."""


@dataclass(frozen=True, eq=False)
class Splits:
    """A table's rows in three parts. Test rows are opened only by :meth:`open_test`."""

    table: Table
    folder: Path
    meta: SplitMeta

    @property
    def fingerprint(self) -> str:
        """Equal for two splits exactly if their rows are equal."""
        return self.meta.fingerprint

    @property
    def fold(self) -> Fold:
        """The fold, or the only split."""
        return Fold(self.meta.fold, self.meta.folds)

    def parts(self) -> NDArray[np.uint8]:
        """The part of each row of the table, as :func:`~pepbench.data.split_schemes.parts_of`."""
        return parts_of(self.table, self.meta.seed, self.fold)

    @cached_property
    def fields(self) -> Fields:
        """Names, cardinalities and training frequencies."""
        frequencies = np.load(self.folder / "frequencies.npy", allow_pickle=False)
        bags = {name: BagField(b.slots, b.pool) for name, b in self.table.meta.bags.items()}
        dense = input_names(self.meta.dense)
        return Fields(self.meta.fields, self.meta.cardinalities, frequencies, bags, dense)

    @cached_property
    def train(self) -> Rows:
        """Training rows."""
        return self._open("train")

    @cached_property
    def validation(self) -> Rows:
        """Validation rows, for model selection."""
        return self._open("validation")

    def open_test(self) -> Rows:
        """Test rows: for the final evaluation only."""
        return self._open("test")

    def codes_of_values(self, field: int) -> NDArray[np.int64]:
        """Code within a field of each of the field's raw values, 0 for "unseen"."""
        features = self._features[self.table.slice_of(field)]
        return features.astype(np.int64) - int(self.fields.offsets[field])

    def true_widths(self) -> NDArray[np.int32] | None:
        """Shape (N,): true width by global id, -1 for "unseen"; None where it is not known."""
        if self.table.widths is None:
            return None
        widths = np.full(self.fields.n_features, -1, dtype=np.int32)
        widths[self._features] = self.table.widths
        widths[self.fields.offsets] = -1
        return widths

    @cached_property
    def _features(self) -> NDArray[np.int32]:
        return map_array(self.folder / "features.npy")

    def _open(self, part: str) -> Rows:
        try:
            return self._mapped(part)
        except FileNotFoundError:
            # A fold's rows are evicted, even while a model is trained on parts that are open.
            split = self.table, self.meta.seed, self.fold
            if self.folder != _folder(*split):
                raise
            return open_splits(*split)._mapped(part)

    def _mapped(self, part: str) -> Rows:
        ids = map_array(self.folder / f"{part}-ids.npy")
        dense = map_array(self.folder / f"{part}-dense.npy") if self.meta.dense else None
        return Rows(ids, map_array(self.folder / f"{part}-labels.npy"), dense)


def open_splits(table: Table, seed: int, fold: Fold = SINGLE) -> Splits:
    """Open a split of a table; built at the first call, and again if damaged or evicted.

    Parameters
    ----------
    table
        What to split.
    seed
        Of the random assignment of rows or users, ≥ 0; without effect on splits by time or file.
    fold
        Which fold, if there are several.

    Raises
    ------
    DataError
        If the table has fewer than ten rows or allows fewer folds, a part has labels of one kind
        only, an id is out of its field's range, or the cache cannot be written.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise DataError(f"the seed of a split is from 0 to {LARGEST_SEED}, however: {seed=}")
    folder = _folder(table, seed, fold)
    splits = _read_splits(table, folder)
    if splits is None:
        splits = _built(table, seed, fold, folder)
    if fold.of > 1:
        evict_folds(keep=folder)
    try:
        return _checked(splits)
    except FileNotFoundError:
        # Another process has evicted the rows since they were opened.
        if fold.of == 1:
            raise
        return open_splits(table, seed, fold)


def split_facts(table: Table, seed: int, fold: Fold = SINGLE) -> Splits:
    """A split whose fields and fingerprint are wanted, but not its rows, which may be evicted.

    Parameters and errors as :func:`open_splits`.
    """
    splits = _read_splits(table, _folder(table, seed, fold), rows=False)
    return splits or open_splits(table, seed, fold)


def _folder(table: Table, seed: int, fold: Fold) -> Path:
    which = f"-fold-{fold.number + 1}-of-{fold.of}" if fold.of > 1 else ""
    return table.folder / "splits" / f"seed-{seed}{which}"


def _built(table: Table, seed: int, fold: Fold, folder: Path) -> Splits:
    try:
        with locked(folder):
            splits = _read_splits(table, folder)
            if splits is None:
                with building(folder) as new:
                    write_splits(table, seed, fold, new)
                splits = _read_splits(table, folder)
    except OSError as error:
        if error.errno in FULL_DISK:
            needed = byte_size(table_bytes(table.meta.n_rows, len(table.meta.fields)) / 2)
            raise DataError(
                f"cannot write the split: no room in {cache_root()}; about {needed} are needed"
            ) from error
        raise DataError(
            f"cannot write the split to the cache: {error}; name a writable folder for the cache "
            "in the environment variable PEPBENCH_CACHE"
        ) from error
    if splits is None:
        raise DataError(f"{folder} was changed while it was opened; try again")
    return splits


def _checked(splits: Splits) -> Splits:
    for part in PARTS:
        check_ranges(
            splits.folder / f"{part}-ids.npy",
            splits.meta.fields,
            splits.meta.cardinalities,
            global_ids=True,
            remedy=f"remove {splits.folder}, which is then made anew",
            bags=splits.table.meta.bags,
        )
    return splits


def verify_splits(splits: Splits) -> list[str]:
    """Recompute all checksums of a split; one line for each that differs."""
    problems = []
    for name, digest in splits.meta.digests.items():
        try:
            actual = array_digest(map_array(splits.folder / f"{name}.npy"))
        except (ValueError, OSError) as error:
            problems.append(f"{splits.folder}: {name}.npy cannot be read: {error}")
            continue
        if actual != digest:
            problems.append(
                f"{splits.folder}: the content of {name}.npy does not match its checksum"
            )
    meta = splits.meta
    stated = _fingerprint(meta.table_fingerprint, meta.seed, splits.fold, meta.digests)
    if stated != splits.fingerprint:
        problems.append(f"{splits.folder / 'meta.json'}: the fingerprint does not match")
    return problems


def cached_splits(table: Table) -> list[Splits]:
    """All readable splits of a table in the cache."""
    folders = sorted((table.folder / "splits").glob("seed-*"))
    return [splits for folder in folders if (splits := _read_splits(table, folder)) is not None]


def final_splits(table: Table, seed: int, fold: Fold, folder: Path) -> Splits:
    """A split for a last training, in an empty folder: only a fold's validation rows are held out.

    All other rows are for training, those of the fold's test part among them; no test rows are
    left, so :meth:`Splits.open_test` and :meth:`Splits.parts` are not for this split.
    """
    parts = parts_of(table, seed, fold)
    write_splits(table, seed, fold, folder, np.where(parts == VALIDATION, parts, TRAIN))
    splits = _read_splits(table, folder)
    assert splits is not None
    return splits


def write_splits(
    table: Table, seed: int, fold: Fold, folder: Path, parts: NDArray[np.uint8] | None = None
) -> None:
    """Split and encode a table into an empty folder, block by block.

    ``parts`` are the parts of the rows where they are not the fold's; then a part may be empty.
    """
    n_rows, n_slots = table.codes.shape
    if n_rows < FEWEST_ROWS:
        raise DataError(
            f"data set {table.meta.spec!r} has {n_rows} rows; a split needs {FEWEST_ROWS}"
        )
    if parts is None:
        parts = parts_of(table, seed, fold)
    blocks = row_blocks(n_rows, n_slots * 16)
    of_slot = table.meta.slot_fields
    offsets = table.offsets[of_slot]
    counts = np.zeros(sum(table.meta.cardinalities), dtype=np.int64)
    read = ordered_map(lambda bounds: read_rows(table.codes, *bounds), blocks)
    for codes, bounds in zip(read, blocks, strict=True):
        count_training(codes, parts[slice(*bounds)], offsets, counts)
    features, cardinalities = global_ids(table, counts)
    if sum(cardinalities) == len(cardinalities):
        raise DataError(
            f"data set {table.meta.spec!r}: no value is in enough training rows to be a feature; "
            "lower --min-count, or take more rows"
        )
    sizes = np.asarray(cardinalities, dtype=np.int64)
    unseen = (np.cumsum(sizes) - sizes)[of_slot]
    frequencies = np.bincount(features, counts, minlength=sum(cardinalities)).astype(np.int64)

    scales = scales_of(table, parts, blocks)

    def encode(bounds: tuple[int, int]) -> list[tuple[Rows, int]]:
        """The encoded rows of a block and their number of unseen values, for each part."""
        of_rows = parts[slice(*bounds)]
        codes, labels = read_rows(table.codes, *bounds), read_rows(table.labels, *bounds)
        inputs = dense_inputs(read_rows(table.dense, *bounds), scales) if scales else None
        encoded = []
        for number in range(len(PARTS)):
            ids = np.empty((np.count_nonzero(of_rows == number), n_slots), dtype=np.int32)
            new = encode_part(codes, of_rows, number, offsets, features, unseen, ids)
            dense = None if inputs is None else inputs[of_rows == number]
            encoded.append((Rows(ids, labels[of_rows == number], dense), new))
        return encoded

    n_positive = dict.fromkeys(PARTS, 0)
    n_unseen = dict.fromkeys(PARTS, 0)
    n_values = dict.fromkeys(PARTS, 0) if table.meta.bags else {}
    with ExitStack() as files:
        ids_of, labels_of, dense_of = {}, {}, {}
        for part in PARTS:
            ids_file, labels_file = folder / f"{part}-ids.npy", folder / f"{part}-labels.npy"
            ids_of[part] = files.enter_context(ArrayWriter(ids_file, "<i4", (n_slots,)))
            labels_of[part] = files.enter_context(ArrayWriter(labels_file, "|u1"))
            if scales:
                dense_file, shape = folder / f"{part}-dense.npy", (len(input_names(scales)),)
                dense_of[part] = files.enter_context(ArrayWriter(dense_file, "<f4", shape))
        for encoded in ordered_map(encode, blocks):
            for part, (rows, new) in zip(PARTS, encoded, strict=True):
                ids_of[part].append(rows.ids)
                labels_of[part].append(rows.labels)
                if rows.dense is not None:
                    dense_of[part].append(rows.dense)
                n_positive[part] += int(rows.labels.sum())
                n_unseen[part] += int(new)
                if n_values:
                    n_values[part] += int(np.count_nonzero(rows.ids >= 0))

    n_rows_of = {part: writer.n_rows for part, writer in labels_of.items()}
    for part in PARTS:
        if n_rows_of[part] and n_positive[part] in (0, n_rows_of[part]):
            which, fewer = (f", {fold},", ", or fewer folds") if fold.of > 1 else ("", "")
            drawn = table.meta.split_scheme in ("random", "group")
            raise DataError(
                f"data set {table.meta.spec!r}: all {n_rows_of[part]} labels of the {part} split "
                f"with seed {seed}{which} are equal; take more rows or another "
                f"{'seed' if drawn else 'way to split'}{fewer}"
            )
    digests = {
        "features": write_array(folder / "features.npy", features),
        "frequencies": write_array(folder / "frequencies.npy", frequencies),
        **{f"{part}-ids": writer.digest for part, writer in ids_of.items()},
        **{f"{part}-labels": writer.digest for part, writer in labels_of.items()},
        **{f"{part}-dense": writer.digest for part, writer in dense_of.items()},
    }
    meta = SplitMeta(
        table_fingerprint=table.fingerprint,
        seed=seed,
        fold=fold.number,
        folds=fold.of,
        fields=table.meta.fields,
        cardinalities=tuple(cardinalities),
        n_rows=n_rows_of,
        n_positive=n_positive,
        n_unseen=n_unseen,
        n_values=n_values,
        dense=scales,
        fingerprint=_fingerprint(table.fingerprint, seed, fold, digests),
        digests=digests,
        sizes=file_sizes(folder),
    )
    write_atomically(folder / "meta.json", meta.model_dump_json(indent=1).encode() + b"\n")
    for part in PARTS:
        mark_checked(folder / f"{part}-ids.npy")


def _fingerprint(table_fingerprint: str, seed: int, fold: Fold, digests: dict[str, str]) -> str:
    which = fold if fold.of > 1 else ()
    return json_digest([table_fingerprint, seed, *which, sorted(digests.items())])


def _read_splits(table: Table, folder: Path, rows: bool = True) -> Splits | None:
    """Open a split; None if it is missing, damaged, of another table, or lacks wanted rows."""
    try:
        meta = SplitMeta.model_validate_json((folder / "meta.json").read_bytes())
    except (OSError, ValidationError):
        return None
    sizes = {name: n for name, n in meta.sizes.items() if rows or "-" not in name}
    if meta.table_fingerprint != table.fingerprint or wrong_sizes(folder, sizes):
        return None
    return Splits(table, folder, meta)
