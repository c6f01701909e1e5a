"""Every method trained by the row, as `auto` chooses for large tables, against dense Adam."""

import numpy as np
import pytest
import torch
from run_helpers import CHEAP_OPTIONS

from pepbench.catalog import Catalog

METHODS = sorted(Catalog().entries("method"))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_training_by_the_row_ends_as_dense_training_does(name, toy):
    method = Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {}))
    budget = toy.full_parameters if name == "full" else int(toy.full_parameters * 0.6)
    scores, sizes = {}, {}
    for optimizer in ("adam", "lazy-adam"):
        torch.manual_seed(0)
        task = toy.task(0, epochs=8, optimizer=optimizer)
        fitted = method.fit(task, budget)
        assert task.resolved_optimizer == optimizer
        scores[optimizer] = fitted.validation.auc
        sizes[optimizer] = fitted.model.embedding.n_parameters()
        # What is exported is what was validated: no row is behind.
        ids = toy.validation.ids[:200].astype(np.int64)
        with torch.no_grad():
            vectors = fitted.model.embedding(torch.from_numpy(ids)).numpy()
        np.testing.assert_allclose(fitted.model.embedding.export().lookup(ids), vectors, atol=1e-6)
    # Rounding, which depends on the processor, decides where a choice is at its threshold.
    assert sizes["adam"] == pytest.approx(sizes["lazy-adam"], rel=0.05)
    assert abs(scores["adam"] - scores["lazy-adam"]) < 0.02
