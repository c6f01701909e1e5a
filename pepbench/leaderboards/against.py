"""Compare a method with a published board without running the board again.

Inference over folds needs a number for each cell and fold, which published records hold. So the
plan of a board is run with the new method alone, and the board's records are put beside it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

import pepbench
from pepbench.catalog import Catalog
from pepbench.component import split_label
from pepbench.errors import DataError, PlanError, unknown_name
from pepbench.harness.cells import Cell, expand
from pepbench.leaderboards.boards import Board, find_board
from pepbench.leaderboards.extract import board_records
from pepbench.leaderboards.submitted import MARK
from pepbench.plan import PLAN_FILE, Plan, matches
from pepbench.records import (
    PROTOCOL_VERSION,
    DataSpec,
    Record,
    RecordStore,
    segment_row,
    write_atomically,
)
from pepbench.records.segments import segment_bytes
from pepbench.report.beside_board import BOARD_FOLDER, NAME_FILE
from pepbench.units import FULL

SUBSETS = ("datasets", "backbones", "budgets")
"""Keys of which a part of the board's names may be run."""

FREE = {"methods", "only_folds", *SUBSETS}
"""Keys that need not be the board's."""

METHOD_FOLDER = "method"
"""Folder, in that of a submission or of a run's board, with the plug-ins of the run."""


@dataclass(frozen=True)
class Against:
    """A run beside a board.

    Attributes
    ----------
    board
        What the run is compared with.
    records
        The board's, of the data sets, backbones and budgets of the run.
    plan
        Of the run: the board's settings, with methods of its own.
    plugins
        Files that define the methods.
    """

    board: Board
    records: tuple[Record, ...]
    plan: Plan
    plugins: tuple[Path, ...]

    def refuse_folder(self, folder: Path) -> None:
        """Raise :class:`PlanError` if the board's records cannot be put into a run's folder."""
        if (folder / BOARD_FOLDER).exists():
            with _lock(folder):
                self._refuse(folder / BOARD_FOLDER)

    def _refuse(self, beside: Path) -> None:
        try:
            there = {path.name for path in beside.iterdir()}
        except FileNotFoundError:
            there = set()
        except NotADirectoryError:
            there = {beside.name}
        if (there and NAME_FILE not in there) or beside.resolve() == self.board.folder.resolve():
            raise PlanError(
                f"{beside} is where the board's records would go, and holds others; choose another "
                "folder with --out"
            )

    def write_beside(self, folder: Path) -> None:
        """Put the board's records, and the plug-ins, into the folder of the run.

        What is there from an earlier comparison is replaced as a whole: an interruption leaves no
        part of it, and shards of a run may end at the same time.

        Raises
        ------
        PlanError
            As :meth:`refuse_folder`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            self._refuse(folder / BOARD_FOLDER)
            self._replace(folder)

    def _replace(self, folder: Path) -> None:
        new = folder / f".{BOARD_FOLDER}-{uuid.uuid4().hex}"
        store, theirs = RecordStore(new), RecordStore(self.board.folder)
        write_atomically(
            store.segments / "board.parquet", segment_bytes(map(segment_row, self.records))
        )
        _link_predictions(self.records, theirs, store)
        text = self.board.plan_path.read_bytes()
        for name, content in ((PLAN_FILE, text), (NAME_FILE, f"{self.board.name}\n".encode())):
            write_atomically(new / name, content)
        for path in self.plugins:
            write_atomically(new / METHOD_FOLDER / path.name, path.read_bytes())
        old = new.with_name(f"{new.name}-old")
        with suppress(FileNotFoundError):
            (folder / BOARD_FOLDER).rename(old)
        new.rename(folder / BOARD_FOLDER)
        shutil.rmtree(old, ignore_errors=True)


def _lock(folder: Path) -> FileLock:
    """Held while the board beside a run is looked at or replaced."""
    return FileLock(folder / f".{BOARD_FOLDER}.lock", thread_local=False)


def _link_predictions(records: Sequence[Record], theirs: RecordStore, store: RecordStore) -> None:
    names = [theirs.prediction_path(r.key).name for r in records if r.predictions_sha256]
    store.predictions.mkdir(parents=True, exist_ok=True)
    for name in names:
        source, target = theirs.predictions / name, store.predictions / name
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def against(
    name: str,
    plan_file: Path | None,
    plugins: Sequence[Path],
    keys: Mapping[str, Any],
    label: str | None = None,
) -> Against:
    """The run that compares methods with a board.

    Parameters
    ----------
    name
        Of a published board, or a folder of one or of a run.
    plan_file
        A plan that must agree with the board's, but for what it names of :data:`FREE`.
    plugins
        Files that define further methods; without other names all of these are run.
    keys
        Keys of the plan from the command line, under the same condition.
    label
        What tables call the method; only with a single one.

    Raises
    ------
    PlanError
        If there is no such board, or a setting, a name or the version of the protocol is not the
        board's.
    DataError
        If the data are not the board's.
    """
    board = find_board(name)
    if len({path.name for path in plugins}) < len(plugins):
        raise PlanError(
            "--plugin: two files have the same name; rename one, since the run's folder keeps both"
        )
    theirs = Plan.load(board.plan_path, {})
    catalog = Catalog(tuple(plugins))
    wanted = dict(keys)
    if plan_file is not None:
        given = Plan.load(plan_file, {})
        wanted = {key: getattr(given, key) for key in given.model_fields_set} | wanted
        wanted.pop("contrasts", None)
    _refuse_other_settings(board, theirs, wanted)
    methods = _methods(catalog, wanted.get("methods"), label)
    records = board_records(board)
    refuse_known_names(board, records, methods)
    plan = board_plan_of(board, theirs, methods, wanted)
    cells = expand(plan.with_families_expanded(catalog), catalog)
    taken = [
        record
        for record in records
        if record.spec.data.spec in plan.datasets
        and record.spec.backbone.spec in plan.backbones
        and record.spec.budget in (*plan.budgets, FULL)
        and record.spec.data.fold in plan.folds_to_run
    ]
    _refuse_other_protocol(board, taken, cells)
    return Against(board, tuple(taken), plan, tuple(plugins))


def _refuse_other_settings(board: Board, plan: Plan, wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        own = getattr(plan, key)
        if key not in FREE and value != own:
            raise PlanError(
                f"--against {board.name}: {key} = {_shown(value)} is not the board's, which is "
                f"{_shown(own)}; leave it out, so that the board's is taken"
            )
    for key in SUBSETS:
        for value in wanted.get(key, ()):
            known = getattr(plan, key)
            if value not in known:
                what = unknown_name(key.removesuffix("s"), value, known)
                raise PlanError(f"--against {board.name}: {what}")


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _methods(catalog: Catalog, named: Sequence[str] | None, label: str | None) -> tuple[str, ...]:
    files = {str(path) for path in catalog.plugins}
    known = catalog.entries("method").values()
    methods = catalog.ungrouped(
        "method", named or [entry.name for entry in known if entry.module in files]
    )
    if not methods:
        raise PlanError("--against needs methods to run: --methods NAME, or a --plugin with some")
    if label is None:
        return methods
    if len(methods) > 1:
        raise PlanError(f"--as names a single method, and these are {len(methods)}")
    named_so = f"{label}={split_label(methods[0])[1]}"
    if split_label(named_so)[0] != label:
        raise PlanError(f"--as {label!r}: write a name of letters, digits, '_', '-' and '.'")
    return (named_so,)


def refuse_known_names(board: Board, records: Sequence[Record], methods: Sequence[str]) -> None:
    """Raise :class:`PlanError` if a method of the board's records has one of these names."""
    there = {record.spec.method.spec.removesuffix(MARK) for record in records}
    for method in methods:
        label, wanted = split_label(method)
        if label in there:
            raise PlanError(
                f"--against {board.name}: the board has a method {label!r} already; give yours "
                f"another name with --as NAME"
                + (f", or write --methods NAME={wanted}" if len(methods) > 1 else "")
            )


def board_plan_of(
    board: Board, theirs: Plan, methods: tuple[str, ...], wanted: Mapping[str, Any]
) -> Plan:
    """The board's plan with these methods, and the exceptions that may concern them."""
    labels = [split_label(method)[0] for method in methods]
    exceptions = [
        exception.model_dump(exclude_unset=True)
        for exception in theirs.exceptions
        if any(matches(label, exception.methods) for label in labels)
    ]
    values = theirs.model_dump(by_alias=True, exclude_unset=True) | {
        "methods": methods,
        "except": exceptions,
        "contrast": (),
        **{key: wanted[key] for key in (*SUBSETS, "only_folds") if key in wanted},
    }
    try:
        return Plan.load(None, values)
    except PlanError as error:
        raise PlanError(f"--against {board.name}: {error}") from None


def _refuse_other_protocol(board: Board, records: Sequence[Record], cells: Sequence[Cell]) -> None:
    """Refuse data and versions that are not those of the board's records."""
    where = f"--against {board.name}"
    by_fold = {(r.spec.data.spec, r.spec.data.fold): r for r in records}
    by_backbone = {r.spec.backbone.spec: r for r in records}
    for cell in cells:
        record = by_fold.get((cell.rows.dataset, cell.fold.number))
        if record is None:
            raise PlanError(
                f"{where}: the board holds no records of {cell.rows.dataset}, fold "
                f"{cell.fold.number + 1}; choose others with --datasets or --only-folds"
            )
        if record.spec.protocol != PROTOCOL_VERSION:
            raise PlanError(
                f"{where}: the board was made under version {record.spec.protocol} of the "
                f"protocol, and this pepbench has version {PROTOCOL_VERSION}; install pepbench "
                f"{record.environment.pepbench}"
            )
        _refuse_other_data(where, record, cell.data)
        with suppress(KeyError):
            theirs = by_backbone[cell.backbone.spec].spec.backbone.untuned()
            ours = cell.trial(cell.default(), 0, "final").backbone.untuned()
            if (theirs.version, theirs.options) != (ours.version, ours.options):
                raise PlanError(
                    f"{where}: backbone {ours.spec} is version {ours.version} {ours.options} here "
                    f"and version {theirs.version} {theirs.options} on the board; install pepbench "
                    f"{record.environment.pepbench}"
                )


def _refuse_other_data(where: str, record: Record, here: DataSpec) -> None:
    there = record.spec.data
    for what, one, other in (
        ("table", here.table_fingerprint, there.table_fingerprint),
        ("split", here.split_fingerprint, there.split_fingerprint),
    ):
        if one != other:
            raise DataError(
                f"{where}: {here.spec} is not the board's data: the fingerprint of its {what} is "
                f"{one[:16]} here and {other[:16]} on the board; usually the raw files are another "
                "release or a part, or pepbench encodes or splits them otherwise (here "
                f"{pepbench.__version__}, the board {record.environment.pepbench})"
            )
