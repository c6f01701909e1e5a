"""An option that several data sets of films share: genres as one value, or as several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pyarrow as pa

from pepbench.component import OneOf
from pepbench.data.bags import BagOptions, split_texts
from pepbench.data.dataset import Dataset

FIELD = "genres"
MOST_GENRES = 16
"""More than any film of these data sets has."""


@dataclass(frozen=True)
class WithGenres(Dataset):
    """Base of data sets with a field of genres."""

    separator: ClassVar[str] = "|"
    """What is between two genres of a film."""

    genres: Annotated[
        str,
        OneOf("combination", "multi", tuned=False),
        "multi: a value for each genre of a film, averaged; else one for their combination",
    ] = "combination"

    def bag(self, field: str) -> BagOptions | None:
        """Genres as several values, if so chosen."""
        if field != FIELD or self.genres != "multi":
            return None
        return BagOptions(max_values=MOST_GENRES, separator=self.separator)

    def genres_of(self, texts: pa.Array) -> pa.Array:
        """The genres of films, (n,): texts as they are, or taken apart at the separator."""
        return split_texts(texts, self.separator) if self.genres == "multi" else texts
