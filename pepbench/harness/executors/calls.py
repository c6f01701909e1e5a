"""What executors offer the coordinator, and what travels to a worker and back.

A call goes to its worker as JSON; records come back as JSON, with plain arrays beside them.
"""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from concurrent.futures import Future
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

MATCHED_VERSIONS = ("pepbench", "torch", "numpy")
"""Packages that may change results: coordinator and workers must have the same versions."""

SIZE_CHECK_SECONDS = 2.0
"""How often a cluster is asked for the number of its workers."""


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
    """Trials for a worker, with everything that the worker must know."""

    specs: tuple[TrialSpec, ...]
    """One, or several that differ only in their budgets, so that one search can serve them."""
    context: TrialContext
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


class PackedOutcome(NamedTuple):
    """A trial's outcome in a form that crosses between machines."""

    record: str
    """JSON."""
    predictions: NDArray[np.float32] | None
    widths: NDArray[np.unsignedinteger] | None

    @classmethod
    def pack(cls, outcome: Outcome) -> PackedOutcome:
        """Make an outcome ready to travel."""
        return cls(outcome.record.model_dump_json(), outcome.predictions, outcome.widths)

    def unpack(self) -> Outcome:
        """The outcome that was packed."""
        return Outcome(Record.model_validate_json(self.record), self.predictions, self.widths)


Answer = list[PackedOutcome]
"""The outcomes of one call, in the order of its trials."""


class Pool(ABC):
    """Workers somewhere. A trial that kills its worker is retried, then comes back as failed."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many trials can run side by side now, at least one."""

    @abstractmethod
    def submit(self, call: Call) -> Future[Answer]:
        """Start the trials of a call as soon as a worker is free."""

    def died(self, error: BaseException) -> str | None:  # noqa: ARG002
        """The reason, if ``error`` says that a trial's worker died too often."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the workers, which are idle."""

    @abstractmethod
    def stop_at_once(self) -> None:
        """Abandon running trials."""


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
        for name in MATCHED_VERSIONS
        if found.get(name) != here[name]
    ]
    if differing:
        raise PlanError(
            f"workers differ from this machine: {'; '.join(differing)}; install the same versions"
        )
