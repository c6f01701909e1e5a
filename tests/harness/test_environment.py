"""What a trial may count on: memory before it is allocated."""

import pytest

from pepbench.errors import PepbenchError, PlanError
from pepbench.harness.environment import check_device, check_memory


def test_a_table_beyond_memory_is_refused_with_the_size_it_would_need():
    check_memory(2**20, available=2**24)
    with pytest.raises(PepbenchError, match=r"need at least 16\.0 GiB to train, 8\.0 GiB are"):
        check_memory(2**30, available=2**33)


def test_this_machine_has_room_for_a_small_table():
    check_memory(1000)


@pytest.mark.parametrize(
    ("device", "optimizer", "precision", "said"),
    [
        ("cuda", "lazy-adam", "float32", "on the CPU only; write auto"),
        ("cuda", "row-adagrad", "float32", "on the CPU only; write auto"),
        ("cpu", "auto", "bfloat16", "for --device cuda"),
    ],
)
def test_what_a_device_cannot_do_is_refused(device, optimizer, precision, said):
    with pytest.raises(PlanError, match=said):
        check_device(device, optimizer, precision)
