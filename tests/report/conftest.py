from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def analysed():
    """Frame and fronts of the factory's typical run."""
    from record_factory import typical_run

    from pepbench.analysis.leaderboard import analyse, fronts

    run = typical_run()
    analysis = analyse(run.records, run.load_predictions, run.load_labels)
    return analysis.frame, fronts(analysis.frame, analysis.comparisons)
