"""The masked form against the full table it was cut from, for rows of every length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.serve.forms import FORMS
from pepbench.serve.numbers import plain
from pepbench.serve.parts import Parts

MASKED = FORMS["masked"]


def dense_and_parts(seed, n_rows, dim, density, as_bitmap):
    """A full table (n_rows, dim) with zeros where the mask is, and what would be stored of it."""
    rng = np.random.default_rng(seed)
    # Rows differ in length from none to all, as those of popular and rare features do.
    mask = rng.random((n_rows, dim)) < rng.beta(density, 1 - density, (n_rows, 1))
    values = np.where(mask, rng.standard_normal((n_rows, dim)), 0).astype(np.float32)
    if as_bitmap:
        structure = {"bitmap": np.packbits(mask.ravel())}
    else:
        indptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.uint32)
        structure = {"indptr": indptr, "columns": np.nonzero(mask)[1].astype(np.uint16)}
    parts = Parts({"kept": plain(values[mask])}, structure, {"rows": n_rows, "dim": dim})
    return values, parts


@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(1, 70),
    dim=st.sampled_from([1, 2, 7, 16, 128, 129, 300]),
    density=st.floats(0.01, 0.99),
    as_bitmap=st.booleans(),
)
def test_vectors_are_the_rows_of_the_table(seed, n_rows, dim, density, as_bitmap):
    values, parts = dense_and_parts(seed, n_rows, dim, density, as_bitmap)
    form = MASKED(parts)
    ids = np.random.default_rng(seed).integers(0, n_rows, (9, 5))
    np.testing.assert_array_equal(form.lookup(ids), values[ids])
    np.testing.assert_array_equal(form.vectors(np.arange(n_rows)), values)


@pytest.mark.parametrize(("density", "repeats"), [(0.02, True), (0.5, False)])
def test_only_long_rows_are_looked_up_once_a_batch(density, repeats):
    assert MASKED(dense_and_parts(0, 500, 16, density, True)[1]).distinct is not repeats


def test_dense_rows_take_no_more_memory_than_two_bytes_an_entry():
    values, parts = dense_and_parts(0, 3000, 16, 0.1, True)
    form = MASKED(parts)
    built = sum(array.nbytes for array in vars(form).values() if isinstance(array, np.ndarray))
    index = built - 4 * 3000 - np.count_nonzero(values)
    assert 16 * 4 < index <= 2 * np.count_nonzero(values) + 16 * 4


def test_stored_columns_are_not_changed():
    _, parts = dense_and_parts(0, 20, 16, 0.5, False)
    before = parts.structure["columns"].copy()
    MASKED(parts)
    np.testing.assert_array_equal(parts.structure["columns"], before)


def test_a_table_without_any_entry_gives_zeros():
    parts = Parts(
        {"kept": plain(np.empty(0, np.float32))},
        {"bitmap": np.zeros(2, np.uint8)},
        {"rows": 2, "dim": 8},
    )
    np.testing.assert_array_equal(MASKED(parts).lookup(np.array([[0, 1]])), np.zeros((1, 2, 8)))
