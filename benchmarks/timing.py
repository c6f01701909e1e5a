"""Fair timing of alternatives: interleaved rounds in one process, medians of samples per second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping


def interleaved(
    contenders: Mapping[str, Callable[[], int]], rounds: int, warm_up: int = 1
) -> dict[str, float]:
    """Samples per second of each contender, median over ``rounds``.

    A contender does a piece of work and returns how many samples it was. Contenders take turns, so
    that a change of the machine's speed meets all of them.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + rounds):
        for name, work in contenders.items():
            start = time.perf_counter()
            samples = work()
            seconds = time.perf_counter() - start
            if turn >= warm_up:
                speeds[name].append(samples / seconds)
    return {name: statistics.median(values) for name, values in speeds.items()}


def piece(steps: Iterator[int], seconds: float) -> Callable[[], int]:
    """Work for :func:`interleaved`: at least one of ``steps``, and more until ``seconds`` are over.

    A step says of how many samples it was.
    """

    def work() -> int:
        end = time.perf_counter() + seconds
        samples = next(steps)
        while time.perf_counter() < end:
            samples += next(steps)
        return samples

    return work
