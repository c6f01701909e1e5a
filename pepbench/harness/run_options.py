"""How a plan is run: workers, limits, and how a folder is shared. Nothing here changes a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, family
from pepbench.harness.trial import TrialContext
from pepbench.units import parse_part


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
