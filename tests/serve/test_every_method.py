"""Every method, rounded or not: what is served is what was trained, in as many bytes as counted."""

import json
import struct

import numpy as np
import pytest

from pepbench.catalog import Catalog
from pepbench.serve import load
from pepbench.tables.quantised import SCHEMES

METHODS = sorted(Catalog().entries("method"))
ROUNDED = [f"{name}+{scheme}" for name in METHODS for scheme in SCHEMES]
ALL = [*METHODS, *(pytest.param(name, marks=pytest.mark.slow) for name in ROUNDED)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.slow
def test_served_vectors_are_those_of_the_torch_module(name, export_of):
    exported = export_of(name)
    table = load(exported.folder)
    served = table.lookup_ids(np.arange(exported.toy.fields.n_features))
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, exported.vectors, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_the_file_takes_the_bytes_that_were_counted(name, export_of):
    exported = export_of(name)
    content = (exported.folder / "table.safetensors").read_bytes()
    (header_size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + header_size])
    tensors = [entry["data_offsets"] for key, entry in header.items() if key != "__metadata__"]
    assert sum(end - begin for begin, end in tensors) == exported.embedding.n_bytes()
    assert len(content) == 8 + header_size + exported.embedding.n_bytes()
    assert load(exported.folder).stored_bytes == exported.embedding.n_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_a_row_alone_is_the_same_as_in_a_batch(name, export_of):
    exported = export_of(name)
    table = load(exported.folder)
    codes = np.zeros((3, 4), dtype=np.int64)
    codes[1] = np.array(exported.toy.fields.cardinalities) - 1
    batch = table.lookup(codes)
    assert batch.shape == (3, 4, table.dim)
    for row in range(3):
        np.testing.assert_allclose(table.lookup(codes[row : row + 1])[0], batch[row], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_no_rows_give_no_vectors(name, export_of):
    table = load(export_of(name).folder)
    assert table.lookup(np.empty((0, 4), dtype=np.int64)).shape == (0, 4, table.dim)
