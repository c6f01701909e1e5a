"""The published results of a leaderboard: records, and tables made from test predictions.

Most figures of a leaderboard are computed from its records. Intervals, differences and tests need
test predictions, which are too large to be committed; they are stored as tables with one row for
each cell or comparison. A leaderboard's pages are a function of its records and these tables alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pepbench.analysis.bootstrap import DRAWS
from pepbench.analysis.frames import frame_of
from pepbench.analysis.leaderboard import Analysis, analyse, fronts
from pepbench.analysis.leaders import leads
from pepbench.analysis.metrics import Metric, objective_name
from pepbench.analysis.primary import CONTRAST_COLUMNS, Contrast
from pepbench.analysis.runs import Runs, restricted
from pepbench.analysis.width_profiles import POINT_COLUMNS, PROFILE_COLUMNS
from pepbench.analysis.width_recovery import WidthRecovery
from pepbench.errors import RecordError
from pepbench.leaderboards.record_packing import RECORDS_FILE, reading, unpacked
from pepbench.records import CELL_COLUMNS, MARGIN, Record, RecordStore
from pepbench.records.files import parquet_bytes
from pepbench.report.beside_board import asked_folds
from pepbench.report.findings import Findings, contrasts_of, margin_of, trimmed_notes
from pepbench.report.markdown import (
    CONTRASTS_CSV,
    LEADERBOARD_CSV,
    LEADERBOARD_MD,
    WIDTHS_CSV,
    csv_text,
    leaderboard_csv,
    leaderboard_markdown,
    recovery_markdown,
)
from pepbench.report.table_rows import has_folds

INTERVALS_FILE = "intervals.parquet"
"""Columns of the leaderboard that need predictions, a row for each cell."""

COMPARISONS_FILE = "comparisons.parquet"
"""Comparison of each cell with the full table."""

CONTRASTS_FILE = "contrasts.parquet"
"""Primary contrasts and exploratory pairs; boards published before there were any lack it."""

WIDTHS_FILE = "widths.parquet"
"""Learnt widths and the Bayes AUC, a row for each cell."""


@dataclass(frozen=True)
class BoardResults:
    """Everything that a leaderboard publishes.

    Attributes
    ----------
    records
        By key.
    frame, comparisons
        As :class:`pepbench.analysis.leaderboard.Analysis` describes them.
    widths
        The frame of :class:`pepbench.analysis.width_recovery.WidthRecovery`.
    pictures
        Names of the pictures of learnt widths.
    margin
        Margin of equivalence and non-inferiority, from the plan.
    contrasts
        Primary contrasts and exploratory pairs, as
        :class:`pepbench.analysis.leaderboard.Analysis` describes them.
    folds
        Folds, from 0, that its plan restricts it to; empty: all.
    """

    records: tuple[Record, ...]
    frame: pd.DataFrame
    comparisons: pd.DataFrame
    widths: pd.DataFrame
    pictures: tuple[str, ...]
    margin: float
    contrasts: pd.DataFrame
    folds: tuple[int, ...] = ()

    @property
    def primary(self) -> pd.DataFrame:
        """The primary contrasts."""
        return self.contrasts[self.contrasts["primary"]]

    def fronts(self) -> list[dict[str, Any]]:
        """As :func:`pepbench.analysis.leaderboard.fronts`."""
        return fronts(self.frame, self.comparisons)

    def tables(self) -> dict[str, bytes]:
        """Contents of ``leaderboard.csv``, ``leaderboard.md`` and, if any, of further tables.

        These are ``contrasts.csv`` and ``widths.csv``.
        """
        page = leaderboard_markdown(
            self.frame,
            self.fronts(),
            margin=self.margin,
            contrasts=self.contrasts,
            goal=objective_name(self.records),
        )
        section = recovery_markdown(self.widths, self.pictures, has_folds(self.frame))
        contents = {
            LEADERBOARD_CSV: leaderboard_csv(self.frame),
            LEADERBOARD_MD: f"{page}\n{section}" if section else page,
        }
        if len(self.contrasts):
            contents[CONTRASTS_CSV] = csv_text(self.contrasts)
        if len(self.widths):
            contents[WIDTHS_CSV] = csv_text(self.widths)
        return {name: text.encode() for name, text in contents.items()}

    def files(self) -> dict[str, bytes]:
        """Contents of the Parquet files, without the records."""
        columns = self.primary[["method", "other", "budget"]]
        named: list[Contrast] = list(columns.itertuples(index=False, name=None))
        bare = from_records(self.records, contrasts=named, draws=1, folds=self.folds).frame
        needed = [name for name in self.frame if not self.frame[name].equals(bare[name])]
        if _cells(self.frame) != _cells(bare):
            raise RecordError("the records do not give the cells of the leaderboard")
        return {
            INTERVALS_FILE: _parquet(self.frame[[*CELL_COLUMNS, *needed]]),
            COMPARISONS_FILE: _parquet(self.comparisons),
            WIDTHS_FILE: _parquet(self.widths, {"pictures": list(self.pictures)}),
            CONTRASTS_FILE: _parquet(self.contrasts),
        }


def from_records(
    records: Sequence[Record],
    metric: Metric = "auc",
    margin: float = MARGIN,
    contrasts: Sequence[Contrast] = (),
    draws: int = DRAWS,
    folds: Collection[int] = (),
) -> Analysis:
    """The analysis of records alone; of a single split it lacks what needs predictions.

    Arguments are as of :func:`pepbench.analysis.leaderboard.analyse`; ``folds``, from 0, restrict
    it to some.
    """
    return analyse(
        restricted(records, folds),
        _absent,
        _absent,
        margin=margin,
        contrasts=contrasts,
        metric=metric,
        draws=draws,
    )


def load_results(folder: Path) -> BoardResults:
    """Read the published results in a leaderboard's folder.

    Raises
    ------
    RecordError
        If a file is missing or damaged, or the frames are not those of the records.
    """
    records = unpacked(folder / RECORDS_FILE)
    folds = tuple(asked_folds(folder))
    named = contrasts_of([folder])
    frame = from_records(records, contrasts=named, draws=1, folds=folds).frame
    intervals, _ = _read(folder / INTERVALS_FILE)
    if _cells(frame) != _cells(intervals):
        raise RecordError(
            f"{folder / INTERVALS_FILE}: its cells are not those of {RECORDS_FILE}; publish both "
            "again: pepbench leaderboard --tables-only"
        )
    for name in intervals.columns:
        frame[name] = intervals[name].astype(frame[name].dtype)
    comparisons, _ = _read(folder / COMPARISONS_FILE)
    widths, notes = _read(folder / WIDTHS_FILE)
    pictures, margin = tuple(notes["pictures"]), margin_of([folder])
    path = folder / CONTRASTS_FILE
    contrasts = _read(path)[0] if path.is_file() else frame_of((), CONTRAST_COLUMNS)
    tables = frame, comparisons, widths, pictures, margin, contrasts
    return BoardResults(tuple(records), *tables, folds)


def published_findings(folder: Path, results: BoardResults) -> Findings:
    """The findings of a leaderboard over folds, without learnt widths of single features.

    Its tables are the published ones; fronts and ranks follow from the records.

    Parameters
    ----------
    folder
        Of the leaderboard.
    results
        Of :func:`load_results`.
    """
    records, margin = results.records, results.margin
    found = from_records(
        records, margin=margin, contrasts=contrasts_of([folder]), folds=results.folds
    )
    analysis = replace(
        found,
        frame=results.frame,
        comparisons=results.comparisons,
        contrasts=results.contrasts,
    )
    points, profiles = (pd.DataFrame(columns=list(c)) for c in (POINT_COLUMNS, PROFILE_COLUMNS))
    return Findings(
        analysis,
        results.fronts(),
        WidthRecovery(results.widths, points, profiles),
        leads(analysis.frame, analysis.pairs, analysis.comparisons),
        Runs(
            (folder,), records, {one.key: folder for one in records}, {folder: RecordStore(folder)}
        ),
        margin,
        tuple(trimmed_notes(records)),
    )


def margins(published: Iterable[BoardResults]) -> str:
    """The margins of several leaderboards as text: one, or all different ones."""
    return " or ".join(f"{margin:g}" for margin in sorted({one.margin for one in published}))


def _cells(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(zip(*(frame[column] for column in CELL_COLUMNS), strict=True))


def _absent(what: str) -> NoReturn:
    """Stand in for the loaders of predictions and labels, which are not published."""
    raise FileNotFoundError(what)


def _parquet(frame: pd.DataFrame, notes: dict[str, Any] | None = None) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"pepbench": json.dumps(notes or {}).encode()}
    return parquet_bytes(table.replace_schema_metadata(metadata), compression="zstd")


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    with reading(path, "cannot be read"):
        table = pq.read_table(path)
        notes: dict[str, Any] = json.loads(table.schema.metadata[b"pepbench"])
        frame: pd.DataFrame = table.to_pandas()
    return frame, notes
