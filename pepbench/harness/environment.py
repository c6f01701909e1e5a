"""Where and on what a trial runs: versions, processor, memory, a yardstick for time."""

from __future__ import annotations

import functools
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import llvmlite.binding
import numpy as np
import torch
from torch import nn

import pepbench
from pepbench.errors import PepbenchError, PlanError
from pepbench.records import Environment, OptimizerKind, Precision


def check_device(
    name: str, optimizer: OptimizerKind = "auto", precision: Precision = "float32"
) -> None:
    """Raise :class:`PlanError` if this machine lacks the device, or it what the plan wants."""
    device = torch.device(name)
    if device.type != "cpu" and optimizer in ("lazy-adam", "row-adagrad"):
        raise PlanError(f"optimizer {optimizer!r} works by the row, on the CPU only; write auto")
    if device.type == "cpu" and precision != "float32":
        raise PlanError(f"precision {precision!r} is for --device cuda; write float32")
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= present:
        raise PlanError(f"device {name!r} is not here ({present} CUDA devices); write --device cpu")


def cuda_devices(name: str) -> tuple[str, ...]:
    """The devices that ``--device`` deals to worker processes, for ``CUDA_VISIBLE_DEVICES``.

    ``cuda:0,1`` names them; ``cuda`` alone is all that this process sees. A single device by
    number, and the CPU, are not dealt.

    >>> cuda_devices("cpu")
    ()
    """
    kind, _, numbers = name.partition(":")
    if kind != "cuda" or (numbers and "," not in numbers):
        return ()
    visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    visible = visible or [str(number) for number in range(torch.cuda.device_count())]
    if not numbers:
        return tuple(visible)
    try:
        return tuple(visible[int(part)] for part in numbers.split(","))
    except (ValueError, IndexError):
        raise PlanError(
            f"--device: {name!r} names a device that is not here ({len(visible)} CUDA devices)"
        ) from None


@functools.cache
def environment(threads: int) -> Environment:
    """TrialContext of this process."""
    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        pepbench=pepbench.__version__,
        git=_git_revision(),
        cpu=_processor(),
        host=socket.gethostname(),
        threads=threads,
        instructions=_instructions(),
    )


def check_memory(n_parameters: int, available: int | None = None) -> None:
    """Raise before a table is allocated that cannot be trained in this machine's memory.

    Training holds a float32 value, two moments and the best epoch's copy of each parameter.

    Parameters
    ----------
    n_parameters
        Of the embedding.
    available
        Bytes; by default what the kernel says is available, unchecked where it does not tell.
    """
    if available is None:
        available = _available_bytes()
    needed = 4 * 4 * n_parameters
    if available is not None and needed > available:
        raise PepbenchError(
            f"{n_parameters:,} embedding parameters need at least {needed / 2**30:.1f} GiB to "
            f"train, {available / 2**30:.1f} GiB are available; lower dim or the budget"
        )


def calibration_seconds() -> float:
    """Wall time of a fixed workload, for comparing times between machines.

    A hundred steps of a small dense model on fixed random numbers; the fastest of three rounds of
    a few milliseconds each.
    """
    # The generator's state is put back: the yardstick must not change the trial.
    state = torch.get_rng_state()
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    rows = torch.randn(256, 64)
    optimizer = torch.optim.Adam(layer.parameters())
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(100):
            optimizer.zero_grad()
            layer(rows).square().mean().backward()
            optimizer.step()
        rounds.append(time.perf_counter() - start)
    torch.set_rng_state(state)
    return min(rounds)


class PeakMemory:
    """Peak resident memory since construction, in MiB.

    On Linux the kernel's high-water mark is reset, so that trials in one worker process do not
    inherit each other's peaks. Elsewhere it is the peak of the process so far.
    """

    def __init__(self) -> None:
        self._resettable = _reset_high_water_mark()

    def mib(self) -> float:
        """The peak so far."""
        if self._resettable:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def _reset_high_water_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _available_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _git_revision() -> str | None:
    folder = Path(pepbench.__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        # Tracked: a package that merely lies in somebody else's repository has no revision.
        subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"],
            check=True,
            capture_output=True,
            timeout=10,
        )
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _instructions() -> str:
    # As the two compilers see it, whose code does the sums: numba's, and torch's by its level.
    return f"{llvmlite.binding.get_host_cpu_name()} {torch.backends.cpu.get_cpu_capability()}"
