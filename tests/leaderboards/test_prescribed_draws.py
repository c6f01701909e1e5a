"""A submission's tuning trials are those that the harness itself asks for."""

import pytest
from made_board import PLAN, made_record

from pepbench.catalog import Catalog
from pepbench.harness.cells import expand
from pepbench.harness.tuning.study import new_study, trial_batches
from pepbench.leaderboards.submission_rules import _other_draws
from pepbench.plan import Plan


def tuned(cell, infeasible=()):
    """Tuning records of a cell as the harness makes them; those of these numbers infeasible."""
    asked, made = trial_batches(cell, new_study(cell)), []
    specs = next(asked)
    while specs[0].role == "tuning":
        first = len(made)
        made += [
            made_record(spec, 0.7, status="infeasible" if first + n in infeasible else "ok")
            for n, spec in enumerate(specs)
        ]
        specs = asked.send(made[first:])
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
    assert len(records) == 12 + len(infeasible)
    assert _other_draws(records, plan) == ""
    training = records[3].spec.training.model_copy(update={"learning_rate": 0.00123})
    spec = records[3].spec.model_copy(update={"training": training})
    changed = [*records[:3], records[3].model_copy(update={"spec": spec}), *records[4:]]
    prescribed = sampler in ("halton", "tpe")
    assert ("than the plan draws" in _other_draws(changed, plan)) == prescribed
