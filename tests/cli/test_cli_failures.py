"""Methods that misbehave fail alone."""

import json
from pathlib import Path

import pytest
from run_helpers import records

PLUGIN = """
import os
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from pepbench.method import Between, EpochScore, Method, PlainTable, Scores
from pepbench.training.task import Pruned


@dataclass(frozen=True)
class Base(Method):
    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, budget // fields.n_features)


@dataclass(frozen=True)
class Raises(Base):
    name = "raises"

    def fit(self, task, budget):
        raise RuntimeError("no such\\nluck")


@dataclass(frozen=True)
class Leaves(Base):
    name = "leaves"

    def fit(self, task, budget):
        sys.exit(0)


@dataclass(frozen=True)
class Dies(Base):
    name = "dies"

    def fit(self, task, budget):
        os._exit(7)


@dataclass(frozen=True)
class OverBudget(Base):
    name = "over-budget"

    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, dim)


class Liar(PlainTable):
    def n_parameters(self):
        return 1


@dataclass(frozen=True)
class Miscounts(Base):
    name = "miscounts"

    def embedding(self, fields, dim, budget):
        return Liar(fields.n_features, 1)


@dataclass(frozen=True)
class Hollow(Base):
    name = "hollow"

    def fit(self, task, budget):
        fitted = super().fit(task, budget)
        with torch.no_grad():
            fitted.model.embedding.table.fill_(torch.nan)
        return fitted


@dataclass(frozen=True)
class NanScore(Base):
    name = "nan-score"

    def fit(self, task, budget):
        return replace(super().fit(task, budget), validation=Scores(float("nan"), 0.5))


@dataclass(frozen=True)
class OddNote(Base):
    name = "odd-note"

    def fit(self, task, budget):
        return replace(super().fit(task, budget), notes={"tensor": torch.zeros(2)})


@dataclass(frozen=True)
class Diverges(Base):
    name = "diverges"

    def embedding(self, fields, dim, budget):
        table = super().embedding(fields, dim, budget)
        with torch.no_grad():
            table.table.fill_(1e30)
        return table


@dataclass(frozen=True)
class Overflows(Base):
    name = "overflows"

    def fit(self, task, budget):
        raise Pruned((EpochScore(1, 0.7, 0.5, float("nan")),))


@dataclass(frozen=True)
class Picky(Base):
    name = "picky"
    x: Annotated[float, Between(0.0, 1.0), "refused once it is searched"] = 0.5

    def __post_init__(self):
        if self.x != 0.5:
            raise ValueError("anything but one half")
"""

REASONS = {
    "raises": "RuntimeError: no such luck (bad.py:",
    "leaves": "SystemExit: 0",
    "over-budget": "256 parameters are over the budget of 128",
    "miscounts": "n_parameters() says 1, the exported table holds",
    "hollow": "vectors are not finite",
    "nan-score": "validation AUC or log loss is not finite",
    "odd-note": "note tensor is tensor",
    "diverges": "learning rate 0.001",
    "overflows": "stopped after epoch 1; its log loss on validation rows is not finite",
    "picky": "ValueError: anything but one half",
}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "bad.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.slow
def test_cell_of_a_broken_method_fails_alone_with_its_reason(tiny_run, plugin):
    methods = f"--methods={','.join(REASONS)},uniform"
    arguments = (methods, "--budgets=50%", "--plugin", plugin, "--out=out")
    ran = tiny_run(*arguments, "--json")
    document = json.loads(ran.out, parse_constant=pytest.fail)
    cells = {cell["method"]: cell for cell in document["cells"]}
    assert ran.code == 1
    assert document["failed"] == len(REASONS)
    assert cells.pop("uniform")["status"] == "ok"
    for method, reason in REASONS.items():
        assert cells[method]["status"] == "failed"
        assert reason in cells[method]["reason"]
    assert "Traceback" not in ran.err
    again = tiny_run(*arguments)
    assert again.code == 1
    # What failed is tried again: all but uniform's trials, and picky's first.
    assert "5 reused" in again.err


@pytest.mark.slow
def test_only_the_trial_that_kills_its_workers_is_given_up(tiny_run, plugin, tmp_path):
    arguments = ("--methods=dies,uniform,full", "--trials=1", "--plugin", plugin, "--jobs=2")
    ran = tiny_run(*arguments, "--budgets=50%", "--json", "--out=out")
    cells = {cell["method"]: cell for cell in json.loads(ran.out)["cells"]}
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "dies": "failed",
        "uniform": "ok",
        "full": "ok",
    }
    assert "worker process died 3 times" in cells["dies"]["reason"]
    assert ran.code == 1
    assert [r.spec.method.name for r in records(tmp_path / "out") if r.status != "ok"] == ["dies"]
