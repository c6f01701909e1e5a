"""Epinions: ratings of products by users of epinions.com."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa

from pepbench.component import OneOf
from pepbench.data.dataset import SCHEMES, Block, Dataset, SplitScheme
from pepbench.data.readers.formats import FORMATS

FIELDS = ("user", "item", "category")
LIKED = 4
"""Lowest rating that counts as positive."""
LARGEST_ID = 2**32 - 1


@dataclass(frozen=True)
class ProductRatings(Dataset):
    """What the two crawls of product ratings have in common.

    A user who rated an item twice would put almost the same row into training and test, so only
    the first rating of each pair is kept.
    """

    licence = "research use; cite the paper"
    citation = (
        "J. Tang, H. Gao, H. Liu: mTrust: Discerning Multi-Faceted Trust in a Connected World. "
        "WSDM 2012. doi:10.1145/2124295.2124309"
    )
    url = "https://www.cse.msu.edu/~tangjili/datasetcode/truststudy.htm"
    files = ("ratings.parquet",)
    user_field = "user"
    lowest_rating: ClassVar[int]

    split: Annotated[str, OneOf("random", "user", tuned=False), "user: no user in two parts"] = (
        "random"
    )

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """As the option says."""
        return SCHEMES[self.split]

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the first rating of each user and item, in the order of the file."""
        assert source is not None
        rated = np.empty(0, dtype=np.uint64)
        for chunk in FORMATS["parquet"].chunks(source / self.files[0], (*FIELDS, "rating")):
            ratings = chunk.integers("rating", self.lowest_rating, 5)
            user, item, _ = (chunk.integers(name, 0, LARGEST_ID) for name in FIELDS)
            pairs = user.astype(np.uint64) << np.uint64(32) | item.astype(np.uint64)
            unique, first = np.unique(pairs, return_index=True)
            new = np.sort(first[np.isin(unique, rated, assume_unique=True, invert=True)])
            rated = np.union1d(rated, unique)
            columns = {name: chunk[name].take(pa.array(new)) for name in FIELDS}
            yield Block(
                columns,
                ratings[new] >= LIKED,
                columns["user"] if self.split == "user" else None,
            )


@dataclass(frozen=True)
class Epinions(ProductRatings):
    """Epinions: user, item, category. Positive: a rating of 4 or 5 out of 1 to 5.

    Reads ``ratings.parquet`` with the columns user, item, category and rating (whole numbers),
    taken from ``rating.mat`` of Tang & Liu's crawl. The first 770,000 of its 922,267 ratings hold
    8,205 repeated pairs of user and item, of which the first is kept: 761,795 rows. A long tail:
    262,614 items, most of them rated once or twice.
    """

    name = "epinions"
    title = "Epinions product ratings"
    lowest_rating = 1
