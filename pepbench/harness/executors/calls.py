"""What goes to a worker and comes back: JSON there, JSON and plain arrays back."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

import pepbench
from pepbench.errors import PlanError
from pepbench.harness.trial import Outcome, TrialContext
from pepbench.records import Record, TrialSpec

TOLD_APART = ("pepbench", "torch", "numpy")
"""Versions that coordinator and workers must share: they may change results."""


@dataclass(frozen=True)
class Limits:
    """What a single trial may use; None is no limit."""

    seconds: float | None = None
    memory: int | None = None
    """Bytes that its worker process may keep resident."""

    def __bool__(self) -> bool:
        return self.seconds is not None or self.memory is not None


def versions() -> dict[str, str]:
    """Versions that this process runs with."""
    return {
        "pepbench": pepbench.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class Call:
    """Trials for a worker, with all that the worker must know."""

    specs: tuple[TrialSpec, ...]
    """One; or several that differ in their budgets alone, for one search to serve."""
    surroundings: TrialContext
    limits: Limits = Limits()
    raw: dict[str, str] = field(default_factory=dict)
    """Folders of raw files by data set, for workers whose cache lacks the data set."""
    versions: dict[str, str] = field(default_factory=versions)
    """The coordinator's."""

    def to_json(self) -> str:
        """The call as text; :meth:`from_json` reads it back."""
        return _CALLS.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Call:
        """The call that :meth:`to_json` wrote."""
        return _CALLS.validate_json(text)


_CALLS = TypeAdapter(Call)


class Answered(NamedTuple):
    """A trial's outcome in a form that crosses between machines."""

    record: str
    """JSON."""
    predictions: NDArray[np.float32] | None
    widths: NDArray[np.unsignedinteger] | None

    @classmethod
    def of(cls, outcome: Outcome) -> Answered:
        """Make an outcome ready to travel."""
        return cls(outcome.record.model_dump_json(), outcome.predictions, outcome.widths)

    def outcome(self) -> Outcome:
        """The outcome it was made of."""
        return Outcome(Record.model_validate_json(self.record), self.predictions, self.widths)


Answer = list[Answered]
"""The outcomes of one call, in the order of its trials."""


def refuse_other_versions(
    theirs: dict[str, dict[str, str]], here: dict[str, str] | None = None
) -> None:
    """Raise :class:`PlanError` if a worker runs with other versions than the coordinator.

    Parameters
    ----------
    theirs
        The versions of each worker, by its name.
    here
        The coordinator's; by default this process's.
    """
    here = here or versions()
    differing = [
        f"{worker}: {name} {found.get(name, 'missing')} (here {here[name]})"
        for worker, found in sorted(theirs.items())
        for name in TOLD_APART
        if found.get(name) != here[name]
    ]
    if differing:
        raise PlanError(
            f"workers differ from this machine: {'; '.join(differing)}; install the same versions"
        )
