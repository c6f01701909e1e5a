"""Goals for the suite's speed, and whether a run of the benchmark meets them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import ours

SMALL, MIDDLE, LARGE, LARGEST = 10_000, 100_000, 1_000_000, 10_000_000


@dataclass(frozen=True)
class Goal:
    """A figure and its bound."""

    question: str
    setting: str
    """Backbone and threads."""
    size: str
    """Of the table."""
    figure: float
    limit: float
    at_least: bool
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is within the bound."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def goals(document: dict[str, Any]) -> list[Goal]:
    """All that the results in ``document`` can answer."""
    results = document["results"]
    found = [goal for result in results for goal in _of_result(result)]
    found += _growth(results)
    start = document["start_seconds"]["total"]
    found.append(Goal("seconds to the first step", "fm", "synthetic", start, 1.0, False))
    return found


def _of_result(result: dict[str, Any]) -> Iterator[Goal]:
    speeds = result["samples_per_second"]
    where = _setting(result["backbone"], result["threads"]), short(result["features"])
    uniform = speeds[ours.UNIFORM]
    searches = {kind: speeds[kind] for kind in (ours.PEP_DENSE, ours.PEP_BY_ROW) if kind in speeds}
    if searches:
        mode, search = max(searches.items(), key=lambda item: item[1])
        limits = {SMALL: 5.0, LARGE: 12.0}
        if "plain PEP" in speeds and result["features"] in limits:
            ratio, limit = search / speeds["plain PEP"], limits[result["features"]]
            yield Goal("PEP over its transcription", *where, ratio, limit, True, mode)
        ratio, limit = uniform / search, 1.5 if result["features"] >= LARGE else 1.3
        yield Goal("PEP's search step over a uniform step", *where, ratio, limit, False, mode)
    if ours.MASK in speeds:
        ratio = uniform / speeds[ours.MASK]
        yield Goal("masked step over a uniform step", *where, ratio, 1.05, False)
    if result["ours_over_theirs"]:
        name, ratio = min(result["ours_over_theirs"].items(), key=lambda item: item[1])
        yield Goal("ours over the fastest competitor", *where, ratio, 1.0, True, name)
    ratio = speeds[ours.VALIDATION] / uniform
    yield Goal("validation over training", *where, ratio, 5.0, True)


def _growth(results: list[dict[str, Any]]) -> Iterator[Goal]:
    """Cost per sample at 10 million features over that at 100 thousand."""
    by_key = {(r["features"], r["backbone"], r["threads"]): r for r in results}
    for (features, backbone, threads), middle in by_key.items():
        largest = by_key.get((LARGEST, backbone, threads))
        if features != MIDDLE or largest is None:
            continue
        for kind in (ours.UNIFORM, ours.PEP_BY_ROW):
            if kind not in largest["samples_per_second"]:
                continue
            ratio = middle["samples_per_second"][kind] / largest["samples_per_second"][kind]
            setting = _setting(backbone, threads)
            yield Goal(
                "cost of a sample over that at 100k", setting, "10M", ratio, 1.3, False, kind
            )


def _setting(backbone: str, threads: int) -> str:
    return f"{backbone}, {threads} thread{'s'[: threads > 1]}"


def short(count: int) -> str:
    """A count of features in a few letters.

    >>> short(10_000), short(1_000_000)
    ('10k', '1M')
    """
    return f"{count // 1_000_000}M" if count >= 1_000_000 else f"{count // 1000}k"
