"""Served multi-valued fields: lists of raw values in, the vectors of training out."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from bag_helpers import random_bags

from pepbench.errors import ServeError
from pepbench.export.folder import write_export
from pepbench.method import PlainTable
from pepbench.serve import load
from pepbench.serve.dense import DenseScale
from pepbench.serve.pooling import EXPONENTS
from pepbench.tables.bags import bags_of
from pepbench.tables.fields import BagField

NAMES = {"a": "pqr", "b": "stuvw", "c": "xy"}


@pytest.fixture(params=list(EXPONENTS))
def served(request, tmp_path):
    """A table whose field ``b`` has up to five values a row, and the vectors of 50 rows of ids."""
    fields, ids = random_bags(pool=request.param)
    torch.manual_seed(0)
    embedding = PlainTable(13, 5)
    bag = {"max_values": 5, "pool": request.param, "separator": "|"}
    described = [
        {"name": name, "cardinality": n, "values": list(NAMES[name])}
        | ({"bag": bag} if name == "b" else {})
        for name, n in zip(fields.names, fields.cardinalities, strict=True)
    ]
    write_export(tmp_path / "out", embedding.export(), described, 5, {})
    bags = bags_of(ids, fields)
    with torch.no_grad():
        return load(tmp_path / "out"), ids, bags.pooled(embedding(bags.ids)).numpy(), fields


def raw_values(ids):
    """Raw values of rows of ids; ``new`` for unseen ones."""
    text = ["new", *NAMES["a"], "new", *NAMES["b"], "new", *NAMES["c"]]
    return {
        "a": [text[i] for i in ids[:, 0]],
        "b": [[text[i] for i in row if i >= 0] for row in ids[:, 1:5]],
        "c": [text[i] for i in ids[:, 5]],
    }


def test_lists_texts_and_codes_give_the_vectors_of_training(served):
    table, ids, vectors, _ = served
    raw = raw_values(ids)
    np.testing.assert_allclose(table.lookup(raw), vectors, rtol=1e-6, atol=1e-7)
    as_text = raw | {"b": [" | ".join(row) for row in raw["b"]]}
    np.testing.assert_allclose(table.lookup(as_text), vectors, rtol=1e-6, atol=1e-7)
    codes = table.codes(raw)
    assert codes.shape == (50, 1 + 5 + 1)
    np.testing.assert_allclose(table.lookup(codes), vectors, rtol=1e-6, atol=1e-7)
    found = table.global_ids(raw)
    np.testing.assert_array_equal(found[:, [0, 1, 2, 3, 4, 6]], ids)
    assert (found[:, 5] == -1).all()


def test_the_first_values_are_kept_and_missing_ones_are_none(served):
    table, *_ = served
    rows = {"a": ["p"] * 4, "b": [list("stuvws"), ["s", None, ""], None, np.nan], "c": ["x"] * 4}
    codes = table.codes(rows)[:, 1:6]
    assert codes.tolist() == [[1, 2, 3, 4, 5], [1, -1, -1, -1, -1], [-1] * 5, [-1] * 5]
    assert not table.lookup(rows)[2:, 1].any()


def test_no_rows_have_no_vectors(served):
    assert served[0].lookup({"a": [], "b": [], "c": []}).shape == (0, 3, 5)


def test_lists_of_arrow_are_those_of_python(served):
    table, ids, *_ = served
    raw = raw_values(ids)
    raw["b"][3] = None
    np.testing.assert_array_equal(table.codes(pa.table(raw)), table.codes(raw))


def test_served_ids_are_those_of_training_with_more_slots(served):
    table, ids, _, fields = served
    wider = replace(fields, bags={"b": BagField(5)})
    again = bags_of(table.global_ids(raw_values(ids)), wider)
    assert torch.equal(again.ids, bags_of(ids, fields).ids)


def test_codes_that_cannot_be_are_named(served):
    table, *_ = served
    codes = np.zeros((2, 7), dtype=np.int64)
    codes[1, 5] = 6
    with pytest.raises(ServeError, match="row 2: code 6 of field 'b' is outside 0 to 5"):
        table.lookup(codes)
    codes[1, 5], codes[1, 6] = -1, -1
    with pytest.raises(ServeError, match="code -1 of field 'c'"):
        table.lookup(codes)
    with pytest.raises(ServeError, match=r"expected \(rows, 7\)"):
        table.lookup(codes[:, :3])


def test_dense_inputs_are_scaled_as_in_training(tmp_path):
    scales = {"age": DenseScale("standard", 40.0, 10.0, True), "price": DenseScale("log1p")}
    dense = [{"name": name, **asdict(scale)} for name, scale in scales.items()]
    values = [str(k) for k in range(12)]
    fields = [{"name": "a", "cardinality": 13, "values": values, "missing_words": ["NA"]}]
    write_export(tmp_path / "out", PlainTable(13, 5).export(), fields, 5, {"dense": dense})
    table = load(tmp_path / "out")
    missing = table.dense_inputs({"age": ["NA", pd.NA], "price": pa.array([1, None])})
    np.testing.assert_allclose(missing, [[0, 1, np.log(2)], [0, 1, 0]], rtol=1e-6)
    found = table.dense_inputs({"age": [50, "30", None], "price": ["", -3, 1]})
    np.testing.assert_allclose(found, [[1, 0, 0], [-1, 0, 0], [0, 1, np.log(2)]], rtol=1e-6)
    with pytest.raises(ServeError, match="no values for dense field 'price'"):
        table.dense_inputs({"age": [1]})
    with pytest.raises(ServeError, match="row 2: price is 'many'"):
        table.dense_inputs({"age": [1, 2], "price": [1, "many"]})
    with pytest.raises(ServeError, match="differ in their numbers"):
        table.dense_inputs({"age": [1, 2], "price": [1]})
