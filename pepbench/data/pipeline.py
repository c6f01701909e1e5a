"""Threads that work in advance of their consumer: results in order, a bounded number at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice, repeat
from typing import TypeVar

from pepbench.cores import usable_cores

A = TypeVar("A")
B = TypeVar("B")

MOST_THREADS = 8


def usable_threads() -> int:
    """Number of threads to read and encode with: the cores that this process may use."""
    return min(MOST_THREADS, usable_cores())


def ordered_map(
    function: Callable[[A], B], items: Iterable[A], threads: int | None = None
) -> Generator[B]:
    """Apply a function in threads; results come in the order of the items.

    At most one item more than there are threads is worked on in advance. An exception is raised
    when its result is due.

    >>> list(ordered_map(str, range(3), threads=2))
    ['0', '1', '2']
    """
    threads = threads or usable_threads()
    pending: deque[Future[B]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            pending.extend(pool.submit(function, item) for item in islice(source, threads + 1))
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()


def prefetched(items: Iterable[A]) -> Generator[A]:
    """The same items, produced by a thread of their own, up to two in advance.

    >>> list(prefetched(iter("abc")))
    ['a', 'b', 'c']
    """
    one_by_one = ordered_map(lambda source: list(islice(source, 1)), repeat(iter(items)), threads=1)
    with closing(one_by_one):
        for item in one_by_one:
            if not item:
                return
            yield item[0]
