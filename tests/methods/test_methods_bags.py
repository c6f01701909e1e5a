"""Methods on multi-valued fields: a field of one value gives the numbers of the plain field."""

import numpy as np
import pytest
import torch
from bag_helpers import as_bags
from run_helpers import CHEAP_OPTIONS

from pepbench.backbones.deepfm import DeepFM
from pepbench.catalog import Catalog
from pepbench.harness.fit_checks import check_contract

METHODS = sorted(Catalog().entries("method"))


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_one_value_a_bag_gives_the_numbers_of_the_plain_field(name, toy):
    logits = []
    for form in (toy, as_bags(toy)):
        method = Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {}))
        task = form.task(backbone=DeepFM(units=16, layers=1), epochs=2)
        budget = toy.full_parameters if method.fixed_size else toy.full_parameters * 3 // 5
        torch.manual_seed(0)
        fitted = method.fit(task, budget)
        check_contract(fitted, budget, form.validation)
        logits.append(task.logits(fitted.model, form.validation))
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-4, atol=1e-5)
