"""MovieLens 1M: films rated by users of movielens.org around the year 2000."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.component import OneOf
from pepbench.data.dataset import Block, Download, SampledDataset
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks, read_whole
from pepbench.data.readers.formats import FORMATS
from pepbench.data.readers.raw_files import files_in, first_line
from pepbench.errors import DataError

from .genres import WithGenres
from .ml_100k import (
    CITATION,
    ENCODING,
    LATEST,
    LICENCE,
    RATING_COLUMNS,
    Columns,
    WithIds,
    join,
    log_buckets,
    without_neutral,
)

RATING_FILES = ("ratings.dat", "ratings.parquet", "ratings.csv")
"""Any of them holds the ratings; the first that is there is read."""
ALIASES = {
    "user": ("user", "user_id", "userid"),
    "film": ("film", "movie_id", "movieid", "item_id"),
    "rating": ("rating",),
    "timestamp": ("timestamp",),
    "late20": ("late20",),
}
"""Names of columns in Parquet and CSV files, in lower case."""
UNKNOWN = -1
"""Stands for a time that the file does not give."""
LATE_SHARE = 5
"""The latest one in so many ratings are the late ones."""
USER_COLUMNS = ("user", "gender", "age", "occupation", "zip")
FILM_COLUMNS = ("film", "title", "genres")
SEPARATOR = "::"


@dataclass(frozen=True)
class _MovieLens1M(SampledDataset):
    """What both encodings of MovieLens 1M have in common."""

    source = "movielens-1m"
    licence = LICENCE
    citation = CITATION
    url = "https://grouplens.org/datasets/movielens/1m/"
    files = (RATING_FILES[0], "users.dat", "movies.dat")
    downloads = (
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            "md5:c4d9eecfca2ab87c1945afe126590906",
            "ml-1m",
        ),
    )

    def raw_files(self, source: Path) -> dict[str, Path]:
        """Ratings, in whichever form they are there, users and films."""
        ratings = next((name for name in RATING_FILES if (source / name).is_file()), None)
        return files_in(source, (ratings or RATING_FILES[0], *self.files[1:]))


@dataclass(frozen=True)
class MovieLens1M(_MovieLens1M):
    """MovieLens 1M in the encoding of PEP's released code: 7 fields without user and film.

    Ratings of 3 are dropped, higher ones are positive. Fields: a coarse logarithm of the time since
    the first rating, gender, age (seven bands), occupation, zip code, year of release, and the
    combination of genres. 739,012 rows and 3,529 different values over all rows, as published.

    Reads GroupLens' folder, or ``ratings.parquet`` or ``ratings.csv`` with the columns user_id,
    movie_id, rating and perhaps timestamp in place of ``ratings.dat``. Where times are not complete
    the field ``timestamp`` is left out, 6 of the paper's 7 fields remain: which ratings lack a time
    can tell what they are. ``late=true`` takes the latest fifth of the ratings alone (146,035 rows
    without the 3s), whose times must be known, with all 7 fields.
    """

    name = "ml-1m"
    title = "MovieLens 1M, encoded as in the PEP paper"

    late: Annotated[
        bool, OneOf(False, True, tuned=False), "the latest fifth of the ratings alone"
    ] = False

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of the file."""
        assert source is not None
        times = _times(source)
        chosen = _late_ratings(source, times) if self.late else np.full(len(times), True)
        timed = (times[chosen] != UNKNOWN).all()
        if self.late and not timed:
            raise DataError(
                f"{_ratings_file(source)}: late ratings without a time; late=true needs the "
                "times of the latest fifth"
            )
        buckets = log_buckets(np.maximum(times - times[chosen].min(), 0))
        done = 0
        for chunk, columns in _joined(source, ids=False):
            rows = slice(done, done := done + len(chunk))
            if timed:
                columns = {"timestamp": pa.array(buckets[rows]).cast(pa.string()), **columns}
            yield without_neutral(chunk, columns, chosen=chosen[rows])


@dataclass(frozen=True)
class MovieLens1MIds(WithGenres, WithIds, _MovieLens1M):
    """MovieLens 1M with the ids of users and films, 8 fields. Not the paper's encoding.

    Ratings of 3 are dropped, higher ones are positive, so the rows are those of ``ml-1m``. Fields:
    user, gender, age, occupation, zip code, film, year of release, and the combination of genres;
    with ``genres=multi`` each of a film's genres, as a multi-valued field. Reads the same files as
    ``ml-1m``; only ``split=time`` needs the times.
    """

    name = "ml-1m-ids"
    title = "MovieLens 1M with the ids of users and films"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of the file."""
        assert source is not None
        if self.split == "time" and (unknown := int((_times(source) == UNKNOWN).sum())):
            raise DataError(
                f"{_ratings_file(source)}: {unknown:,} ratings have no time, so they cannot be "
                "split by it; use split=random or split=user"
            )
        for chunk, columns in _joined(source, ids=True, genres_of=self.genres_of):
            yield without_neutral(chunk, columns, self.split)


def release_years(films: Chunk) -> pa.Array:
    """Year in brackets at the end of each film's title: (films,)."""
    titles = films["title"].to_pylist()
    years = []
    for index, title in enumerate(titles):
        match = re.search(r"\(([0-9]{4})\)\s*$", title)
        if match is None:
            raise films.error(index, f"title is {title!r}, expected a year in brackets at its end")
        years.append(match[1])
    return pa.array(years)


def _joined(
    source: Path,
    *,
    ids: bool,
    genres_of: Callable[[pa.Array], pa.Array] = lambda texts: texts,
) -> Iterator[tuple[Chunk, Columns]]:
    """Yield chunks of ratings with the columns of their users and films, with or without ids."""
    users = _read(source / "users.dat", USER_COLUMNS)
    users.check_unique("user")
    films = _read(source / "movies.dat", FILM_COLUMNS)
    films.check_unique("film")
    of_films = {
        "film": films["film"],
        "year": release_years(films),
        "genres": genres_of(films["genres"]),
    }
    of_users = dict(users.columns)
    if not ids:
        del of_users["user"], of_films["film"]
    return join(_ratings(source), users, of_users, films, of_films)


def _read(path: Path, columns: tuple[str, ...]) -> Chunk:
    return read_whole(path, columns, separator=SEPARATOR, encoding=ENCODING)


def _ratings_file(source: Path) -> Path:
    return next(path for name in RATING_FILES if (path := source / name).is_file())


def _ratings(source: Path) -> Iterator[Chunk]:
    """Yield chunks of ratings with the columns of :data:`ALIASES` that the file has."""
    path = _ratings_file(source)
    if path.suffix == ".dat":
        given = RATING_COLUMNS[:3] if first_line(path).count(b"::") == 2 else RATING_COLUMNS
        yield from read_chunks(path, given, separator=SEPARATOR, encoding=ENCODING)
        return
    form = FORMATS[path.suffix[1:]]
    there = {name.lower(): name for name in form.columns(path)}
    names = {
        ours: there[alias] for ours, known in ALIASES.items() for alias in known if alias in there
    }
    for ours in RATING_COLUMNS[:3]:
        if ours not in names:
            raise DataError(
                f"{path}: no column for the {ours}; expected user_id, movie_id, rating and perhaps "
                "timestamp"
            )
    for chunk in form.chunks(path, list(names.values())):
        columns = {ours: chunk[name].cast(pa.string()) for ours, name in names.items()}
        yield Chunk(path, chunk.first_row, columns)


def _times(source: Path) -> NDArray[np.int64]:
    """Seconds since 1970 of all ratings, (n,); :data:`UNKNOWN` where the file does not say."""
    times = []
    for chunk in _ratings(source):
        if "timestamp" not in chunk.columns:
            times.append(np.full(len(chunk), UNKNOWN))
        elif chunk.path.suffix == ".dat":
            times.append(chunk.integers("timestamp", 0, LATEST))
        else:
            texts = pc.fill_null(chunk["timestamp"], "")
            given = pc.if_else(pc.equal(texts, ""), str(UNKNOWN), texts)
            chunk = Chunk(chunk.path, chunk.first_row, {"timestamp": given})
            times.append(chunk.integers("timestamp", UNKNOWN, LATEST))
    return np.concatenate(times) if times else np.empty(0, np.int64)


def _late_ratings(source: Path, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which ratings are the latest fifth, (n,): as the file says, or by their times.

    Ratings of the same second are taken from the end of the file.
    """
    if all("late20" in chunk.columns for chunk in _ratings(source)):
        marks = [pc.utf8_lower(chunk["late20"]) for chunk in _ratings(source)]
        late = pc.fill_null(pc.equal(pa.chunked_array(marks), "true"), False)
        return np.asarray(late.to_numpy(), dtype=bool)
    late = np.zeros(len(times), dtype=bool)
    late[np.argsort(times, kind="stable")[len(times) - -(-len(times) // LATE_SHARE) :]] = True
    return late
