"""Models that know nothing of pepbench: DeepCTR-Torch's, one of FuxiCTR's layers, two towers."""

import os
from pathlib import Path

import numpy as np
import pytest

from pepbench.nn import export
from pepbench.serve import load

MODULES = {"deepctr": "deepctr_torch", "fuxictr": "fuxictr", "two-tower": "torch"}
TOLERANCE = {"AUC": 0.02, "recall@20": 0.06}
"""What a fifth of the table may cost, another seed included."""


@pytest.fixture(params=MODULES)
def make(request):
    pytest.importorskip(MODULES[request.param])
    if not (Path(os.environ.get("PEPBENCH_DATA_DIR", "/none")) / "ml-100k").exists():
        pytest.skip("PEPBENCH_DATA_DIR holds no ml-100k")
    from benchmarks.plug_in.models import SUBJECTS

    return lambda: SUBJECTS[request.param](0)


@pytest.mark.nightly
def test_compressed_models_train_predict_and_are_exported(make, tmp_path):
    from benchmarks.plug_in.measure import compressed, trained

    full = make()
    trained(full)
    full_score = full.score(1)
    assert full_score > {"AUC": 0.7, "recall@20": 0.1}[full.figure]
    for method in ("magnitude", "pep", "qr"):
        subject = make()
        if method != "qr":
            subject.model.load_state_dict(full.model.state_dict())
        found = compressed(subject, method, "20%")
        wide = [table for table in found.tables if table.method != "none"]
        allowed = int(0.2 * sum(table.full_parameters for table in wide))
        count = sum(table.n_parameters for table in wide)
        assert count <= allowed
        assert count == allowed or method == "qr"
        trained(subject)
        assert subject.score(1) > full_score - TOLERANCE[full.figure]
        places = export(subject.model, tmp_path / method)
        for name, place in places.items():
            module = subject.model.get_submodule(name)
            table = load(place)
            ids = ["1", str(module.num_embeddings - 1)]
            served = table.lookup({key: ["1", "1"] for key in table.field_names} | {name: ids})
            expected = module.weight.detach()[[1, -1]].numpy()
            position = table.field_names.index(name)
            np.testing.assert_allclose(served[:, position], expected, rtol=1e-5, atol=1e-6)
