"""Ciao: ratings of products by users of ciao.co.uk."""

from __future__ import annotations

from dataclasses import dataclass

from .epinions import ProductRatings


@dataclass(frozen=True)
class Ciao(ProductRatings):
    """Ciao: user, item, category. Positive: a rating of 4 or 5 out of 0 to 5.

    Reads ``ratings.parquet`` with the columns user, item, category and rating (whole numbers),
    taken from ``rating.mat`` of Tang & Liu's crawl: 284,086 ratings, of which 1,436 repeat a pair
    of user and item and are dropped. The crawl's ``helpfulness`` is given by readers after the
    rating, so it is no field.
    """

    name = "ciao"
    title = "Ciao product ratings"
    lowest_rating = 0
