"""Orders of rows, and batches that a thread prepares."""

import threading

import numpy as np
import pytest
import torch

from pepbench.data.splits import Rows
from pepbench.training import batches
from pepbench.training.batches import BatchMaker, batch_orders


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(batches, "WINDOW", 64)
    monkeypatch.setattr(batches, "BLOCK", 8)


@pytest.mark.parametrize("n_rows", [1, 63, 64, 65, 500, 512])
@pytest.mark.usefixtures("small_windows")
def test_every_row_comes_once_in_full_batches(n_rows):
    orders = list(batch_orders(n_rows, 10, (1, 2)))
    assert [len(order) for order in orders[:-1]] == [10] * (len(orders) - 1)
    assert sorted(np.concatenate(orders).tolist()) == list(range(n_rows))


def test_few_rows_are_one_permutation():
    order = np.concatenate(list(batch_orders(1000, 64, (3,))))
    np.testing.assert_array_equal(order, np.random.default_rng((3,)).permutation(1000))


@pytest.mark.usefixtures("small_windows")
def test_large_data_are_shuffled_in_windows_of_scattered_blocks():
    orders = np.concatenate(list(batch_orders(512, 64, (5,))))
    for start in range(0, 512, 64):
        window = orders[start : start + 64]
        assert len(np.unique(window // 8)) == 8  # of whole blocks
        assert np.ptp(window) > 64  # from all over the data
        assert not np.array_equal(window, np.sort(window))


@pytest.mark.usefixtures("small_windows")
def test_the_seed_alone_decides():
    def order(seed):
        return np.concatenate(list(batch_orders(300, 32, seed)))

    np.testing.assert_array_equal(order((1,)), order((1,)))
    assert not np.array_equal(order((1,)), order((2,)))


@pytest.mark.usefixtures("small_windows")
def test_a_thread_gives_the_same_batches_in_the_same_order():
    rng = np.random.default_rng(0)
    rows = Rows(rng.integers(0, 9, (200, 3)).astype(np.int32), rng.integers(0, 2, 200, np.uint8))
    maker = BatchMaker(16, torch.device("cpu"), torch.float32)
    prepared = list(maker.shuffled(rows, (4,)))
    orders = list(batch_orders(200, 16, (4,)))
    assert len(prepared) == len(orders)
    for batch, order in zip(prepared, orders, strict=True):
        np.testing.assert_array_equal(batch.ids.numpy(), rows.ids[order])
        np.testing.assert_array_equal(batch.labels.numpy(), rows.labels[order])


@pytest.mark.usefixtures("small_windows")
def test_the_thread_ends_when_nobody_wants_more_batches():
    rows = Rows(np.zeros((200, 3), np.int32), np.zeros(200, np.uint8))
    maker = BatchMaker(16, torch.device("cpu"), torch.float32)
    before = threading.active_count()
    stream = maker.shuffled(rows, (4,))
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.usefixtures("small_windows")
def test_errors_of_the_thread_arrive():
    class Broken:
        shape = (200, 3)

        def __array__(self, *_, **__):
            raise OSError("disk gone")

    rows = Rows(Broken(), np.zeros(200, np.uint8))
    maker = BatchMaker(16, torch.device("cpu"), torch.float32)
    with pytest.raises(OSError, match="disk gone"):
        next(maker.shuffled(rows, (4,)))
