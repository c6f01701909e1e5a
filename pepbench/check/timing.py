"""Speed, memory and start-up, in units that a machine's mood does not change.

Every repetition is a worker process of its own (:mod:`pepbench.check.stopwatch`). Each figure's
values of now and of the baseline, on a logarithmic scale, are compared by the one-sided exact
Mann–Whitney test, after the baseline's were raised by the margin. It asks of the order of the
values only, so that one disturbed process cannot decide, and it holds its level whatever their
distribution. Rejected, "slower by at most the margin" becomes **slower**. All figures of a check
are one family, adjusted by Holm.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from pepbench.analysis.significance import holm
from pepbench.check.baseline import Metric
from pepbench.errors import PepbenchError
from pepbench.plan import Plan

TimeVerdict = Literal["within the margin", "slower", "larger"]

_START = [sys.executable, "-m", "pepbench", "--help"]
# Reads and runs as many modules of Python's own library.
_PLAIN_START = [
    sys.executable,
    "-c",
    "import argparse, asyncio, decimal, email.parser, html.parser, http.client, json, logging, "
    "pathlib, sqlite3, tarfile, unittest.mock, urllib.request, xml.etree.ElementTree, zipfile",
]


@dataclass(frozen=True)
class Slowdown:
    """What is shown about one figure.

    Attributes
    ----------
    verdict
        ``slower`` (``larger`` for memory) if more than the margin is shown.
    change
        Ratio of medians, now over baseline, minus 1.
    p
        Of the hypothesis that it has grown by at most the margin, adjusted by Holm.
    """

    verdict: TimeVerdict
    change: float
    p: float


def measure_time(
    plan: Plan,
    plugins: Sequence[Path],
    repetitions: int,
    progress: Callable[[int, int], None],
) -> list[Metric]:
    """Time every phase of every cell, the peak memory and the start-up, one process at a time.

    Raises
    ------
    PepbenchError
        If a worker process fails.
    """
    question = {
        "plan": plan.model_dump(mode="json"),
        "plugins": [str(path.resolve()) for path in plugins],
    }
    answers: list[dict[str, dict[str, float]]] = []
    starts: list[tuple[float, float]] = []
    for turn in range(repetitions):
        starts.append((_cpu_seconds(_START), _cpu_seconds(_PLAIN_START)))
        answers.append(_ask(question))
        progress(turn + 1, repetitions)
    return [*_step_metrics(answers), _memory_metric(answers), _start_metric(starts)]


def _step_metrics(answers: Sequence[dict[str, dict[str, float]]]) -> list[Metric]:
    names = [name for name in answers[0]["ratios"] if all(name in a["ratios"] for a in answers)]
    return [
        Metric(
            kind="time",
            subject=name,
            unit="steps/s",
            typical=statistics.median(answer["speeds"][name] for answer in answers),
            values=[answer["ratios"][name] for answer in answers],
        )
        for name in names
    ]


def _memory_metric(answers: Sequence[dict[str, dict[str, float]]]) -> Metric:
    peaks = [answer["memory"]["MiB"] for answer in answers]
    return Metric(
        kind="memory",
        subject="peak resident memory",
        unit="MiB",
        typical=statistics.median(peaks),
        values=peaks,
    )


def _start_metric(starts: Sequence[tuple[float, float]]) -> Metric:
    return Metric(
        kind="start-up",
        subject="pepbench --help",
        unit="CPU seconds",
        typical=statistics.median(ours for ours, _ in starts),
        values=[ours / plain for ours, plain in starts],
    )


def _ask(question: dict[str, Any]) -> dict[str, dict[str, float]]:
    done = subprocess.run(
        [sys.executable, "-m", "pepbench.check.stopwatch"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise PepbenchError(f"a process that times the cells failed: {lines[-1]}")
    answer: dict[str, dict[str, float]] = json.loads(done.stdout)
    return answer


def _cpu_seconds(command: Sequence[str]) -> float:
    """Processor time of a command, which does not hang on what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def judge_times(
    pairs: Sequence[tuple[Metric, Metric]], margin: float, alpha: float
) -> list[Slowdown]:
    """Compare figures, each as (baseline, now).

    Parameters
    ----------
    margin
        As a share: 0.1 allows a tenth more.
    alpha
        Level of the family.
    """
    adjusted = holm([p_slower(old.values, new.values, margin) for old, new in pairs])
    slowdowns = []
    for (old, new), p in zip(pairs, adjusted, strict=True):
        change = statistics.median(new.values) / statistics.median(old.values) - 1
        words: TimeVerdict = "larger" if new.kind == "memory" else "slower"
        slowdowns.append(Slowdown(words if p < alpha else "within the margin", change, float(p)))
    return slowdowns


def p_slower(old: Sequence[float], new: Sequence[float], margin: float) -> float:
    """Unadjusted p of the hypothesis that ``new`` exceeds ``old`` by at most the margin.

    >>> round(p_slower([1.0, 1.01, 0.99, 1.02], [1.3, 1.31, 1.29], 0.1), 4)
    0.0286
    """
    raised = np.log(old) + np.log1p(margin)
    test = stats.mannwhitneyu(np.log(new), raised, alternative="greater", method="exact")
    return float(test.pvalue)
