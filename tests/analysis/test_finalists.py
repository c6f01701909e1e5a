"""What is said of the choice among finalists."""

import io

import pytest
from record_factory import record, spec
from rich.console import Console

from pepbench.analysis.finalists import finalists_frame
from pepbench.records import ScoresRecord
from pepbench.report.terminal.tuning_view import TuningView


def run(fold, role, l2, seed, auc):
    made = spec(role=role, seed=seed)
    data = made.data.model_copy(update={"fold": fold, "folds": 2})
    training = made.training.model_copy(update={"l2": l2})
    of_fold = made.model_copy(update={"data": data, "training": training})
    return record(of_fold, validation=ScoresRecord(auc=auc, log_loss=0.5))


def two_folds():
    """In fold 0 the first of two finalists stays the best; in fold 1 the second overtakes it."""
    return [
        run(0, "tuning", 0.1, 1, 0.70),
        run(0, "tuning", 0.2, 1, 0.69),
        run(0, "finalist", 0.1, 2, 0.70),
        run(0, "finalist", 0.2, 2, 0.60),
        run(1, "tuning", 0.1, 1, 0.80),
        run(1, "tuning", 0.2, 1, 0.795),
        run(1, "finalist", 0.1, 2, 0.70),
        run(1, "finalist", 0.2, 2, 0.775),
    ]


def test_changed_choices_and_the_fall_of_the_chosen_are_those_of_each_fold():
    (row,) = finalists_frame(two_folds()).to_dict("records")
    assert (row["choices"], row["changed"]) == (2, 1)
    assert row["fall"] == pytest.approx((0.0 + 0.01) / 2)


def test_cells_without_further_seeds_have_no_row():
    tuning = [one for one in two_folds() if one.spec.role == "tuning"]
    assert finalists_frame(tuning).empty


def test_the_terminal_says_it_for_each_cell():
    console = Console(file=io.StringIO(), width=200)
    console.print(TuningView(two_folds()))
    assert "in 1 of 2 fold(s)" in console.file.getvalue()
    assert "differs by -0.0050" in console.file.getvalue()
