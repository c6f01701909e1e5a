"""``pepbench export``: choose a final run, train it again, and write its table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pepbench.analysis.cells import protocol_digest
from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.data.splits import Splits
from pepbench.errors import PlanError, RecordError, unknown_name
from pepbench.export.folder import (
    CHECKED_ROWS,
    ExportError,
    described_fields,
    refuse_occupied,
    write_export,
)
from pepbench.export.last_training import board_figures, on_all_rows, typical_fold
from pepbench.harness.fit_checks import single_lookups, vectors_of
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.method import Fitted
from pepbench.objective import GOALS
from pepbench.records import (
    CellName,
    Record,
    RecordStore,
    TrialSpec,
    final_runs,
    validation_goal,
)
from pepbench.serve import load

Say = Callable[[str], None]

NO_TEST_FIGURE = (
    "trained on test rows, too: no test figure is its own; mean_test_auc is that of the models "
    "that were trained in the folds, without their test rows"
)


@dataclass(frozen=True)
class CellFilter:
    """Which final run to export; None leaves a name open."""

    dataset: str | None = None
    backbone: str | None = None
    method: str | None = None
    budget: str | None = None
    seed: int | None = None
    fold: int | None = None
    """From 1."""


@dataclass(frozen=True)
class ExportOptions:
    """How to train and write the run that is exported."""

    plugins: tuple[Path, ...] = ()
    onnx: bool = False
    """Whether to write the backbone too."""
    allow_different: bool = False
    """Whether to write a table whose predictions differ from the record's."""


def export_run(
    run: Path, out: Path, cell_filter: CellFilter, options: ExportOptions, say: Say
) -> dict[str, Any]:
    """Export a cell of a folder; returns what the command reports.

    Records keep hyper-parameters and seeds, not weights: a final run is trained again from its
    spec, and its test predictions are compared with those of the record. Of a cell in several
    folds, unless a fold or a seed is named, the options of the
    :func:`~pepbench.export.last_training.typical_fold` are trained on all rows but that fold's
    validation rows.

    Raises
    ------
    ExportError
        If the run cannot be exported, or its predictions come out differently.
    PlanError
        If it is not clear which run is meant.
    RecordError
        If the folder has no records.
    """
    refuse_occupied(out)
    if not (run / "records").is_dir():
        raise RecordError(f"{run}: no records in this folder; give the folder of a run")
    of_cell = _one_cell(list(RecordStore(run, say)), cell_filter)
    last = of_cell[0].spec.data.folds > 1 and cell_filter.fold is cell_filter.seed is None
    if last and (fold := typical_fold(of_cell)) is not None:
        cell_filter = replace(cell_filter, fold=fold + 1)
    record, n_candidates = choose(of_cell, cell_filter)
    if options.onnx:
        from pepbench.export.onnx import check_available

        check_available()
    say(_announced_last(record) if last else _announced(record, n_candidates))
    with ExitStack() as rows:
        spec, splits = record.spec, None
        if last:
            spec, splits = rows.enter_context(on_all_rows(spec, options.plugins))
        return _trained_and_written(out, record, spec, splits, of_cell, options)


def _trained_and_written(
    out: Path,
    record: Record,
    spec: TrialSpec,
    rows: Splits | None,
    of_cell: list[Record],
    options: ExportOptions,
) -> dict[str, Any]:
    """Train a spec on other rows than the record's, if they are given, and write its table."""
    fits: list[tuple[Fitted, Splits]] = []

    def remember(fitted: Fitted, splits: Splits) -> None:
        fits.append((fitted, splits))

    context = TrialContext(options.plugins, record.environment.threads)
    again = run_trial(spec, context, remember, rows).record
    if not fits:
        raise ExportError(f"training again did not succeed: {again.reason}")
    same = None if rows is not None else again.predictions_sha256 == record.predictions_sha256
    if same is False and not options.allow_different:
        raise ExportError(_difference(record, again))
    (fitted, splits) = fits[0]
    about = described(record, again, same)
    if rows is not None:
        about["last_training"] = {
            "validation_rows_of_fold": spec.data.fold + 1,
            **board_figures(of_cell),
            "note": NO_TEST_FIGURE,
        }
    if splits.meta.dense:
        about["dense"] = [{"name": n, **asdict(scale)} for n, scale in splits.meta.dense.items()]
    notes: dict[str, Any] = {}

    def further(folder: Path) -> None:
        notes["vector_difference"] = served_difference(folder, fitted, splits)
        if options.onnx:
            from pepbench.export.onnx import write_onnx

            notes["onnx_difference"] = write_onnx(fitted.model, splits, folder)

    embedding = fitted.model.embedding
    # A narrow table without projections has a backbone of its own width.
    dataset = cast(Dataset, Catalog(options.plugins).select("dataset", spec.data.spec).default())
    fields = described_fields(splits, dataset)
    write_export(out, embedding.export(), fields, embedding.dim, about, further)
    return about | notes | {"folder": str(out)}


def described(record: Record, again: Record, same: bool | None) -> dict[str, Any]:
    """Origin, counts and scores of a table, for ``meta.json``.

    ``same`` is None for a training that no record is of.
    """
    spec = again.spec
    return {
        "method": spec.method.model_dump(mode="json"),
        "backbone": spec.backbone.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json"),
        "seed": spec.seed,
        "counts": {
            "parameters": again.n_parameters,
            "full_parameters": spec.full_parameters,
            "bytes": again.n_bytes,
            "budget": spec.budget,
        },
        "scores": {
            "validation": again.validation.model_dump() if again.validation else None,
            "test": again.test.model_dump() if again.test else None,
        },
        "record": record.key,
        "predictions_as_recorded": same,
    }


def served_difference(folder: Path, fitted: Fitted, splits: Splits) -> float:
    """The largest difference between served and trained vectors, by reading the files back.

    Raises
    ------
    ExportError
        If it is not a matter of rounding.
    """
    ids = single_lookups(splits.validation.ids[:CHECKED_ROWS])
    served, trained = load(folder).lookup_ids(ids), vectors_of(fitted, ids)
    difference = float(np.abs(served - trained).max(initial=0.0))
    if not np.allclose(served, trained, rtol=1e-5, atol=1e-6):
        raise ExportError(f"served vectors differ from trained ones by {difference:.1e}")
    return difference


def _announced(record: Record, n_candidates: int) -> str:
    why = f", the best of {n_candidates} final runs" if n_candidates > 1 else ""
    data = record.spec.data
    fold = f", fold {data.fold + 1} of {data.folds} (--fold)" if data.folds > 1 else ""
    figure = f"{GOALS[record.spec.training.objective]} {validation_goal(record):.4f}"
    return (
        f"{' '.join(record.spec.cell)}{fold}, seed {record.spec.seed}: validation {figure}{why}. "
        "Training it again"
    )


def _announced_last(record: Record) -> str:
    data = record.spec.data
    return (
        f"{' '.join(record.spec.cell)}: training with the options of fold {data.fold + 1} of "
        f"{data.folds}, which is in the middle on validation, on all rows but that fold's "
        "validation rows. --fold exports the model of a fold"
    )


def _difference(record: Record, again: Record) -> str:
    """The message for predictions that differ: which versions changed, and both scores."""
    before, now = record.environment, again.environment
    changed = [
        f"{name} {getattr(before, name)} then, {getattr(now, name)} now"
        for name in ("pepbench", "git", "torch", "numpy", "python", "cpu")
        if getattr(before, name) != getattr(now, name)
    ]
    scores = ""
    if record.test is not None and again.test is not None:
        scores = f" (test AUC {again.test.auc:.6f}, recorded {record.test.auc:.6f})"
    return (
        f"trained again, the run predicts differently than its record says{scores}; "
        f"{'; '.join(changed) or 'the versions are the same'}. Export it all the same with "
        "--allow-different"
    )


def choose(records: Iterable[Record], cell_filter: CellFilter) -> tuple[Record, int]:
    """The final run that ``cell_filter`` matches, and the number of seeds to choose from.

    Of several folds the first is taken unless the filter names another, or a seed of another:
    validation AUCs of different folds are of different rows, and the highest is the easiest fold's.
    Of its seeds, the best by the objective is chosen, never by the test AUC: the rows that judge a
    table must not choose it.

    Raises
    ------
    PlanError
        If an option fits no run, or several cells are left: names what to add.
    ExportError
        If the cell has no final run that came out well.
    """
    of_cell = _one_cell(list(records), cell_filter)
    name = of_cell[0].spec.cell
    folds = sorted({record.spec.data.fold + 1 for record in of_cell})
    of_seed = [
        record.spec.data.fold + 1
        for record in of_cell
        if record.spec.role == "final" and record.spec.seed == cell_filter.seed
    ]
    if cell_filter.fold is not None and cell_filter.fold not in folds:
        there = ", ".join(map(str, folds))
        raise PlanError(f"--fold {cell_filter.fold}: no such fold; there are {there}")
    fold = cell_filter.fold or (of_seed or folds)[0]
    finals = final_runs(record for record in of_cell if record.spec.data.fold + 1 == fold)
    good = [
        (validation_goal(run), -run.spec.seed, run)
        for run in finals
        if run.status == "ok" and run.validation is not None
    ]
    if not good:
        reasons = [run.reason or run.status for run in finals or of_cell]
        raise ExportError(f"{' '.join(name)}: no final run to export ({reasons[0]})")
    if cell_filter.seed is not None:
        good = [found for found in good if found[-1].spec.seed == cell_filter.seed]
        if not good:
            seeds = ", ".join(str(run.spec.seed) for run in finals)
            raise PlanError(f"--seed {cell_filter.seed}: no such final run; there are {seeds}")
    best = max(good, key=lambda found: found[:2])
    return best[-1], len(good)


def _one_cell(records: list[Record], cell_filter: CellFilter) -> list[Record]:
    """The records of the only cell that fits; raises as :func:`choose`."""
    cells = _matching_cells(records, cell_filter)
    if len(cells) > 1:
        raise PlanError(_ambiguous(list(cells)))
    ((name, found),) = cells.items()
    if len({protocol_digest(record.spec) for record in found}) > 1:
        # The figures of other rows or settings cannot be compared, nor the best be chosen.
        raise PlanError(
            f"{' '.join(name)}: the folder has records of other rows or settings, too; run the "
            "plan again with an --out of its own, and export from there"
        )
    return found


def _matching_cells(records: list[Record], cell_filter: CellFilter) -> dict[CellName, list[Record]]:
    cells: dict[CellName, list[Record]] = {}
    for record in records:
        cells.setdefault(record.spec.cell, []).append(record)
    if not cells:
        raise ExportError("the run has no records; give a folder that pepbench run has filled")
    for position, option in enumerate(CellName._fields):
        value = getattr(cell_filter, option)
        if value is None:
            continue
        known = {name[position] for name in cells}
        if value not in known:
            raise PlanError(f"--{option}: {unknown_name(option, value, known)}")
        cells = {name: found for name, found in cells.items() if name[position] == value}
    return cells


def _ambiguous(names: list[CellName]) -> str:
    """The message that names an option that distinguishes the cells."""
    for position, option in enumerate(CellName._fields):
        values = sorted({name[position] for name in names})
        if len(values) > 1:
            return f"{len(names)} cells fit; add --{option}, one of {', '.join(values)}"
    raise AssertionError("cells differ in one of their names")
