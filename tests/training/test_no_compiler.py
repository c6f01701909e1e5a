"""Torch's compiler, which takes a second to import, is left alone."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pepbench.method import PlainTable
from pepbench.training.optimizers import make_optimizer
for kind in ("adam", "lazy-adam", "adagrad", "row-adagrad"):
    make_optimizer(kind, PlainTable(10, 4), 1e-3, 0.0)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.slow
def test_making_an_optimizer_does_not_import_it():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
