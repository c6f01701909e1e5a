"""MovieLens 100K: films rated by users of movielens.org in 1997 and 1998."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.component import OneOf
from pepbench.data.dataset import SCHEMES, Block, Dataset, Download, SplitScheme
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks, read_whole

from .genres import WithGenres

RATING_COLUMNS = ("user", "film", "rating", "timestamp")
USER_COLUMNS = ("user", "age", "gender", "occupation", "zip")
GENRES = (
    "unknown", "action", "adventure", "animation", "childrens", "comedy", "crime", "documentary",
    "drama", "fantasy", "film_noir", "horror", "musical", "mystery", "romance", "sci_fi",
    "thriller", "war", "western",
)  # fmt: skip
FILM_COLUMNS = ("film", "title", "release_date", "video_release_date", "url", *GENRES)
ENCODING = "latin-1"

LICENCE = "GroupLens: research use, no redistribution, no commercial use; cite the paper"
CITATION = (
    "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. "
    "ACM TiiS 5(4), 2015. doi:10.1145/2827872"
)

AGE_BANDS = (17, 24, 34, 44, 49, 55, 100)
"""Highest age of each band; the first begins at 1."""
NEUTRAL = 3
"""Ratings of 3 are neither positive nor negative and are dropped."""
LATEST = 2**40

Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class WithIds(Dataset):
    """Options of the encodings that have the ids of users and films."""

    user_field = "user"

    split: Annotated[
        str, OneOf("random", "time", "user", tuned=False), "user: no user in two parts"
    ] = "random"

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """As the option says."""
        return SCHEMES[self.split]


@dataclass(frozen=True)
class _MovieLens100K(Dataset):
    """What both encodings of MovieLens 100K have in common."""

    source = "movielens-100k"
    licence = LICENCE
    citation = CITATION
    url = "https://grouplens.org/datasets/movielens/100k/"
    files = ("u.data", "u.user", "u.item")
    downloads = (
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "md5:0e33842e24a9c977be4e0107933c0723",
            "ml-100k",
        ),
    )


@dataclass(frozen=True)
class MovieLens100K(_MovieLens100K):
    """MovieLens 100K in the encoding of PEP's released code: 25 fields without user and film.

    Ratings of 3 are dropped, higher ones are positive. Fields: a coarse logarithm of the time since
    the first rating, age in seven bands, gender, occupation, zip code, year of release, and 19
    genre flags. 72,855 rows, 76.0 % positive, 1,106 different values over all rows.
    """

    name = "ml-100k"
    title = "MovieLens 100K, encoded as in the PEP paper"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of ``u.data``."""
        assert source is not None
        users, films = read_users(source), read_films(source)
        of_films = {"year": release_years(films)} | {
            f"genre_{name}": pa.array(films.integers(name, 0, 1)).cast(pa.string())
            for name in GENRES
        }
        first = min(int(timestamps(chunk).min()) for chunk in _ratings(source))
        for chunk, columns in join(_ratings(source), users, user_columns(users), films, of_films):
            yield without_neutral(chunk, {"timestamp": time_buckets(chunk, first), **columns})


@dataclass(frozen=True)
class MovieLens100KIds(WithGenres, WithIds, _MovieLens100K):
    """MovieLens 100K with the ids of users and films, 8 fields. Not the paper's encoding.

    Ratings of 3 are dropped, higher ones are positive, so the rows are those of ``ml-100k``.
    Fields: user, age in seven bands, gender, occupation, zip code, film, year of release, and the
    combination of genres; with ``genres=multi`` each of a film's genres, as a multi-valued field.
    """

    name = "ml-100k-ids"
    title = "MovieLens 100K with the ids of users and films"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the ratings other than 3, in the order of ``u.data``."""
        assert source is not None
        users, films = read_users(source), read_films(source)
        of_users = {"user": users["user"], **user_columns(users)}
        of_films = {
            "film": films["film"],
            "year": release_years(films),
            "genres": self.genres_of(genre_combinations(films)),
        }
        for chunk, columns in join(_ratings(source), users, of_users, films, of_films):
            yield without_neutral(chunk, columns, self.split)


def join(
    ratings: Iterator[Chunk], users: Chunk, of_users: Columns, films: Chunk, of_films: Columns
) -> Iterator[tuple[Chunk, Columns]]:
    """Yield chunks of ratings, and for each rating the columns of its user and of its film."""
    for chunk in ratings:
        user = pa.array(chunk.positions("user", users["user"], users.path.name))
        film = pa.array(chunk.positions("film", films["film"], films.path.name))
        columns = {name: pc.take(column, user) for name, column in of_users.items()}
        yield chunk, columns | {name: pc.take(column, film) for name, column in of_films.items()}


def without_neutral(
    chunk: Chunk,
    columns: Columns,
    split: str = "random",
    chosen: NDArray[np.bool_] | bool = True,
) -> Block:
    """The chosen rows with a rating other than 3, and their key where they are split by one."""
    ratings = chunk.integers("rating", 1, 5)
    selected = (ratings != NEUTRAL) & chosen
    mask = pa.array(selected)
    key = {"time": lambda: pa.array(timestamps(chunk)), "user": lambda: chunk["user"]}.get(split)
    return Block(
        {name: column.filter(mask) for name, column in columns.items()},
        ratings[selected] > NEUTRAL,
        key().filter(mask) if key is not None else None,
    )


def read_users(source: Path) -> Chunk:
    """Read ``u.user``; raises :class:`DataError` for a user that occurs twice."""
    users = read_whole(source / "u.user", USER_COLUMNS, separator="|", encoding=ENCODING)
    users.check_unique("user")
    return users


def read_films(source: Path) -> Chunk:
    """Read ``u.item``; raises :class:`DataError` for a film that occurs twice."""
    films = read_whole(source / "u.item", FILM_COLUMNS, separator="|", encoding=ENCODING)
    films.check_unique("film")
    return films


def user_columns(users: Chunk) -> Columns:
    """Age band, gender, occupation and zip code of each user: four arrays of shape (users,)."""
    return {"age": age_bands(users)} | {n: users[n] for n in ("gender", "occupation", "zip")}


def age_bands(users: Chunk) -> pa.Array:
    """Band of each user's age, such as ``25-34``: shape (users,)."""
    ages = users.integers("age", 1, AGE_BANDS[-1])
    lowest = [1, *(age + 1 for age in AGE_BANDS[:-1])]
    names = np.array([f"{low}-{high}" for low, high in zip(lowest, AGE_BANDS, strict=True)])
    return pa.array(names[np.searchsorted(AGE_BANDS, ages)])


def release_years(films: Chunk) -> pa.Array:
    """Year of each film's release date, such as ``1995`` or empty: shape (films,)."""
    dates = films["release_date"].to_pylist()
    for index, date in enumerate(dates):
        if date and not (date[-4:].isdigit() and len(date) >= 4):
            raise films.error(index, f"release_date is {date!r}, expected one like '01-Jan-1995'")
    return pa.array([date[-4:] for date in dates])


def genre_combinations(films: Chunk) -> pa.Array:
    """Genres of each film joined, such as ``comedy|romance``: shape (films,)."""
    flags = np.column_stack([films.integers(name, 0, 1) for name in GENRES])
    return pa.array(["|".join(np.array(GENRES)[row == 1]) for row in flags])


def timestamps(chunk: Chunk) -> NDArray[np.int64]:
    """Times of ratings in seconds since 1970: shape (n,)."""
    return chunk.integers("timestamp", 0, LATEST)


def time_buckets(chunk: Chunk, first: int) -> pa.Array:
    """:func:`log_buckets` of the seconds since the ``first`` rating, as text: shape (n,)."""
    return pa.array(log_buckets(timestamps(chunk) - first)).cast(pa.string())


def log_buckets(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """⌊(ln v)²⌋ of times v > 2, else v − 2, as the paper buckets numbers: (n,) → (n,).

    >>> log_buckets(np.array([0, 2, 3, 1_000])).tolist()
    [-2, 0, 1, 47]
    """
    logarithms = np.log(np.maximum(seconds, 1))
    return np.where(seconds > 2, np.floor(logarithms**2).astype(np.int64), seconds - 2)


def _ratings(source: Path) -> Iterator[Chunk]:
    return read_chunks(source / "u.data", RATING_COLUMNS, separator="\t", encoding=ENCODING)
