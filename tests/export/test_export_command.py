"""``pepbench export``: which run it takes, what it writes, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import PlanError
from pepbench.export.export_run import CellFilter, choose
from pepbench.records import RecordStore
from pepbench.serve import load
from pepbench.serve.forms import FORMS

CELLS = ("--methods=hash,magnitude", "--budgets=50%", "--backbones=fm")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Of the run that all tests start from, once it has been made."""
    return tmp_path_factory.mktemp("original") / "run"


@pytest.fixture
def run_folder(original, tiny_run, tmp_path):
    if not original.exists():
        assert tiny_run(*CELLS, f"--out={original}").code == 0
    return Path(shutil.copytree(original, tmp_path / "run"))


def finals(folder, method):
    return [
        record
        for record in RecordStore(folder)
        if record.spec.role == "final" and record.spec.method.spec == method
    ]


def test_export_serves_the_rows_of_its_data_set(pepbench, run_folder, tmp_path):
    ran = pepbench("export", run_folder, "out", "--method", "magnitude", "--json")
    assert ran.code == 0
    said = json.loads(ran.out)
    best = max(finals(run_folder, "magnitude"), key=lambda record: record.validation.auc)
    assert f"seed {best.spec.seed}" in ran.err
    assert "the best of 2 final runs" in ran.err
    assert said["record"] == best.key
    assert said["predictions_as_recorded"]
    assert said["counts"]["bytes"] == best.n_bytes
    assert said["vector_difference"] <= 1e-6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "meta.json",
        "table.safetensors",
    ]
    # The raw values of all rows, by the table's own vocabularies, against the split's ids.
    dataset = Catalog().select("dataset", best.spec.data.spec).default()
    splits = open_splits(open_table(dataset), best.spec.data.split_seed)
    table = load(tmp_path / "out")
    raw = {
        name: np.array(splits.table.values_of(field))[splits.table.codes[:, field]]
        for field, name in enumerate(splits.fields.names)
    }
    found = {tuple(row) for row in table.global_ids(raw).tolist()}
    ids = np.concatenate([splits.train.ids, splits.validation.ids, splits.open_test().ids])
    assert found == {tuple(row) for row in ids.tolist()}


def test_a_seed_can_be_named(pepbench, run_folder, tmp_path):
    worst = min(finals(run_folder, "hash"), key=lambda record: record.validation.auc)
    ran = pepbench("export", run_folder, "out", "--method=hash", f"--seed={worst.spec.seed}")
    assert ran.code == 0
    assert "best of" not in ran.err
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["seed"] == worst.spec.seed


def test_other_predictions_than_recorded_are_refused_or_said(pepbench, run_folder, tmp_path):
    (record, *_) = sorted(finals(run_folder, "hash"), key=lambda r: -r.validation.auc)
    changed = record.model_copy(
        update={
            "predictions_sha256": None,
            "environment": record.environment.model_copy(update={"torch": "1.0"}),
        }
    )
    RecordStore(run_folder).put(changed)
    refused = pepbench("export", run_folder, "out", "--method=hash")
    assert refused.code == 2
    assert "torch 1.0 then" in refused.err
    assert not (tmp_path / "out").exists()
    ran = pepbench("export", run_folder, "out", "--method=hash", "--allow-different")
    assert ran.code == 0
    assert "predictions are not as recorded" in ran.out
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["predictions_as_recorded"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "2 cells fit; add --method, one of hash, magnitude"),
        (("--method=hsah",), "did you mean 'hash'?"),
        (("--method=hash", "--budget=7%"), "--budget: unknown budget '7%'"),
        (("--method=hash", "--seed=1"), "--seed 1: no such final run; there are "),
    ],
)
def test_a_run_that_is_not_clear_is_refused(options, said, pepbench, run_folder, tmp_path):
    ran = pepbench("export", run_folder, "out", *options)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_records_of_other_rows_are_not_compared(run_folder):
    records = list(RecordStore(run_folder))
    data = records[0].spec.data.model_copy(update={"split_fingerprint": "0" * 16})
    spec = records[0].spec.model_copy(update={"data": data})
    other = records[0].model_copy(update={"spec": spec})
    method = records[0].spec.method.spec
    choose(records, CellFilter(method=method))
    with pytest.raises(PlanError, match="records of other rows or settings, too; run the plan"):
        choose([*records, other], CellFilter(method=method))


def test_occupied_and_missing_folders_are_refused(pepbench, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    (tmp_path / "empty" / "records").mkdir(parents=True)
    for arguments, said in (
        (("nowhere", "new"), "no records in this folder"),
        (("empty", "new"), "the run has no records"),
        (("empty", "out"), "out exists; remove it, or name a new folder"),
        (("empty", "out/mine.txt/below"), "below cannot be written: Not a directory"),
        (("empty", "/proc/out"), "/proc/out cannot be written"),
    ):
        ran = pepbench("export", *arguments)
        assert ran.code == 2
        assert said in ran.err
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_the_page_on_shipping_a_table_is_true(pepbench, tiny_run):
    """Its Python block, after its commands on tiny rows."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    method = "--methods=pep:max_steps=60:init=-4.0"
    assert tiny_run(method, "--budgets=10%", "--backbones=fm", "--out=run").code == 0
    assert pepbench("export", "run", "pep-table").code == 0
    exec(block, {})
    for form in FORMS:
        assert f"| `{form}` |" in page
