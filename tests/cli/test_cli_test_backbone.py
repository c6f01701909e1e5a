"""``pepbench test-backbone``: good plug-ins pass, and each rule catches the one that breaks it."""

import json
from pathlib import Path

import pytest

from pepbench.catalog import Catalog
from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.checks import BACKBONE_CHECKS
from pepbench.contract.examine import examine, rule_of, title_of

PAGE = Path(__file__).parents[2] / "docs/add-a-backbone.md"
PLUGIN = '''
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from pepbench.backbones.backbone import Backbone, FirstOrder, with_dense
from pepbench.component import Between
from pepbench.tables.bags import Bags


class Module(nn.Module):
    def __init__(self, fields, dim):
        super().__init__()
        self.first_order = FirstOrder(fields.n_features, fields.n_dense)
        inputs = fields.n_fields * dim
        self.deep = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 1))
        self.fields = fields

    def forward(self, vectors, ids):
        return self.first_order(ids) + self.deep(vectors.flatten(1)).squeeze(1)


@dataclass(frozen=True)
class Base(Backbone):
    """A. Author, "A title", 2026."""

    year = 2026
    module = Module

    def build(self, fields, dim):
        return self.module(fields, dim)


@dataclass(frozen=True)
class Good(Base):
    """As it should be: A. Author, "A title", 2026."""

    name = "good"
    takes = ("multi-valued",)
    share: Annotated[float, Between(0.0, 1.0), "of nothing"] = 0.5


@dataclass(frozen=True)
class Uncited(Base):
    """Somebody's."""

    name = "uncited"


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


class Column(Module):
    def forward(self, vectors, ids):
        return super().forward(vectors, ids)[:, None]


@dataclass(frozen=True)
class WrongShape(Base):
    name = "wrong-shape"
    module = Column


class Stops(Module):
    def forward(self, vectors, ids):
        raise RuntimeError("no such luck")


@dataclass(frozen=True)
class Raises(Base):
    name = "raises"
    module = Stops


@dataclass(frozen=True)
class Indivisible(Base):
    name = "indivisible"
    heads: Annotated[int, Between(1, 8), "heads"] = 1

    def build(self, fields, dim):
        if dim % self.heads:
            raise ValueError("heads must divide the width")
        return super().build(fields, dim)


class Centred(Module):
    def forward(self, vectors, ids):
        return super().forward(vectors - vectors.mean(0), ids)


@dataclass(frozen=True)
class Mixes(Base):
    name = "mixes"
    module = Centred


class Drops(Module):
    def forward(self, vectors, ids):
        return super().forward(nn.functional.dropout(vectors, 0.5), ids)


@dataclass(frozen=True)
class AlwaysDrops(Base):
    name = "always-drops"
    module = Drops


class PlainIds(Module):
    def forward(self, vectors, ids):
        return super().forward(vectors, ids) + 0.0 * ids.sum(1)


@dataclass(frozen=True)
class NoBags(Base):
    name = "no-bags"
    takes = ("multi-valued",)
    module = PlainIds


class Noticing(Module):
    def forward(self, vectors, ids):
        return super().forward(vectors, ids) + isinstance(ids, Bags)


@dataclass(frozen=True)
class OddBags(Base):
    name = "odd-bags"
    takes = ("multi-valued",)
    module = Noticing


class NoLinearPart(Module):
    def forward(self, vectors, ids):
        return self.deep(vectors.flatten(1)).squeeze(1)


@dataclass(frozen=True)
class NoDense(Base):
    name = "no-dense"
    takes = ("dense",)
    module = NoLinearPart


@dataclass(frozen=True)
class OneWidth(Base):
    name = "one-width"

    def build(self, fields, dim):
        return self.module(fields, 8)


class TwoViews(Module):
    def from_table(self, view, ids):
        return 2 * self(view.table[view.ids], ids)


@dataclass(frozen=True)
class Differs(Base):
    name = "differs"
    module = TwoViews


class OwnTable(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.table = nn.Embedding(fields.n_features, 8)

    def forward(self, vectors, ids):
        return super().forward(vectors, ids) + self.table(ids).sum((1, 2))


@dataclass(frozen=True)
class Smuggles(Base):
    name = "smuggles"
    module = OwnTable


class Hidden(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.layers = [nn.Linear(fields.n_fields * dim, 1)]

    def forward(self, vectors, ids):
        return super().forward(vectors, ids) + self.layers[0](vectors.flatten(1)).squeeze(1)


@dataclass(frozen=True)
class Hides(Base):
    name = "hides"
    module = Hidden


class Spare(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.spare = nn.Linear(3, 3)


@dataclass(frozen=True)
class Unused(Base):
    name = "unused"
    module = Spare


class HalfGradient(Module):
    def forward(self, vectors, ids):
        return super().forward((vectors + vectors.detach()) / 2, ids)


@dataclass(frozen=True)
class Detaches(Base):
    name = "detaches"
    module = HalfGradient


class Float(Module):
    def forward(self, vectors, ids):
        return super().forward(vectors @ torch.eye(vectors.shape[2]), ids)


@dataclass(frozen=True)
class OneType(Base):
    name = "one-type"
    module = Float


class Sum(Module):
    def forward(self, vectors, ids):
        return self.first_order(ids) + vectors.sum((1, 2))


@dataclass(frozen=True)
class Linear(Base):
    name = "linear"
    module = Sum


@dataclass(frozen=True)
class SaysLinear(Linear):
    name = "says-linear"
    linear = True


class Noisy(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.deep[0].weight.data += 1e-3 * float(np.random.rand())


@dataclass(frozen=True)
class Unseeded(Base):
    name = "unseeded"
    module = Noisy


class ByHash(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.deep[0].weight.data += 1e-6 * (hash("a word") % 1000)


@dataclass(frozen=True)
class Hashes(Base):
    name = "hashes"
    module = ByHash


class Loose(Module):
    def __init__(self, fields, dim):
        super().__init__(fields, dim)
        self.shift = torch.rand(1)

    def forward(self, vectors, ids):
        return super().forward(vectors + self.shift, ids)


@dataclass(frozen=True)
class Forgets(Base):
    name = "forgets"
    module = Loose


class Branch(Module):
    def forward(self, vectors, ids):
        logits = super().forward(vectors, ids)
        return logits if float(logits.sum().detach()) > -1e9 else -logits


@dataclass(frozen=True)
class Branches(Base):
    name = "branches"
    module = Branch
'''

BREAKS = {
    "uncited": ("cites its source", "set year"),
    "unexplained": ("explains its options", "option share has no word"),
    "halves": ("options survive json", "__post_init__"),
    "unchecked": ("refuses options out of range", "share=3.0 is not refused"),
    "raises": ("trains", "RuntimeError: no such luck"),
    "wrong-shape": ("gives one logit a row", "B = 1, F = 1, D = 1: logits have shape (1, 1)"),
    "indivisible": ("works over its ranges", "heads must divide the width"),
    "mixes": ("rows do not see each other", "a row alone gives another logit"),
    "always-drops": ("rows do not see each other", "draw only if self.training"),
    "no-bags": ("reads multi valued fields", "give ids to FirstOrder"),
    "odd-bags": ("reads multi valued fields", "a bag of one value gives another logit"),
    "no-dense": ("reads dense fields", "with_dense(inputs, ids)"),
    "one-width": ("works with every embedding", "D is the dim that build() is given"),
    "differs": ("from table agrees with forward", "other logits than forward()"),
    "smuggles": ("keeps no table of its own", "has 9 parameters for each feature"),
    "hides": ("registers its parameters", "13 numbers have a gradient"),
    "unused": ("every parameter gets a gradient", "spare.weight gets no gradient"),
    "detaches": ("gradients are exact", "gradients are not those of forward()"),
    "one-type": ("gradients are exact", "in double precision: RuntimeError"),
    "linear": ("learns an interaction", "do vectors of different fields meet"),
    "forgets": ("state survives a round trip", "parameters or buffers"),
    "unseeded": ("same seed gives the same bits", "torch's global generator"),
    "hashes": ("another process gives the same bits", "hash()"),
    "branches": ("exports to onnx", "torch cannot export Branch"),
}
"""For each broken backbone, the check that must catch it, and words of its line."""

SLOW = {"branches", "hashes", "no-dense", "one-width", "forgets", "unseeded", "linear"}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "rules.py"
    path.write_text(PLUGIN)
    return path


def outcome(plugin, name, title):
    """What a check comes to for one of the plug-in's backbones."""
    checks = {title_of(check): check for check in BACKBONE_CHECKS}
    candidate = BackboneCandidate(Catalog((plugin,)).load("backbone", name)(), (plugin,))
    (only,) = examine(candidate, [checks[title]])
    return only


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BREAKS]
)
def test_check_catches_the_backbone_that_breaks_its_rule(name, plugin):
    title, words = BREAKS[name]
    if title == "exports to onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    found = outcome(plugin, name, title)
    assert found.verdict == "failed"
    assert words in found.reason


def test_every_check_has_a_backbone_that_it_catches():
    assert {title for title, _ in BREAKS.values()} == set(map(title_of, BACKBONE_CHECKS))


def test_every_check_states_its_rule_in_one_line():
    for check in BACKBONE_CHECKS:
        assert rule_of(check).endswith("."), check.__name__


@pytest.mark.parametrize(
    ("name", "title", "words"),
    [
        ("says-linear", "learns an interaction", "linear = True"),
        ("good", "reads dense fields", '"dense"'),
        ("good", "from table agrees with forward", "no from_table()"),
    ],
)
def test_rule_that_does_not_apply_says_why(name, title, words, plugin):
    found = outcome(plugin, name, title)
    assert found.verdict == "not applicable"
    assert words in found.reason


@pytest.mark.slow
def test_command_passes_a_good_backbone_and_says_what_is_wrong_with_another(pepbench, plugin):
    ran = pepbench("test-backbone", plugin, "--backbone=good:share=0.25", "--backbone=raises")
    assert (ran.code, ran.err) == (1, "")
    good, raises = ran.out.split("backbone raises")
    assert "backbone good:share=0.25" in good
    assert "FAILED" not in good
    assert "FAILED  trains: training with a full table: RuntimeError: no such luck" in raises
    assert "needs a fit, and it does not train" in raises


@pytest.mark.slow
def test_backbone_of_the_guide_keeps_every_rule(pepbench, tmp_path):
    path = tmp_path / "my_backbone.py"
    path.write_text(PAGE.read_text().split("```python\n")[1].split("```")[0])
    ran = pepbench("test-backbone", path, "--json")
    (mine,) = json.loads(ran.out)["backbones"]
    assert (ran.code, mine["backbone"], mine["failed"]) == (0, "my-backbone", 0)


@pytest.mark.slow
def test_plan_runs_on_a_plugged_in_backbone_and_its_version_is_part_of_the_key(tiny_run, tmp_path):
    source = PAGE.read_text().split("```python\n")[1].split("```")[0]
    trials = []
    for name, version in (("a.py", 1), ("b.py", 1), ("c.py", 2)):
        path = tmp_path / name
        path.write_text(
            source.replace("    year = 2026", f"    year = 2026\n    version = {version}")
        )
        ran = tiny_run(
            f"--plugin={path}", "--backbones=my-backbone", "--methods=full", "--out=out", "--json"
        )
        assert ran.code == 0, ran.err
        records = list((tmp_path / "out").rglob("records/*.json"))
        trials.append({record.name for record in records})
    assert trials[0] == trials[1]
    assert not trials[1] & trials[2]
    stale = (tmp_path / "out").rglob("records/*.stale")
    assert {record.name for record in stale} == {f"{name}.stale" for name in trials[1]}


@pytest.mark.slow
def test_backbone_that_would_leave_fields_unread_is_refused(pepbench, plugin, tmp_path):
    rows = [f"{k % 2},{k % 7},{k % 5},{k % 3}.5" for k in range(200)]
    (tmp_path / "rows.csv").write_text("\n".join(["click,user,item,price", *rows, ""]))
    options = ("--label=click", "--fields=user,item", "--dense=price")
    assert pepbench("data", "add", "mine", "--from=rows.csv", *options).code == 0
    ran = pepbench("run", f"--plugin={plugin}", "--datasets=mine", "--backbones=good", "--dry-run")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    for word in ("backbone good takes no dense fields", "mine has price", 'takes = ("dense",)'):
        assert word in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["name a file", "--backbone fm"]),
        (["--backbone=deepfn"], ["did you mean 'deepfm'?"]),
        (["--backbone=deepfm:layers=99"], ["layers=99 is out of range"]),
        (["mine.py"], ["mine.py: defines no backbone", "subclass of Backbone"]),
    ],
)
def test_request_that_names_no_backbone_is_refused_in_one_line(
    arguments, words, pepbench, tmp_path
):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from pepbench.method import Method\n"
        "@dataclass(frozen=True)\nclass A(Method):\n    name = 'a'"
    )
    ran = pepbench("test-backbone", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in ran.err
