"""The process that times cells: each cell's first fit, alternating with a fixed workload.

Run by :mod:`pepbench.check.timing`: it reads a plan from standard input and writes
figures to standard output. Each repetition is a process of its own, because the layout of memory,
which influences speed, differs between processes but not between repetitions within one.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.check.plan import trials_of
from pepbench.component import OptimizerKind
from pepbench.errors import PepbenchError
from pepbench.harness.cells import Cell, expand
from pepbench.harness.environment import PeakMemory
from pepbench.method import Factors, Method
from pepbench.plan import Plan
from pepbench.printing import prints_to_stderr
from pepbench.records import TrialSpec
from pepbench.training.process_settings import flushed_denormals, keep_freed_memory
from pepbench.training.task import TrialTask

PIECES = 24
"""Number of timed pieces of a phase."""

FEWEST_PIECES = 5
"""Fewest pieces of a phase that is reported."""

PIECE_STEPS = 20
"""Updates between two runs of the fixed workload."""


def own_seconds() -> float:
    """Wall time in seconds, without the time that the thread waits for a processor.

    Other programs on the machine do not count; waiting for locks and files does. Outside Linux,
    where waiting times are unknown, it is the wall clock.
    """
    before = _waited()
    while True:
        moment = time.perf_counter()
        waited = _waited()
        # Otherwise the thread was interrupted between the two readings.
        if waited == before:
            return moment - waited
        before = waited


def _waited() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def fixed_workload() -> Callable[[], float]:
    """A fixed workload in plain torch, which does not change with this program.

    Steps of a factorisation machine with Adam on random rows: small tensor operations called from
    Python, gathers and scatters in a table, passes over its moments, as in what is measured.

    Returns
    -------
    Callable
        Does one piece (some 10 ms) and returns its seconds.
    """
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(4000, 16, generator=generator) * 0.1
    moments = torch.zeros_like(table), torch.zeros_like(table)
    ids = torch.randint(4000, (20, 256, 8), generator=generator)
    labels = torch.randint(2, (20, 256), generator=generator).float()

    def piece() -> float:
        began = own_seconds()
        for rows, targets in zip(ids, labels, strict=True):
            _plain_step(table, moments, rows, targets)
        return own_seconds() - began

    return piece


def _plain_step(
    table: Tensor, moments: tuple[Tensor, Tensor], rows: Tensor, labels: Tensor
) -> None:
    values = table.detach().requires_grad_()
    vectors = functional.embedding(rows, values)
    logits = 0.5 * (vectors.sum(1).square().sum(1) - vectors.square().sum((1, 2)))
    functional.binary_cross_entropy_with_logits(logits, labels).backward()  # type: ignore[no-untyped-call]
    gradient = cast(Tensor, values.grad)
    first, second = moments
    first.lerp_(gradient, 0.1)
    second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    table.addcdiv_(first, second.sqrt().add_(1e-8), value=-1e-4)


class Enough(BaseException):
    """Raised when all pieces are timed; not an ``Exception``, so that methods do not catch it."""


@dataclass(eq=False)
class Probe:
    """Times the pieces of a fit, and the fixed workload between them.

    Parameters
    ----------
    piece
        As :func:`fixed_workload` returns it.
    """

    piece: Callable[[], float]
    steps: dict[str, list[float]] = field(default_factory=dict)
    """By phase: seconds of a step, a figure for each piece."""
    fixed: dict[str, list[float]] = field(default_factory=dict)
    """By phase: seconds of the fixed workload after each piece."""
    _phase: str = ""
    _count: int = 0
    _since: float = 0.0

    def after_step(self, phase: str) -> None:
        """Count an update; at the end of a piece, record its time and run the fixed workload."""
        if phase != self._phase:
            # The time before the first step, and the first piece (a warm-up), do not count.
            self._phase, self._count, self._since = phase, -PIECE_STEPS, own_seconds()
        self._count += 1
        if self._count == 0:
            self._since = own_seconds()
        if self._count < PIECE_STEPS or len(self.steps.get(phase, [])) >= PIECES:
            return
        seconds = own_seconds() - self._since
        self.steps.setdefault(phase, []).append(seconds / PIECE_STEPS)
        self.fixed.setdefault(phase, []).append(self.piece())
        if phase == "train" and len(self.steps[phase]) >= PIECES:
            raise Enough
        self._count, self._since = 0, own_seconds()


class TimedTask(TrialTask):
    """A task that calls a probe after every update, in any training loop."""

    def __init__(self, cell: Cell, spec: TrialSpec, probe: Probe) -> None:
        super().__init__(
            cell.splits.fields,
            spec.dim,
            cell.splits.train,
            cell.splits.validation,
            cast(Backbone, cell.backbone.default()),
            spec.training,
            spec.seed,
            torch.device(spec.device),
        )
        self._probe = probe

    def optimizer(
        self,
        model: nn.Module,
        rates: Factors | None = None,
        decays: Factors | None = None,
        kind: OptimizerKind | None = None,
    ) -> torch.optim.Optimizer:
        """The task's optimizer, with a call of the probe after each step."""
        optimizer = super().optimizer(model, rates, decays, kind)
        optimizer.register_step_post_hook(lambda *_: self._probe.after_step(self.clock.running))
        return optimizer


def time_cells(plan: Plan, plugins: tuple[Path, ...]) -> dict[str, dict[str, float]]:
    """Speed of every cell and phase, and the peak memory of all.

    Returns
    -------
    dict
        ``ratios`` and ``speeds`` by ``cell: phase``; ``memory`` with the key ``MiB``. Cells that
        cannot be fitted are left out; the accuracy part reports why.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    piece = fixed_workload()
    for _ in range(3):
        piece()
    memory = PeakMemory()
    ratios: dict[str, float] = {}
    speeds: dict[str, float] = {}
    for cell in expand(plan, Catalog(plugins)):
        probe = Probe(piece)
        with suppress(Enough, Exception), flushed_denormals():
            _fit(cell, probe)
        for phase, values in probe.steps.items():
            if len(values) < FEWEST_PIECES:
                continue
            name = f"{cell.name.listed()}: {phase}"
            ratios[name] = _undisturbed(values) / _undisturbed(probe.fixed[phase])
            speeds[name] = 1 / statistics.median(values)
    return {"ratios": ratios, "speeds": speeds, "memory": {"MiB": memory.mib()}}


def _undisturbed(seconds: list[float]) -> float:
    """The first decile: nine of ten pieces were disturbed at least as much.

    Of medians, quartiles, deciles, minima and medians of paired ratios, it differed least between
    processes (3.4 % on a machine with ten times as much to do as it has processors; medians 9 %).
    """
    return statistics.quantiles(seconds, n=10, method="inclusive")[0]


def _fit(cell: Cell, probe: Probe) -> None:
    spec = trials_of(cell)[0]
    task = TimedTask(cell, spec, probe)
    torch.manual_seed(spec.seed)
    with task.phase("train"):
        cast(Method, cell.method.default()).fit(task, spec.budget_parameters)


def main() -> None:
    """Time the plan on standard input."""
    asked = json.load(sys.stdin)
    plan = Plan.model_validate_json(json.dumps(asked["plan"]))
    try:
        with prints_to_stderr():
            answer = time_cells(plan, tuple(map(Path, asked["plugins"])))
    except PepbenchError as error:
        sys.exit(str(error))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
