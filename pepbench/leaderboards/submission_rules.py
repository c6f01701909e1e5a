"""What must hold of a submission: the board's plan, all its folds, and records that follow from it.

Nothing here imports the method: all is told from records and plans.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pepbench.component import split_label
from pepbench.data.split_schemes import Fold
from pepbench.errors import PepbenchError
from pepbench.harness.cells import Place
from pepbench.harness.trial_seeds import final_seeds, finalist_seeds, tuning_seed
from pepbench.harness.tuning.study import draws_needed
from pepbench.leaderboards.against import SUBSETS, board_plan_of, refuse_known_names
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.submitted import MARK
from pepbench.plan import Plan
from pepbench.records import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    PROTOCOL_VERSION,
    CellName,
    Record,
    best_trial,
    finalists,
)
from pepbench.units import FULL, Budget


def broken_rules(
    plan: Plan, records: Sequence[Record], board: Board, published: Sequence[Record]
) -> Iterator[str]:
    """The broken rules, a line each; nothing if the submission may stand on the board.

    Parameters
    ----------
    plan, records
        Of the submission.
    board, published
        The board, and its records.
    """
    yield from _plan_rules(plan, board, published)
    by_place: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        by_place[record.spec.cell, record.spec.data.fold].append(record)
    expected = _expected(plan, set(by_place))
    for name, fold in by_place:
        if (name, fold) not in expected:
            yield f"{name.listed()}: its records do not follow from the plan"
    data = {(r.spec.data.spec, r.spec.data.fold): r.spec for r in published}
    for (name, fold), cell_plan in expected.items():
        members = by_place.get((name, fold), [])
        where = f"{name.listed()}, {Fold(fold, plan.folds)}" if plan.folds > 1 else name.listed()
        if not members:
            yield f"{where}: there are no records; run the missing folds and cells first"
            continue
        theirs = data.get((name.dataset, fold))
        for record in members:
            same = theirs is not None and (
                record.spec.data.without_fold() == theirs.data.without_fold()
                and record.spec.data.split_fingerprint == theirs.data.split_fingerprint
                and record.spec.full_parameters == theirs.full_parameters
            )
            if not same:
                yield f"{where}: its data are not the board's"
                break
        for record in members:
            if problem := _wrong_settings(record, cell_plan):
                yield f"{where}: run {record.key[:12]} does not follow from the plan: {problem}"
        if problem := _incomplete(members, cell_plan):
            yield f"{where}: {problem}"


def _plan_rules(plan: Plan, board: Board, published: Sequence[Record]) -> Iterator[str]:
    theirs = Plan.load(board.plan_path, {})
    missing = set(range(theirs.folds)) - set(plan.folds_to_run)
    if plan.only_folds and missing:
        numbers = ", ".join(str(fold + 1) for fold in sorted(missing))
        yield f"folds {numbers} of {theirs.folds} are missing; run them first, without --only-folds"
    try:
        own = [record for record in published if not record.spec.method.spec.endswith(MARK)]
        refuse_known_names(board, own, plan.methods)
        wanted = {key: getattr(plan, key) for key in SUBSETS}
        expected = board_plan_of(board, theirs, plan.methods, wanted)
    except PepbenchError as error:
        yield str(error)
        return
    for key in Plan.model_fields:
        ours, board_value = getattr(plan, key), getattr(expected, key)
        if key not in ("only_folds", "contrasts") and ours != board_value:
            yield f"the plan is not the board's: {key} is {ours}, and {board_value} there"
    for key in SUBSETS:
        for value in getattr(plan, key):
            if value not in getattr(theirs, key):
                yield f"the plan is not the board's: {key} has {value!r}, which is not there"


def _expected(plan: Plan, found: set[Place]) -> dict[Place, Plan]:
    """The cells of a plan, fold by fold, each with its own plan.

    A method of fixed size has the budget of the full table only; it is known by its records.
    """
    cells: dict[Place, Plan] = {}
    for dataset, backbone, spec in itertools.product(plan.datasets, plan.backbones, plan.methods):
        method = split_label(spec)[0]
        fixed = {name.budget for name, _ in found if name.method == method} == {FULL}
        for budget in (FULL,) if fixed else plan.budgets:
            own = plan.of_cell(dataset, backbone, method, budget)
            for fold in range(plan.folds) if own is not None else ():
                assert own is not None
                cells[CellName(dataset, backbone, method, budget), fold] = own
    return cells


def _wrong_settings(record: Record, plan: Plan) -> str:
    """The first setting of a record that its plan does not give; else empty."""
    spec, training = record.spec, record.spec.training
    sizes = plan.tune_batch_size or (plan.batch_size,)
    fold = Fold(spec.data.fold, spec.data.folds)
    seeds = {
        "tuning": [tuning_seed(plan, fold)],
        "finalist": finalist_seeds(plan, fold),
        "final": final_seeds(plan, fold),
    }
    for what, value, allowed in (
        ("protocol", spec.protocol, (PROTOCOL_VERSION,)),
        ("dim", spec.dim, (plan.dim,)),
        ("split_seed", spec.data.split_seed, (plan.split_seed,)),
        ("folds", spec.data.folds, (plan.folds,)),
        ("epochs", training.epochs, (plan.epochs,)),
        ("patience", training.patience, (plan.patience,)),
        ("clip", training.clip, (plan.clip,)),
        ("optimizer", training.optimizer, (plan.optimizer,)),
        ("precision", training.precision, (plan.precision,)),
        ("batch_size", training.batch_size, sizes),
        ("seed", spec.seed, seeds[spec.role]),
        (
            "budget_parameters",
            spec.budget_parameters,
            (Budget(spec.budget).within(spec.full_parameters),),
        ),
    ):
        if value not in allowed:
            return f"{what} is {value}, and {' or '.join(map(str, allowed))} by the plan"
    if record.status == "ok" and (record.n_parameters or 0) > spec.budget_parameters:
        return f"{record.n_parameters} parameters are more than {spec.budget_parameters}"
    scores = [scores for scores in (record.validation, record.test) if scores is not None]
    if not all(0 <= score.auc <= 1 for score in scores):
        return "an AUC is not between 0 and 1"
    return ""


def _incomplete(members: Sequence[Record], plan: Plan) -> str:
    """What a cell has too few or too many of; else empty."""
    tuning = [record for record in members if record.spec.role == "tuning"]
    needed = draws_needed(plan.trials, tuning)
    if plan.tuning_time is None and (
        len(tuning) > needed or (len(tuning) < needed and plan.sampler != "grid")
    ):
        return f"{len(tuning)} tuning trials, and the board's methods have {needed}"
    default = (DEFAULT_LEARNING_RATE, DEFAULT_L2)
    if default not in {(r.spec.training.learning_rate, r.spec.training.l2) for r in tuning}:
        return "the trial with default settings is missing"
    best = best_trial(members)
    if best is None:
        return ""
    candidates = finalists(members, plan.finalists)
    fold = Fold(best.spec.data.fold, best.spec.data.folds)
    expected = {
        ("finalist", one.spec.settings(), seed)
        for one in (candidates if len(candidates) > 1 else ())
        for seed in finalist_seeds(plan, fold)
    } | {("final", best.spec.settings(), seed) for seed in final_seeds(plan, fold)}
    further = [record for record in members if record.spec.role != "tuning"]
    there = {(r.spec.role, r.spec.settings(), r.spec.seed) for r in further}
    if there != expected:
        return (
            f"{len(there & expected)} of {len(expected)} runs of finalists and of the chosen trial "
            f"are there, and {len(there - expected)} others"
        )
    return ""
