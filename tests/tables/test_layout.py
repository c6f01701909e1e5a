from dataclasses import dataclass, field

import numpy as np
import pytest
from pepbench.baselines.cerp import Summed

from pepbench.serve.addresses import Positions, TwoRows
from pepbench.tables.layout import (
    Dense,
    Layout,
    Masked,
    Mixed,
    StoredFields,
    constant,
    index,
    part,
    trained,
)
from pepbench.tables.quantised import SCHEMES, Quantised

rng = np.random.default_rng(0)
TABLE = rng.normal(size=(7, 4)).astype(np.float32)
MASK = rng.random((7, 4)) < 0.4
MASK[2] = False


def test_width_of_a_masked_row_is_its_number_of_entries():
    assert Masked.from_table(TABLE, MASK).widths().tolist() == [sum(row) for row in MASK.tolist()]


def test_width_in_mixed_blocks_is_that_of_the_block():
    blocks = np.array([1, 0, 2, 1, 0])
    tables = (TABLE[:2, :3], TABLE[:2, :1], TABLE[:1, :0])
    layout = Mixed(tables, (None, np.ones((1, 4), np.float32), None), blocks, 4)
    assert layout.widths().tolist() == [1, 3, 0, 1, 3]


def test_tables_alike_for_all_features_have_no_widths():
    shared = Mixed((TABLE[:, :2],), (np.ones((2, 4), np.float32),), np.zeros(7, np.int64), 4)
    assert Dense(TABLE).widths() is None
    assert shared.widths() is None


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_rounding_changes_no_width(scheme):
    masked = Masked.from_table(TABLE, MASK)
    rounded = Quantised.from_layout(masked, scheme)
    assert rounded.widths().tolist() == masked.widths().tolist()


def test_width_of_a_sum_of_rows_is_where_either_has_an_entry():
    shape = TwoRows(Positions(np.array([7, 3]), seed=1), 4)
    p, q = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)
    p_mask, q_mask = rng.random((4, 4)) < 0.4, rng.random((4, 4)) < 0.4
    layout = Summed(Masked.from_table(p, p_mask), Masked.from_table(q, q_mask), shape)
    vectors = layout.lookup(np.arange(10)[:, None])[:, 0]
    assert layout.widths().tolist() == (vectors != 0).sum(axis=1).tolist()


@dataclass(frozen=True, eq=False)
class Hashes(StoredFields):
    sizes: np.ndarray = field(metadata=index("shapes"))
    rows: np.ndarray = field(metadata=index("shapes"))
    owns: np.ndarray = field(metadata=index())
    modulo: bool


@dataclass(frozen=True, eq=False)
class Marked(Layout):
    tables: tuple[np.ndarray | None, ...] = field(metadata=trained("table"))
    seed: int = field(metadata=index())
    inner: Masked = field(metadata=part("p_"))
    hashes: Hashes = field(metadata=part())
    combine: str = field(metadata=constant())


def test_marks_say_what_is_stored():
    inner = Masked.from_table(TABLE, MASK)
    hashes = Hashes(np.array([3, 1]), np.array([2, 1]), np.array([True, False, True]), True)
    layout = Marked((TABLE, None, TABLE[:2]), 5, inner, hashes, "sum")
    assert list(layout.values()) == ["table_0", "table_2", "p_kept"]
    assert layout.n_parameters == 28 + 8 + MASK.sum()
    structure = layout.structure()
    assert set(structure) == {"seed", "p_bitmap", "shapes", "owns"}
    assert (structure["seed"].tolist(), structure["seed"].dtype) == ([5], np.uint32)
    assert structure["shapes"].tolist() == [[3, 1], [2, 1]]
    assert structure["owns"].tolist() == [0b10100000]
    assert layout.constants() == {"p_rows": 7, "p_dim": 4, "combine": "sum"}
    assert layout.n_bytes == sum(
        array.nbytes for arrays in (layout.values(), structure) for array in arrays.values()
    )


def test_other_values_go_where_the_marks_are():
    inner = Masked.from_table(TABLE, MASK)
    hashes = Hashes(np.array([3, 1]), np.array([2, 1]), np.array([True, False, True]), True)
    layout = Marked((TABLE, None, TABLE[:2]), 5, inner, hashes, "sum")
    halved = layout.with_values({name: array / 2 for name, array in layout.values().items()})
    assert halved.tables[1] is None
    np.testing.assert_array_equal(halved.tables[2], TABLE[:2] / 2)
    np.testing.assert_array_equal(halved.inner.kept, inner.kept / 2)
    for name, array in layout.structure().items():
        np.testing.assert_array_equal(halved.structure()[name], array)


def test_values_of_unmarked_fields_are_exchanged_by_name():
    @dataclass(frozen=True, eq=False)
    class Own(Layout):
        table: np.ndarray

        def values(self):
            return {"table": self.table}

    own = Own(TABLE)
    assert (own.structure(), own.constants(), own.n_parameters) == ({}, {}, TABLE.size)
    np.testing.assert_array_equal(own.with_values({"table": TABLE + 1}).table, TABLE + 1)


def test_rounded_values_are_rounded_again_when_exchanged():
    rounded = Quantised.from_layout(Dense(TABLE), SCHEMES["int8"])
    doubled = rounded.with_values({"table": 2 * TABLE})
    expected = Quantised.from_layout(Dense(2 * TABLE), SCHEMES["int8"])
    ids = np.arange(7)[:, None]
    np.testing.assert_array_equal(doubled.lookup(ids), expected.lookup(ids))
