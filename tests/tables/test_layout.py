import numpy as np
import pytest
from pepbench.baselines.cerp import Summed, TwoRows

from pepbench.tables.layout import Dense, Masked, Mixed
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
    shape = TwoRows(10, 4)
    p, q = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)
    p_mask, q_mask = rng.random((4, 4)) < 0.4, rng.random((4, 4)) < 0.4
    layout = Summed(Masked.from_table(p, p_mask), Masked.from_table(q, q_mask), shape)
    vectors = layout.lookup(np.arange(10)[:, None])[:, 0]
    assert layout.widths().tolist() == (vectors != 0).sum(axis=1).tolist()
