"""Accuracy of a check: its runs, and the test of a loss of AUC.

Two hypotheses are tested of each cell's loss L = AUC(baseline) − AUC(now), over the same test rows
and the same seeds, by :func:`pepbench.analysis.significance.compare`; by user where there are any:

* L ≤ margin. If rejected, the cell is **worse**: a loss above the margin is shown. Only this fails
  a check, so rows and seeds fail it by chance with probability at most α in a whole check.
* L ≥ margin. If rejected, the cell is **non-inferior**: a loss above the margin is excluded.

If neither is rejected, the cell is **undecided**. Predictions that are the same to the bit are
**identical** and not tested. Both families of tests, over the cells that are not identical, are
adjusted by Holm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.significance import compare, holm
from pepbench.check.baseline import CellFigures, Ranks
from pepbench.check.plan import trials_of
from pepbench.harness.cells import Cell
from pepbench.harness.executors import Call, open_pool
from pepbench.harness.run_options import RunOptions
from pepbench.harness.trial import Outcome, TrialContext, run_trial
from pepbench.records import TrialSpec

AccuracyVerdict = Literal["identical", "non-inferior", "undecided", "worse"]

LoadRows = Callable[[CellFigures], tuple[NDArray[np.integer], NDArray[np.integer] | None]]
"""From a cell to the labels and users of its test rows; no users where none are declared."""


@dataclass(frozen=True)
class Loss:
    """The verdict on a cell's test AUC.

    Attributes
    ----------
    verdict
        See the module's docstring.
    change
        Mean AUC now minus that of the baseline.
    p_loss, p_noninferior
        P-values, adjusted by Holm, of the hypotheses L ≤ margin and L ≥ margin.
    """

    verdict: AccuracyVerdict
    change: float
    p_loss: float
    p_noninferior: float


def measure_accuracy(
    cells: Sequence[Cell],
    context: TrialContext,
    jobs: int,
    progress: Callable[[int, int], None],
) -> list[CellFigures]:
    """Run every cell with every seed, ``jobs`` at a time.

    Parameters
    ----------
    progress
        Called with the number of finished runs and of all runs.

    If the worker process of a run dies, the run is ``failed``, with the reason.
    """
    specs = [trials_of(cell) for cell in cells]
    outcomes = _run_all([spec for row in specs for spec in row], context, jobs, progress)
    return [_figures(row[0], [outcomes[spec.key()] for spec in row]) for row in specs]


def _run_all(
    specs: Sequence[TrialSpec],
    context: TrialContext,
    jobs: int,
    progress: Callable[[int, int], None],
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}

    def collect(outcome: Outcome) -> None:
        outcomes[outcome.record.key] = outcome
        progress(len(outcomes), len(specs))

    if jobs == 1:
        for spec in specs:
            collect(run_trial(spec, context))
        return outcomes
    pool = open_pool(RunOptions(jobs=jobs, executor="processes", context=context))
    try:
        futures = [pool.submit(Call((spec,), context)) for spec in specs]
        for future in as_completed(futures):
            for packed in future.result():
                collect(packed.unpack())
    except BaseException:
        pool.stop_at_once()
        raise
    pool.close()
    return outcomes


def _figures(first: TrialSpec, outcomes: Sequence[Outcome]) -> CellFigures:
    common: dict[str, Any] = {
        "data": first.data,
        "backbone": first.backbone,
        "method": first.method,
        "budget": first.budget,
        "seeds": [outcome.record.spec.seed for outcome in outcomes],
    }
    records = [outcome.record for outcome in outcomes]
    for record in records:
        if record.status != "ok":
            return CellFigures(**common, status=record.status, reason=record.reason)
    predictions = [outcome.predictions for outcome in outcomes if outcome.predictions is not None]
    tests = [record.test for record in records if record.test is not None]
    return CellFigures(
        **common,
        status="ok",
        n_parameters=[record.n_parameters or 0 for record in records],
        n_bytes=[record.n_bytes or 0 for record in records],
        backbone_parameters=[record.backbone_parameters or 0 for record in records],
        auc=[scores.auc for scores in tests],
        log_loss=[scores.log_loss for scores in tests],
        predictions_sha256=[record.predictions_sha256 or "" for record in records],
        ranks=Ranks.of(np.stack(predictions)),
    )


def judge_losses(
    pairs: Sequence[tuple[CellFigures, CellFigures]],
    load_rows: LoadRows,
    margin: float,
    alpha: float,
) -> list[Loss]:
    """Compare cells, each as (baseline, now): all ``ok``, over the same rows and seeds.

    Parameters
    ----------
    load_rows
        Where it gives users, they and not their rows are taken to be independent.
    margin
        In AUC.
    alpha
        Level of both families of tests.
    """
    same = [old.predictions_sha256 == new.predictions_sha256 for old, new in pairs]
    tested = [
        _p_values(old, new, *load_rows(new), margin)
        for (old, new), identical in zip(pairs, same, strict=True)
        if not identical
    ]
    # Each of the two hypotheses is a family by itself.
    adjusted = zip(*(holm(family) for family in zip(*tested, strict=True)), strict=True)
    losses = []
    for (old, new), identical in zip(pairs, same, strict=True):
        if identical:
            losses.append(Loss("identical", 0.0, 1.0, 0.0))
            continue
        p_worse, p_not_worse = map(float, next(adjusted))
        verdict: AccuracyVerdict = "undecided"
        if p_worse < alpha:
            verdict = "worse"
        elif p_not_worse < alpha:
            verdict = "non-inferior"
        change = float(np.mean(new.auc) - np.mean(old.auc))
        losses.append(Loss(verdict, change, p_worse, p_not_worse))
    return losses


def _p_values(
    old: CellFigures,
    new: CellFigures,
    labels: NDArray[np.integer],
    users: NDArray[np.integer] | None,
    margin: float,
) -> tuple[float, float]:
    """Unadjusted p-values of the hypotheses L ≤ margin and L ≥ margin."""
    assert old.ranks is not None  # both are ok
    assert new.ranks is not None
    before, after = old.ranks.scores(), new.ranks.scores()
    tested = partial(compare, labels, paired=True, users=users)
    # "The baseline is worse by −margin or more" is L ≤ margin.
    worse, not_worse = tested(before, after, margin=-margin), tested(after, before, margin=margin)
    return worse.p_noninferior, not_worse.p_noninferior
