import pytest
from check_helpers import DATA, ENVIRONMENT, LABELS, a_baseline, a_cell, a_metric, scores

from pepbench.check.findings import Tolerance, check_comparable, find_all
from pepbench.errors import RecordError
from pepbench.records import TrainingSpec, TrialSpec


def found(cells=None, metrics=(), baseline=None, **tolerance):
    return find_all(
        baseline or a_baseline(),
        [a_cell()] if cells is None else cells,
        metrics,
        lambda _: (LABELS, None),
        Tolerance(**tolerance),
    )


WILD = a_baseline(metrics=[a_metric([0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15])])


def verdicts(findings, kind):
    return {(f.verdict, f.failed) for f in findings if f.kind == kind}


def test_nothing_changed_is_nothing_found():
    findings = found(metrics=[a_metric()])
    assert not any(finding.failed for finding in findings)
    assert verdicts(findings, "accuracy") == {("identical", False)}
    assert verdicts(findings, "size") == {("same", False)}
    assert verdicts(findings, "time") == {("within the margin", False)}


@pytest.mark.parametrize("figure", ["n_parameters", "n_bytes", "backbone_parameters"])
def test_one_parameter_or_byte_more_fails(figure):
    cell = a_cell()
    counts = list(getattr(cell, figure))
    counts[1] += 1
    findings = found([a_cell(**{figure: counts})])
    (failed,) = [finding for finding in findings if finding.failed]
    assert (failed.kind, failed.verdict) == ("size", "changed")
    assert failed.note == f"seed 1: {counts[0]} became {counts[1]}"


def test_a_log_loss_that_grows_is_told_though_auc_is_the_same():
    cell = a_cell()
    (same,) = [f for f in found([cell]) if f.kind == "accuracy"]
    assert same.note == ""
    (grown,) = [
        finding
        for finding in found([a_cell(log_loss=[2 * loss for loss in cell.log_loss])])
        if finding.kind == "accuracy"
    ]
    was = sum(cell.log_loss) / len(cell.log_loss)
    assert grown.note == f"log loss grew from {was:.4f} to {2 * was:.4f}, which is not tested"
    assert not grown.failed


def test_a_phase_without_a_counterpart_is_told_and_fails_a_strict_check():
    new = a_metric().model_copy(update={"subject": "another phase"})
    for strict in (False, True):
        findings = found(metrics=[new], strict=strict)
        assert verdicts(findings, "time") == {
            ("not measured now", strict),
            ("not in the baseline", strict),
        }
    assert verdicts(found(metrics=[new], strict=True, time_counts=False), "time") == {
        ("not measured now", False),
        ("not in the baseline", False),
    }


def test_a_cell_that_fails_now_fails_the_check_with_its_reason():
    (finding,) = found([a_cell(status="failed", reason="out of luck", ranks=None)])
    assert finding.failed
    assert (finding.verdict, finding.note) == ("ok became failed", "out of luck")


def test_a_cell_that_has_become_feasible_is_told_and_passes():
    infeasible = a_cell(status="infeasible", reason="too small", ranks=None)
    (finding,) = found(baseline=a_baseline([infeasible]))
    assert not finding.failed
    assert finding.verdict == "infeasible became ok"


def test_a_time_that_scatters_too_much_says_how_many_repetitions_would_do():
    wild = [0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15]
    now = a_metric([1.1 * value for value in wild])
    (finding,) = [f for f in found(metrics=[now], baseline=WILD) if f.kind == "time"]
    assert (finding.verdict, finding.failed) == ("undecided", False)
    assert "growth of 20% is neither shown nor excluded" in finding.note
    assert "record and check with --repetitions" in finding.note
    assert verdicts(found(metrics=[now], baseline=WILD, strict=True), "time") == {
        ("undecided", True)
    }


def test_an_undecided_cell_fails_only_a_strict_check():
    other = [a_cell(scores(stream=1))]
    assert verdicts(found(other), "accuracy") == {("undecided", False)}
    assert verdicts(found(other, strict=True), "accuracy") == {("undecided", True)}


def test_slowness_on_another_machine_is_told_only():
    slow = [a_metric([value * 1.5 for value in a_metric().values])]
    assert verdicts(found(metrics=slow), "time") == {("slower", True)}
    assert verdicts(found(metrics=slow, time_counts=False), "time") == {("slower", False)}


def test_times_are_comparable_on_the_same_kind_of_machine():
    assert ENVIRONMENT.alike(ENVIRONMENT.model_copy(update={"host": "there", "git": "f"}))
    for change in ({"cpu": "another"}, {"torch": "3"}, {"threads": 2}):
        assert not ENVIRONMENT.alike(ENVIRONMENT.model_copy(update=change))


def first_trial(cell, **changes):
    values = {
        "data": cell.data,
        "backbone": cell.backbone,
        "method": cell.method,
        "budget": cell.budget,
        "budget_parameters": 10,
        "full_parameters": 10,
        "dim": 2,
        "training": TrainingSpec(
            learning_rate=1e-3, l2=0.0, batch_size=8, epochs=1, patience=1, clip=1.0
        ),
        "seed": cell.seeds[0],
        "role": "final",
    }
    return TrialSpec(**values | changes)


def five_seeds():
    return a_baseline([a_cell(scores(seeds=5))])


def test_the_same_rows_seeds_and_cells_are_comparable():
    baseline = five_seeds()
    check_comparable(baseline, [first_trial(cell) for cell in baseline.cells])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"data": DATA.model_copy(update={"split_fingerprint": "x"})},
            "split fingerprint x, there s",
        ),
        ({"seed": 77}, "other seeds"),
        ({"budget": "50%"}, "no such cell"),
    ],
)
def test_other_rows_seeds_or_cells_are_refused_with_the_remedy(changes, reason):
    baseline = five_seeds()
    with pytest.raises(RecordError, match=reason) as refused:
        check_comparable(baseline, [first_trial(cell, **changes) for cell in baseline.cells])
    assert "pepbench check --record" in str(refused.value)
