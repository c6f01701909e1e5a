"""Exceptions for what can be wrong with a user's input.

Each message says what is wrong, where, and what to do. The command line turns a
:class:`PepbenchError` into one line on standard error and exit code 2.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

EXIT_FAILED = 1
"""Exit code of a command that found something wrong: failed cells, a check that fails."""
EXIT_USAGE = 2
"""Exit code after a :class:`PepbenchError` or a wrong option."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers when there is no room to write."""

LONGEST_QUOTE = 60
"""Most characters of a wrong value in a message."""


class PepbenchError(Exception):
    """Base of all errors that the user can correct."""


class PlanError(PepbenchError):
    """A plan or a command-line option that cannot be run."""


class DataError(PepbenchError):
    """Raw data that cannot be read, or a cache that does not match it."""


class RecordError(PepbenchError):
    """A record or prediction file that cannot be used."""


class ServeError(PepbenchError):
    """An exported table that cannot be used, or values that cannot be looked up in it."""


class Infeasible(PepbenchError):
    """A budget that a method cannot meet: a result, not a mistake (the cell says ``infeasible``).

    The message names the smallest possible size or the remedy.
    """


class Diverged(PepbenchError):
    """Training produced a loss that is not finite."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known one.

    >>> unknown_name("method", "peb", ["mde", "pep"])
    "unknown method 'peb'; did you mean 'pep'? Known: mde, pep"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(names) or 'none'}"


def quoted(value: object) -> str:
    """A value as a message quotes it: on one line, and cut where it is long.

    >>> quoted("a" * 80)[-5:]
    'aaaa…'
    """
    written = " ".join(repr(value).split())
    return written if len(written) <= LONGEST_QUOTE else f"{written[:LONGEST_QUOTE]}…"
