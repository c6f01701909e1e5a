"""The plans that are committed below results/."""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pepbench.catalog import Catalog
from pepbench.leaderboards.boards import REPLICATION

RESULTS = Path(__file__).parents[2] / "results"
# A replication's plan is derived from the leaderboard's; --verify compares them.
PLANS = sorted(path for path in RESULTS.rglob("*.toml") if path.parent.name != REPLICATION)
KINDS = ("method", "dataset", "backbone")


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.relative_to(RESULTS).as_posix())
@pytest.mark.slow
def test_committed_plan_names_what_exists_and_says_what_it_costs_and_cuts(path):
    text = path.read_text("utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    plan = tomllib.loads(text)
    assert any("Expected time" in line for line in comments)
    assert plan["trials"] >= 10
    for kind in KINDS:
        for spec in plan[f"{kind}s"]:
            Catalog(()).select(kind, spec).default()
    assert "full" in plan["methods"]
    for exception in plan.get("except", []):
        assert exception["reason"]
        for key in exception.keys() & {"methods", "datasets", "backbones", "budgets"}:
            for pattern in exception[key]:
                assert any(fnmatchcase(spec, pattern) for spec in plan[key]), pattern
