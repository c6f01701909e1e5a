"""The findings of a check: pure functions from two sets of figures to a list of findings."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pepbench.check import LOSS_MARGIN, TIME_MARGIN
from pepbench.check.accuracy import LoadRows, Loss, judge_losses
from pepbench.check.baseline import Baseline, CellFigures, Metric
from pepbench.check.timing import Slowdown, judge_times, repetitions_needed
from pepbench.errors import RecordError
from pepbench.records import TrialSpec

LOG_LOSS_TOLD = 0.01
"""Growth of the log loss, as a share, from which it is told: AUC does not see a shift of logits."""

Kind = Literal["accuracy", "size", "time", "memory", "start-up"]

ALPHA = 0.05
"""Level of all accuracy tests of a check together, and of all time tests together."""


@dataclass(frozen=True)
class Finding:
    """One figure, in the baseline and now.

    Attributes
    ----------
    kind, subject
        What was compared: a cell, or a phase of a cell.
    verdict
        In a word or two.
    failed
        Whether it fails the check.
    baseline, current
        The figures, in ``unit``; None where there is none.
    change
        Difference of AUC; relative change of time and memory; else None.
    p
        P-value of the test that can fail the check; None if nothing is tested.
    note
        Further information in one line; or empty.
    """

    kind: Kind
    subject: str
    verdict: str
    failed: bool
    baseline: float | None = None
    current: float | None = None
    unit: str = ""
    change: float | None = None
    p: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Tolerance:
    """The tolerances of a check.

    Attributes
    ----------
    margin
        Tolerated loss of AUC.
    time_margin
        Tolerated growth of time and memory, as a share.
    strict
        Whether undecided findings fail, too.
    time_counts
        Whether a slowdown fails the check, or is only reported.
    """

    margin: float = LOSS_MARGIN
    time_margin: float = TIME_MARGIN
    strict: bool = False
    time_counts: bool = True


def find_all(
    baseline: Baseline,
    cells: Sequence[CellFigures],
    metrics: Sequence[Metric],
    load_rows: LoadRows,
    tolerance: Tolerance,
) -> list[Finding]:
    """Compare everything, worst first within each kind.

    Parameters
    ----------
    cells, metrics
        The figures of now; ``metrics`` may be empty.
    load_rows
        As :func:`~pepbench.check.accuracy.judge_losses`.
    """
    before = {cell.cell: cell for cell in baseline.cells}
    pairs = [(before[cell.cell], cell) for cell in cells if cell.cell in before]
    return [
        *_accuracy(pairs, load_rows, tolerance),
        *_sizes(pairs),
        *_times(baseline.metrics, metrics, tolerance),
    ]


def _accuracy(
    pairs: Sequence[tuple[CellFigures, CellFigures]], load_rows: LoadRows, tolerance: Tolerance
) -> Iterator[Finding]:
    both = [(old, new) for old, new in pairs if old.status == new.status == "ok"]
    losses = iter(judge_losses(both, load_rows, tolerance.margin, ALPHA))
    for old, new in pairs:
        if old.status == new.status == "ok":
            yield _loss(old, new, next(losses), tolerance)
        elif old.status == new.status:
            yield Finding("accuracy", old.cell.listed(), f"still {old.status}", False)
        else:
            yield Finding(
                "accuracy",
                old.cell.listed(),
                f"{old.status} became {new.status}",
                failed=new.status != "ok",
                note=new.reason or "record the baseline again",
            )


def _loss(old: CellFigures, new: CellFigures, loss: Loss, tolerance: Tolerance) -> Finding:
    notes = []
    if old.method != new.method or old.backbone != new.backbone:
        notes.append("options or version of the method or backbone differ")
    if loss.verdict == "undecided":
        notes.append(f"a loss above {tolerance.margin:g} is neither shown nor excluded")
    then, now = map(statistics.fmean, (old.log_loss, new.log_loss))
    if now > then * (1 + LOG_LOSS_TOLD):
        notes.append(f"log loss grew from {then:.4f} to {now:.4f}, which is not tested")
    return Finding(
        kind="accuracy",
        subject=old.cell.listed(),
        verdict=loss.verdict,
        failed=loss.verdict == "worse" or (tolerance.strict and loss.verdict == "undecided"),
        baseline=statistics.fmean(old.auc),
        current=statistics.fmean(new.auc),
        unit="AUC",
        change=loss.change,
        p=loss.p_loss,
        note="; ".join(notes),
    )


def _sizes(pairs: Sequence[tuple[CellFigures, CellFigures]]) -> Iterator[Finding]:
    for old, new in pairs:
        if not old.status == new.status == "ok":
            continue
        for unit, then, now in (
            ("parameters", old.n_parameters, new.n_parameters),
            ("bytes", old.n_bytes, new.n_bytes),
            ("backbone parameters", old.backbone_parameters, new.backbone_parameters),
        ):
            yield Finding(
                kind="size",
                subject=old.cell.listed(),
                verdict="same" if then == now else "changed",
                failed=then != now,
                baseline=max(then),
                current=max(now),
                unit=unit,
                note="" if then == now else _first_difference(old.seeds, then, now),
            )


def _first_difference(seeds: Sequence[int], then: Sequence[int], now: Sequence[int]) -> str:
    seed, a, b = next(row for row in zip(seeds, then, now, strict=True) if row[1] != row[2])
    return f"seed {seed}: {a:,} became {b:,}"


def _times(
    before: Sequence[Metric], after: Sequence[Metric], tolerance: Tolerance
) -> Iterator[Finding]:
    known = {(metric.kind, metric.subject): metric for metric in before}
    measured = {(metric.kind, metric.subject): metric for metric in after}
    pairs = [(known[name], metric) for name, metric in measured.items() if name in known]
    if before and after:
        unpaired = tolerance.strict and tolerance.time_counts
        remedy = "nothing to compare it with; if that is meant, record the baseline again"
        for name, metric in known.items():
            if name not in measured:
                was = metric.typical
                yield Finding(
                    *name, "not measured now", unpaired, was, unit=metric.unit, note=remedy
                )
        for name, metric in measured.items():
            if name not in known:
                now = metric.typical
                verdict = "not in the baseline"
                yield Finding(*name, verdict, unpaired, None, now, metric.unit, note=remedy)
    slowdowns = judge_times(pairs, tolerance.time_margin, ALPHA)
    for (old, new), slowdown in zip(pairs, slowdowns, strict=True):
        undecided = slowdown.verdict == "undecided"
        bad = slowdown.verdict in ("slower", "larger") or (undecided and tolerance.strict)
        notes = [_undecided_note(slowdown, tolerance.time_margin, len(pairs))] if undecided else []
        if bad and not tolerance.time_counts:
            notes.append("reported only: another machine")
        yield Finding(
            kind=new.kind,
            subject=new.subject,
            verdict=slowdown.verdict,
            failed=bad and tolerance.time_counts,
            baseline=old.typical,
            current=new.typical,
            unit=new.unit,
            change=slowdown.change,
            p=slowdown.p,
            note="; ".join(notes),
        )


def _undecided_note(slowdown: Slowdown, margin: float, figures: int) -> str:
    """Why a time is undecided, and the remedy."""
    needed = repetitions_needed(slowdown.spread, margin, figures, ALPHA)
    remedy = (
        "take a larger --time-margin or a calmer machine"
        if needed is None
        else f"record and check with --repetitions {needed}"
    )
    return (
        f"growth of {2 * margin:.0%} is neither shown nor excluded, processes differ by "
        f"{slowdown.spread:.1%}: {remedy}"
    )


def check_comparable(baseline: Baseline, cells: Sequence[TrialSpec]) -> None:
    """Refuse a baseline that was recorded on other rows or cells, before any run.

    Parameters
    ----------
    cells
        The first trial of each cell now.

    Raises
    ------
    RecordError
        With the first difference and the remedy.
    """
    remedy = "record it again, with its --plan and --plugin: pepbench check --record FILE"
    now = {spec.cell: spec for spec in cells}
    for old in baseline.cells:
        spec = now.get(old.cell)
        if spec is None:
            raise RecordError(f"cell {old.cell.listed()}: its plan has no such cell now; {remedy}")
        there, here = old.data.split_fingerprint, spec.data.split_fingerprint
        if there != here:
            raise RecordError(
                f"data set {old.data.spec}: its rows are not the baseline's (split fingerprint "
                f"{here}, there {there}); {remedy}"
            )
        if old.seeds[:1] != [spec.seed] or len(old.seeds) != baseline.plan.seeds:
            raise RecordError(f"cell {old.cell.listed()}: has other seeds than now; {remedy}")
