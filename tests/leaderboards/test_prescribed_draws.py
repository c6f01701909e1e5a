"""A submission's tuning trials are those that the harness itself asks for."""

import pytest
from made_board import PLAN, made_record

from pepbench.catalog import Catalog
from pepbench.harness.cells import expand
from pepbench.harness.tuning.halton import common_settings
from pepbench.harness.tuning.study import new_study, trial_batches
from pepbench.leaderboards.submission_rules import _other_draws, other_trials
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE, ScoresRecord, best_trial


def tuned(cell, infeasible=(), neighbour=None):
    """Records of a cell as the harness makes them; tuning trials of these numbers infeasible."""
    asked, made = trial_batches(cell, new_study(cell), neighbour), []
    specs = next(asked)
    while specs[0].role == "tuning":
        first = len(made)
        made += [
            made_record(spec, 0.7, status="infeasible" if first + n in infeasible else "ok")
            for n, spec in enumerate(specs)
        ]
        specs = asked.send(made[first:])
    while True:
        made += [made_record(spec, 0.7, test=ScoresRecord(auc=0.7, log_loss=0.5)) for spec in specs]
        try:
            specs = asked.send(made[-len(specs) :])
        except StopIteration:
            return made


@pytest.mark.parametrize("infeasible", [(), (1, 2, 5), (0,)])
@pytest.mark.parametrize("sampler", ["halton", "tpe", "grid", "random"])
@pytest.mark.usefixtures("session_cache")
def test_what_the_harness_draws_is_accepted_and_another_rate_is_not(
    monkeypatch, session_cache, tmp_path, sampler, infeasible
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(session_cache))
    (tmp_path / "plan.toml").write_text(PLAN)
    keys = {"sampler": sampler, "trials": 12, "batch": 2, "tune_batch_size": (256, 512)}
    plan = Plan.load(tmp_path / "plan.toml", {**keys, "methods": ("low-rank",)})
    cell = expand(plan, Catalog(()))[0]
    records = tuned(cell, infeasible)
    records = [one for one in records if one.spec.role == "tuning"]
    assert len(records) == 12 + len(infeasible)
    assert _other_draws(records, plan) == ""
    training = records[3].spec.training.model_copy(update={"learning_rate": 0.00123})
    spec = records[3].spec.model_copy(update={"training": training})
    changed = [*records[:3], records[3].model_copy(update={"spec": spec}), *records[4:]]
    prescribed = sampler in ("halton", "tpe")
    assert ("than the plan draws" in _other_draws(changed, plan)) == prescribed


@pytest.mark.parametrize("infeasible", [(9, 10), range(0, 20, 2), (1, 2, 3, 4, 6), range(1, 15)])
@pytest.mark.usefixtures("session_cache")
def test_feasible_trials_have_the_plans_settings_in_order_whatever_fails_between(
    monkeypatch, session_cache, tmp_path, infeasible
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(session_cache))
    (tmp_path / "plan.toml").write_text(PLAN)
    plan = Plan.load(tmp_path / "plan.toml", {"trials": 10, "methods": ("low-rank",)})
    cell = expand(plan, Catalog(()))[0]
    tried = [one for one in tuned(cell, infeasible) if one.spec.role == "tuning"]
    feasible = [r.spec.training for r in tried if r.status == "ok"]
    prescribed = common_settings(plan, cell.common_seed, 9)
    # The first trial is the default's; its settings stand in for it until one is feasible.
    default = (DEFAULT_LEARNING_RATE, DEFAULT_L2, plan.batch_size)
    found = [(t.learning_rate, t.l2, t.batch_size) for t in feasible]
    assert found == [default, *prescribed][: len(found)]
    assert len(found) == 10


def test_options_of_a_method_that_the_plan_does_not_draw_are_found(
    monkeypatch, session_cache, tmp_path
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(session_cache))
    (tmp_path / "plan.toml").write_text(PLAN)
    keys = {"sampler": "halton", "trials": 3, "warm_start": True, "methods": ("pep",)}
    plan, catalog = Plan.load(tmp_path / "plan.toml", keys), Catalog(())
    records, best = [], None
    for cell in expand(plan, catalog):
        made = tuned(cell, neighbour=best if cell.neighbour else None)
        best = best_trial(made)
        records += made
    assert list(other_trials(plan, records, catalog)) == []
    last = max(n for n, one in enumerate(records) if one.spec.role == "tuning")
    method = records[last].spec.method
    options = {**method.options, "init": -1.2345}
    assert options.keys() == method.options.keys()
    spec = records[last].spec.model_copy(
        update={"method": method.model_copy(update={"options": options})}
    )
    records[last] = records[last].model_copy(update={"spec": spec, "key": spec.key()})
    (problem,) = other_trials(plan, records, catalog)
    assert "the plan asks for a tuning run that is not there" in problem
