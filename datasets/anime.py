"""Anime: ratings of 4,714 users of myanimelist.net."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pepbench.data.dataset import Block
from pepbench.data.readers.delimited import read_chunks, read_whole

from .genres import WithGenres

RATING_COLUMNS = ("User_ID", "Anime_ID", "Feedback")
INFO_COLUMNS = ("anime_ids", "name", "genre", "type", "episodes", "rating", "members")
FEATURES = {"title": "name", "genres": "genre", "type": "type", "episodes": "episodes"}
"""Fields and their columns in ``anime_info.dat``; the last two columns leak the label."""
LARGEST_ID = 2**40
LIKED = 8
"""Lowest Feedback that counts as positive."""


@dataclass(frozen=True)
class Anime(WithGenres):
    """Five fields: user, title, combination of genres, type, episodes. Positive: Feedback ≥ 8.

    With ``genres=multi`` each of a title's genres, as a multi-valued field.

    ``Anime_ID`` of a rating is the rank, from 1, of the title's ``anime_ids``, smallest first. The
    columns ``rating`` and ``members`` are computed from ratings such as these and are not used.
    419,943 rows (the distributed README counts the header too), 60.6 % positive.
    """

    name = "anime"
    title = "Anime recommendations, 5,000 users"
    licence = "CC0 1.0 (the Kaggle set that it was reduced from)"
    citation = (
        "CooperUnion: Anime Recommendations Database, Kaggle 2016; reduced to 5,000 users by "
        "A. F. Da Costa"
    )
    url = "https://www.kaggle.com/datasets/CooperUnion/anime-recommendations-database"
    files = ("anime_ratings.dat", "anime_info.dat")
    user_field = "user"
    separator = ","

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all ratings in the order of the file."""
        assert source is not None
        info = read_whole(source / "anime_info.dat", INFO_COLUMNS, separator="\t", header=True)
        info.check_unique("anime_ids")
        order = np.argsort(info.integers("anime_ids", 0, LARGEST_ID))
        features = {name: info[column] for name, column in FEATURES.items()}
        features["genres"] = self.genres_of(features["genres"])
        ranks = pa.array([str(rank) for rank in range(1, len(order) + 1)])
        path = source / "anime_ratings.dat"
        for chunk in read_chunks(path, RATING_COLUMNS, separator="\t", header=True):
            labels = chunk.integers("Feedback", 1, 10) >= LIKED
            chunk.integers("User_ID", 1, LARGEST_ID)
            rank = chunk.positions("Anime_ID", ranks, "anime_info.dat (as the rank of a title)")
            rows = pa.array(order[rank])
            columns = {name: pc.take(column, rows) for name, column in features.items()}
            yield Block({"user": chunk["User_ID"], **columns}, labels)
