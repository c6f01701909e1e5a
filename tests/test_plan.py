import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.errors import PlanError
from pepbench.plan import Plan

names = st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True).map(tuple)
plans = st.builds(
    Plan,
    methods=names,
    datasets=names,
    budgets=st.just(("50%", "2MB")),
    trials=st.integers(1, 10**6),
    clip=st.floats(1e-3, 1e9),
    seed=st.integers(0, 2**40),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
)


@given(plans)
def test_toml_round_trip(tmp_path_factory, plan):
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(plan.to_toml(), "utf-8")
    assert Plan.load(path, {}) == plan


def test_flags_override_the_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('trials = 7\nmethods = ["uniform"]\n')
    plan = Plan.load(path, {"trials": 2})
    assert (plan.trials, plan.methods, plan.seeds) == (2, ("uniform",), Plan().seeds)


@pytest.mark.parametrize(
    ("values", "where"),
    [({"trials": 0}, "--trials"), ({"batch_size": 0}, "--batch-size"), ({"dim": 1.5}, "--dim")],
)
def test_mistake_in_a_flag_names_the_flag(values, where):
    with pytest.raises(PlanError, match=f"^{where}: "):
        Plan.load(None, values)
