"""The folder in which records, predictions and learnt widths are stored.

A record is a JSON file, or a row of a Parquet file with very many records. Test predictions and
learnt widths of a final run are ``.npy`` files. Files are written atomically: under another name,
flushed to disk and renamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from pepbench.errors import RecordError
from pepbench.records.files import load_npy, npy_bytes, write_atomically
from pepbench.records.record import Record, figures_of, parse_record, segment_row
from pepbench.records.segments import COLUMNS, FIGURES, Segment, segment_bytes
from pepbench.records.split_facts import SplitFacts

if TYPE_CHECKING:
    import pandas as pd

PACK_FROM = 5000
"""Number of single record files from which they are packed at the end of a run."""

SEGMENT_ROWS = 20_000
"""Maximal number of records in a segment."""


class RecordStore(SplitFacts):
    """The records, predictions and learnt widths in a run's folder.

    Parameters
    ----------
    folder
        The run's folder; ``records/``, ``segments/``, ``predictions/`` and ``widths/`` live in
        it.
    warn
        Called with a message for each file that is set aside.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(folder)
        self.records = folder / "records"
        self.segments = folder / "segments"
        self._segments: list[Segment] = []
        self._segments_changed = 0
        self._warn = warn
        self._said: set[str] = set()

    def warn(self, message: str) -> None:
        """Pass on a message, once."""
        if message not in self._said:
            self._said.add(message)
            self._warn(message)

    def get(self, key: str) -> Record | None:
        """The finished record of ``key``, or None if its trial has to be run (again).

        Files that cannot be read, that hold another trial's record, or whose predictions or
        widths are missing or damaged are set aside under ``*.damaged`` and reported.

        Raises
        ------
        RecordError
            If the file has another schema version; it is left unchanged.
        """
        path = self.records / f"{key}.json"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return self._packed(key)
        try:
            record = parse_record(text, path)
        except ValidationError:
            self._set_aside(path, "is not a whole record")
            return None
        if record.key != key or record.spec.key() != key:
            self._set_aside(path, "holds the record of another trial")
            return None
        return record if self._has_its_files(record) else None

    def put(
        self,
        record: Record,
        predictions: NDArray[np.float32] | None = None,
        widths: NDArray[np.unsignedinteger] | None = None,
    ) -> None:
        """Store a record; its predictions and widths are written first."""
        if predictions is not None:
            write_atomically(self.prediction_path(record.key), npy_bytes(predictions))
        if widths is not None:
            write_atomically(self.widths_path(record.key), npy_bytes(widths))
        content = record.model_dump_json(indent=1).encode() + b"\n"
        write_atomically(self.records / f"{record.key}.json", content)

    def __iter__(self) -> Iterator[Record]:
        """All readable records, sorted by key."""
        for key in self.keys():
            record = self.get(key)
            if record is not None:
                yield record

    def with_incomplete(self) -> Iterator[Record]:
        """All readable records, also those without their predictions or widths."""
        for key in self.keys():
            record = self.get(key)
            path = self.records / f"{key}.json"
            if record is None and path.exists():
                record = parse_record(path.read_bytes(), path)
            elif record is None:
                record = self._packed(key, with_files=False)
            if record is not None:
                yield record

    def keys(self) -> list[str]:
        """Keys of all records, readable or not, sorted."""
        packed = (key.decode() for segment in self._opened() for key in segment.keys.tolist())
        return sorted({*self._loose_keys(), *packed})

    def pack(self, at_least: int = PACK_FROM) -> int:
        """Move finished records from files of their own into a segment.

        The segment is written before the files are removed, so that an interruption loses nothing;
        a file of its own takes precedence over the packed record.

        Parameters
        ----------
        at_least
            Do nothing if there are fewer files.

        Returns
        -------
        int
            The number of records moved.
        """
        paths = sorted(self.records.glob("*.json"))
        if len(paths) < at_least:
            return 0
        moved = 0
        for start in range(0, len(paths), SEGMENT_ROWS):
            found = ((path, self.get(path.stem)) for path in paths[start : start + SEGMENT_ROWS])
            finished = [(p, r) for p, r in found if r is not None and r.status != "failed"]
            if not finished:
                continue
            self._write_segment([record for _, record in finished])
            for path, _ in finished:
                path.unlink(missing_ok=True)
            moved += len(finished)
        return moved

    def supersede(self, keys: Collection[str]) -> None:
        """Set the records of ``keys`` aside under ``*.stale``: their cell asks for other trials."""
        for path in (self.records / f"{key}.json" for key in keys):
            if path.exists():
                path.replace(path.with_name(f"{path.name}.stale"))
        for segment in self._opened():
            texts = {key.decode(): segment.text(key.decode()) for key in segment.keys.tolist()}
            stale = {key: text for key in keys if (text := texts.pop(key, None)) is not None}
            if not stale:
                continue
            for key, text in stale.items():
                write_atomically(self.records / f"{key}.json.stale", text)
            kept = [parse_record(text, segment.path) for text in texts.values() if text]
            if kept:
                self._write_segment(kept)
            segment.path.unlink()

    def figures(self) -> pd.DataFrame:
        """The figures of all records without reading each of them: one row each, by key.

        Prediction files are not checked. The columns are
        :data:`pepbench.records.segments.FIGURES`.
        """
        loose = [figures_of(record) for record in map(self.get, self._loose_keys()) if record]
        own = pa.Table.from_pylist(loose, COLUMNS).select(FIGURES)
        table = pa.concat_tables([own, *(segment.figures() for segment in self._opened())])
        # Single files come first: they take precedence over packed records of the same key.
        frame: pd.DataFrame = table.to_pandas().drop_duplicates("key")
        return frame.sort_values("key", ignore_index=True)

    def _write_segment(self, records: Sequence[Record]) -> None:
        digest = hashlib.sha256("".join(record.key for record in records).encode()).hexdigest()
        content = segment_bytes(map(segment_row, records))
        write_atomically(self.segments / f"{digest}.parquet", content)

    def _loose_keys(self) -> list[str]:
        return sorted(path.stem for path in self.records.glob("*.json"))

    def _packed(self, key: str, with_files: bool = True) -> Record | None:
        for segment in self._opened():
            try:
                text = segment.text(key)
                if text is None:
                    continue
                record = parse_record(text, segment.path)
            except (RecordError, ValidationError):
                self._set_aside(segment.path, "cannot be read")
                continue
            if record.spec.key() == key and (not with_files or self._has_its_files(record)):
                return record
        return None

    def _opened(self) -> list[Segment]:
        """All segments, each opened once."""
        try:
            changed = self.segments.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._segments_changed:
            known = {segment.path: segment for segment in self._segments}
            self._segments = []
            for path in sorted(self.segments.glob("*.parquet")):
                try:
                    self._segments.append(known.get(path) or Segment(path))
                except RecordError:
                    self._set_aside(path, "is not a whole segment of records")
            self._segments_changed = self.segments.stat().st_mtime_ns
        return self._segments

    def _has_its_files(self, record: Record) -> bool:
        files = (
            (self.prediction_path(record.key), record.predictions_sha256, "predictions"),
            (self.widths_path(record.key), record.widths_sha256, "widths"),
        )
        intact = [self._intact(*file) for file in files]  # each is checked and reported
        return all(intact)

    def prediction_path(self, key: str) -> Path:
        """File of the test predictions of ``key``."""
        return self.predictions / f"{key}.npy"

    def load_predictions(self, key: str) -> NDArray[np.float32]:
        """Test probabilities of a final run, in test order."""
        return load_npy(self.prediction_path(key))

    def widths_path(self, key: str) -> Path:
        """File of the learnt widths of ``key``."""
        return self.widths / f"{key}.npy"

    def load_widths(self, key: str) -> NDArray[np.unsignedinteger]:
        """Learnt width of each feature in a final run, by global id."""
        return load_npy(self.widths_path(key))

    def _intact(self, path: Path, checksum: str | None, what: str) -> bool:
        if checksum is None:
            return True
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.warn(f"{path}: {what} are missing; their run is repeated")
            return False
        if hashlib.sha256(content).hexdigest() != checksum:
            self._set_aside(path, "does not match its record's checksum")
            return False
        return True

    def _set_aside(self, path: Path, why: str) -> None:
        path.replace(path.with_name(path.name + ".damaged"))
        self.warn(f"{path} {why}; set aside as {path.name}.damaged, its run is repeated")
