"""How a plan is run: workers, limits, and how a folder is shared. Nothing here changes a result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, family
from pepbench.harness.status.live_files import LIVE_FOLDER
from pepbench.harness.trial import TrialContext
from pepbench.units import parse_bytes, parse_part, parse_seconds

LEAST_MEMORY = 10**8
"""Bytes below which a --memory-limit is a typing error: no trial could run."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a plan, ``number`` from 1.

    The budgets of a method in a fold stay together: they may share searches and start from one
    another.
    """

    number: int
    of: int

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of a plan that belong to this shard, in order."""
        families = list(dict.fromkeys(family(cell) for cell in cells))
        mine = set(families[self.number - 1 :: self.of])
        return [cell for cell in cells if family(cell) in mine]

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``; raises :class:`PlanError`."""
        try:
            return cls(*parse_part(text))
        except PlanError as error:
            raise PlanError(f"--shard: {error}") from None


@dataclass(frozen=True)
class RunOptions:
    """Everything that a run needs besides its plan and its folder."""

    jobs: int = 1
    """Workers, where pepbench starts them itself."""
    executor: str | None = None
    """``serial``, ``processes``, or a cluster such as ``dask://host:8786``; None: worker
    processes, or this process for a single job without limits."""
    cuda: tuple[str, ...] = ()
    """CUDA devices that local workers take in turn; empty: workers see what this process sees."""
    context: TrialContext = field(default_factory=TrialContext)
    """What is sent to the workers."""
    join: bool = False
    """Share the folder with a run that already works in it."""
    shard: Shard | None = None
    """Work on this part of the cells only."""
    retry_failed: bool = True
    """Run trials again that failed in an earlier run."""

    @property
    def shared(self) -> bool:
        """Whether other runs may write to the same folder."""
        return self.join or self.shard is not None


def run_options(
    folder: Path,
    plugins: tuple[Path, ...],
    cuda: tuple[str, ...] = (),
    *,
    jobs: int = 1,
    threads: int = 1,
    executor: str | None = None,
    trial_timeout: float | str | None = None,
    memory_limit: int | str | None = None,
    raw: Mapping[str, str | os.PathLike[str]] | None = None,
    join: bool = False,
    shard: str | None = None,
    retry_failed: bool = True,
) -> RunOptions:
    """The options of a run in a folder, as :func:`pepbench.api.run` has them.

    Raises
    ------
    PlanError
        If one of them is not legal.
    """
    folders = {name: Path(path).resolve() for name, path in (raw or {}).items()}
    for path in (folder, *plugins, *folders.values()):
        _refuse_other_names(path)
    return RunOptions(
        jobs=jobs,
        executor=executor,
        cuda=cuda,
        context=TrialContext(
            plugins=plugins,
            threads=threads,
            live=folder / LIVE_FOLDER,
            max_seconds=_limit("--trial-timeout", parse_seconds, trial_timeout),
            max_bytes=_limit("--memory-limit", _process_bytes, memory_limit),
            raw={name: str(path) for name, path in folders.items()},
        ),
        join=join,
        shard=None if shard is None else Shard.parse(shard),
        retry_failed=retry_failed,
    )


def _refuse_other_names(path: Path) -> None:
    """Refuse what JSON cannot hold, since workers and records are told of it so."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PlanError(f"{path}: the name is no UTF-8 text; choose or give another") from None


def _limit(option: str, parse: Callable[[str], Number], value: float | str | None) -> Number | None:
    try:
        return None if value is None else parse(str(value))
    except PlanError as error:
        raise PlanError(f"{option}: {error}") from None


def _process_bytes(text: str) -> int:
    size = parse_bytes(text)
    if size < LEAST_MEMORY:
        raise PlanError(f"{text!r} is less than torch alone takes, 0.3 GB; write, say, 4GB")
    return size
