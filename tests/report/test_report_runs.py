"""Several runs as one, and input that is not what it should be."""

import math

import numpy as np
import pytest
from record_factory import Run, record, run_of, spec, typical_run
from run_folders import stored

from pepbench.analysis.runs import open_runs
from pepbench.errors import RecordError
from pepbench.report import show, write
from pepbench.report.findings import load_runs, trimmed_notes
from pepbench.report.page.html import report_html


def run_with(*cells, labels=None):
    run = run_of() if labels is None else Run(labels=labels)
    for noise, cell in cells:
        run.add(noise, **cell)
    return run


FULL = (0.0, {"method": "full", "budget": "100%"})
PEP = (0.1, {"method": "pep", "budget": "10%"})
MDE = (0.4, {"method": "mde", "budget": "10%"})


def test_two_runs_of_the_same_data_say_what_one_run_of_both_would(tmp_path):
    together = stored(run_with(FULL, PEP, MDE), tmp_path / "both")
    stored(run_with(FULL, PEP), tmp_path / "one")
    stored(run_with(MDE), tmp_path / "other")
    merged = load_runs([tmp_path / "one", tmp_path / "other"])
    alone = load_runs([together.folder])
    assert merged.frame.equals(alone.frame)
    assert merged.comparisons.equals(alone.comparisons)
    assert set(merged.runs.folder_of.values()) == {tmp_path / "one", tmp_path / "other"}


def test_a_record_that_both_folders_hold_counts_once(tmp_path):
    for name in ("one", "other"):
        stored(run_with(FULL, PEP), tmp_path / name)
    warnings = []
    merged = load_runs([tmp_path / "one", tmp_path / "other"], warnings.append)
    assert merged.frame["seeds"].tolist() == [3, 3]
    assert warnings == []


def test_other_figures_of_the_same_run_are_reported(tmp_path):
    stored(run_with(FULL, PEP), tmp_path / "one")
    run = run_with(FULL, PEP)
    changed = run.records[-1].test.model_copy(update={"auc": 0.123})
    run.records[-1] = run.records[-1].model_copy(update={"test": changed})
    stored(run, tmp_path / "other")
    warnings = []
    open_runs([tmp_path / "one", tmp_path / "other"], warnings.append)
    (line,) = warnings
    assert "has other figures than in" in line


def test_folders_with_other_splits_of_one_data_set_are_refused_with_the_reason(tmp_path):
    stored(run_with(FULL, PEP), tmp_path / "one")
    other = run_of()
    other.add(0.1, method="mde", budget="10%", split="0ther" * 3)
    stored(other, tmp_path / "other")
    reason = r"one and .*other cannot be merged: their split of toy differs \(5eed.* and 0ther"
    with pytest.raises(RecordError, match=reason):
        open_runs([tmp_path / "one", tmp_path / "other"])


def test_labels_that_differ_under_one_fingerprint_are_refused(tmp_path):
    stored(run_with(FULL), tmp_path / "one")
    run = run_with(PEP)
    run.labels = 1 - run.labels
    stored(run, tmp_path / "other")
    with pytest.raises(RecordError, match="differ although their split is the same"):
        open_runs([tmp_path / "one", tmp_path / "other"])


@pytest.mark.slow
def test_records_of_two_protocols_are_listed_and_kept_apart(tmp_path):
    run = run_with(FULL, PEP)
    run.add(0.1, method="full", budget="100%", dim=8)
    run.add(0.5, method="pep", budget="10%", dim=8)
    stored(run, tmp_path)
    warnings = []
    findings = load_runs([tmp_path], warnings.append)
    assert len(findings.frame) == 4
    assert findings.frame["seeds"].tolist() == [3] * 4
    assert len(set(findings.frame["dataset"])) == 2
    (line,) = warnings
    assert line.startswith("toy, fm: records of 2 protocols, listed and ranked apart: D=16")
    assert "D=8" in line
    assert len(findings.leading) == 0
    report_html(findings, tmp_path)


def changed(run, records=(), **settings):
    """The run with other training settings, in all records or in those at some positions."""
    for position in records or range(len(run.records)):
        made = run.records[position]
        training = made.spec.training.model_copy(update=settings)
        trial = made.spec.model_copy(update={"training": training})
        if made.key in run.predictions:
            run.predictions[trial.key()] = run.predictions.pop(made.key)
        run.records[position] = made.model_copy(update={"spec": trial, "key": trial.key()})
    return run


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [("epochs", 5, 77), ("patience", 2, 77), ("batch_size", 256, 77), ("objective", "auc", "gauc")],
)
@pytest.mark.parametrize("folders", [("one",), ("one", "two")])
def test_records_of_mixed_settings_are_refused_with_both_values(
    tmp_path, name, value, other, folders
):
    stored(run_with(FULL), tmp_path / folders[0])
    stored(changed(run_with(PEP), **{name: other}), tmp_path / folders[-1])
    with pytest.raises(RecordError) as caught:
        load_runs([tmp_path / folder for folder in folders])
    start = " and ".join(str(tmp_path / folder) for folder in folders)
    assert str(caught.value) in {
        f"{start}: records of toy, fm were made with different {name} ({one} and {two}) and "
        "cannot be compared; report them separately"
        for one, two in ((value, other), (other, value))
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [("trials", (5, 9)), ("finalists", (3, 1)), ("finalist_seeds", (2, 4)), ("seeds", (5, 2))],
)
def test_runs_whose_plans_choose_otherwise_are_refused_with_both_values(tmp_path, name, values):
    for folder, cell, value in zip(("one", "two"), (FULL, PEP), values, strict=True):
        stored(run_with(cell), tmp_path / folder)
        (tmp_path / folder / "plan.toml").write_text(f"{name} = {value}\n")
    words = rf"one and .*two: .* different {name} \({values[0]} and {values[1]}\)"
    with pytest.raises(RecordError, match=words):
        load_runs([tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize(
    ("difference", "words"), [("version", "pep 1 and pep 2"), ("seed", "0 and 4")]
)
def test_a_cell_of_two_versions_or_two_tunings_is_refused_but_two_cells_are_not(
    tmp_path, difference, words
):
    for folder, number in (("one", 0), ("two", 4)):
        run = run_with(PEP, *([FULL] if folder == "two" else []))
        for position, made in enumerate(run.records[:]):
            version = 2 if number and difference == "version" else 1
            method = made.spec.method.model_copy(update={"version": version})
            changes = {"method": method, "seed": made.spec.seed + number}
            trial = made.spec.model_copy(update=changes)
            run.records[position] = made.model_copy(update={"spec": trial, "key": trial.key()})
        run.predictions = {}
        stored(run, tmp_path / folder)
        seed = number if difference == "seed" else 0
        (tmp_path / folder / "plan.toml").write_text(f"seed = {seed}\n")
    both = [tmp_path / "one", tmp_path / "two"]
    with pytest.raises(RecordError, match=rf"toy, fm, pep, 10% .* {difference} \({words}\)"):
        load_runs(both)


def test_searches_that_were_cut_to_size_are_told_of():
    run = run_with(PEP, FULL)
    finals = [r for r in run.records if r.spec.role == "final" and r.spec.method.name == "pep"]
    noted = [
        made.model_copy(update={"notes": {"trimmed": made is not finals[0]}}) for made in finals
    ]
    assert list(trimmed_notes([*noted, *run.records])) == [
        "pep on toy with fm: in 2 of 3 final runs the search had more entries left at its last "
        "step than the budget allows, and the largest were kept."
    ]
    assert list(trimmed_notes([noted[0], *run.records])) == []


def test_methods_that_were_tuned_with_other_seeds_are_compared(tmp_path):
    for folder, cell, seed in (("one", PEP, 0), ("two", FULL, 4)):
        stored(run_with(cell), tmp_path / folder)
        (tmp_path / folder / "plan.toml").write_text(f"seed = {seed}\n")
    found = load_runs([tmp_path / "one", tmp_path / "two"])
    assert set(found.frame["method"]) == {"pep", "full"}


def test_records_of_two_numbers_of_folds_are_refused(tmp_path):
    run = run_with(FULL)
    made = run.records[0]
    data = made.spec.data.model_copy(update={"folds": 3, "split_fingerprint": "f" * 16})
    trial = made.spec.model_copy(update={"data": data})
    run.records.append(made.model_copy(update={"spec": trial, "key": trial.key()}))
    stored(run, tmp_path)
    with pytest.raises(RecordError, match=r"different folds \((1 and 3|3 and 1)\)"):
        load_runs([tmp_path])


def test_records_of_two_split_seeds_are_refused(tmp_path):
    run = run_with(FULL)
    made = run.records[0]
    data = made.spec.data.model_copy(update={"split_seed": 4})
    trial = made.spec.model_copy(update={"data": data})
    run.records.append(made.model_copy(update={"spec": trial, "key": trial.key()}))
    stored(run, tmp_path)
    with pytest.raises(RecordError, match=r"different split_seed \((0 and 4|4 and 0)\)"):
        load_runs([tmp_path])


def test_settings_that_the_plan_varies_belong_together(tmp_path):
    plan = """epochs = 5
patience = 2
batch_size = 256
tune_batch_size = [256, 512]

[[except]]
methods = ["pep"]
epochs = 9
reason = "slow"
"""
    run = changed(run_with(FULL, PEP), records=range(4, 8), epochs=9)
    changed(run, records=[1], batch_size=512)
    stored(run, tmp_path).folder.joinpath("plan.toml").write_text(plan)
    assert len(load_runs([tmp_path]).frame) == 2
    (tmp_path / "plan.toml").write_text(plan.replace("epochs = 9", "epochs = 8"))
    with pytest.raises(RecordError, match="different epochs"):
        load_runs([tmp_path])


def test_constant_scores_are_an_auc_of_one_half_without_failing(tmp_path):
    run = run_with(FULL, PEP, MDE)
    for made in run.records:
        if made.spec.method.name == "mde" and made.key in run.predictions:
            run.predictions[made.key] = np.full(len(run.labels), 0.5, dtype=np.float32)
    run.records = [
        made.model_copy(update={"test": made.test.model_copy(update={"auc": 0.5})})
        if made.spec.method.name == "mde" and made.test
        else made
        for made in run.records
    ]
    stored(run, tmp_path)
    findings = load_runs([tmp_path])
    constant = findings.frame.set_index("method").loc["mde"]
    assert (constant["auc"], constant["verdict"]) == (0.5, "worse")
    report_html(findings, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: run.labels.fill(1), "class"),
        (lambda run: [values.fill(math.nan) for values in run.predictions.values()], ""),
    ],
    ids=["one class", "NaN"],
)
def test_predictions_that_cannot_be_ranked_leave_the_recorded_figures(tmp_path, spoil, reason):
    run = run_with(FULL, PEP)
    spoil(run)
    stored(run, tmp_path)
    warnings = []
    findings = load_runs([tmp_path], warnings.append)
    assert findings.frame["auc"].notna().all()
    assert findings.frame["delta_auc"].isna().all()
    assert any("no comparison" in line and reason in line for line in warnings)
    page = report_html(findings, tmp_path)
    assert "Nothing was compared with the full table" in page


def test_a_single_method_is_reported_without_verdicts(tmp_path):
    stored(run_with(PEP), tmp_path)
    findings = load_runs([tmp_path])
    assert findings.frame["verdict"].tolist() == [""]
    assert findings.leading == []
    report_html(findings, tmp_path)


def test_lost_predictions_cost_the_lead_but_not_the_report(tmp_path):
    run = typical_run()
    store = stored(run, tmp_path)
    for made in run.records:
        if made.spec.method.name == "mde" and made.key in run.predictions:
            store.prediction_path(made.key).unlink()
    findings = load_runs([tmp_path])
    assert {lead.verdict for lead in findings.leading} == {""}
    assert all("missing or damaged" in lead.note for lead in findings.leading)


def test_only_infeasible_cells_can_be_reported(tmp_path):
    run = run_of()
    trial = spec(method="uniform", budget="1%", role="tuning")
    run.records.append(record(trial, "infeasible", reason="smallest possible is 625"))
    stored(run, tmp_path)
    page = report_html(load_runs([tmp_path]), tmp_path)
    assert "Not feasible: uniform at 1%." in page


def test_a_folder_that_cannot_be_written_is_reported_on_all_the_same(tmp_path, monkeypatch, capsys):
    stored(run_with(FULL, PEP), tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(write, "write_reports", refuse)
    assert show.report([tmp_path], "csv") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("dataset,backbone,method")
    assert "cannot be written (Permission denied): nothing is written; add --out" in printed.err
    with pytest.raises(RecordError, match="choose another folder with --out"):
        show.report([tmp_path], "csv", out=tmp_path / "there")
