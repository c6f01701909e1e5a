import json
from dataclasses import dataclass
from typing import Annotated

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.catalog import Catalog
from pepbench.component import Between, Component, OneOf, split_spec
from pepbench.errors import PlanError


@dataclass(frozen=True)
class Sample(Component):
    name = "sample"
    rate: Annotated[float, Between(0.1, 10.0, log=True, allow=(0.0, 100.0)), "a rate"] = 1.0
    count: Annotated[int, Between(2, 8, step=2), "a count"] = 4
    kind_of: Annotated[str, OneOf("add", "mult", allow=("concat",)), "a choice"] = "add"
    flag: Annotated[bool, OneOf(True, False, tuned=False), "a switch"] = True


@given(st.integers(0, 2**32 - 1))
def test_suggestions_lie_in_the_searched_range_and_survive_json(seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = Sample.suggest(study.ask(), fixed={})
    assert 0.1 <= found.rate <= 10.0
    assert found.count in (2, 4, 6, 8)
    assert found.kind_of in ("add", "mult")
    assert found.flag is True
    assert Sample.from_options(json.loads(json.dumps(found.options()))) == found


def test_fixed_options_are_not_searched():
    study = optuna.create_study()
    trial = study.ask()
    assert Sample.suggest(trial, {"rate": 55.0}).rate == 55.0
    assert Sample.suggest(study.ask(), {"kind_of": "concat"}).kind_of == "concat"
    assert set(trial.params) == {"count", "kind_of"}
    assert set(Sample().tuned_options({"rate": 55.0})) == {"count", "kind_of"}


@pytest.mark.parametrize(
    "options",
    [
        {"rate": -0.1},
        {"rate": float("nan")},
        {"rate": "1"},
        {"rate": True},
        {"count": 4.0},
        {"count": 9},
        {"kind_of": "ad"},
        {"flag": 1},
        {"rat": 1.0},
    ],
)
def test_illegal_options_are_refused_by_name(options):
    with pytest.raises(PlanError, match=next(iter(options))):
        Sample.from_options(options)


def test_texts_become_values():
    texts = {"rate": "2", "count": "6", "kind_of": "mult", "flag": "False"}
    values = Sample.parse_options(texts)
    assert values == {"rate": 2.0, "count": 6, "kind_of": "mult", "flag": False}
    with pytest.raises(PlanError, match=r"count='2\.0' is not of type int"):
        Sample.parse_options({"count": "2.0"})


@pytest.mark.parametrize("spec", ["a:b", "a:=1", "a:b=", "a:b=1:b=2", "a:"])
def test_malformed_specs_are_refused(spec):
    with pytest.raises(PlanError, match="a:"):
        split_spec(spec)


@pytest.mark.parametrize("kind", ["method", "backbone", "dataset"])
def test_every_component_round_trips_through_json(kind):
    catalog = Catalog()
    for name in catalog.entries(kind):
        component = catalog.select(kind, name).default()
        copy = type(component).from_options(json.loads(json.dumps(component.options())))
        assert copy == component
