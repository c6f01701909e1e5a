"""What every executor must do alike, and what each refuses."""

import sys
from pathlib import Path

import pytest

from pepbench.errors import DataError, PlanError
from pepbench.harness.executors import OPENERS, Call, open_pool
from pepbench.harness.executors.calls import refuse_other_versions, versions
from pepbench.harness.executors.supervised_worker import check_rows
from pepbench.harness.run_options import RunOptions, Shard
from pepbench.harness.trial import TrialContext
from pepbench.records import DataSpec

PLUGIN = """
import os
import time
from dataclasses import dataclass

from pepbench.method import Method, PlainTable


@dataclass(frozen=True)
class Even(Method):
    name = "even"

    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, budget // fields.n_features)


@dataclass(frozen=True)
class Raises(Even):
    name = "raises"

    def fit(self, task, budget):
        raise RuntimeError("no luck")


@dataclass(frozen=True)
class Sleeps(Even):
    name = "sleeps"

    def fit(self, task, budget):
        time.sleep(3600)


@dataclass(frozen=True)
class Leaks(Even):
    name = "leaks"

    def fit(self, task, budget):
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1 << 20) * 32))
            time.sleep(0.01)


@dataclass(frozen=True)
class Dies(Even):
    name = "dies"

    def fit(self, task, budget):
        os._exit(7)
"""


@pytest.fixture
def calls(tiny_cache: Path, tmp_path: Path):  # noqa: ARG001
    """Makes the call of a method's first trial."""
    from pepbench.catalog import Catalog
    from pepbench.harness.cells import expand
    from pepbench.harness.tuning.study import cell_failure_spec
    from pepbench.plan import Plan

    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)

    def call(method: str, **limits: float) -> Call:
        plan = Plan(
            methods=(method,),
            datasets=("synthetic:rows=2000:features=60:fields=4",),
            budgets=("50%",),
            dim=4,
            epochs=1,
        )
        (cell,) = expand(plan, Catalog((plugin,)))
        return Call((cell_failure_spec(cell, []),), TrialContext((plugin,), **limits))

    return call


@pytest.fixture(
    params=[
        "serial",
        pytest.param("processes", marks=pytest.mark.slow),
        pytest.param("dask", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.ray]),
    ]
)
def pool(request):
    if request.param in ("dask", "ray"):
        pytest.importorskip({"dask": "distributed", "ray": "ray"}[request.param])
    pool = open_pool(RunOptions(executor=request.param))
    yield pool
    pool.stop_at_once()


@pytest.fixture
def watched():
    """An executor that can end trials."""
    pool = open_pool(RunOptions(executor="processes"))
    yield pool
    pool.stop_at_once()


def answered(pool, call):
    (answer,) = pool.submit(call).result(120)
    return answer.unpack().record


def test_records_and_failures_come_back(pool, calls):
    assert pool.workers == 1
    assert answered(pool, calls("even")).status == "ok"
    failed = answered(pool, calls("raises"))
    assert (failed.status, failed.key) == ("failed", calls("raises").specs[0].key())
    assert "RuntimeError: no luck" in failed.reason


def test_rows_that_are_not_the_coordinators_end_the_run(pool, calls):
    call = calls("even")
    data = call.specs[0].data.model_copy(update={"table_fingerprint": "other"})
    spec = call.specs[0].model_copy(update={"data": data})
    with pytest.raises(DataError, match="differs from the coordinator's: table fingerprint"):
        answered(pool, Call((spec,), call.context))


def test_versions_that_are_not_the_coordinators_end_the_run(pool, calls):
    call = calls("even")
    other = Call(call.specs, call.context, versions=versions() | {"torch": "1.0"})
    with pytest.raises(PlanError, match=r"torch \S+ \(here 1\.0\); install the same"):
        answered(pool, other)


def test_call_is_the_same_after_its_journey_as_json(calls):
    call = calls("even", max_seconds=1.5, max_bytes=1000)
    assert Call.from_json(call.to_json()) == call


@pytest.mark.slow
def test_trial_that_runs_too_long_fails_and_the_next_runs(watched, calls):
    record = answered(watched, calls("sleeps", max_seconds=1.0))
    assert (record.status, record.reason) == (
        "failed",
        "ran longer than the --trial-timeout of 1 s",
    )
    assert answered(watched, calls("even")).status == "ok"


@pytest.mark.slow
def test_trial_that_takes_too_much_memory_fails_and_the_next_runs(watched, calls):
    record = answered(watched, calls("leaks", max_bytes=900_000_000))
    assert record.status == "failed"
    assert "more than the --memory-limit of 900.0 MB" in record.reason
    assert answered(watched, calls("even")).status == "ok"


@pytest.mark.slow
def test_trial_that_kills_its_process_is_given_up(watched, calls):
    record = answered(watched, calls("dies"))
    assert (record.status, record.reason[:33]) == ("failed", "the worker process died 3 times, ")
    assert answered(watched, calls("even")).status == "ok"


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_missing_library_is_named_with_the_command_that_gets_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlanError, match=rf"pip install 'pepbench\[{name}\]'"):
        open_pool(RunOptions(executor=name))


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        ("proceses", {}, "did you mean 'processes'"),
        ("dask://", {}, "write dask://HOST:PORT"),
        ("serial://x", {}, "takes no address"),
        ("processes://x", {}, "takes no address"),
        ("serial", {"max_seconds": 1.0}, "write --executor processes"),
    ],
)
def test_executor_that_cannot_be_is_refused(name, limits, said):
    with pytest.raises(PlanError, match=said):
        open_pool(RunOptions(executor=name, context=TrialContext(**limits)))


def test_differing_versions_are_listed_in_one_line():
    here = versions()
    theirs = {"tcp://b": here | {"torch": "1.0", "python": "3.0"}, "tcp://a": here}
    with pytest.raises(PlanError, match=r"differ from this machine: tcp://b: torch 1\.0 \(here "):
        refuse_other_versions(theirs)
    refuse_other_versions({"tcp://a": here})


def test_worker_without_the_rows_says_what_would_help(tiny_cache, tmp_path):  # noqa: ARG001
    from pepbench.catalog import Catalog

    data = DataSpec(spec="anime", table_fingerprint="t", split_seed=0, split_fingerprint="s")
    with pytest.raises(DataError, match="no --raw folder was given; let PEPBENCH_CACHE be"):
        check_rows(data, Catalog(), {})
    with pytest.raises(DataError, match=r"/nowhere is not here; .* --raw anime=FOLDER"):
        check_rows(data, Catalog(), {"anime": "/nowhere"})
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(DataError, match="raw"):
        check_rows(data, Catalog(), {"anime": str(raw)})


def test_shards_are_read_and_bounded():
    assert Shard.parse("2/8") == Shard(2, 8)
    for text in ("0/8", "9/8", "2", "a/b", "2/8/3"):
        with pytest.raises(PlanError, match="write 1/8 to 8/8"):
            Shard.parse(text)


def test_every_executor_is_in_the_one_registry():
    assert set(OPENERS) == {"serial", "processes", "dask", "ray"}


def test_shards_part_the_cells_and_keep_budgets_together(tiny_cache):  # noqa: ARG001
    from pepbench.catalog import Catalog
    from pepbench.harness.cells import expand, family
    from pepbench.plan import Plan

    plan = Plan(
        methods=("pep", "mde", "uniform"),
        datasets=("synthetic:rows=2000:features=60:fields=4",),
        backbones=("fm", "lr"),
        budgets=("50%", "20%"),
    )
    cells = expand(plan, Catalog(()))
    parts = [Shard(number, 4).cells(cells) for number in range(1, 5)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(c.name for c in cells)
    for part in parts:
        assert part
        assert all(len({f.budget for f in part if family(f) == family(c)}) == 2 for c in part)
