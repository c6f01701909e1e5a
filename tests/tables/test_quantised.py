"""Rounding after training: within half a step, and as many bytes as it says."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pepbench.catalog import Catalog
from pepbench.errors import PlanError, ServeError
from pepbench.tables.layout import Dense, Masked, Mixed
from pepbench.tables.quantised import SCHEMES, Quantised, packed_integers

NUMBERS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=70),
    elements=st.integers(-(10**8), 10**8).map(lambda number: np.float32(number / 10**6)),
)


def groups_of(values):
    """Rows, or runs of 64 numbers of a one-dimensional array."""
    if values.ndim == 2:
        return list(values)
    return [values[k : k + 64] for k in range(0, len(values), 64)]


@given(NUMBERS, st.sampled_from([("int8", 127), ("int4", 7)]))
@pytest.mark.slow
def test_integers_are_within_half_a_step(values, scheme):
    name, largest = scheme
    stored = SCHEMES[name].stored(values)
    restored = SCHEMES[name].restored(stored, values.shape)
    for before, after in zip(groups_of(values), groups_of(restored), strict=True):
        step = np.abs(before).max() / largest
        assert np.abs(before - after).max() <= step / 2 + 1e-5 * np.abs(before).max()


@pytest.mark.parametrize(("name", "largest"), [("int8", 127), ("int4", 7)])
def test_rounding_by_chance_is_to_a_neighbour_and_right_on_average(name, largest):
    values = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    scheme, rng = SCHEMES[name], np.random.default_rng(0)
    draws = np.stack([scheme.restored(scheme.stored(values, rng), (5, 16)) for _ in range(4000)])
    step = np.abs(values).max(axis=1, keepdims=True) / largest
    assert (np.abs(draws - values) < step * (1 + 1e-4)).all()
    # The mean of 4,000 draws has at most half a step's deviation by √4,000.
    assert (np.abs(draws.mean(axis=0) - values) < 4.5 * step / 2 / np.sqrt(4000) + 1e-6).all()
    assert np.abs(scheme.restored(scheme.stored(values), (5, 16)) - values).max() > 0


@given(NUMBERS)
@pytest.mark.slow
def test_halves_equal_numpys(values):
    stored = SCHEMES["fp16"].stored(values)
    restored = SCHEMES["fp16"].restored(stored, values.shape)
    np.testing.assert_array_equal(restored, values.astype(np.float16).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16]),
    st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    st.integers(1, 9),
    st.sampled_from(["row", "run", "all"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_packed_integers_come_back_as_they_were(bits, runs, width, steps_per, offset, seed):
    rng = np.random.default_rng(seed)
    n = sum(runs)
    codes = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (n, width))
    n_steps = {"row": n, "run": len(runs), "all": 1}[steps_per]
    steps = rng.random(n_steps, dtype=np.float32)
    offsets = rng.normal(size=width).astype(np.float32) if offset else None
    given_runs = np.array(runs) if steps_per == "run" else None
    numbers = packed_integers(codes, bits, steps, given_runs, offsets)
    of_row = np.repeat(steps, runs if steps_per == "run" else n // n_steps)
    expected = codes.astype(np.float32) * of_row[:, None] + (0 if offsets is None else offsets)
    np.testing.assert_array_equal(numbers.whole(), expected)
    rows = rng.integers(0, n, (3, 2))
    np.testing.assert_array_equal(numbers.rows(rows), expected[rows])
    np.testing.assert_array_equal(numbers.at(rows * width), expected[rows, 0])
    stored = sum(array.nbytes for array in numbers.stored.values())
    assert stored == -(-n * width * bits // 8) + 4 * n_steps + 4 * (
        len(runs) * (steps_per == "run") + width * offset
    )
    with pytest.raises(IndexError):
        numbers.rows(np.array([n]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": np.zeros(3, np.uint8)},
        {"steps": np.zeros(2, np.float32)},
        {"runs": np.array([3, 2], np.uint32)},
        {"offsets": np.zeros(1, np.float32)},
    ],
)
def test_packed_integers_that_contradict_themselves_are_refused(wrong):
    good = packed_integers(np.zeros((4, 5), dtype=int), 2, np.ones(4))
    with pytest.raises(ServeError):
        type(good)({**good.stored, **wrong}, (4, 5))


def layouts():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 8)).astype(np.float32)
    blocks = np.repeat([0, 1], [10, 20])
    return [
        Dense(table),
        Masked.from_table(table, rng.random((30, 8)) < 0.3),
        Mixed((table[:10, :3], table[10:]), (table[:3], None), blocks, 8),
    ]


@pytest.mark.parametrize("layout", layouts(), ids=lambda layout: type(layout).__name__)
@pytest.mark.parametrize(("name", "bits"), [("fp16", 16), ("int8", 8), ("int4", 4)])
def test_bytes_are_those_of_codes_scales_and_structure(layout, name, bits):
    rounded = Quantised.from_layout(layout, SCHEMES[name])
    assert rounded.n_parameters == layout.n_parameters
    codes = sum(-(-array.size * bits // 8) for array in layout.values().values())
    groups = sum(len(groups_of(array)) for array in layout.values().values())
    scales = 0 if name == "fp16" else 4 * groups
    structure = sum(array.nbytes for array in layout.structure().values())
    assert rounded.n_bytes == codes + scales + structure
    ids = np.arange(30)[:, None]
    assert np.abs(rounded.lookup(ids) - layout.lookup(ids)).max() < 0.5


def test_unknown_suffix_lists_those_that_are():
    with pytest.raises(PlanError, match=r"unknown suffix '\+int9'; did you mean '\+int8'\?"):
        Catalog().select("method", "uniform+int9")


@pytest.mark.slow
def test_rounded_methods_run_beside_their_own(tiny_run):
    methods = (
        "uniform,uniform+int8,uniform+int4:stochastic=true,pep+int4:max_steps=20,mde+fp16,full"
    )
    ran = tiny_run(f"--methods={methods}", "--budgets=60%", "--json")
    assert ran.code == 0, ran.err
    cells = {cell["method"]: cell for cell in json.loads(ran.out)["cells"]}
    plain, rounded = cells["uniform"], cells["uniform+int8"]
    assert rounded["parameters"] == plain["parameters"]
    assert rounded["bytes"] < plain["bytes"]
    assert {cell["status"] for cell in cells.values()} == {"ok"}
