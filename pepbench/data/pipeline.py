"""Work done ahead of its consumer by threads, in order and bounded in number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from pepbench.cores import usable_cores

A = TypeVar("A")
B = TypeVar("B")

MOST_THREADS = 8


def usable_threads() -> int:
    """How many threads to read and encode with: the cores that this process may use."""
    return min(MOST_THREADS, usable_cores())


def ordered_map(
    function: Callable[[A], B], items: Iterable[A], threads: int | None = None
) -> Iterator[B]:
    """Apply a function in threads; results come in the order of the items.

    At most one item more than there are threads is worked on ahead. An exception is raised in
    its turn.

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


def ahead(items: Iterable[A], count: int = 2) -> Generator[A]:
    """The same items, produced by a thread of their own up to ``count`` ahead.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    source = iter(items)
    pending: deque[Future[list[A]]] = deque()
    with ThreadPoolExecutor(1) as pool:
        try:
            pending.extend(pool.submit(_take_one, source) for _ in range(count))
            while item := pending.popleft().result():
                pending.append(pool.submit(_take_one, source))
                yield item[0]
        finally:
            for future in pending:
                future.cancel()


def _take_one(source: Iterator[A]) -> list[A]:
    return list(islice(source, 1))
