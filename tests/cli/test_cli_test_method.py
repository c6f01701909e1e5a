"""``pepbench test-method``: good plug-ins pass, and each rule catches the one that breaks it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, DoesNotTrain, FitSpec
from pepbench.contract.checks import CHECKS
from pepbench.contract.examine import examine, rule_of, title_of
from pepbench.contract.toy import make_toy
from pepbench.method import Method, PlainTable

PLUGIN = '''
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from pepbench.tables.layout import Dense, Layout
from pepbench.method import (
    Between,
    Infeasible,
    MaskedTable,
    Method,
    PlainTable,
    Scores,
    lookup,
    to_numpy,
)


class Table(PlainTable):
    """A plain table that no backbone reads directly."""

    def as_table(self, ids):
        return None

    def forward(self, ids):
        return lookup(self.table, ids)


@dataclass(frozen=True)
class Base(Method):
    """Narrow rows."""

    family = "controls"
    table = PlainTable

    def embedding(self, fields, dim, budget):
        n = fields.n_features
        if budget < n:
            raise Infeasible(f"{self.name}: smallest possible is {n} parameters")
        table = self.table(n, min(budget // n, dim))
        table.unused_budget = "widths are whole numbers"
        return table


@dataclass(frozen=True)
class Good(Base):
    """Narrow rows, as it should be: A. Author, "A title", 2026."""

    name = "good"
    family = "other"
    year = 2026
    share: Annotated[float, Between(0.0, 1.0), "of nothing"] = 0.5


@dataclass(frozen=True)
class Uncited(Base):
    """Found in a paper of 2020, it does not say which year in its class."""

    name = "uncited"
    family = "other"


@dataclass(frozen=True)
class Unexplained(Base):
    name = "unexplained"
    share: Annotated[float, Between(0.0, 1.0)] = 0.5


@dataclass(frozen=True)
class Halves(Base):
    name = "halves"
    share: Annotated[float, Between(0.0, 1.0), "halved when read"] = 0.5

    def __post_init__(self):
        object.__setattr__(self, "share", self.share / 2)
        super().__post_init__()


@dataclass(frozen=True)
class Unchecked(Base):
    name = "unchecked"
    share: Annotated[float, Between(0.0, 1.0), "anything"] = 0.5

    def __post_init__(self):
        pass


@dataclass(frozen=True)
class Raises(Base):
    name = "raises"

    def fit(self, task, budget):
        raise RuntimeError("no such luck")


@dataclass(frozen=True)
class NeverFits(Base):
    name = "never-fits"

    def embedding(self, fields, dim, budget):
        raise Infeasible("never-fits: smallest possible is 10000 parameters")


@dataclass(frozen=True)
class Diverges(Base):
    name = "diverges"

    def embedding(self, fields, dim, budget):
        table = super().embedding(fields, dim, budget)
        with torch.no_grad():
            table.table.fill_(torch.nan)
        return table


@dataclass(frozen=True)
class OverBudget(Base):
    name = "over-budget"

    def embedding(self, fields, dim, budget):
        super().embedding(fields, dim, budget)
        return PlainTable(fields.n_features, dim)


@dataclass(frozen=True)
class Thrifty(Base):
    name = "thrifty"

    def embedding(self, fields, dim, budget):
        table = super().embedding(fields, dim, budget)
        table.unused_budget = ""
        return table


@dataclass(frozen=True)
class Nameless(Base):
    name = "nameless"

    def embedding(self, fields, dim, budget):
        if budget < fields.n_features:
            raise Infeasible("too small")
        return super().embedding(fields, dim, budget)


@dataclass(frozen=True)
class NamesMore(Base):
    name = "names-more"

    def embedding(self, fields, dim, budget):
        if budget < fields.n_features:
            raise Infeasible(f"smallest possible is {fields.n_features + 1}")
        return super().embedding(fields, dim, budget)


@dataclass(frozen=True)
class NamesLess(Base):
    name = "names-less"

    def embedding(self, fields, dim, budget):
        if budget < fields.n_features:
            raise Infeasible(f"smallest possible is {fields.n_features - 1}")
        return super().embedding(fields, dim, budget)


@dataclass(frozen=True)
class Crashes(Base):
    name = "crashes"

    def embedding(self, fields, dim, budget):
        if budget < 10:
            raise ValueError("what now?")
        return super().embedding(fields, dim, budget)


class CountsOne(PlainTable):
    def n_parameters(self):
        return 1


@dataclass(frozen=True)
class Miscounts(Base):
    name = "miscounts"
    table = CountsOne


class WeighsOne(PlainTable):
    def n_bytes(self):
        return 1


@dataclass(frozen=True)
class Misweighs(Base):
    name = "misweighs"
    table = WeighsOne


class SaysWider(Table):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.dim = width + 1


@dataclass(frozen=True)
class WrongShape(Base):
    name = "wrong-shape"
    table = SaysWider


@dataclass(frozen=True)
class Hollow(Base):
    name = "hollow"

    def fit(self, task, budget):
        fitted = super().fit(task, budget)
        with torch.no_grad():
            fitted.model.embedding.table[3] = torch.nan
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


class ExportsOther(PlainTable):
    def export(self):
        return Dense(to_numpy(self.table) + 0.01)


@dataclass(frozen=True)
class Exports(Base):
    name = "exports-other"
    table = ExportsOther


@dataclass(frozen=True, eq=False)
class ShiftedLayout(Layout):
    table: np.ndarray
    shift: np.ndarray

    def values(self):
        return {"table": self.table}

    def lookup(self, ids):
        return self.table[ids] + self.shift[ids]


class Shifted(Table):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.register_buffer("shift", 1e-3 * torch.randn(n, width))

    def forward(self, ids):
        return super().forward(ids) + self.shift[ids]

    def export(self):
        return ShiftedLayout(to_numpy(self.table), to_numpy(self.shift))


@dataclass(frozen=True)
class Uncounted(Base):
    name = "uncounted"
    table = Shifted


class Renamed(Dense):
    def values(self):
        return {"rows": self.table}


class ExportsRenamed(PlainTable):
    def export(self):
        return Renamed(to_numpy(self.table))


@dataclass(frozen=True)
class Unroundable(Base):
    name = "unroundable"
    table = ExportsRenamed


@dataclass(frozen=True, eq=False)
class SwappedLayout(Layout):
    left: np.ndarray
    right: np.ndarray

    def values(self):
        return {"left": self.left, "right": self.right}

    def with_values(self, values):
        return SwappedLayout(values["right"], values["left"])

    def lookup(self, ids):
        return np.concatenate([self.left[ids], self.right[ids]], axis=-1)


class ExportsSwapped(PlainTable):
    def export(self):
        table = to_numpy(self.table)
        return SwappedLayout(table[:, : self.dim // 2], table[:, self.dim // 2 :])


@dataclass(frozen=True)
class Swaps(Base):
    name = "swaps"
    table = ExportsSwapped


class Doubled(PlainTable):
    def forward(self, ids):
        return 2 * super().forward(ids)

    def export(self):
        return Dense(2 * to_numpy(self.table))


@dataclass(frozen=True)
class TwoViews(Base):
    name = "two-views"
    table = Doubled


class HalfGradient(Table):
    def forward(self, ids):
        return lookup((self.table + self.table.detach()) / 2, ids)


@dataclass(frozen=True)
class Detaches(Base):
    name = "detaches"
    table = HalfGradient


class Large(PlainTable):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.table.data *= 2


@dataclass(frozen=True)
class StartsLarge(Base):
    name = "starts-large"
    table = Large


@dataclass(frozen=True)
class TrainsTwice(Base):
    name = "trains-twice"

    def fit(self, task, budget):
        model = task.model(self.embedding(task.fields, task.dim, budget))
        task.train(model, phase="pretrain")
        return task.train(model)


class Still(PlainTable):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.table.requires_grad_(False)


@dataclass(frozen=True)
class Frozen(Base):
    name = "frozen"
    table = Still


@dataclass(frozen=True)
class Lavish(Base):
    name = "lavish"

    def embedding(self, fields, dim, budget):
        table = super().embedding(fields, dim, budget)
        # So many columns at once learn nothing.
        table.table.requires_grad_(table.dim < dim)
        return table


class OneForSmall(Table):
    """Features of a field with few of them share a row."""

    def __init__(self, fields, width):
        super().__init__(fields.n_features, width)
        small = np.asarray(fields.cardinalities)[fields.field_of_feature] < 5
        first = fields.offsets[fields.field_of_feature]
        row = np.where(small, first, np.arange(fields.n_features))
        self.register_buffer("row", torch.from_numpy(row))

    def forward(self, ids):
        return super().forward(self.row[ids])

    def export(self):
        return Dense(to_numpy(self.table)[self.row])


@dataclass(frozen=True)
class Erases(Base):
    name = "erases"
    family = "hashing"

    def embedding(self, fields, dim, budget):
        super().embedding(fields, dim, budget)
        return OneForSmall(fields, min(budget // fields.n_features, dim))


@dataclass(frozen=True)
class FirstCome(Base):
    name = "first-come"

    def embedding(self, fields, dim, budget):
        values = PlainTable(fields.n_features, dim).table
        first = torch.arange(values.numel()) < budget
        return MaskedTable(values, first.view_as(values))


@dataclass(frozen=True)
class FirstFound(Method):
    """A search that ends with the entries of the lowest ids."""

    name = "first-found"
    family = "controls"

    def fit(self, task, budget):
        table = FirstCome().embedding(task.fields, task.dim, budget)
        return task.train(task.model(table))


class Noisy(PlainTable):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.table.data += torch.from_numpy(1e-3 * np.random.rand(n, width)).float()


@dataclass(frozen=True)
class Unseeded(Base):
    name = "unseeded"
    table = Noisy


class ByHash(PlainTable):
    def __init__(self, n, width):
        super().__init__(n, width)
        self.table.data += 1e-6 * (hash("a word") % 1000)


@dataclass(frozen=True)
class Hashes(Base):
    name = "hashes"
    table = ByHash


class Fading(Table):
    """Keeps what forward() depends on in a number that no state knows of."""

    scale = 1.0

    def forward(self, ids):
        if self.training:
            self.scale *= 0.999
        return self.scale * super().forward(ids)

    def export(self):
        return Dense(self.scale * to_numpy(self.table))


@dataclass(frozen=True)
class HidesState(Base):
    name = "hides-state"
    table = Fading


@dataclass(frozen=True)
class Untidy(Base):
    name = "untidy"

    @property
    def shares_search(self):
        return True

    def fit_many(self, task, budgets):
        for budget in budgets:
            yield self.fit(task, budget)


@dataclass(frozen=True)
class OldScores(Base):
    name = "old-scores"

    def fit(self, task, budget):
        fitted = super().fit(task, budget)
        with torch.no_grad():
            fitted.model.embedding.table.mul_(0.9)
        return fitted
'''

BREAKS = {
    "uncited": ("cites its source", "set year"),
    "unexplained": ("explains its options", "option share has no word"),
    "halves": ("options survive json", "__post_init__"),
    "unchecked": ("refuses options out of range", "share=3.0 is not refused"),
    "raises": ("trains", "RuntimeError: no such luck (rules.py:"),
    "never-fits": ("trains", "Infeasible even at the full table's 696 parameters"),
    "diverges": ("trains", "not finite"),
    "over-budget": ("keeps within the budget", "696 parameters are over the budget of 348"),
    "thrifty": ("uses its budget", "174 of 215 parameters are used, 81%"),
    "nameless": ("names its smallest size", "its message, which is: too small"),
    "names-more": ("names its smallest size", "but 87 are feasible"),
    "names-less": ("names its smallest size", "refuses 86 parameters and names 86"),
    "crashes": ("names its smallest size", "raise Infeasible where a budget is too small"),
    "miscounts": ("counts what it stores", "n_parameters() says 1, the exported table holds 696"),
    "misweighs": ("counts what it stores", "n_bytes() says 1, the exported arrays take 2784"),
    "wrong-shape": ("vectors have the right shape", "not (40, 4, 'dim')"),
    "hollow": ("vectors have the right shape", "vectors are not finite"),
    "nan-score": ("scores are finite", "validation AUC or log loss is not finite"),
    "odd-note": ("notes fit a record", "note tensor is tensor"),
    "exports-other": ("export reproduces the vectors", "other vectors than the trained one"),
    "unroundable": ("can be rounded", "Renamed.lookup() does not work"),
    "swaps": ("can be rounded", "the exported vectors are others"),
    "uncounted": ("serves from counted values alone", "return them from values()"),
    "two-views": ("as table agrees with forward", "other vectors than forward()"),
    "detaches": ("gradients are exact", "detach()"),
    "starts-large": ("starts with the variance of the full table", "xavier_uniform"),
    "trains-twice": ("takes no more steps than it says", "most_steps() says 360"),
    "frozen": ("learns interactions", "does training reach all its parameters?"),
    "lavish": ("more budget is not worse", "696, defaults and 4 draws"),
    "erases": ("does not erase a small field", "values of a small field share one vector"),
    "first-come": ("does not depend on order", "shares of distinct vectors differ"),
    "first-found": ("does not depend on order", "shares of distinct vectors differ"),
    "unseeded": ("same seed gives the same bits", "task.rng"),
    "untidy": ("one search for many budgets changes nothing", "with task.aside()"),
    "hides-state": ("state survives a round trip", "parameters or buffers"),
    "old-scores": ("state survives a round trip", "validate it last"),
    "hashes": ("another process gives the same bits", "hash()"),
}
"""For each broken method, the check that must catch it, and words of its line."""

ALSO = {"wrong-shape": "works with every backbone"}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "rules.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def outcome_of(plugin):
    """What a check comes to for one of the plug-in's methods."""
    toy = make_toy()
    checks = {title_of(check): check for check in CHECKS}

    def outcome(name, title):
        candidate = Candidate(Catalog((plugin,)).load("method", name)(), toy, (plugin,))
        (only,) = examine(candidate, [checks[title]])
        return only

    return outcome


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.slow
def test_check_catches_the_method_that_breaks_its_rule(name, outcome_of):
    title, words = BREAKS[name]
    outcome = outcome_of(name, title)
    assert outcome.verdict == "failed"
    assert words in outcome.reason


@pytest.mark.parametrize("name", ALSO)
def test_check_catches_what_another_one_catches_too(name, outcome_of):
    outcome = outcome_of(name, ALSO[name])
    assert (outcome.verdict, "backbone " in outcome.reason) == ("failed", True)


def test_every_check_has_a_method_that_it_catches():
    caught = {title for title, _ in BREAKS.values()} | set(ALSO.values())
    assert caught == {title_of(check) for check in CHECKS}


def test_every_check_states_its_rule_in_one_line():
    for check in CHECKS:
        assert rule_of(check).endswith("."), check.__name__


@pytest.mark.slow
def test_command_passes_a_good_method_and_says_what_is_wrong_with_another(pepbench, plugin):
    good = pepbench("test-method", plugin, "--method=good:share=0.25")
    assert good.code == 0
    assert good.err == ""
    assert "method good:share=0.25" in good.out
    assert good.out.count("passed  ") == len(CHECKS)
    assert f"{len(CHECKS)} passed (" in good.out

    ran = pepbench("test-method", plugin, "--method=over-budget", "--method=raises", "--json")
    assert ran.code == 1
    document = json.loads(ran.out, parse_constant=pytest.fail)
    over, raises = document["methods"]
    assert (over["failed"], raises["failed"], document["failed"]) == (2, 1, 3)
    failed = [check["check"] for check in over["checks"] if check["verdict"] == "failed"]
    assert failed == ["keeps within the budget", "names its smallest size"]
    verdicts = {check["check"]: check["verdict"] for check in raises["checks"]}
    assert verdicts["trains"] == "failed"
    # What needs a fit says so, and does not repeat the failure.
    assert verdicts["learns interactions"] == "not applicable"


@pytest.mark.slow
def test_command_checks_all_methods_of_a_file(pepbench, tmp_path):
    path = tmp_path / "few.py"
    path.write_text(PLUGIN.split("@dataclass(frozen=True)\nclass Halves")[0])
    ran = pepbench("test-method", path, "--json")
    methods = {each["method"]: each for each in json.loads(ran.out)["methods"]}
    assert methods.keys() == {"good", "uncited", "unexplained"}
    assert methods["good"]["failed"] == 0
    for name in ("uncited", "unexplained"):
        title, words = BREAKS[name]
        lines = {check["check"]: check for check in methods[name]["checks"]}
        assert lines[title]["verdict"] == "failed", name
        assert words in lines[title]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["mde:alpha=0.2", "uniform+int8"])
def test_command_checks_built_in_methods_too(pepbench, spec):
    ran = pepbench("test-method", f"--method={spec}")
    assert ran.code == 0, ran.out
    assert f"method {spec}" in ran.out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def (", ["SyntaxError", "line 1"]),
        ("import no_such_module", ["ModuleNotFoundError", "no_such_module"]),
        ("x = 1", ["defines no method", "subclass of Method"]),
        (
            "from pepbench.data.dataset import Dataset\nclass D(Dataset):\n    name = 'd'",
            ["defines no method"],
        ),
        (
            "from pepbench.method import Method\nclass A(Method):\n    name = 'a'",
            ["@dataclass(frozen=True)"],
        ),
    ],
)
def test_file_without_a_usable_method_is_refused_in_one_line(pepbench, tmp_path, source, words):
    path = tmp_path / "mine.py"
    path.write_text(source)
    ran = pepbench("test-method", path)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for word in [str(path), *words]:
        assert word in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["name a file", "--method"]),
        (["nowhere.py"], ["nowhere.py", "no such Python file"]),
        (["--method=unifrm"], ["did you mean 'uniform'?"]),
        (["--method=mde:alpha=9"], ["alpha=9.0 is out of range", "0 to 2"]),
    ],
)
def test_request_that_names_no_method_is_refused_in_one_line(pepbench, arguments, words):
    ran = pepbench("test-method", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in ran.err


class FlatTable(PlainTable):
    """Forgets the axis of the vectors."""

    def as_table(self, ids):  # noqa: ARG002
        return None

    def forward(self, ids):
        return self.table[ids].sum(dim=-1)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"embedding": lambda *_: None}, "NoneType where an Embedding is expected; embedding()"),
        ({"fit": lambda *_: None}, "fit() returned NoneType; return what task.train(model) gives"),
        (
            {"embedding": lambda _, fields, dim, __: FlatTable(fields.n_features, dim)},
            "4), expected (B, F, dim)",
        ),
    ],
)
def test_what_a_method_returns_wrongly_is_named(mistake, words):
    forgetful = dataclass(frozen=True)(
        type("Forgetful", (Method,), {"name": "forgetful"} | mistake)
    )
    with pytest.raises(DoesNotTrain) as caught:
        Candidate(forgetful(), make_toy()).fit(FitSpec(348))
    assert words in str(caught.value)
