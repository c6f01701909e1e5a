"""What every executor offers the coordinator."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from pepbench.harness.executors.calls import Answer, Call, Limits


@dataclass(frozen=True)
class Settings:
    """How trials are run; decides no result."""

    jobs: int = 1
    """Workers, where pepbench starts them itself."""
    threads: int = 1
    """Torch threads of each."""
    limits: Limits = field(default_factory=Limits)
    cuda: tuple[str, ...] = ()
    """CUDA devices dealt to local workers in turn; empty: none are dealt."""
    raw: dict[str, str] = field(default_factory=dict)
    """Folders of raw files by data set, for workers whose cache lacks one."""


class Pool(Protocol):
    """Runs trials somewhere. Each is tried again if its worker dies, then comes back failed."""

    @property
    def workers(self) -> int:
        """How many trials can run side by side now, at least one."""

    def submit(self, call: Call) -> Future[Answer]:
        """Start a trial as soon as a worker is free."""

    def died(self, error: BaseException) -> str | None:
        """The reason, if ``error`` says that a trial's worker died too often."""

    def close(self) -> None:
        """Let the workers go; none is at work."""

    def stop_at_once(self) -> None:
        """Give up running trials."""
