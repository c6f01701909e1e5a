import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.catalog import Catalog
from pepbench.errors import PlanError
from pepbench.plan import Contrast, Plan, PlanException

names = st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True).map(tuple)
exceptions = st.builds(
    PlanException,
    methods=names,
    budgets=st.sampled_from([("*",), ("1%", "2%")]),
    reason=st.text(min_size=1),
    epochs=st.integers(1, 99),
)
plans = st.builds(
    Plan,
    methods=names,
    datasets=names,
    budgets=st.just(("50%", "2MB")),
    trials=st.integers(1, 10**6),
    clip=st.floats(1e-3, 1e9),
    seed=st.integers(0, 2**40),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
    sampler=st.sampled_from(["tpe", "random", "gp", "halton", "grid"]),
    tune_learning_rate=st.sampled_from([(3e-4, 1e-2), (0.001, 0.03)]),
    tune_batch_size=st.sampled_from([(), (512, 1024)]),
    exceptions=st.lists(exceptions, max_size=2).map(tuple),
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


def test_plan_bounded_by_time_comes_back_without_trials(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(Plan(tuning_time="10m").to_toml())
    assert "trials" not in path.read_text()
    assert Plan.load(path, {}) == Plan(tuning_time="10m")
    assert Plan.load(path, {"trials": 2}).tuning_time is None


def test_trials_and_time_exclude_each_other(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('trials = 7\ntuning_time = "10m"\n')
    with pytest.raises(PlanError, match=r"plan\.toml: trials and tuning_time exclude"):
        Plan.load(path, {})


@pytest.mark.parametrize("text", ["", "m", "0s", "10 parsecs"])
def test_tuning_time_that_is_none_is_refused_by_its_key(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(f'tuning_time = "{text}"\n')
    with pytest.raises(PlanError, match=r"plan\.toml: tuning_time: .* is no time; write, say"):
        Plan.load(path, {})
    with pytest.raises(PlanError, match=r"--tuning-time: .* is no time"):
        Plan.load(None, {"tuning_time": text})
    assert Plan(tuning_time="1.5h").tuning_seconds == 5400


EXCEPT = """
methods = ["pep:max_steps=9", "uniform", "full"]
datasets = ["anime", "synthetic"]

[[except]]
methods = ["pep"]
datasets = ["ani*"]
skip = true
reason = "too slow"

[[except]]
budgets = ["10%"]
reason = "learns slowly"
epochs = 90

[[except]]
methods = ["uniform"]
reason = "to try"
epochs = 70
trials = 2
"""


def test_exceptions_leave_out_and_change_the_cells_that_they_name(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(EXCEPT)
    plan = Plan.load(path, {})
    assert plan.of_cell("anime", "fm", "pep:max_steps=9", "50%") is None
    assert plan.of_cell("synthetic", "fm", "pep:max_steps=9", "50%") == plan
    assert plan.of_cell("synthetic", "fm", "full", "10%").epochs == 90
    both = plan.of_cell("anime", "fm", "uniform", "10%")
    assert (both.epochs, both.trials, both.seeds) == (70, 2, plan.seeds)
    assert [exception.describe() for exception in plan.exceptions] == [
        "datasets ani*; methods pep: left out (too slow)",
        "budgets 10%: epochs = 90 (learns slowly)",
        "methods uniform: trials = 2, epochs = 70 (to try)",
    ]
    path.write_text(plan.to_toml())
    assert Plan.load(path, {}) == plan


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[[except]]\nmethod = ["pep"]\nreason = "x"', "did you mean 'methods'"),
        ('[[except]]\nmethods = ["pep"]\nskip = true', "except.reason"),
        ('[[except]]\nreason = "x"', "either skips cells"),
        ('[[except]]\nreason = "x"\nskip = true\nepochs = 3', "either skips cells"),
        ('[[except]]\nreason = "x"\nlearning_rate = 3', "unknown key of except"),
        ('[[except]]\nreason = "x"\ntuning_time = "3m"', "tuning_time is not what"),
        ("except = 3", "plan.toml: except"),
        ('sampler = "cma"', "sampler"),
        ("tune_batch_size = [512, 2048]", "batch_size = 1024 among them"),
        ("tune_learning_rate = [0.01, 0.1]", "0.001 between them"),
        ("tune_learning_rate = [0.01, 0.001]", "a lowest and a highest value"),
        ("tune_learning_rate = [0.001]", "tune_learning_rate"),
        ("tune_l2 = [0, 1e-3]", "from above 0"),
        ("exept = 3", "did you mean 'except'"),
    ],
)
def test_mistakes_in_a_plan_name_key_and_remedy(tmp_path, content, words):
    path = tmp_path / "plan.toml"
    path.write_text(content)
    with pytest.raises(PlanError) as caught:
        Plan.load(path, {})
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def rows(model):
    """The keys of a model as rows of the tables in docs/plan.md."""
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        meaning = " ".join(field.description.split())
        yield f"| `{field.alias or name}` | {default} | {meaning} |"


@pytest.mark.parametrize("model", [Plan, PlanException, Contrast])
def test_every_key_is_described_in_the_docs_as_in_the_model(model):
    page = Path(__file__).parents[1] / "docs/plan.md"
    table = ["| key | default | meaning |", "|---|---|---|", *rows(model)]
    assert "\n".join(table) in page.read_text("utf-8")
    assert all(field.description for field in Plan.model_fields.values())


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            {"methods": ["pep", "full"], "budgets": ["5%", "20%"]},
            "at 20% are compared by contrast 1",
        ),
        ({"methods": ["full", "pep"], "budgets": ["20%"]}, "full and pep at 20% are compared"),
        ({"methods": ["mde", "full"], "budgets": ["5%", "5%"]}, "at 5% are compared by contrast 2"),
        ({"methods": ["mde", "fill"], "budgets": ["5%"]}, "contrast 2: unknown method 'fill'"),
        ({"methods": ["mde", "full"], "budgets": ["5%"]}, None),
        ({"methods": ["pep", "full"], "budgets": ["5%"]}, None),
    ],
)
def test_a_comparison_counts_once_in_its_family(second, words):
    first = {"methods": ["pep", "full"], "budgets": ["20%"]}
    keys = {
        "methods": ["pep", "mde", "full"],
        "budgets": ["20%", "5%"],
        "contrast": [first, second],
    }
    plan = Plan.load(None, keys)
    if words is None:
        assert len(plan.with_families_expanded(Catalog()).contrasts) == 2
    else:
        with pytest.raises(PlanError, match=words):
            plan.with_families_expanded(Catalog())
