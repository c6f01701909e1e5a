"""MovieLens 100K: films rated by users of movielens.org in 1997 and 1998."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.component import OneOf
from pepbench.data.dataset import Block, Dataset, Download, SplitScheme
from pepbench.data.delimited import Chunk, read_chunks, read_whole

RATING_COLUMNS = ("user", "film", "rating", "timestamp")
USER_COLUMNS = ("user", "age", "gender", "occupation", "zip")
GENRES = (
    "unknown",
    "action",
    "adventure",
    "animation",
    "childrens",
    "comedy",
    "crime",
    "documentary",
    "drama",
    "fantasy",
    "film_noir",
    "horror",
    "musical",
    "mystery",
    "romance",
    "sci_fi",
    "thriller",
    "war",
    "western",
)
FILM_COLUMNS = ("film", "title", "release_date", "video_release_date", "url", *GENRES)
ENCODING = "latin-1"

AGE_BANDS = (17, 24, 34, 44, 49, 55, 100)
"""Highest age of each band; the first begins at 1."""
NEUTRAL = 3
"""Ratings of 3 say neither yes nor no and are dropped."""

SCHEMES: dict[str, SplitScheme] = {"random": "random", "time": "time", "user": "group"}

Texts = NDArray[np.str_]


@dataclass(frozen=True)
class _MovieLens100K(Dataset):
    """What both encodings of MovieLens 100K have in common."""

    source = "movielens-100k"
    licence = "GroupLens: research use, no redistribution, no commercial use; cite the paper"
    citation = (
        "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. "
        "ACM TiiS 5(4), 2015. doi:10.1145/2827872"
    )
    url = "https://grouplens.org/datasets/movielens/100k/"
    files = ("u.data", "u.user", "u.item")
    downloads = (
        Download(
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "md5:0e33842e24a9c977be4e0107933c0723",
            "ml-100k",
        ),
    )

    def rated(self, source: Path) -> Iterator[tuple[Chunk, NDArray[np.int64], NDArray[np.bool_]]]:
        """Yield chunks of ``u.data``, their ratings (n,), and which of them are kept (n,)."""
        for chunk in _ratings(source):
            ratings = chunk.integers("rating", 1, 5)
            yield chunk, ratings, ratings != NEUTRAL


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
        users = read_users(source)
        films = read_films(source)
        of_users = user_columns(users)
        of_films = {"year": release_years(films)} | {
            f"genre_{name}": films.integers(name, 0, 1).astype(np.str_) for name in GENRES
        }
        first = min(int(_timestamps(chunk).min()) for chunk in _ratings(source))
        for chunk, ratings, kept in self.rated(source):
            user = chunk.positions("user", users["user"], "u.user")[kept]
            film = chunk.positions("film", films["film"], "u.item")[kept]
            columns = {"timestamp": log_buckets(_timestamps(chunk)[kept] - first).astype(np.str_)}
            columns |= {name: values[user] for name, values in of_users.items()}
            columns |= {name: values[film] for name, values in of_films.items()}
            yield _block(columns, ratings[kept])


@dataclass(frozen=True)
class MovieLens100KIds(_MovieLens100K):
    """MovieLens 100K with the ids of users and films, 8 fields. Not the paper's encoding.

    Ratings of 3 are dropped, higher ones are positive, so the rows are those of ``ml-100k``.
    Fields: user, age in seven bands, gender, occupation, zip code, film, year of release, and the
    combination of genres.
    """

    name = "ml-100k-ids"
    title = "MovieLens 100K with the ids of users and films"

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
        """Yield the ratings other than 3, in the order of ``u.data``."""
        assert source is not None
        users = read_users(source)
        films = read_films(source)
        of_users = {"user": _texts(users, "user")} | user_columns(users)
        of_films = {
            "film": _texts(films, "film"),
            "year": release_years(films),
            "genres": genre_combinations(films),
        }
        for chunk, ratings, kept in self.rated(source):
            user = chunk.positions("user", users["user"], "u.user")[kept]
            film = chunk.positions("film", films["film"], "u.item")[kept]
            columns = {name: values[user] for name, values in of_users.items()}
            columns |= {name: values[film] for name, values in of_films.items()}
            keys = {
                "time": pa.array(_timestamps(chunk)[kept]),
                "user": pa.array(columns["user"], pa.string()),
            }
            yield _block(columns, ratings[kept])._replace(split_key=keys.get(self.split))


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


def user_columns(users: Chunk) -> dict[str, Texts]:
    """What is known about each user but the id: four arrays of shape (users,)."""
    plain = {name: _texts(users, name) for name in ("gender", "occupation", "zip")}
    return {"age": age_bands(users), **plain}


def age_bands(users: Chunk) -> Texts:
    """Band of each user's age, such as ``25-34``: shape (users,)."""
    ages = users.integers("age", 1, AGE_BANDS[-1])
    lowest = [1, *(age + 1 for age in AGE_BANDS[:-1])]
    names = np.array([f"{low}-{high}" for low, high in zip(lowest, AGE_BANDS, strict=True)])
    return names[np.searchsorted(AGE_BANDS, ages)]


def release_years(films: Chunk) -> Texts:
    """Year of each film's release date, such as ``1995`` or empty: shape (films,)."""
    dates = films["release_date"].to_pylist()
    for index, date in enumerate(dates):
        if date and not (date[-4:].isdigit() and len(date) >= 4):
            raise films.error(index, f"release_date is {date!r}, expected one like '01-Jan-1995'")
    return np.array([date[-4:] for date in dates])


def genre_combinations(films: Chunk) -> Texts:
    """Genres of each film joined, such as ``comedy|romance``: shape (films,)."""
    flags = np.column_stack([films.integers(name, 0, 1) for name in GENRES])
    return np.array(["|".join(np.array(GENRES)[row == 1]) for row in flags])


def log_buckets(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """⌊(ln v)²⌋ of times v > 2, else v − 2, as the paper buckets numbers: (n,) → (n,).

    >>> log_buckets(np.array([0, 2, 3, 1_000])).tolist()
    [-2, 0, 1, 47]
    """
    logarithms = np.log(np.maximum(seconds, 1))
    return np.where(seconds > 2, np.floor(logarithms**2).astype(np.int64), seconds - 2)


def _ratings(source: Path) -> Iterator[Chunk]:
    return read_chunks(source / "u.data", RATING_COLUMNS, separator="\t", encoding=ENCODING)


def _timestamps(chunk: Chunk) -> NDArray[np.int64]:
    return chunk.integers("timestamp", 0, 2**40)


def _texts(chunk: Chunk, column: str) -> Texts:
    return np.array(chunk[column].to_pylist())


def _block(columns: dict[str, Texts], ratings: NDArray[np.int64]) -> Block:
    arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return Block(arrays, ratings > NEUTRAL)
