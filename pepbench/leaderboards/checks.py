"""The outcome of a check of what is published or handed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes
    ----------
    good
        Whether it passed; None if it could not be checked here.
    line
        What was checked, and the outcome.
    """

    good: bool | None
    line: str
