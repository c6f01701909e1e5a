"""MovieLens 1M: films rated by users of movielens.org around the year 2000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pepbench.data.dataset import Block, Download, SampledDataset
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks, read_whole

from .ml_100k import (
    CITATION,
    ENCODING,
    LICENCE,
    RATING_COLUMNS,
    Columns,
    WithIds,
    join,
    time_buckets,
    timestamps,
    without_neutral,
)

USER_COLUMNS = ("user", "gender", "age", "occupation", "zip")
FILM_COLUMNS = ("film", "title", "genres")
SEPARATOR = "::"


@dataclass(frozen=True)
class _MovieLens1M(SampledDataset):
    """What both encodings of MovieLens 1M have in common."""

    licence = LICENCE
    citation = CITATION
    url = "https://grouplens.org/datasets/movielens/1m/"
    files = ("ratings.dat", "users.dat", "movies.dat")
    downloads = (
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            "md5:c4d9eecfca2ab87c1945afe126590906",
            "ml-1m",
        ),
    )


@dataclass(frozen=True)
class MovieLens1M(_MovieLens1M):
    """MovieLens 1M in the encoding of PEP's released code: 7 fields without user and film.

    Ratings of 3 are dropped, higher ones are positive. Fields: a coarse logarithm of the time since
    the first rating, gender, age (seven bands), occupation, zip code, year of release, and the
    combination of genres. 739,012 rows and 3,529 different values over all rows, as published.
    """

    name = "ml-1m"
    title = "MovieLens 1M, encoded as in the PEP paper"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of ``ratings.dat``."""
        assert source is not None
        first = min(int(timestamps(chunk).min()) for chunk in _ratings(source))
        for chunk, columns in _joined(source, ids=False):
            yield without_neutral(chunk, {"timestamp": time_buckets(chunk, first), **columns})


@dataclass(frozen=True)
class MovieLens1MIds(WithIds, _MovieLens1M):
    """MovieLens 1M with the ids of users and films, 8 fields. Not the paper's encoding.

    Ratings of 3 are dropped, higher ones are positive, so the rows are those of ``ml-1m``. Fields:
    user, gender, age, occupation, zip code, film, year of release, and the combination of genres.
    """

    name = "ml-1m-ids"
    title = "MovieLens 1M with the ids of users and films"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of ``ratings.dat``."""
        assert source is not None
        for chunk, columns in _joined(source, ids=True):
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


def _joined(source: Path, *, ids: bool) -> Iterator[tuple[Chunk, Columns]]:
    """Yield chunks of ratings with the columns of their users and films, with or without ids."""
    users = _read(source / "users.dat", USER_COLUMNS)
    users.check_unique("user")
    films = _read(source / "movies.dat", FILM_COLUMNS)
    films.check_unique("film")
    of_films = {"film": films["film"], "year": release_years(films), "genres": films["genres"]}
    of_users = dict(users.columns)
    if not ids:
        del of_users["user"], of_films["film"]
    return join(_ratings(source), users, of_users, films, of_films)


def _read(path: Path, columns: tuple[str, ...]) -> Chunk:
    return read_whole(path, columns, separator=SEPARATOR, encoding=ENCODING)


def _ratings(source: Path) -> Iterator[Chunk]:
    path = source / "ratings.dat"
    return read_chunks(path, RATING_COLUMNS, separator=SEPARATOR, encoding=ENCODING)
