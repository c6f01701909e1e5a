import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.data.arrays import SMALL_BYTES, ArrayWriter


@given(st.lists(st.integers(0, SMALL_BYTES // 2), max_size=5))
def test_blocks_of_any_size_end_up_in_order_and_in_the_digest(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    rows = np.arange(2 * sum(sizes), dtype=np.int32).reshape(-1, 2)
    with ArrayWriter(path, "<i4", (2,)) as writer:
        at = 0
        for size in sizes:
            writer.append(rows[at : at + size])
            at += size
    assert np.array_equal(np.load(path), rows)
    assert writer.digest == hashlib.sha256(rows.tobytes()).hexdigest()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_full_disk_is_raised_though_a_thread_writes(n_blocks):
    def write():
        with ArrayWriter(Path("/dev/full"), "|u1") as writer:
            for _ in range(n_blocks):
                writer.append(np.zeros(SMALL_BYTES, dtype=np.uint8))

    with pytest.raises(OSError, match="No space left"):
        write()
