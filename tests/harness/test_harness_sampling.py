"""Which trials a cell asks for, answered by a function instead of trainings."""

import itertools
import math
from datetime import UTC, datetime

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.catalog import Catalog
from pepbench.errors import PlanError
from pepbench.harness.cells import expand
from pepbench.harness.tuning.halton import HaltonTrial, halton
from pepbench.harness.tuning.space import grid, params_of, spaced
from pepbench.harness.tuning.study import STARTUP_TRIALS, new_study, trial_batches
from pepbench.harness.tuning.trial_pruning import FIRST_EPOCH, pruning_of, should_stop
from pepbench.plan import Plan
from pepbench.records import (
    Environment,
    EpochRecord,
    PhaseSeconds,
    PruningSpec,
    Record,
    ScoresRecord,
)

PLAN = Plan(
    methods=("mde",),
    datasets=("synthetic:rows=2000:features=60:fields=4",),
    backbones=("deepfm",),
    budgets=("50%",),
    dim=4,
    trials=8,
    finalists=1,
    seeds=2,
)


def cell_of(tiny_cache, **changes):  # noqa: ARG001
    return expand(
        Plan(
            **{
                k: v
                for k, v in (PLAN.model_dump(exclude_unset=True) | changes).items()
                if v is not None
            }
        ),
        Catalog(),
    )[0]


def answer(spec, *, status="ok", cpu=1.0):
    """A record as if the best learning rate were 0.003, found slowly."""
    distance = abs(math.log(spec.training.learning_rate / 0.003))
    aucs = [0.7 - 0.02 * distance - 0.1 / epoch for epoch in range(1, 6)]
    ok = status == "ok"
    return Record(
        key=spec.key(),
        spec=spec,
        status=status,
        curve=[EpochRecord(epoch=e, train_loss=1, auc=a, log_loss=1) for e, a in enumerate(aucs, 1)]
        if ok
        else [],
        validation=ScoresRecord(auc=aucs[-1], log_loss=1) if ok else None,
        seconds={"train": PhaseSeconds(wall=1.0, cpu=cpu)},
        environment=Environment(
            python="", torch="", numpy="", pepbench="", git=None, cpu="", host="", threads=1
        ),
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )


def worked_off(cell, reply=answer, warm=None):
    """The batches that a cell asks for."""
    program = trial_batches(cell, new_study(cell), warm)
    batches = [next(program)]
    while True:
        try:
            batches.append(program.send([reply(spec) for spec in batches[-1]]))
        except StopIteration:
            return batches


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "halton", "grid"])
def test_samplers_ask_the_same_again_for_as_many_trials_as_planned(tiny_cache, sampler, batch):
    cell = cell_of(tiny_cache, sampler=sampler, batch=batch)
    batches = worked_off(cell)
    *tuning, finals = batches
    sizes = [len(specs) for specs in tuning]
    assert sizes == ([1] * 8 if batch == 1 else [3, 3, 2])
    assert [spec.role for spec in finals] == ["final"] * 2
    specs = [spec for specs in tuning for spec in specs]
    assert len({spec.key() for spec in specs}) == 8
    assert specs[0].training.learning_rate == 1e-3
    assert worked_off(cell) == batches


def test_samplers_and_seeds_differ(tiny_cache):
    asked = [
        worked_off(cell_of(tiny_cache, sampler=sampler, seed=seed))[1]
        for sampler in ("random", "halton", "grid")
        for seed in (0, 1)
    ]
    assert all(a != b for a, b in itertools.combinations(asked, 2))


def test_first_sampled_trials_are_the_same_at_every_budget(tiny_cache):
    a, b = (
        [spec for (spec,) in worked_off(cell_of(tiny_cache, budgets=(budget,)))[:5]]
        for budget in ("50%", "30%")
    )
    assert [s.training for s in a] == [s.training for s in b]
    assert [s.method.options for s in a] == [s.method.options for s in b]


def test_halton_tries_the_same_common_settings_with_every_method(tiny_cache):
    def common(**changes):
        cell = cell_of(tiny_cache, sampler="halton", **changes)
        training = [spec.training for specs in worked_off(cell)[:-1] for spec in specs]
        return [(t.learning_rate, t.l2) for t in training]

    expected = common()
    assert len(set(expected)) == 8
    assert common(methods=("pep",), budgets=("20%",), tune_backbone=True) == expected
    assert common(methods=("deeplight",), batch=3) == expected
    assert common(backbones=("fm",)) != expected


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_that_learn_start_from_haltons_points(tiny_cache, sampler):
    def settings(sampler, method, **changes):
        cell = cell_of(tiny_cache, sampler=sampler, methods=(method,), trials=14, **changes)
        training = [spec.training for specs in worked_off(cell)[:-1] for spec in specs]
        return [(t.learning_rate, t.l2) for t in training]

    expected = settings("halton", "mde")
    for method in ("mde", "deeplight"):
        found = settings(sampler, method)
        assert found[:STARTUP_TRIALS] == expected[:STARTUP_TRIALS]
        assert not set(found[STARTUP_TRIALS:]) & set(expected)


def test_a_neighbours_best_from_the_sequence_is_not_tried_twice(tiny_cache):
    (fourth,) = worked_off(cell_of(tiny_cache, budgets=("70%",), sampler="halton"))[3]
    *tuning, _ = worked_off(cell_of(tiny_cache, sampler="halton"), warm=answer(fourth))
    rates = [spec.training.learning_rate for (spec,) in tuning]
    assert rates[1] == fourth.training.learning_rate
    assert len(set(rates)) == 8


def test_halton_has_one_point_in_every_equal_part_of_a_range(tiny_cache):
    cell = cell_of(tiny_cache, sampler="halton", tune_batch_size=(256, 512, 1024, 2048, 4096))
    points = list(itertools.islice(halton(cell), 27))

    def parts(name, low, high, count):
        share = math.log(high / low)
        return [math.floor(math.log(p[name] / low) / share * count) for p in points[:count]]

    for count in (2, 4, 8, 16):
        assert sorted(parts("learning_rate", *Plan().tune_learning_rate, count)) == list(
            range(count)
        )
    for count in (3, 9, 27):
        assert sorted(parts("l2", *Plan().tune_l2, count)) == list(range(count))
    sizes = [p["batch_size"] for p in points]
    assert sorted(sizes[:5]) == sorted(sizes[5:10]) == [256, 512, 1024, 2048, 4096]


@given(
    count=st.integers(1, 40),
    low=st.integers(-5, 5),
    step=st.integers(1, 4),
    spare=st.integers(0, 3),
)
def test_halton_gives_each_step_the_same_share(count, low, step, spare):
    high = low + (count - 1) * step + min(spare, step - 1)
    coordinates = [(i + 0.5) / (3 * count) for i in range(3 * count)]
    expected = [low + i * step for i in range(count) for _ in range(3)]
    whole = [HaltonTrial([c]).suggest_int("n", low, high, step=step) for c in coordinates]
    assert whole == expected
    tenths = [
        HaltonTrial([c]).suggest_float("x", low / 10, high / 10, step=step / 10)
        for c in coordinates
    ]
    assert tenths == pytest.approx([n / 10 for n in expected])


@given(low=st.integers(1, 50), more=st.integers(0, 200), share=st.floats(0, 1, exclude_max=True))
def test_halton_stays_in_a_logarithmic_range_of_whole_numbers(low, more, share):
    high = low + more
    assert low <= HaltonTrial([share]).suggest_int("n", low, high, log=True) <= high
    ends = [HaltonTrial([s]).suggest_int("n", low, high, log=True) for s in (0.0, 1 - 1e-12)]
    assert ends == [low, high]


def test_halton_says_when_options_are_too_many():
    drawer = HaltonTrial([0.5])
    assert drawer.suggest_categorical("a", "xyz") == drawer.suggest_categorical("a", "xyz") == "y"
    with pytest.raises(PlanError, match="1 options at most"):
        drawer.suggest_float("b", 0, 1)


def test_learning_sampler_comes_nearer_to_the_best_than_chance(tiny_cache):
    def error(sampler):
        *tuning, _ = worked_off(cell_of(tiny_cache, sampler=sampler, trials=30))
        rates = [spec.training.learning_rate for (spec,) in tuning[15:]]
        return sum(abs(math.log(rate / 0.003)) for rate in rates) / len(rates)

    assert error("tpe") < 0.75 * error("random")


def test_grid_is_the_product_of_the_ranges(tiny_cache):
    cell = cell_of(tiny_cache, sampler="grid", trials=500, tune_batch_size=(512, 1024))
    (alpha,) = (o for o in cell.method.component.described_options() if o.tuned)
    axes = {
        "learning_rate": spaced(*Plan().tune_learning_rate, log=True),
        "l2": spaced(*Plan().tune_l2, log=True),
        "batch_size": [512, 1024],
        "alpha": spaced(alpha.range.low, alpha.range.high, log=False),
    }
    expected = {
        tuple(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    }
    found = [tuple(point.items()) for point in grid(cell)]
    assert len(found) == len(expected)
    assert set(found) == expected
    assert found != sorted(found)
    # The default comes first; when the grid is used up, tuning ends.
    *tuning, _ = worked_off(cell)
    assert len(tuning) == len(expected | {tuple(params_of(cell, cell.default()).items())})


def test_backbone_and_batch_size_are_tuned_if_asked(tiny_cache):
    fixed = [s for (s,) in worked_off(cell_of(tiny_cache))[:-1]]
    assert len({s.backbone.model_dump_json() for s in fixed}) == 1
    assert {s.training.batch_size for s in fixed} == {1024}
    plan = {"tune_backbone": True, "tune_batch_size": (256, 1024, 4096)}
    tuned = [s for (s,) in worked_off(cell_of(tiny_cache, **plan))[:-1]]
    assert tuned[0].backbone.options == fixed[0].backbone.options
    assert len({s.backbone.options["units"] for s in tuned}) > 1
    assert len({s.training.batch_size for s in tuned}) > 1
    assert all(s.backbone.untuned() == tuned[0].backbone.untuned() for s in tuned)
    half = cell_of(tiny_cache, **plan, backbones=("deepfm:units=30",))
    assert {s.backbone.options["units"] for (s,) in worked_off(half)[:-1]} == {30}


def test_tuning_time_is_used_up_and_not_by_much(tiny_cache):
    cell = cell_of(tiny_cache, tuning_time="10s", trials=None)
    *tuning, _ = worked_off(cell, lambda spec: answer(spec, cpu=3.0))
    assert len(tuning) == 4
    assert len(worked_off(cell, lambda spec: answer(spec, cpu=1000.0))) == 2


def test_method_that_fails_at_once_does_not_fail_for_ever(tiny_cache):
    cell = cell_of(tiny_cache, tuning_time="10m", trials=None)
    batches = worked_off(cell, lambda spec: answer(spec, status="failed", cpu=0.0))
    assert [len(specs) for specs in batches] == [1] * 20


def test_warm_start_tries_the_neighbours_best_second(tiny_cache):  # noqa: ARG001
    large, small = expand(
        PLAN.model_copy(update={"budgets": ("10%", "50%"), "warm_start": True}), Catalog()
    )
    assert (large.budget, large.neighbour) == ("50%", None)
    assert (small.budget, small.neighbour) == ("10%", large.name)
    best = answer(worked_off(large)[3][0])
    first, second = (specs[0] for specs in worked_off(small, warm=best)[:2])
    assert first.training.learning_rate == 1e-3
    assert second.training == best.spec.training
    assert second.method.options == best.spec.method.options
    assert second.budget == "10%"


def pruning(pruner, complete, pruned=()):
    return PruningSpec(pruner=pruner, complete=complete, pruned=pruned)


def stopped_at(spec, curve):
    ask = should_stop(spec)
    return next((epoch for epoch, auc in enumerate(curve, 1) if ask(epoch, auc)), None)


CURVES = ((0.6, 0.7, 0.75), (0.55, 0.65, 0.7, 0.72), (0.5, 0.6, 0.65))


def test_median_stops_what_is_below_the_median_of_complete_trials():
    spec = pruning("median", CURVES, pruned=((0.9, 0.9),))
    assert stopped_at(spec, (0.1, 0.66, 0.71)) is None
    assert stopped_at(spec, (0.1, 0.64, 0.9)) == FIRST_EPOCH
    assert stopped_at(spec, (0.1, 0.66, 0.69)) == 3
    # The best so far counts, and trials that are no longer there do not.
    assert stopped_at(spec, (0.1, 0.71, 0.6, 0.71)) == 4
    assert stopped_at(pruning("median", CURVES[:2]), (0.1, 0.1, 0.1)) is None


def test_halving_lets_the_best_third_go_on():
    spec = pruning("halving", tuple((0.5, auc, auc) for auc in (0.60, 0.61, 0.62, 0.63, 0.64)))
    assert stopped_at(spec, (0.9, 0.625)) == FIRST_EPOCH
    assert stopped_at(spec, (0.1, 0.645)) is None
    # Those that were stopped before have set the mark, too.
    assert stopped_at(pruning("halving", ((0.5, 0.6),), ((0.5, 0.7),) * 3), (0.5, 0.65)) == 2


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_worker_decides_as_a_study_would_in_which_all_trials_ran(pruner):
    made = {
        "median": optuna.pruners.MedianPruner(3, 2),
        "halving": optuna.pruners.SuccessiveHalvingPruner(2, 3),
    }
    study = optuna.create_study(direction="maximize", pruner=made[pruner])
    complete, pruned = [], []
    for number in range(25):
        slope = math.sin(7.0 * number) / 50
        curve = [0.6 + slope * epoch + math.cos(number * epoch) / 100 for epoch in range(1, 9)]
        trial = study.ask()
        expected = None
        for epoch, auc in enumerate(curve, 1):
            trial.report(auc, epoch)
            if trial.should_prune():
                expected = epoch
                break
        spec = PruningSpec(pruner=pruner, complete=tuple(complete), pruned=tuple(pruned))
        assert stopped_at(spec, curve) == expected
        if expected is None:
            study.tell(trial, max(curve))
            complete.append(tuple(curve))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            pruned.append(tuple(curve[:expected]))
    assert complete
    assert pruned


def test_trials_are_held_against_those_that_had_ended_when_asked_for(tiny_cache):
    cell = cell_of(tiny_cache, pruner="median", batch=2, trials=5)
    *tuning, finals = worked_off(cell)
    counts = [
        0 if s.pruning is None else len(s.pruning.complete) for specs in tuning for s in specs
    ]
    assert counts == [0, 0, 2, 2, 4]
    assert all(spec.pruning is None for spec in finals)
    records = [answer(spec) for spec in tuning[0]]
    assert pruning_of("median", records).complete[0] == tuple(p.auc for p in records[0].curve)
    assert pruning_of("none", records) is None


def test_keys_do_not_depend_on_what_is_not_used(tiny_cache):
    (spec,) = worked_off(cell_of(tiny_cache))[0]
    tuned = spec.model_copy(
        update={"backbone": spec.backbone.model_copy(update={"tuned": ("units",)})}
    )
    assert tuned.key() == spec.key()
    held = spec.model_copy(update={"pruning": pruning("median", CURVES)})
    assert held.key() != spec.key()
