"""Raw values, unseen ones, and files that were cut off, changed or forged."""

import datetime
import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pepbench.data.values import text
from pepbench.errors import ServeError
from pepbench.serve import load
from pepbench.serve.vocabulary import FieldVocabulary

# One method of each storage form, and learnt integers in two of them.
FORMS = [
    "full", "pep", "mde", "cerp", "hash", "memcom", "frequency", "double-hash", "cafe",
    "hash-embedding", "robe", "qr", "mgqe", "cce", "tt", "dhe", "lsq", "mpe",
    "dedup", "unified",
]  # fmt: skip
SAME_FORM = ["dpq", "adapt", "alpt", "quarter-power"]
"""Methods that share a form with one of these."""


@pytest.fixture
def folder(export_of, tmp_path):
    return shutil.copytree(export_of("pep").folder, tmp_path / "copy")


@pytest.fixture
def table(export_of):
    return load(export_of("pep").folder)


def rewrite_meta(folder, **changes):
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forge(folder, tensors):
    """Write other tensors, with the checksum that fits them."""
    save_file(tensors, folder / "table.safetensors")
    content = (folder / "table.safetensors").read_bytes()
    rewrite_meta(folder, sha256=hashlib.sha256(content).hexdigest())


def test_raw_values_in_all_shapes_are_the_same_rows(table):
    rows = [["a3", "b1", "c4", "d29"], ["a1", "b39", "c2", "d7"]]
    codes = np.array([[3, 1, 4, 29], [1, 39, 2, 7]])
    by_name = dict(zip("dcba", np.array(rows).T[::-1].tolist(), strict=True))
    expected = table.lookup(codes)
    for values in (rows, np.array(rows), np.array(rows, dtype=object), by_name):
        np.testing.assert_array_equal(table.lookup(values), expected)
        np.testing.assert_array_equal(table.codes(values), codes)


def test_unseen_and_missing_values_have_code_zero(table):
    values = {"a": ["nobody", None], "b": ["", float("nan")], "c": [7, 1.5], "d": ["d1", "D1"]}
    assert table.codes(values).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(table.lookup(values)[1], table.lookup(np.zeros((1, 4), int))[0])


@given(st.lists(st.integers(0, 11), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_values_and_codes_are_two_names_of_one_thing(table, codes):
    grid = np.minimum(np.array(codes)[:, None], [11, 39, 4, 29])
    names = [[f"{field}{code}" for field, code in zip("abcd", row, strict=True)] for row in grid]
    assert table.codes(names).tolist() == grid.tolist()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": ["a1"], "b": ["b1"], "c": ["c1"]}, "no values for field 'd'"),
        ({"a": ["a1"], "b": ["b1", "b2"], "c": ["c1"], "d": ["d1"]}, "field 'b' has 2 values"),
        ([["a1", "b1"]], "expected (rows, 4): a, b, c, d"),
        (np.array([[0, 0, 5, 0]]), "row 1: code 5 of field 'c' is outside 0 to 4"),
        (np.array([[0, -1, 0, 0]]), "row 1: code -1 of field 'b' is outside 0 to 39"),
        (np.zeros((2, 4)), "values are float64; give text, whole numbers, which are codes"),
        ([["a1", "b1", "c1", "d1"], ["a1"]], "rows differ in their numbers of values"),
        ({"a": "a1", "b": "b1", "c": "c1", "d": "d1"}, "field 'a': 'a1' is no column"),
        ({"a": 1, "b": ["b1"], "c": ["c1"], "d": ["d1"]}, "field 'a': 1 is no column"),
        ({"a": {"a1"}, "b": ["b1"], "c": ["c1"], "d": ["d1"]}, "{'a1'} is no column"),
        ({"a": [["a1"]], "b": ["b1"], "c": ["c1"], "d": ["d1"]}, "['a1'] is not one value"),
    ],
)
def test_values_that_do_not_fit_are_refused(table, values, said):
    with pytest.raises(ServeError) as caught:
        table.lookup(values)
    assert said in str(caught.value)


def test_frames_go_by_the_names_of_their_columns(table):
    rows = {"d": ["d29", "d7"], "b": ["b1", "b39"], "a": ["a3", "a1"], "c": ["c4", None]}
    expected = [[3, 1, 4, 29], [1, 39, 0, 7]]
    for frame in (pd.DataFrame(rows), pa.table(rows), pa.record_batch(rows)):
        assert table.codes(frame).tolist() == expected


def test_scalars_of_arrow_and_torch_are_their_values():
    instant = datetime.datetime(2024, 1, 3, 12, tzinfo=datetime.UTC)
    for kind, value, arrow in [
        ("exact", 2**62 + 1, pa.scalar(2**62 + 1)),
        ("exact", 7, torch.tensor(7)),
        ("float32", np.float32(0.1), pa.scalar(0.1, pa.float32())),
        ("float32", np.float32(0.1), torch.tensor(0.1)),
        ("instant", instant, pa.scalar(instant)),
    ]:
        vocabulary = FieldVocabulary("x", 2, (text(value, kind),), kind=kind)
        assert vocabulary.codes([value, arrow]).tolist() == [1, 1]
    ages = FieldVocabulary("age", 4, (), (18.0,), 3)
    assert ages.codes(pa.array([17.0, 18.0, None])).tolist() == [1, 2, 3]
    assert ages.codes([torch.tensor(18), pa.scalar(17), pd.NA]).tolist() == [2, 1, 3]


def test_ids_out_of_range_are_refused(table):
    with pytest.raises(ServeError, match="outside 0 to 86"):
        table.lookup_ids(np.array([87]))


def test_ids_that_are_no_whole_numbers_are_refused(table):
    with pytest.raises(ServeError, match="ids are float64; give whole numbers"):
        table.lookup_ids(np.array([1.7, np.nan]))


def test_codes_may_be_unsigned(table):
    codes = np.array([[1, 2, 3, 0]])
    found = table.codes(codes.astype(np.uint64))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, codes)


def test_bins_need_no_vocabulary(folder):
    meta = json.loads((folder / "meta.json").read_text())
    meta["fields"][2] = {"name": "c", "cardinality": 5, "edges": [2.5, 10.0], "missing": 4}
    (folder / "meta.json").write_text(json.dumps(meta))
    numbers = ["2.4", 2.5, 9, "10", 1e9, None, "", "many"]
    others = {name: [""] * len(numbers) for name in "abd"}
    codes = load(folder).codes({**others, "c": numbers})[:, 2]
    assert codes.tolist() == [1, 2, 2, 3, 3, 4, 4, 0]


@pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
def test_a_file_that_was_cut_off_is_refused(folder, cut):
    path = folder / "table.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ServeError, match="does not match the checksum"):
        load(folder)
    with pytest.raises(ServeError, match="is damaged"):
        load(folder, verify=False)


def test_a_changed_byte_is_refused(folder):
    path = folder / "table.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ServeError, match="does not match the checksum"):
        load(folder)


def test_a_header_that_points_beyond_the_file_is_refused(folder):
    path = folder / "table.safetensors"
    header = json.dumps(
        {"kept.values": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ServeError, match="is damaged"):
        load(folder, verify=False)


@pytest.mark.parametrize(
    "form", [*FORMS, *(pytest.param(name, marks=pytest.mark.slow) for name in SAME_FORM)]
)
def test_forged_arrays_never_read_outside(form, export_of, tmp_path):
    """Every array shortened, emptied, set to the largest number, or of another type."""
    source = export_of(form).folder
    tensors = load_file(source / "table.safetensors")
    ids = np.arange(87)
    for number, name in enumerate(tensors):
        array = tensors[name]
        largest = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1e30
        forgeries = (array.ravel()[:-1], array[:0], np.full_like(array, largest), array.view("u1"))
        for kind, forgery in enumerate(forgeries):
            folder = shutil.copytree(source, tmp_path / f"{number}-{kind}")
            forge(folder, {**tensors, name: np.ascontiguousarray(forgery)})
            # Anything else, a crash above all, fails the test.
            with suppress(ServeError):
                table = load(folder)
                assert table.lookup_ids(ids).shape == (87, table.dim)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 99}, "of version 99"),
        ({"format": "other"}, "not the description of an exported table"),
        ({"form": "pickle"}, "unknown form 'pickle'"),
        ({"dim": 9}, "do not fit together"),
        ({"constants": {}}, "constant 'dim' is missing"),
        ({"constants": {"rows": 10**30, "dim": 8}}, "constant 'rows' is missing or out of range"),
        ({"constants": {"rows": 88, "dim": 8}}, "contradicts itself"),
        ({"arrays": {}}, "array 'kept' is missing"),
        ({"arrays": {"kept": {"scheme": "zip", "shape": [1]}}}, "unknown scheme 'zip'"),
        ({"fields": []}, "do not fit together"),
        ({"fields": [{"name": "a"}]}, "describes its fields wrongly"),
        ({"fields": None}, "describes its fields wrongly"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder, changes, said):
    rewrite_meta(folder, **changes)
    with pytest.raises(ServeError) as caught:
        load(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_descriptions_are_refused(folder, tmp_path):
    with pytest.raises(ServeError, match="cannot be read"):
        load(tmp_path / "nowhere")
    (folder / "meta.json").write_text('{"format": ')
    with pytest.raises(ServeError, match="it is not JSON"):
        load(folder)


def test_serving_imports_neither_torch_nor_pandas(export_of):
    program = (
        "import sys; import pepbench.serve as serve; "
        f"table = serve.load({str(export_of('qr').folder)!r}); "
        "print(table.lookup([['a1', 'b1', 'c1', 'd1']]).shape); "
        "print(sorted({name.split('.')[0] for name in sys.modules} "
        "& {'torch', 'pandas', 'pyarrow', 'numba', 'scipy', 'pydantic', 'typer', 'onnx'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["(1, 4, 8)", "[]"]


def test_stored_arrays_stay_in_the_file(export_of):
    array = load(export_of("full").folder).form._table.stored["values"]
    assert not array.flags.writeable
    while not isinstance(array, np.memmap):
        array = array.base
