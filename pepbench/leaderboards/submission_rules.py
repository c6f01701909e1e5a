"""What must hold of a submission: the board's plan, all its folds, and records that follow from it.

Only :func:`other_trials` imports the method; all else is told from records and plans.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import optuna

from pepbench.catalog import Catalog
from pepbench.component import split_label
from pepbench.data.split_schemes import Fold
from pepbench.errors import PepbenchError
from pepbench.harness.cells import expand, training_spec
from pepbench.harness.trial_seeds import common_seed, final_seeds, finalist_seeds, tuning_seed
from pepbench.harness.tuning.halton import common_settings
from pepbench.harness.tuning.study import STARTUP_TRIALS, draws_needed, new_study, trial_batches
from pepbench.leaderboards.against import SUBSETS, board_plan_of, refuse_known_names
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.submitted import MARK
from pepbench.plan import Plan
from pepbench.records import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    PROTOCOL_VERSION,
    CellName,
    Place,
    Record,
    best_trial,
    by_place,
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
    published = [one for one in published if not one.spec.method.spec.endswith(MARK)]
    yield from _plan_rules(plan, board, published)
    if len({record.key for record in records}) < len(records):
        yield "a run is there more than once"
    for method, classes in _classes(records).items():
        if len(classes) > 1:
            yield f"{method}: its records are of several methods or versions: {', '.join(classes)}"
    data = {(r.spec.data.spec, r.spec.data.fold): r.spec for r in published}
    backbones = {r.spec.backbone.spec: r.spec.backbone.untuned() for r in published}
    for (name, fold), members in by_place(records).items():
        where = _where(plan, name, fold)
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
        if any(r.spec.backbone.untuned() != backbones.get(name.backbone) for r in members):
            yield f"{where}: version or options of its backbone are not the board's"
    yield from unlike_plan(plan, records)


def unlike_plan(plan: Plan, records: Iterable[Record]) -> Iterator[str]:
    """What records lack or have otherwise than their plan gives it, a line each.

    Parameters
    ----------
    plan
        With families of methods expanded.
    records
        Of all of its cells and folds.
    """
    found = by_place(records)
    expected = _expected(plan, set(found))
    for name, fold in found:
        if (name, fold) not in expected:
            yield f"{name.listed()}: its records do not follow from the plan"
    for (name, fold), cell_plan in expected.items():
        where, members = _where(plan, name, fold), found.get((name, fold), [])
        if not members:
            yield f"{where}: there are no records; run the missing folds and cells first"
            continue
        for record in members:
            if problem := _wrong_settings(record, cell_plan):
                yield f"{where}: run {record.key[:12]} does not follow from the plan: {problem}"
        if problem := _incomplete(members, cell_plan):
            yield f"{where}: {problem}"


def _where(plan: Plan, name: CellName, fold: int) -> str:
    return f"{name.listed()}, {Fold(fold, plan.folds)}" if plan.folds > 1 else name.listed()


def _plan_rules(plan: Plan, board: Board, published: Sequence[Record]) -> Iterator[str]:
    theirs = Plan.load(board.plan_path, {})
    missing = set(theirs.folds_to_run) - set(plan.folds_to_run)
    if plan.only_folds and missing:
        numbers = ", ".join(str(fold + 1) for fold in sorted(missing))
        yield f"folds {numbers} of {theirs.folds} are missing; run them first, without --only-folds"
    try:
        refuse_known_names(board, published, plan.methods)
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
            name = CellName(dataset, backbone, method, budget)
            if own := plan.of_cell(*name):
                cells |= {(name, fold): own for fold in plan.folds_to_run}
    return cells


def _classes(records: Sequence[Record]) -> dict[str, list[str]]:
    """Names and versions of the classes of each method of the records."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        method = record.spec.method
        found[method.spec].add(f"{method.name} {method.version}")
    return {method: sorted(classes) for method, classes in found.items()}


def _wrong_settings(record: Record, plan: Plan) -> str:
    """The first setting of a record that its plan does not give; else empty."""
    spec, training = record.spec, record.spec.training
    sizes = plan.tune_batch_size or (plan.batch_size,)
    planned = training_spec(plan, training.learning_rate, training.l2, training.batch_size)
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
        *((key, value, (getattr(planned, key),)) for key, value in training),
        ("batch_size", training.batch_size, sizes),
        ("device", spec.device, (plan.device,)),
        ("pruner", spec.pruning.pruner if spec.pruning else "none", ("none", plan.pruner)),
        ("seed", spec.seed, seeds[spec.role]),
        (
            "budget_parameters",
            spec.budget_parameters,
            (Budget(spec.budget).within(spec.full_parameters),),
        ),
    ):
        if value not in allowed:
            return f"{what} is {value}, and {' or '.join(map(str, allowed))} by the plan"
    if record.status == "ok":
        if record.n_parameters is None or record.validation is None:
            return "size or validation AUC is missing"
        if record.n_parameters > spec.budget_parameters:
            return f"{record.n_parameters} parameters are more than {spec.budget_parameters}"
        if spec.role == "final" and record.test is None:
            return "test AUC is missing"
    scores = [scores for scores in (record.validation, record.test) if scores is not None]
    if not all(0 <= score.auc <= 1 for score in scores):
        return "an AUC is not between 0 and 1"
    return ""


def _incomplete(members: Sequence[Record], plan: Plan) -> str:
    """What a cell has too few or too many of; else empty."""
    tuning = [record for record in members if record.spec.role == "tuning"]
    needed = draws_needed(plan.trials, tuning)
    # A grid can end early, and a draw that is infeasible can come again, as the same trial.
    may_be_fewer = plan.sampler == "grid" or all(r.status == "infeasible" for r in tuning)
    if plan.tuning_time is None and (
        len(tuning) > needed or (len(tuning) < needed and not may_be_fewer)
    ):
        return f"{len(tuning)} tuning trials, and the board's methods have {needed}"
    if problem := _other_draws(tuning, plan):
        return problem
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


def _other_draws(tuning: Sequence[Record], plan: Plan) -> str:
    """What shows that a cell's learning rates, L2 and batch sizes were not drawn by its plan.

    All methods of a data set and backbone try the default and then points of one sequence, in its
    order; a point is tried again where a trial was infeasible. Only the later trials of ``tpe`` and
    ``gp``, and one from the neighbour's budget, are chosen otherwise.
    """
    points = [((t := record.spec.training).learning_rate, t.l2, t.batch_size) for record in tuning]
    default = (DEFAULT_LEARNING_RATE, DEFAULT_L2, plan.batch_size)
    if default not in points:
        return "the trial with default settings is missing"
    for rate, l2, _ in points:
        if not _within(rate, plan.tune_learning_rate) or not _within(l2, plan.tune_l2):
            return f"learning rate {rate:g} or L2 {l2:g} is out of the range that is searched"
    if plan.sampler in ("random", "grid"):
        return ""
    spec = tuning[0].spec
    fold = Fold(spec.data.fold, spec.data.folds)
    seed = common_seed(plan, fold, spec.cell.dataset, spec.cell.backbone)
    tried = [p for p, record in zip(points, tuning, strict=True) if record.status != "infeasible"]
    prescribed = len(points) if plan.sampler == "halton" else min(len(points), STARTUP_TRIALS)
    chosen = max(0, len(tried) - prescribed) + plan.warm_start
    drawn = {default, *common_settings(plan, seed, prescribed - 1)}
    others = len(tried) - len(drawn & set(tried))
    if others > chosen:
        return (
            f"{others} of {len(tried)} tuning trials have other learning rates, L2 or batch sizes "
            "than the plan draws for all methods"
        )
    return ""


def other_trials(plan: Plan, records: Sequence[Record], catalog: Catalog) -> Iterator[str]:
    """The cells whose tuning, played again on the records, asks for a trial that is not there.

    Nothing is trained, and options of the method are compared, too; the methods' code is run, and
    the data must be at hand.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    by_key = {record.key: record for record in records}
    found = by_place(records)
    for cell in expand(plan.with_families_expanded(catalog), catalog):
        before = found.get((cell.neighbour, cell.fold.number), []) if cell.neighbour else []
        asked = trial_batches(cell, new_study(cell), best_trial(before))
        with suppress(StopIteration):
            specs = next(asked)
            while all(spec.key() in by_key for spec in specs):
                specs = asked.send([by_key[spec.key()] for spec in specs])
            missing = next(spec for spec in specs if spec.key() not in by_key)
            yield f"{cell}: the plan asks for a {missing.role} run that is not there"


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]
