"""Speed, memory and start-up time of a check, and the tests of a slowdown.

Each repetition is a process of its own (:mod:`pepbench.check.stopwatch`). A figure's values in the
baseline, multiplied by the growth in question, and its values now are compared by the one-sided
exact Mann–Whitney test. It uses only the order of the values: a single disturbed process cannot
decide it, and its level holds for any distribution. Two hypotheses are tested for each figure:

* It has grown by at most the margin. If rejected, it is **slower** (memory: **larger**).
* It has grown by twice the margin or more. If rejected, it is **within the margin**, roughly.

If neither is rejected, it is **undecided**: processes differ too much, and
:func:`repetitions_needed` says how many are needed. All figures of a check form one family for
each of the hypotheses, adjusted by Holm.
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
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pepbench.analysis.significance import holm
from pepbench.check.baseline import Metric
from pepbench.errors import PepbenchError
from pepbench.plan import Plan

TimeVerdict = Literal["within the margin", "undecided", "slower", "larger"]

RECORDED = 2
"""Repetitions of a baseline for each one of a check, since a baseline is used many times."""

FEWEST_REPETITIONS, MOST_REPETITIONS = 5, 100
"""Fewest repetitions with which anything can be shown; most that are suggested."""

POWER = 0.95
"""Probability of finding a growth of twice the margin with the suggested repetitions."""

_RUN = "import runpy; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
# Reads and runs as many modules of Python's own library as `pepbench --help` does.
_PLAIN_IMPORTS = (
    "import argparse, asyncio, decimal, email.parser, html.parser, http.client, json, logging, "
    "pathlib, sqlite3, tarfile, unittest.mock, urllib.request, xml.etree.ElementTree, zipfile"
)


@dataclass(frozen=True)
class Slowdown:
    """The verdict on one figure.

    Attributes
    ----------
    verdict
        See the module's docstring.
    change
        Ratio of medians, now over baseline, minus 1.
    p
        P-value of the hypothesis that it has grown by at most the margin, adjusted by Holm.
    spread
        Relative standard deviation between processes, estimated from the middle half, which a
        single process does not change.
    """

    verdict: TimeVerdict
    change: float
    p: float
    spread: float


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
        ours = _cpu_seconds(_python(_RUN.format("pepbench"), "--help"))
        starts.append((ours, _cpu_seconds(_python(_PLAIN_IMPORTS))))
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
        _python(_RUN.format("pepbench.check.stopwatch")),
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


def _python(code: str, *arguments: str) -> list[str]:
    """A command that runs code in a new process, with the modules that this process would import.

    ``python -m`` would look in the working directory first: in a clone of the repository it would
    find the clone rather than the package that is running.
    """
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {sys.path}; {code}", *arguments]


def _cpu_seconds(command: Sequence[str]) -> float:
    """CPU time of a command, which depends little on the load of the machine."""
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
        Tolerated growth, as a share.
    alpha
        Level of the family of tests.
    """
    grown = holm([p_slower(old.values, new.values, margin) for old, new in pairs])
    within = holm([p_not_slower(old.values, new.values, 2 * margin) for old, new in pairs])
    slowdowns = []
    for (old, new), p, p_within in zip(pairs, grown, within, strict=True):
        change = statistics.median(new.values) / statistics.median(old.values) - 1
        verdict: TimeVerdict = "within the margin" if p_within < alpha else "undecided"
        if p < alpha:
            verdict = "larger" if new.kind == "memory" else "slower"
        slowdowns.append(Slowdown(verdict, change, float(p), spread(old.values, new.values)))
    return slowdowns


def spread(old: Sequence[float], new: Sequence[float]) -> float:
    """Standard deviation of logarithms within both groups, from their middle halves.

    >>> round(spread([1.0, 1.1, 0.9, 1.05, 0.95], [2.0, 2.2, 1.8, 2.1, 20.0]), 2)
    0.07
    """
    width = stats.norm.ppf(0.75) - stats.norm.ppf(0.25)
    middles = [np.subtract(*np.quantile(np.log(values), [0.75, 0.25])) for values in (old, new)]
    degrees = [len(old) - 1, len(new) - 1]
    return float(np.sqrt(np.average(np.square(middles), weights=degrees)) / width)


def repetitions_needed(spread: float, margin: float, figures: int, alpha: float) -> int | None:
    """Repetitions that find a growth of twice the margin with probability :data:`POWER`.

    The baseline has :data:`RECORDED` times as many. Mean and variance of the Mann–Whitney
    statistic are those of normal logarithms, the rest is the normal approximation, at the level
    that Holm's first step leaves a figure.

    Parameters
    ----------
    spread
        Standard deviation of logarithms.
    figures
        Number of figures in the check.

    Returns
    -------
    int or None
        None if more than :data:`MOST_REPETITIONS` are needed.

    Examples
    --------
    >>> repetitions_needed(0.02, 0.1, 10, 0.05), repetitions_needed(0.06, 0.1, 10, 0.05)
    (5, 15)
    """
    if spread == 0:
        return FEWEST_REPETITIONS
    growth = np.log1p(2 * margin) - np.log1p(margin)
    beyond = growth / (np.sqrt(2) * spread)
    # Probability that a process now is slower than one of the baseline, and than two of them.
    wins = stats.norm.cdf(beyond)
    wins_twice = stats.multivariate_normal.cdf([beyond] * 2, cov=[[1, 0.5], [0.5, 1]])
    now = np.arange(FEWEST_REPETITIONS, MOST_REPETITIONS + 1)
    before = RECORDED * now
    pairs = now * before
    least = pairs / 2 + 0.5
    least += stats.norm.isf(alpha / figures) * np.sqrt(pairs * (now + before + 1) / 12)
    variance = pairs * (wins * (1 - wins) + (now + before - 2) * (wins_twice - wins**2))
    power = stats.norm.cdf((pairs * wins - least) / np.sqrt(variance))
    enough = (least <= pairs) & (power >= POWER)
    return int(now[enough.argmax()]) if enough.any() else None


def p_slower(old: ArrayLike, new: ArrayLike, margin: float) -> NDArray[np.float64]:
    """Unadjusted p-value of the hypothesis that ``new`` exceeds ``old`` by at most the margin.

    Values are along the last axis; other axes are separate tests.

    >>> float(p_slower([1.0, 1.01, 0.99, 1.02], [1.3, 1.31, 1.29], 0.1).round(4))
    0.0286
    """
    return _p(old, new, margin, "greater")


def p_not_slower(old: ArrayLike, new: ArrayLike, growth: float) -> NDArray[np.float64]:
    """Unadjusted p-value of the hypothesis that ``new`` exceeds ``old`` by ``growth`` or more.

    Shapes as for :func:`p_slower`.

    >>> float(p_not_slower([1.0, 1.01, 0.99, 1.02], [1.0, 1.03, 0.98], 0.2).round(4))
    0.0286
    """
    return _p(old, new, growth, "less")


def _p(
    old: ArrayLike, new: ArrayLike, growth: float, alternative: Literal["greater", "less"]
) -> NDArray[np.float64]:
    raised = np.log(old) + np.log1p(growth)
    test = stats.mannwhitneyu(np.log(new), raised, axis=-1, alternative=alternative, method="exact")
    return np.asarray(test.pvalue)
