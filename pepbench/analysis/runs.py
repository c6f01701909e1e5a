"""The records of one run's folder, or of several that belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepbench.analysis.cells import protocol_digest
from pepbench.analysis.width_recovery import FEATURE_COLUMNS, WidthFiles
from pepbench.errors import RecordError
from pepbench.records import Record, RecordStore

T = TypeVar("T")
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Runs:
    """Records with the files that belong to them.

    Attributes
    ----------
    folders
        Of the runs, in the order given.
    records
        By key; a record that several folders hold is there once, the first folder's.
    folder_of
        From a record's key to the folder it was taken from.
    stores
        By folder.
    """

    folders: tuple[Path, ...]
    records: tuple[Record, ...]
    folder_of: dict[str, Path]
    stores: dict[Path, RecordStore]

    def load_predictions(self, key: str) -> NDArray[np.float32]:
        """Test probabilities of a final run, in test order."""
        return self.stores[self.folder_of[key]].load_predictions(key)

    def load_labels(self, split: str) -> NDArray[np.uint8]:
        """Test labels of a split, from the first folder that has them."""
        return self._having(split).load_labels(split)

    def load_users(self, split: str) -> NDArray[np.int32] | None:
        """The user of each test row of a split, from the folder of its labels."""
        return self._having(split).load_users(split)

    def files(self, warn: Warn) -> WidthFiles:
        """Loaders of the files that describe widths; missing and damaged ones load as None."""

        def widths(key: str) -> NDArray[Any] | None:
            return _loaded(lambda: self.stores[self.folder_of[key]].load_widths(key), warn)

        def features(split: str) -> pd.DataFrame | None:
            table = _loaded(lambda: self._having(split).load_features(split), warn)
            return None if table is None else table.select(list(FEATURE_COLUMNS)).to_pandas()

        def labels(split: str) -> NDArray[Any] | None:
            return _loaded(lambda: self.load_labels(split), warn)

        def truth(split: str) -> NDArray[Any] | None:
            return _loaded(lambda: self._having(split).load_truth(split), warn)

        return WidthFiles(widths, features, labels, truth)

    def _having(self, split: str) -> RecordStore:
        stores = [self.stores[folder] for folder in self.folders]
        return next((s for s in stores if s.labels_path(split).exists()), stores[0])


def open_runs(
    folders: Sequence[Path], warn: Warn = lambda _: None, only_folds: Collection[int] = ()
) -> Runs:
    """Read the records of runs that were made of the same data.

    Parameters
    ----------
    folders
        At least one.
    warn
        Called with one line for each file that is damaged, for each record that two folders hold
        with different figures, and for each data set with records of several protocols.
    only_folds
        Folds, from 0, whose records are taken; empty: all.

    Raises
    ------
    RecordError
        If a folder is missing or holds no record, or one of another schema version; or if two
        folders hold different data or splits under one name.
    """
    folder_of: dict[str, Path] = {}
    records: dict[str, Record] = {}
    stores = {folder: RecordStore(folder, warn) for folder in folders}
    for folder, store in stores.items():
        if not folder.is_dir():
            raise RecordError(f"{folder}: no such folder; give the folder of a run")
        found = list(store.with_incomplete())
        if not found:
            raise RecordError(f"no records in {folder}; run: pepbench run --out {folder}")
        for record in found:
            twin = records.get(record.key)
            if twin is None:
                records[record.key], folder_of[record.key] = record, folder
            elif twin.test != record.test:
                warn(
                    f"{folder}: run {record.key[:12]} has other figures than in "
                    f"{folder_of[record.key]}; the latter's are taken"
                )
    merged = tuple(records[key] for key in sorted(records))
    merged = tuple(restricted(merged, only_folds))
    runs = Runs(tuple(stores), merged, folder_of, stores)
    _refuse_other_data(runs)
    _refuse_other_labels(runs)
    for line in _mixed(merged):
        warn(line)
    return runs


def restricted(records: Iterable[Record], folds: Collection[int]) -> Iterator[Record]:
    """The records of some folds, from 0, each with the folds that there are; of all if empty."""
    only = tuple(sorted(folds))
    for record in records:
        if not only:
            yield record
        elif record.spec.data.fold in only:
            data = record.spec.data.model_copy(update={"only_folds": only})
            yield record.model_copy(update={"spec": record.spec.model_copy(update={"data": data})})


def _refuse_other_data(runs: Runs) -> None:
    """Refuse folders that hold one data set in different states."""
    seen: dict[tuple[str, int, int], tuple[str, int, str, Path]] = {}
    for record in runs.records:
        data, folder = record.spec.data, runs.folder_of[record.key]
        here = (data.table_fingerprint, data.split_seed, data.split_fingerprint, folder)
        there = seen.setdefault((data.spec, data.folds, data.fold), here)
        if there[3] == folder:
            continue
        names = ("table", "split seed", "split")
        for name, one, other in zip(names, there[:3], here[:3], strict=True):
            if one != other:
                raise RecordError(
                    f"{there[3]} and {folder} cannot be merged: their {name} of {data.spec} "
                    f"differs ({one} and {other}); report them separately"
                )


def _refuse_other_labels(runs: Runs) -> None:
    """Refuse folders with different labels for one split: its fingerprint covers them."""
    splits = sorted({record.spec.data.split_fingerprint for record in runs.records})
    for split in splits:
        first: tuple[str, Path] | None = None
        for folder in runs.folders:
            path = runs.stores[folder].labels_path(split)
            if not path.exists():
                continue
            checksum = hashlib.sha256(path.read_bytes()).hexdigest()
            first = first or (checksum, path)
            if first[0] != checksum:
                raise RecordError(
                    f"{first[1]} and {path} differ although their split is the same; remove the "
                    "damaged one and run its plan again"
                )


def _mixed(records: Sequence[Record]) -> Iterator[str]:
    """A line for each data set and backbone of which there are several protocols."""
    variants: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        spec = record.spec
        words = (
            f"D={spec.dim}, split {spec.data.split_fingerprint[:8]}, "
            f"{spec.backbone.spec} {dict(sorted(spec.backbone.options.items()))}, "
            f"objective {spec.training.objective}, protocol {spec.protocol}"
        )
        cell = variants.setdefault((spec.data.spec, spec.backbone.spec), {})
        cell.setdefault(protocol_digest(spec), words)
    for (dataset, backbone), protocols in sorted(variants.items()):
        if len(protocols) > 1:
            yield (
                f"{dataset}, {backbone}: records of {len(protocols)} protocols, listed and ranked "
                f"apart: {'; '.join(sorted(protocols.values()))}"
            )


def _loaded(load: Callable[[], T], warn: Warn) -> T | None:
    try:
        return load()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warn(f"nothing is said about widths where this is needed: {error}")
        return None
