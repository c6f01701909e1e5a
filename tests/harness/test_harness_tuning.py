import json

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from run_helpers import predictions, records, results

import pepbench.harness.executors.supervised_worker as worker
from pepbench.catalog import Catalog
from pepbench.harness.cells import expand
from pepbench.harness.tuning.study import new_study, trial_batches
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE, best_trial, tuning_used

TINY_PLAN = Plan(
    methods=("pep:max_steps=50", "uniform", "full"),
    datasets=("synthetic:rows=2000:features=60:fields=4",),
    budgets=("50%", "25%"),
    dim=4,
    trials=3,
    finalists=1,
    seeds=2,
)


@pytest.fixture
def cells(tiny_cache):  # noqa: ARG001
    return expand(TINY_PLAN, Catalog())


def first_batch(cell):
    """What a cell asks for before it knows anything."""
    program = trial_batches(cell, new_study(cell))
    return next(program)


def test_first_trial_of_every_cell_is_the_default(cells):
    for cell in cells:
        (spec,) = first_batch(cell)
        assert spec.method.options == cell.method.default().options()
        assert spec.training.learning_rate == DEFAULT_LEARNING_RATE
        assert spec.training.l2 == DEFAULT_L2
        assert spec.role == "tuning"


def test_seeds_are_common_to_all_cells_and_final_ones_new(cells):
    tuning = {first_batch(cell)[0].seed for cell in cells}
    assert len(tuning) == 1


def test_methods_of_one_size_run_once_at_the_full_budget(cells):
    budgets = [(cell.method.spec, cell.budget) for cell in cells]
    assert budgets == [
        ("pep:max_steps=50", "50%"),
        ("pep:max_steps=50", "25%"),
        ("uniform", "50%"),
        ("uniform", "25%"),
        ("full", "100%"),
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Of a run that is only read, once it has been made."""
    return tmp_path_factory.mktemp("original") / "out"


@pytest.fixture
def run_folder(original, tiny_run):
    if not original.exists():
        cells = ("--methods=pep:max_steps=50,uniform", "--budgets=50%")
        assert tiny_run(*cells, f"--out={original}").code == 0
    return original


def test_all_cells_get_the_same_trials_and_seeds(run_folder):
    by_method = {}
    for record in records(run_folder):
        by_method.setdefault(record.spec.method.name, []).append(record.spec)
    for specs in by_method.values():
        assert sorted(spec.role for spec in specs) == ["final"] * 2 + ["tuning"] * 2
    tuning, final = (
        [{s.seed for s in specs if s.role == role} for specs in by_method.values()]
        for role in ("tuning", "final")
    )
    assert tuning[0] == tuning[1]
    assert final[0] == final[1]
    assert not tuning[0] & final[0]


def test_final_runs_repeat_the_best_trial_and_alone_have_test_scores(run_folder):
    tuning = [r for r in records(run_folder) if r.spec.role == "tuning"]
    finals = [r for r in records(run_folder) if r.spec.role == "final"]
    assert all(r.test is None and r.predictions_sha256 is None for r in tuning)
    for final in finals:
        rivals = [r for r in tuning if r.spec.cell == final.spec.cell]
        best = max(rivals, key=lambda r: r.validation.auc)
        assert final.spec.method == best.spec.method
        assert final.spec.training == best.spec.training
        assert final.test is not None


def test_journal_opens_in_optuna_and_holds_the_trials(run_folder):
    backend = JournalFileBackend(str(run_folder / "optuna-journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    kept = {r.key: r for r in records(run_folder)}
    summaries = optuna.get_all_study_summaries(storage)
    assert len(summaries) == 2
    for summary in summaries:
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        assert len(study.trials) == 2
        for trial in study.trials:
            record = kept[trial.user_attrs["record"]]
            assert trial.value == record.validation.auc
            assert trial.params["learning_rate"] == record.spec.training.learning_rate


OPTIONS = ("--methods=mde,uniform", "--budgets=50%", "--trials=5", "--epochs=6", "--seeds=1")


@pytest.mark.slow
def test_batches_give_the_same_records_with_one_worker_and_with_four(tiny_run, tmp_path):
    plan = (*OPTIONS, "--batch=2", "--pruner=halving")
    assert tiny_run(*plan, "--out=one").code == 0
    assert tiny_run(*plan, "--jobs=4", "--out=four").code == 0
    assert results(tmp_path / "one") == results(tmp_path / "four")
    assert predictions(tmp_path / "one") == predictions(tmp_path / "four")


@pytest.mark.slow
def test_stopped_trials_keep_their_curve_and_are_no_ones_best(tiny_run, tmp_path):
    plan = (*OPTIONS, "--pruner=halving", "--sampler=random", "--out=out")
    assert tiny_run(*plan).code == 0
    kept = records(tmp_path / "out")
    stopped = [r for r in kept if r.status == "pruned"]
    assert stopped
    for record in stopped:
        assert record.spec.role == "tuning"
        assert 2 <= len(record.curve) < 6
        assert record.validation.auc == max(point.auc for point in record.curve)
        assert record.reason == f"stopped after epoch {len(record.curve)} by the plan's pruner"
    finals = [r for r in kept if r.spec.role == "final"]
    assert [r.status for r in finals] == ["ok"] * 2
    assert not {r.spec.training.learning_rate for r in finals} & {
        r.spec.training.learning_rate for r in stopped
    }
    storage = optuna.storages.JournalStorage(
        JournalFileBackend(str(tmp_path / "out/optuna-journal.log"))
    )
    by_key = {r.key: r for r in kept}
    states = []
    for summary in optuna.get_all_study_summaries(storage):
        for trial in optuna.load_study(study_name=summary.study_name, storage=storage).trials:
            curve = by_key[trial.user_attrs["record"]].curve
            assert trial.intermediate_values == {p.epoch: p.auc for p in curve}
            states.append(trial.state)
    assert states.count(optuna.trial.TrialState.PRUNED) == len(stopped)
    assert "0 trials run" in tiny_run(*plan).err


@pytest.mark.slow
def test_tuned_backbone_stays_one_cell_and_time_bounds_tuning(pepbench, tmp_path):
    plan = ("--methods=uniform", "--budgets=50%", "--backbones=deepfm", "--out=out")
    tuned = ("--tune-backbone", "--tune-batch-size=256,512", "--batch-size=256")
    ran = pepbench(
        "run",
        "--datasets=synthetic:rows=2000:features=60:fields=4",
        *("--dim=4", "--epochs=2", "--seeds=2", "--jobs=1", "--tuning-time=0.2s"),
        *plan,
        *tuned,
        "--json",
    )
    assert ran.code == 0, ran.err
    (cell,) = json.loads(ran.out)["cells"]
    assert (cell["dataset"].startswith("synthetic"), cell["seeds"]) == (True, 2)
    tuning = [r for r in records(tmp_path / "out") if r.spec.role == "tuning"]
    spent = sorted(r.cpu_seconds() for r in tuning)
    assert sum(spent[:-1]) < 0.2 <= sum(spent)
    assert tuning_used(records(tmp_path / "out")) == (len(spent), pytest.approx(sum(spent)))


def searched(monkeypatch):
    """Counts how many trials each job has."""
    sizes = []
    run = worker.run_trials

    def counted(specs, context):
        sizes.append(len(specs))
        return run(specs, context)

    monkeypatch.setattr(worker, "run_trials", counted)
    return sizes


SHARED = ("--methods=pep:max_steps=40,magnitude", "--sampler=random", "--trials=3")


@pytest.mark.slow
def test_one_search_serves_all_budgets_and_changes_nothing(tiny_run, tmp_path, monkeypatch):
    sizes = searched(monkeypatch)
    assert tiny_run(*SHARED, "--budgets=50%,20%,5%", "--out=together").code == 0
    assert sizes.count(3) >= 6
    sizes.clear()
    for budget in ("50%", "20%", "5%"):
        assert tiny_run(*SHARED, f"--budgets={budget}", f"--out={budget}").code == 0
    assert set(sizes) == {1}
    apart = [results(tmp_path / budget) for budget in ("50%", "20%", "5%")]
    assert results(tmp_path / "together") == apart[0] | apart[1] | apart[2]
    kept = [predictions(tmp_path / budget) for budget in ("50%", "20%", "5%")]
    assert predictions(tmp_path / "together") == kept[0] | kept[1] | kept[2]


def test_budgets_at_which_a_shared_search_fails_say_why(tiny_run, tmp_path):
    method = "--methods=pep:max_steps=40:at_limit=infeasible"
    assert tiny_run(method, "--budgets=100%,1%", "--trials=1", "--out=out").code == 0
    tuning = {r.spec.budget: r for r in records(tmp_path / "out") if r.spec.role == "tuning"}
    assert tuning["100%"].status == "ok"
    assert (tuning["1%"].status, "40 steps" in tuning["1%"].reason) == ("infeasible", True)


def test_warm_start_repeats_the_larger_budgets_best(tiny_run, tmp_path):
    plan = ("--methods=mde", "--budgets=20%,50%", "--sampler=random", "--warm-start", "--trials=3")
    assert tiny_run(*plan, "--out=out").code == 0
    tuning = {
        budget: [
            r
            for r in records(tmp_path / "out")
            if (r.spec.role, r.spec.budget) == ("tuning", budget)
        ]
        for budget in ("20%", "50%")
    }
    best = best_trial(tuning["50%"]).spec
    assert [len(found) for found in tuning.values()] == [3, 3]
    assert any(
        (r.spec.training, r.spec.method) == (best.training, best.method) for r in tuning["20%"]
    )
    assert "0 trials run" in tiny_run(*plan, "--out=out").err
