"""MovieLens 1M: films rated by users of movielens.org around the year 2000."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.component import OneOf
from pepbench.data.dataset import Block, Download, SampledDataset, SplitScheme
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks, read_whole

from .ml_100k import ENCODING, NEUTRAL, SCHEMES, log_buckets

RATING_COLUMNS = ("user", "film", "rating", "timestamp")
USER_COLUMNS = ("user", "gender", "age", "occupation", "zip")
FILM_COLUMNS = ("film", "title", "genres")
SEPARATOR = "::"
LATEST = 2**40


@dataclass(frozen=True)
class _MovieLens1M(SampledDataset):
    """What both encodings of MovieLens 1M have in common."""

    licence = "GroupLens: research use, no redistribution, no commercial use; cite the paper"
    citation = (
        "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. "
        "ACM TiiS 5(4), 2015. doi:10.1145/2827872"
    )
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
        first = min(int(_timestamps(chunk).min()) for chunk in _ratings(source))
        for chunk, ratings, of_users, of_films in _joined(source):
            buckets = log_buckets(_timestamps(chunk) - first).astype(np.str_)
            columns = {"timestamp": pa.array(buckets)} | of_users | of_films
            yield _block(columns, ratings)


@dataclass(frozen=True)
class MovieLens1MIds(_MovieLens1M):
    """MovieLens 1M with the ids of users and films, 8 fields. Not the paper's encoding.

    Ratings of 3 are dropped, higher ones are positive, so the rows are those of ``ml-1m``. Fields:
    user, gender, age, occupation, zip code, film, year of release, and the combination of genres.
    """

    name = "ml-1m-ids"
    title = "MovieLens 1M with the ids of users and films"

    split: Annotated[
        str, OneOf("random", "time", "user", tuned=False), "user: no user in two parts"
    ] = "random"

    @property
    def user_field(self) -> str:
        """Whose a rating is."""
        return "user"

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """As the option says."""
        return SCHEMES[self.split]

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of ``ratings.dat``."""
        assert source is not None
        for chunk, ratings, of_users, of_films in _joined(source):
            columns = {"user": chunk["user"], **of_users, "film": chunk["film"], **of_films}
            keys = {"time": pa.array(_timestamps(chunk)), "user": chunk["user"]}
            yield _block(columns, ratings, keys.get(self.split))


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
) -> Iterator[tuple[Chunk, NDArray[np.int64], dict[str, pa.Array], dict[str, pa.Array]]]:
    """Yield chunks of ratings, the ratings (n,), and columns of their users and films."""
    users = _read(source / "users.dat", USER_COLUMNS)
    users.check_unique("user")
    films = _read(source / "movies.dat", FILM_COLUMNS)
    films.check_unique("film")
    about_films = {"year": release_years(films), "genres": films["genres"]}
    about_users = {name: users[name] for name in USER_COLUMNS[1:]}
    for chunk in _ratings(source):
        user = pa.array(chunk.positions("user", users["user"], "users.dat"))
        film = pa.array(chunk.positions("film", films["film"], "movies.dat"))
        of_users = {name: pc.take(column, user) for name, column in about_users.items()}
        of_films = {name: pc.take(column, film) for name, column in about_films.items()}
        yield chunk, chunk.integers("rating", 1, 5), of_users, of_films


def _read(path: Path, columns: tuple[str, ...]) -> Chunk:
    return read_whole(path, columns, separator=SEPARATOR, encoding=ENCODING)


def _ratings(source: Path) -> Iterator[Chunk]:
    path = source / "ratings.dat"
    return read_chunks(path, RATING_COLUMNS, separator=SEPARATOR, encoding=ENCODING)


def _timestamps(chunk: Chunk) -> NDArray[np.int64]:
    return chunk.integers("timestamp", 0, LATEST)


def _block(
    columns: dict[str, pa.Array], ratings: NDArray[np.int64], key: pa.Array | None = None
) -> Block:
    """The rows that are not neutral."""
    kept = pa.array(ratings != NEUTRAL)
    return Block(
        {name: column.filter(kept) for name, column in columns.items()},
        ratings[ratings != NEUTRAL] > NEUTRAL,
        key.filter(kept) if key is not None else None,
    )
