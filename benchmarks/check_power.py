"""False alarms of ``pepbench check``, and its power to find what has got worse.

``python -m benchmarks.check_power --json``. Four parts, each also alone (``--part``):

* **accuracy**: ``hash`` and ``full`` of the built-in check plan, a pool of training runs each, and
  checks of five seeds drawn from it. Unchanged but for rounding: trained anew with L2 changed in
  its seventh digit, so that every float differs. Unchanged but for luck: trained with other seeds,
  as after a change that draws other random numbers. Worse: as either, with noise on the logits that
  costs 0.003 of AUC on average. Only one of a check's six cells is worse, the hardest case.
* **loss**: the same loss, by noise on the ranks of the predictions in a baseline file, cell by
  cell; no model is trained.
* **time**: worker processes as a check starts them, each of which times both cells as they are, and
  once more with every step made longer by a share, by a loop of fixed length (reported as
  ``ratio``). Checks are resampled from these processes: so many for the baseline, others for now.
  Only one figure of ten is slower. ``--keep FILE`` appends
  each process to a file, and takes what is there, too; ``--processes 0`` adds none.
* **spread**: the same test on log-normal figures of a given spread between processes, for machines
  that are calmer or noisier than this one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.significance import compare
from pepbench.catalog import Catalog
from pepbench.check.baseline import read_baseline
from pepbench.check.findings import ALPHA, Tolerance
from pepbench.check.plan import BUILT_IN, trials_of
from pepbench.check.run_check import CheckOptions
from pepbench.check.stopwatch import time_cells
from pepbench.check.timing import RECORDED, p_not_slower, p_slower, repetitions_needed
from pepbench.harness.cells import Cell, expand
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.metrics import auc
from pepbench.training import task

METHODS = ("full", "hash")
TOLERANCE = Tolerance()
CELLS, FIGURES = 6, 10
"""Of a check with the built-in plan: so large are the families that Holm adjusts for."""
LOSS = 0.003
GROWTHS = (0.0, TOLERANCE.time_margin, 2 * TOLERANCE.time_margin, 3 * TOLERANCE.time_margin)
REPETITIONS = (7, 11, 15, 20, 25)
FIRST_PASSES = 100
ROUNDING = 1 + 1e-6
Scores = NDArray[np.float64]


def logits_of(cell: Cell, seeds: int, l2_factor: float) -> Scores:
    """Test logits of several runs: (seeds, n)."""
    lines = []
    first = trials_of(cell)[0]
    training = first.training.model_copy(update={"l2": first.training.l2 * l2_factor})
    for seed in range(seeds):
        spec = first.model_copy(update={"seed": seed, "training": training})
        predictions = run_trial(spec, TrialContext()).predictions
        assert predictions is not None
        wide = predictions.astype(np.float64)
        lines.append(np.log(wide) - np.log1p(-wide))
    return np.stack(lines)


def noise_for(logits: Scores, labels: NDArray[np.integer], rng: np.random.Generator) -> float:
    """Standard deviation of the noise on logits that costs :data:`LOSS` on average over runs."""
    before = np.mean([auc(labels, line) for line in logits])
    noise = rng.standard_normal((8, *logits.shape))
    low, high = 0.0, float(logits.std())
    for _ in range(20):
        middle = (low + high) / 2
        noisy = (logits + middle * noise).reshape(-1, logits.shape[-1])
        after = np.mean([auc(labels, line) for line in noisy])
        low, high = (middle, high) if before - after < LOSS else (low, middle)
    return low


def accuracy_study(methods: tuple[str, ...], checks: int, pool: int) -> list[dict[str, Any]]:
    """Shares of checks that fail, that pass as non-inferior, and that leave the cell undecided."""
    rng = np.random.default_rng(0)
    rows = []
    plan = BUILT_IN.model_copy(update={"methods": methods})
    for cell in expand(plan, Catalog(())):
        labels = cell.splits.open_test().labels
        old = logits_of(cell, pool, 1.0)
        rounded = logits_of(cell, pool, ROUNDING)
        noise = noise_for(old, labels, rng)
        for luck in ("rounding", "other seeds"):
            for loss in (0.0, LOSS):
                counts = {"worse": 0, "non-inferior": 0, "undecided": 0}
                changes = []
                for _ in range(checks):
                    drawn = rng.permutation(pool)
                    seeds, others = drawn[: plan.seeds], drawn[plan.seeds : 2 * plan.seeds]
                    new = rounded[seeds] if luck == "rounding" else old[others]
                    if loss:
                        new = new + noise * rng.standard_normal(new.shape)
                    before = old[seeds]
                    counts[_verdict(labels, before, new)] += 1
                    changes.append(_mean_auc(labels, new) - _mean_auc(labels, before))
                shares = {name: count / checks for name, count in counts.items()}
                mean = float(np.mean(changes))
                rows.append(
                    {"method": cell.name[2], "changed": luck, "loss": loss, "mean_change": mean}
                    | shares
                )
    return rows


def loss_study(path: Path, checks: int) -> list[dict[str, Any]]:
    """Shares of checks that find a loss in one cell of a baseline, with its own seeds."""
    rng = np.random.default_rng(0)
    baseline = read_baseline(path)
    rows = []
    for cell, figures in zip(expand(baseline.plan, Catalog(())), baseline.cells, strict=True):
        assert figures.ranks is not None
        labels = cell.splits.open_test().labels
        before = figures.ranks.scores() / figures.ranks.rows
        noise = noise_for(before, labels, rng)
        counts = {"worse": 0, "non-inferior": 0, "undecided": 0}
        for _ in range(checks):
            counts[
                _verdict(labels, before, before + noise * rng.standard_normal(before.shape))
            ] += 1
        shares = {name: count / checks for name, count in counts.items()}
        rows.append({"method": figures.method.spec, "loss": LOSS} | shares)
    return rows


def _mean_auc(labels: NDArray[np.integer], logits: Scores) -> float:
    return float(np.mean([auc(labels, line) for line in logits]))


def _verdict(labels: NDArray[np.integer], before: Scores, after: Scores) -> str:
    margin, level = TOLERANCE.margin, ALPHA / CELLS
    if compare(labels, before, after, margin=-margin, paired=True).p_noninferior < level:
        return "worse"
    kept = compare(labels, after, before, margin=margin, paired=True).p_noninferior < level
    return "non-inferior" if kept else "undecided"


def idle(rounds: int) -> None:
    """Run a loop this many times."""
    for _ in range(rounds):
        pass


def slow_steps(share: float) -> None:
    """Make every training step longer by a share, by a loop of fixed length after it.

    What the probe does at the end of a step is not slowed with it. How long the loop is follows
    from the quickest of the first steps, lest a disturbed one make it too long.
    """
    rounds, passes = 0, [math.inf]
    train_step = task.train_step
    round_seconds = min(timeit.repeat(lambda: idle(10_000), number=1, repeat=20)) / 10_000

    def slowed(*arguments: Any, **options: Any) -> Any:
        nonlocal rounds
        began = time.thread_time()
        loss = train_step(*arguments, **options)
        if len(passes) <= FIRST_PASSES:
            passes.append(time.thread_time() - began)
            rounds = round(share * min(passes) / round_seconds)
        idle(rounds)
        return loss

    task.train_step = slowed


def worker(slow_down: float) -> None:
    """One process of the study: figures as they are, and with slower steps."""
    plan = BUILT_IN.model_copy(update={"methods": METHODS})
    answer = {"unchanged": time_cells(plan, ())["ratios"]}
    slow_steps(slow_down)
    answer["slowed"] = time_cells(plan, ())["ratios"]
    json.dump(answer | {"load": os.getloadavg()[0]}, sys.stdout)


def time_study(
    checks: int, processes: int, slow_down: float, keep: Path | None
) -> list[dict[str, Any]]:
    """Shares of checks that find a figure slower, that exclude it, and that do neither."""
    expand(BUILT_IN, Catalog(()))  # makes the data set
    kept = keep.read_text("utf-8").splitlines() if keep is not None and keep.exists() else []
    answers = [json.loads(line) for line in kept]
    command = [sys.executable, "-m", "benchmarks.check_power", f"--worker={slow_down}"]
    for _ in range(processes):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        answers.append(json.loads(done.stdout))
        if keep is not None:
            with keep.open("a", encoding="utf-8") as file:
                file.write(done.stdout + "\n")
    return [row for name in answers[0]["unchanged"] for row in _resampled(answers, name, checks)]


def _resampled(
    answers: Sequence[dict[str, Any]], name: str, checks: int
) -> Iterator[dict[str, Any]]:
    """Checks of one figure: unchanged, grown by exact shares, and really slowed."""
    rng = np.random.default_rng(0)
    unchanged, slowed = (
        np.array([answer[state][name] for answer in answers]) for state in ("unchanged", "slowed")
    )
    states = {f"{share:+.0%}": unchanged * (1 + share) for share in GROWTHS}
    for state, values in (states | {"slowed": slowed}).items():
        for now in REPETITIONS:
            old = rng.choice(unchanged, (checks, RECORDED * now))
            slower, kept = _shares(old, rng.choice(values, (checks, now)))
            yield {
                "figure": name.split(", ", 2)[2],
                "state": state,
                "repetitions": now,
                "spread": float(np.log(values).std(ddof=1)),
                "ratio": float(np.median(values) / np.median(unchanged)),
                "slower": slower,
                "within": kept,
                "undecided": 1 - slower - kept,
                "processes": len(answers),
                "load": float(np.median([answer["load"] for answer in answers])),
            }


def _shares(old: Scores, new: Scores) -> tuple[float, float]:
    """Shares of checks (rows) that call a figure slower, and within the margin."""
    margin = TOLERANCE.time_margin
    slower = p_slower(old, new, margin) * FIGURES < ALPHA
    kept = (p_not_slower(old, new, 2 * margin) * FIGURES < ALPHA) & ~slower
    return float(slower.mean()), float(kept.mean())


def spread_study(checks: int) -> list[dict[str, Any]]:
    """Shares of checks that find a figure slower, by its spread and true growth.

    Also how many repetitions a check would advise, and what share finds 20 % with so many.
    """
    rng = np.random.default_rng(0)

    def found(spread: float, growth: float, now: int) -> float:
        old = np.exp(spread * rng.standard_normal((checks, RECORDED * now)))
        new = (1 + growth) * np.exp(spread * rng.standard_normal((checks, now)))
        return _shares(old, new)[0]

    rows = []
    for spread in (0.01, 0.02, 0.03, 0.04, 0.06, 0.08):
        row: dict[str, Any] = {"spread": spread}
        for growth in GROWTHS:
            row[f"{growth:+.0%}"] = found(spread, growth, CheckOptions().repetitions)
        needed = repetitions_needed(spread, TOLERANCE.time_margin, FIGURES, ALPHA)
        assert needed is not None
        rows.append(row | {"needed": needed, "found": found(spread, GROWTHS[2], needed)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["accuracy", "loss", "time", "spread"])
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--methods", default=",".join(METHODS), help="of the part accuracy")
    parser.add_argument("--baseline", type=Path, default=Path("benchmarks/baseline.json"))
    parser.add_argument("--pool", type=int, default=20, help="training runs of each cell")
    parser.add_argument("--processes", type=int, default=60)
    parser.add_argument("--slow-down", type=float, default=0.3)
    parser.add_argument("--keep", type=Path, help="append each process's figures to this file")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        worker(arguments.worker)
        return
    document: dict[str, Any] = {}
    if arguments.part in (None, "accuracy"):
        methods = tuple(arguments.methods.split(","))
        document["accuracy"] = accuracy_study(methods, arguments.checks, arguments.pool)
    if arguments.part in (None, "loss"):
        document["loss"] = loss_study(arguments.baseline, arguments.checks)
    if arguments.part in (None, "spread"):
        document["spread"] = spread_study(arguments.checks)
    if arguments.part in (None, "time"):
        document["time"] = time_study(
            arguments.checks, arguments.processes, arguments.slow_down, arguments.keep
        )
    if arguments.json:
        print(json.dumps(document, indent=2))
        return
    for part, rows in document.items():
        print(part)
        for row in rows:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
