"""Backbones as ONNX: the same probabilities by onnxruntime."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bag_helpers import random_bags

from pepbench.catalog import Catalog
from pepbench.contract.toy import DIM, make_toy
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import PepbenchError
from pepbench.export import onnx as exporting
from pepbench.method import Model, PlainTable
from pepbench.records import RecordStore
from pepbench.serve import load
from pepbench.tables.bags import bags_of

BACKBONES = sorted(Catalog().entries("backbone"))


@pytest.mark.nightly
@pytest.mark.parametrize("name", BACKBONES)
def test_onnxruntime_predicts_what_torch_does(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    toy = make_toy()
    torch.manual_seed(1)
    backbone = Catalog().load("backbone", name)().build(toy.fields, DIM)
    predictor = exporting.Predictor(backbone).eval()
    ids = torch.from_numpy(toy.validation.ids[:500].astype(np.int64))
    vectors = torch.randn(500, toy.fields.n_fields, DIM)
    path = tmp_path / "model.onnx"
    exporting.export_predictor(predictor, vectors, ids, path)
    with torch.no_grad():
        expected = predictor(vectors, ids).numpy()
    # Batches of other sizes than the two rows it was traced with.
    for rows in (1, 3, 500):
        found = exporting.run_onnx(path, vectors[:rows].numpy(), ids[:rows].numpy())
        np.testing.assert_allclose(found, expected[:rows], atol=1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BACKBONES)
def test_bags_come_as_padded_ids(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fields, ids = random_bags(pool="sqrtn")
    torch.manual_seed(1)
    model = Model(PlainTable(13, DIM), Catalog().load("backbone", name)().build(fields, DIM)).eval()
    bags = bags_of(ids, fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        vectors, expected = bags.pooled(model.embedding(bags.ids)), torch.sigmoid(model(bags))
    path = tmp_path / "model.onnx"
    padded = torch.from_numpy(ids.astype(np.int64))
    predictor = exporting.Predictor(model.backbone, fields).eval()
    exporting.export_predictor(predictor, vectors, padded, path)
    for rows in (1, 3, 50):
        found = exporting.run_onnx(path, vectors[:rows].numpy(), padded[:rows].numpy())
        np.testing.assert_allclose(found, expected[:rows].numpy(), atol=1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BACKBONES)
def test_dense_inputs_are_a_third_input(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    fields, ids = random_bags()
    fields = replace(fields, dense=("x", "y"))
    dense = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    torch.manual_seed(1)
    model = Model(PlainTable(13, DIM), Catalog().load("backbone", name)().build(fields, DIM)).eval()
    bags = bags_of(ids, fields, dense=dense)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        vectors, expected = bags.pooled(model.embedding(bags.ids)), torch.sigmoid(model(bags))
    path = tmp_path / "model.onnx"
    padded = torch.from_numpy(ids.astype(np.int64))
    predictor = exporting.Predictor(model.backbone, fields).eval()
    exporting.export_predictor(predictor, vectors, padded, path, torch.from_numpy(dense))
    for rows in (1, 50):
        inputs = vectors[:rows].numpy(), padded[:rows].numpy(), dense[:rows]
        found = exporting.run_onnx(path, *inputs)
        np.testing.assert_allclose(found, expected[:rows].numpy(), atol=1e-5)


@pytest.mark.nightly
def test_export_with_onnx_writes_a_model_for_served_vectors(tiny_run, pepbench, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert tiny_run("--methods=hash", "--budgets=50%", "--backbones=deepfm", "--out=run").code == 0
    ran = pepbench("export", "run", "out", "--onnx", "--json")
    assert ran.code == 0, ran.err
    table = load(tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    codes = np.zeros((5, 4), dtype=np.int64)
    inputs = {"vectors": table.lookup(codes), "ids": table.global_ids(codes)}
    (probabilities,) = session.run(None, inputs)
    assert probabilities.shape == (5,)
    # The table and the model together give the recorded predictions.
    record = RecordStore(tmp_path / "run").get(table.meta["record"])
    dataset = Catalog().select("dataset", record.spec.data.spec).default()
    ids = open_splits(open_table(dataset), 0).open_test().ids.astype(np.int64)
    (found,) = session.run(None, {"vectors": table.lookup_ids(ids), "ids": ids})
    expected = RecordStore(tmp_path / "run").load_predictions(record.key)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_missing_packages_are_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PepbenchError, match=r"pip install 'pepbench\[onnx\]'"):
        exporting.check_available()
