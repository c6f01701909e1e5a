"""The machine that a trial runs on: versions, processor, memory."""

from __future__ import annotations

import functools
import os
import platform
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import psutil
import torch

import pepbench
from pepbench.component import OptimizerKind
from pepbench.errors import PepbenchError, PlanError
from pepbench.records import Environment, Precision


def check_device(
    name: str, optimizer: OptimizerKind = "auto", precision: Precision = "float32"
) -> None:
    """Raise :class:`PlanError` if the device is missing or cannot do what the plan asks for."""
    device = torch.device(name)
    if device.type != "cpu" and optimizer in ("lazy-adam", "row-adagrad"):
        raise PlanError(f"optimizer {optimizer!r} works by the row, on the CPU only; write auto")
    if device.type == "cpu" and precision != "float32":
        raise PlanError(f"precision {precision!r} is for --device cuda; write float32")
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= present:
        raise PlanError(f"device {name!r} is not here ({present} CUDA devices); write --device cpu")


def cuda_devices(name: str) -> tuple[str, ...]:
    """Values of ``CUDA_VISIBLE_DEVICES`` for worker processes, which take them in turn.

    ``cuda:0,1`` names devices; ``cuda`` alone means all that this process sees. For a single
    device by number, and for the CPU, there are none: workers see what this process sees.

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
    """Versions and hardware that this process runs with."""
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
        Bytes; by default what the system says is available.
    """
    if available is None:
        available = psutil.virtual_memory().available
    needed = 4 * 4 * n_parameters
    if needed > available:
        raise PepbenchError(
            f"{n_parameters:,} embedding parameters need at least {needed / 2**30:.1f} GiB to "
            f"train, {available / 2**30:.1f} GiB are available; lower dim or the budget"
        )


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


def _git_revision() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(pepbench.__file__).parent), *arguments]
        options: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
        return str(subprocess.run(command, timeout=10, **options).stdout).strip()

    try:
        # A package that merely lies in somebody else's repository is not tracked by it.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _instructions() -> str:
    # As seen by the two compilers that produce the kernels: numba's and torch's.
    return f"{llvmlite.binding.get_host_cpu_name()} {torch.backends.cpu.get_cpu_capability()}"
