"""Other people's components, installed as a package of their own."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "pepbench-example"
version = "0.1"
description = "Half a table"

[project.entry-points."pepbench.methods"]
half = "pepbench_example:Half"

[project.entry-points."pepbench.backbones"]
sum = "pepbench_example:SumOfVectors"

[project.entry-points."pepbench.datasets"]
dice = "pepbench_example:Dice"

[tool.setuptools]
py-modules = ["pepbench_example"]
"""

MODULE = '''
"""A method, a backbone and a data set."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone
from pepbench.method import Between, Embedding, Fields, Method, PlainTable
from pepbench.data.dataset import Block, Dataset


@dataclass(frozen=True)
class Half(Method):
    """A table of at most a share of the width that fits."""

    name = "half"
    family = "controls"
    share: Annotated[float, Between(0.5, 1.0), "of the widest table"] = 0.5

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        widest = min(dim, budget // fields.n_features)
        return PlainTable(fields.n_features, max(1, int(widest * self.share)))


class _Sum(nn.Module):
    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        return vectors.sum((1, 2))


@dataclass(frozen=True)
class SumOfVectors(Backbone):
    """The sum of all entries of a row's vectors."""

    name = "sum"

    def build(self, fields: Fields, dim: int) -> nn.Module:
        return _Sum()


@dataclass(frozen=True)
class Dice(Dataset):
    """Two dice; the label says whether their sum is even, most of the time."""

    name = "dice"
    title = "Dice"
    licence = "CC0"
    citation = "made up"
    url = "https://example.org/dice"
    generated = True

    def blocks(self, source):
        dice = np.random.default_rng(0).integers(1, 7, (2000, 2))
        labels = (dice.sum(1) % 2 == 0).astype(np.uint8)
        labels[::10] ^= 1
        yield Block({"first": pa.array(dice[:, 0]), "second": pa.array(dice[:, 1])}, labels)
'''

PLAN = """
methods = ["half", "full"]
datasets = ["dice"]
backbones = ["sum", "fm"]
budgets = ["60%"]
dim = 4
epochs = 2
trials = 2
seeds = 2

[[except]]
methods = ["half"]
backbones = ["sum"]
skip = true
reason = "to try exceptions"
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the example, all else borrowed from this one."""
    source = tmp_path_factory.mktemp("source")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "pepbench_example.py").write_text(MODULE)
    built = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(built), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    # With `site.addsitedir` the .pth files there are read, as of an editable install of pepbench.
    (site / "borrowed.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    return folder / "bin"


def test_installed_package_adds_method_backbone_and_data_set(programs, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PEPBENCH_CACHE"] = str(tmp_path / "cache")
    (tmp_path / "plan.toml").write_text(PLAN)

    def pepbench(*arguments: str) -> str:
        return subprocess.run(
            [str(programs / "python"), "-m", "pepbench", *arguments],
            check=True,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
        ).stdout

    listed = json.loads(pepbench("list", "methods", "--json"))
    assert {"pep", "half"} <= {entry["name"] for entry in listed}
    assert "of the widest table" in pepbench("show", "method", "half")
    document = json.loads(pepbench("run", "plan.toml", "--jobs=2", "--out=out", "--json"))
    cells = {(cell["backbone"], cell["method"]): cell["status"] for cell in document["cells"]}
    assert cells == {("sum", "full"): "ok", ("fm", "half"): "ok", ("fm", "full"): "ok"}
    assert 'reason = "to try exceptions"' in (tmp_path / "out/plan.toml").read_text()
