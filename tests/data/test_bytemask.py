import numba
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.bytemask import MASK_BYTES, lowest_bit, where_equal


@numba.njit
def mask_of(content, start, byte):
    return where_equal(np.uintp(content.ctypes.data) + np.uintp(start), np.uint8(byte))


@numba.njit
def lowest(word):
    return lowest_bit(word)


@given(st.binary(min_size=MASK_BYTES + 9, max_size=MASK_BYTES + 9), st.integers(0, 9), st.data())
def test_mask_has_a_bit_for_each_equal_byte(content, start, data):
    byte = data.draw(st.sampled_from([*content, 10]))
    mask = int(mask_of(np.frombuffer(content, dtype=np.uint8), start, byte))
    assert mask == sum((content[start + k] == byte) << k for k in range(MASK_BYTES))


def test_lowest_bit_is_found():
    for k in range(64):
        assert lowest(np.uint64(1 << k | 1 << 63)) == k
