"""Sizes of tables that papers and public code give for Criteo's Kaggle data, against ours."""

import numpy as np
import pytest
from pepbench.baselines.mde import MDE
from pepbench.baselines.mixed import mixed_size
from pepbench.baselines.qr import mixed_radix

KAGGLE = np.array(
    [
        1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27,
        14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
    ]
)  # fmt: skip
"""Features of the 26 categorical fields, as DLRM's scripts list them."""


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6])
@pytest.mark.parametrize("dim", [16, 64])
def test_mde_has_the_widths_of_the_power_rule_that_gives_the_smallest_field_all_of_d(alpha, dim):
    # Ginart et al., power rule: the smallest field is D wide, the others follow n^(-alpha).
    rule = np.maximum(np.rint(dim * (KAGGLE.min() / KAGGLE) ** alpha), 1).astype(np.int64)

    widths = MDE(alpha=alpha).widths(KAGGLE, 1.0 / KAGGLE, dim, mixed_size(KAGGLE, rule, dim, True))

    assert widths.tolist() == rule.tolist()


@pytest.mark.parametrize("collisions", [4, 60])
def test_qr_has_as_many_rows_as_quotients_and_remainders_by_the_number_of_collisions(collisions):
    # Shi et al., algorithm 2, in which so many features share a quotient row.
    for n in KAGGLE[collisions < KAGGLE].tolist():
        (rows,) = mixed_radix(n, np.array([collisions]), 2).tolist()
        assert rows == [collisions, -(-n // collisions)]
