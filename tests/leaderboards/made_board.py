"""A board with folds whose records are made up, in milliseconds, for data that exist."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from record_factory import record

from pepbench.analysis.primary import Contrast
from pepbench.analysis.width_recovery import RECOVERY_COLUMNS
from pepbench.catalog import Catalog
from pepbench.harness.cells import Cell, expand
from pepbench.harness.tuning.halton import halton
from pepbench.leaderboards.board_results import BoardResults, from_records
from pepbench.leaderboards.publish import BEGIN, END, README
from pepbench.leaderboards.record_packing import RECORDS_FILE, packed, unpacked
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import MARGIN, EpochRecord, Record, ScoresRecord

FOLDS = 4

PLAN = f"""\
methods = ["uniform", "random-mask", "full"]
datasets = ["synthetic:rows=2000:features=60:fields=4"]
backbones = ["fm"]
budgets = ["50%", "40%"]
dim = 4
trials = 2
finalists = 2
finalist_seeds = 1
folds = {FOLDS}
seeds = 1
epochs = 2
batch_size = 256

[[except]]
methods = ["random-mask"]
budgets = ["40%"]
skip = true
reason = "to have an exception for one method"
"""


def test_aucs(method: str, budget: str) -> np.ndarray:
    """(FOLDS,): the test AUC of a method in each fold."""
    seed = [*method.encode(), *budget.encode()]
    return 0.7 + 0.01 * np.random.default_rng(seed).normal(size=FOLDS)


test_aucs.__test__ = False


def records_of_cell(cell: Cell) -> list[Record]:
    default = cell.default()
    drawn = next(halton(cell))
    better = replace(default, learning_rate=drawn["learning_rate"], l2=drawn["l2"])
    tried = ((default, 0.70), (better, 0.705))
    made = [
        made_record(cell.trial(settings, seed, role), auc)
        for role, seeds in (("tuning", [cell.tuning_seed]), ("finalist", cell.finalist_seeds()))
        for seed in seeds
        for settings, auc in tried
    ]
    test = test_aucs(cell.name.method, cell.budget)[cell.data.fold]
    for seed in cell.final_seeds():
        spec = cell.trial(better, seed, "final")
        made.append(made_record(spec, 0.7, test=ScoresRecord(auc=test, log_loss=0.5)))
    return made


def made_record(spec, auc, **figures):
    count = spec.budget_parameters
    scores = ScoresRecord(auc=auc, log_loss=0.5)
    epoch = EpochRecord(epoch=1, train_loss=0.5, auc=auc, log_loss=0.5)
    return record(
        spec,
        validation=scores,
        n_parameters=count,
        n_bytes=4 * count,
        curve=[epoch],
        samples_per_second=300.0,
        **figures,
    )


def records_of(plan: Plan) -> list[Record]:
    catalog = Catalog(())
    cells = expand(plan.with_families_expanded(catalog), catalog)
    return [one for cell in cells for one in records_of_cell(cell)]


def publish_board(folder: Path, contrasts: Sequence[Contrast] = ()) -> None:
    """Write the tables of a board's records, and a page, as ``pepbench leaderboard`` does."""
    records = tuple(unpacked(folder / RECORDS_FILE))
    found = from_records(records, contrasts=contrasts)
    widths = pd.DataFrame({name: [] for name in RECOVERY_COLUMNS})
    results = BoardResults(
        records, found.frame, found.comparisons, widths, (), MARGIN, found.contrasts
    )
    for name, content in results.files().items():
        (folder / name).write_bytes(content)
    (folder / README).write_text(f"# Made\n\nSee [the plan](plan.toml).\n\n{BEGIN}\n{END}\n")


def write_board(folder: Path, records: list[Record], plan: str = PLAN) -> Path:
    folder.mkdir(parents=True)
    (folder / PLAN_FILE).write_text(plan)
    (folder / RECORDS_FILE).write_bytes(packed(records))
    return folder
