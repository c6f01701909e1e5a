"""Which records of a cell count."""

from __future__ import annotations

from collections.abc import Iterable

from pepbench.records.record import Record


def best_trial(records: Iterable[Record]) -> Record | None:
    """The tuning record of a cell that its final runs repeat: highest validation AUC.

    Equal AUCs are decided by the key, so that the choice does not depend on the order.
    """
    ranked = [
        (-record.validation.auc, record.key, record)
        for record in records
        if record.spec.role == "tuning" and record.status == "ok" and record.validation is not None
    ]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def tuning_used(records: Iterable[Record]) -> tuple[int, float]:
    """Tuning trials of a cell, stopped and failed ones included, and the CPU seconds they took.

    The seconds are those that each trial would have taken alone; where one search served several
    budgets, it was run once.
    """
    tuning = [record for record in records if record.spec.role == "tuning"]
    return len(tuning), sum(record.cpu_seconds() for record in tuning)


def final_runs(records: Iterable[Record]) -> list[Record]:
    """The final runs of a cell that repeat its best trial, by seed, failed ones included."""
    records = list(records)
    best = best_trial(records)
    if best is None:
        return []
    finals = [
        record
        for record in records
        if record.spec.role == "final"
        and record.spec.method == best.spec.method
        and record.spec.backbone == best.spec.backbone
        and record.spec.training == best.spec.training
    ]
    return sorted(finals, key=lambda record: record.spec.seed)
