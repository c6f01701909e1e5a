"""Verify a leaderboard: its tables against its records, and one small cell by running it again."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pepbench import api
from pepbench.catalog import Catalog, Kind
from pepbench.component import split_label
from pepbench.data.adding import add_named
from pepbench.data.dataset import Dataset
from pepbench.data.manage import is_added
from pepbench.data.split_schemes import Fold
from pepbench.errors import PlanError
from pepbench.harness.environment import environment
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.leaderboards.board_page import (
    DETAILS_MD,
    board_summary,
    cpu_seconds,
    details_page,
)
from pepbench.leaderboards.board_results import BoardResults
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.extract import published_extract
from pepbench.leaderboards.page_text import check_text, quotable
from pepbench.leaderboards.publish import README, is_in_step
from pepbench.leaderboards.record_packing import EXTRACT_FILE, unpacked
from pepbench.leaderboards.submission_rules import unlike_plan
from pepbench.leaderboards.table_checks import other_figure, wrong_difference, wrong_holm
from pepbench.plan import Plan
from pepbench.records import (
    ComponentSpec,
    Record,
    RecordStore,
    TrialSpec,
    by_place,
    final_runs,
)

TOLERANCE = 1e-4
"""Largest difference of an AUC from that of another platform or revision. Arithmetic in another
order changes last digits, which training carries on."""

DATA_VARIABLE = "PEPBENCH_DATA_DIR"
"""Environment variable with the folder of raw data sets, one subfolder for each."""


def check_board(board: Board, results: BoardResults, catalog: Catalog) -> Iterator[Check]:
    """Compare all that a leaderboard publishes with its records, results and plan."""
    for name, content in results.tables().items():
        yield same_bytes(board.folder / name, content)
    yield same_bytes(board.folder / DETAILS_MD, details_page(board, results).encode())
    page = board.folder / README
    in_step = is_in_step(page, board_summary(board, results))
    yield Check(in_step, f"{page}: {'as' if in_step else 'not as'} the records give it")
    if page.is_file():
        sources = quotable(board, results.margin)
        yield check_text(page, sources, strict=has_contrasts(results))
    yield extract_check(board, results)
    for problem, what in (
        (next(unlike_plan(board.plan(catalog), results.records), ""), "all records of the plan"),
        (wrong_difference(results), "ΔAUC of every cell is the difference of its records' AUCs"),
        (wrong_holm(results), "adjusted p-values follow from the others"),
        (other_figure(board, results), "figures and verdicts that need no predictions are given"),
    ):
        yield Check(not problem, f"{board.folder}: {problem or what}")


def has_contrasts(results: BoardResults) -> bool:
    """Whether a leaderboard publishes primary contrasts."""
    return len(results.primary) > 0


def extract_check(board: Board, results: BoardResults) -> Check:
    """Compare a leaderboard's extract with its records."""
    path = board.folder / EXTRACT_FILE
    if not path.is_file():
        return Check(None, f"{path}: not written yet; run: pepbench leaderboard --overall")
    in_step = unpacked(path) == published_extract(results.records, board)
    return Check(in_step, f"{path}: {'as' if in_step else 'not what'} the records give")


def same_bytes(path: Path, content: bytes) -> Check:
    """Whether a file has this content; names the first line that differs."""
    if not path.is_file():
        return Check(False, f"{path}: missing; the records give one")
    there, given = path.read_bytes().splitlines(), content.splitlines()
    if there == given:
        return Check(True, f"{path}: as the records give it")
    pairs = enumerate(zip(there, given, strict=False), 1)
    number = next((i for i, (a, b) in pairs if a != b), min(len(there), len(given)) + 1)
    return Check(False, f"{path}: line {number} is not what the records give")


@dataclass(frozen=True)
class PublishedCell:
    """A cell in one fold that may be run again.

    Attributes
    ----------
    board
        The leaderboard of the cell.
    records
        The cell's tuning trials and finalists, and the final runs of the chosen one, all ok.
    seconds
        CPU time of the records.
    """

    board: Board
    records: tuple[Record, ...]
    seconds: float

    @property
    def name(self) -> str:
        """The cell's name in messages."""
        data = self.records[0].spec.data
        fold = f", {Fold(data.fold, data.folds)}" if data.folds > 1 else ""
        return f"{self.board.folder}: {self.records[0].spec.cell.listed()}{fold}"

    @property
    def final(self) -> list[Record]:
        """The final runs."""
        return [record for record in self.records if record.spec.role == "final"]


def complete_cells(board: Board, records: Iterable[Record]) -> Iterator[PublishedCell]:
    """The cells of a leaderboard, fold by fold, of which all trials are ok.

    Final runs of a trial that was the best before the plan had more trials are left out: running
    the plan again does not repeat them.
    """
    for members in by_place(records).values():
        final = final_runs(members)
        if final and all(record.status == "ok" for record in members):
            made = (*(record for record in members if record.spec.role != "final"), *final)
            yield PublishedCell(board, made, cpu_seconds(made))


def check_cell(found: Sequence[PublishedCell], catalog: Catalog, jobs: int) -> Check:
    """Run the cheapest cell again, among those with available data.

    On the platform of its records (processor and its vector units, Python, torch, numpy, threads)
    the whole cell is run from its plan, tuning included. Its predictions have the recorded
    checksums, or, where another revision adds in another order, AUCs that agree within 1e-4; the
    line says which. Elsewhere floating-point sums differ, and tuning may choose another trial; only
    the recorded final runs are repeated, and their test AUCs must agree likewise. Cells of older
    versions of a method or backbone are passed over.
    """
    for cell in sorted(found, key=lambda one: (one.seconds, one.name)):
        spec = cell.records[0].spec
        if is_current(spec, catalog) and data_available(spec.data.spec, catalog):
            break
    else:
        why = "no data set is available, or all are of older versions"
        return Check(None, f"no cell was run again: {why}")
    recorded = cell.final[0].environment
    here = environment(recorded.threads)
    same = recorded.alike(here) and recorded.instructions == here.instructions
    if same:
        problems, alike = _from_plan(cell, jobs, catalog.plugins)
    else:
        problems, alike = (
            list(_final_runs(cell, catalog.plugins)),
            f"AUCs agree within {TOLERANCE:g}",
        )
    where = "same platform" if same else "another platform"
    return Check(not problems, f"{cell.name}: run again ({where}): {'; '.join(problems) or alike}")


def is_current(spec: TrialSpec, catalog: Catalog) -> bool:
    """Whether a trial's method and backbone are the present ones, with options that they have."""
    kinds: tuple[tuple[Kind, ComponentSpec], ...] = (
        ("method", spec.method),
        ("backbone", spec.backbone),
    )
    for kind, component in kinds:
        try:
            # A method with a name of its own (mine=pep) is found by the name of its class.
            if component.spec.startswith(component.name):
                catalog.select(kind, component.spec).default()
            present = catalog.load(kind, component.name).from_options(component.options)
        except PlanError:
            return False
        if present.version != component.version:
            return False
    return True


def data_available(spec: str, catalog: Catalog) -> bool:
    """Whether a data set is generated or cached; raw files in :data:`DATA_VARIABLE` are added."""
    dataset = cast(Dataset, catalog.select("dataset", spec).default())
    if dataset.generated or is_added(dataset):
        return True
    root = os.environ.get(DATA_VARIABLE)
    folders = sorted(Path(root).iterdir()) if root and Path(root).is_dir() else []
    # ml-100k-ids is another reading of the folder ml-100k.
    fitting = [folder for folder in folders if dataset.name.startswith(folder.name)]
    if not fitting:
        return False
    add_named(catalog, spec, max(fitting, key=lambda folder: len(folder.name)), None, {})
    return True


def _from_plan(cell: PublishedCell, jobs: int, plugins: tuple[Path, ...]) -> tuple[list[str], str]:
    """Run a cell from its plan; what is not as recorded, and else in which sense all is."""
    spec = cell.records[0].spec
    dataset, backbone, method, budget = spec.cell
    named = {split_label(one)[0]: one for one in Plan.load(cell.board.plan_path, {}).methods}
    method = named.get(method, method)
    only = {"datasets": dataset, "backbones": backbone, "methods": method, "budgets": budget}
    plan = Plan.load(cell.board.plan_path, {key: (name,) for key, name in only.items()})
    if spec.data.fold not in plan.folds_to_run:
        return [f"fold {spec.data.fold + 1} is not of the plan"], ""
    # The plan has this cell alone, once in each fold.
    place, folds = plan.folds_to_run.index(spec.data.fold) + 1, len(plan.folds_to_run)
    shard = f"{place}/{folds}" if folds > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        threads = cell.final[0].environment.threads
        run = api.run(
            plan,
            out=Path(folder) / "run",
            jobs=jobs,
            threads=threads,
            shard=shard,
            plugins=plugins,
        )
        again = {record.key: record for record in RecordStore(run.folder)}
    problems, other_digits = [], 0
    for record in cell.records:
        other = again.get(record.key)
        if other is None:
            problems.append(f"the plan no longer makes run {record.key[:12]}")
        elif other.predictions_sha256 != record.predictions_sha256:
            other_digits += 1
            change = _change_of_auc(record, other)
            if change > TOLERANCE:
                problems.append(f"run {record.key[:12]} gave other AUCs, by {change:.1e}")
    if not other_digits:
        return problems, "predictions have the recorded checksums"
    return problems, (
        f"AUCs agree within {TOLERANCE:g}; predictions of {other_digits} of "
        f"{len(cell.records)} runs have other checksums than recorded"
    )


def _change_of_auc(record: Record, other: Record) -> float:
    """The larger difference of validation and test AUC; infinite where scores are missing."""
    pairs = [(record.validation, other.validation), (record.test, other.test)]
    return max(
        abs(one.auc - two.auc) if one is not None and two is not None else math.inf
        for one, two in pairs
        if one is not None
    )


def _final_runs(cell: PublishedCell, plugins: tuple[Path, ...]) -> Iterator[str]:
    for record in cell.final:
        context = TrialContext(plugins=plugins, threads=record.environment.threads)
        again = run_trial(record.spec, context).record
        if again.test is None or record.test is None:
            yield f"run {record.key[:12]} is {again.status}: {again.reason}"
        elif abs(again.test.auc - record.test.auc) > TOLERANCE:
            yield (
                f"run {record.key[:12]} gave AUC {again.test.auc:.7f}, "
                f"recorded is {record.test.auc:.7f}"
            )
