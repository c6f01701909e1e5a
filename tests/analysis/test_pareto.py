from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.analysis.pareto import hypervolume, on_front

coarse = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=15)


@given(coarse)
def test_front_equals_the_definition_by_brute_force(points):
    def beats(p, q):
        return p[0] <= q[0] and p[1] >= q[1] and p != q

    expected = [not any(beats(p, q) for p in points) for q in points]
    sizes, aucs = [p[0] for p in points], [p[1] for p in points]
    assert on_front(sizes, aucs).tolist() == expected


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12))
def test_three_objectives_equal_the_definition(points):
    def beats(p, q):
        return p != q and p[0] <= q[0] and p[1] <= q[1] and p[2] >= q[2]

    expected = [not any(beats(p, q) for p in points) for q in points]
    *costs, auc = zip(*points, strict=True)
    assert on_front(np.column_stack(costs), auc).tolist() == expected


def test_equal_points_are_both_on_the_front():
    assert on_front([10, 10, 20], [0.8, 0.8, 0.7]).tolist() == [True, True, False]


def test_hypervolume_of_a_hand_made_front():
    # Decades below 10,000: 1 wide up to 0.8, then 2 more up to 0.6.
    assert hypervolume([1000, 10], [0.8, 0.6], 10_000) == pytest.approx(1 * 0.3 + 2 * 0.1)


@pytest.mark.parametrize(("size", "value"), [(10_000, 0.9), (20_000, 0.9), (100, 0.5), (100, 0.4)])
def test_points_outside_the_reference_box_cover_nothing(size, value):
    assert hypervolume([size], [value], 10_000) == 0.0
    assert hypervolume([size, 1000], [value, 0.7], 10_000) == pytest.approx(0.2)


def test_nothing_covers_nothing_and_no_table_adds_nothing():
    assert hypervolume([], [], 10_000) == 0.0
    assert on_front([], []).tolist() == []
    assert hypervolume([0, 10], [0.9, 0.6], 10_000) == hypervolume([10], [0.6], 10_000)


@given(
    st.lists(st.tuples(st.integers(1, 9_999), st.floats(0.5, 1)), min_size=1, max_size=10),
    st.randoms(use_true_random=False),
)
def test_hypervolume_is_the_area_under_the_steps(points, random):
    def best(budget):
        return max((auc for size, auc in points if size <= budget), default=0.5) - 0.5

    edges = [*sorted({size for size, _ in points}), 10_000]
    area = sum(
        best(left) * (np.log10(right) - np.log10(left)) for left, right in itertools.pairwise(edges)
    )
    shuffled = random.sample(points, len(points))
    assert hypervolume(*zip(*shuffled, strict=True), 10_000) == pytest.approx(area, abs=1e-12)
