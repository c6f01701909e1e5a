from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
from record_factory import FULL, auc_interval, record, run_of, spec, typical_run
from scipy.stats import norm

from pepbench.analysis.blocks import blocks_of
from pepbench.analysis.cells import cells_of
from pepbench.analysis.comparisons import against_reference
from pepbench.analysis.frames import COLUMNS, COMPARISON_COLUMNS
from pepbench.analysis.leaderboard import analyse, compression_at_parity, fronts
from pepbench.analysis.significance import compare, holm, verdict
from pepbench.records import MARGIN, ScoresRecord

CONTRACT_COLUMNS = [
    *("dataset", "backbone", "method", "budget", "status", "reason"),
    *("full_parameters", "parameters", "share", "bytes", "folds", "seeds"),
    *("auc", "auc_low", "auc_high", "log_loss", "calibration", "gauc", "ndcg10"),
    *("log_loss_low", "log_loss_high", "calibration_low", "calibration_high"),
    *("gauc_low", "gauc_high", "ndcg10_low", "ndcg10_high"),
    *("delta_auc", "delta_low", "delta_high", "p_holm", "verdict", "on_front"),
    *("cpu_seconds", "search_seconds", "train_seconds", "peak_memory_mib"),
    *("tuning_trials", "tuning_seconds"),
]


def table(run, **options):
    return analyse(run.records, run.load_predictions, run.load_labels, **options).frame


def analysis_of(run, **options):
    return analyse(run.records, run.load_predictions, run.load_labels, **options)


def row(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


@pytest.fixture(scope="module")
def typical():
    return typical_run()


def test_columns_are_those_of_the_contract_in_its_order(typical):
    assert list(table(typical).columns) == CONTRACT_COLUMNS == list(COLUMNS)
    assert list(analyse([], {}.get, {}.get).frame.columns) == CONTRACT_COLUMNS


def test_one_row_per_cell_by_budget_then_auc(typical):
    toy = table(typical).query("dataset == 'toy'")
    assert list(zip(toy["budget"], toy["method"], strict=True)) == [
        ("100%", "full"),
        ("50%", "mde"),
        ("50%", "pep"),
        ("10%", "pep"),
        ("10%", "mde"),
        ("10%", "mine"),
        ("1%", "uniform"),
    ]


def test_the_order_of_records_does_not_matter(typical):
    expected = table(typical)
    shuffled = random.Random(1).sample(typical.records, len(typical.records))
    found = analyse(shuffled, typical.load_predictions, typical.load_labels).frame
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_figures_of_an_ok_cell(typical):
    pep = row(table(typical), dataset="toy", method="pep", budget="10%")
    finals = [
        r
        for r in typical.records
        if r.spec.cell == ("toy", "fm", "pep", "10%") and r.spec.role == "final"
    ]
    scores = np.stack([typical.predictions[r.key] for r in finals])
    interval = auc_interval(typical.labels, scores)
    assert pep["auc"] == pytest.approx(np.mean([r.test.auc for r in finals]))
    assert (pep["auc_low"], pep["auc_high"]) == pytest.approx((interval.low, interval.high))
    assert (pep["status"], pep["reason"], pep["seeds"]) == ("ok", "", 3)
    assert (pep["full_parameters"], pep["parameters"], pep["bytes"]) == (FULL, 1000, 4000)
    assert pep["share"] == pytest.approx(0.1)
    assert (pep["search_seconds"], pep["train_seconds"]) == (2.0, 3.0)


def test_deltas_are_against_full_and_holm_is_over_the_budget(typical):
    frame = table(typical)
    scores = {}
    for r in typical.records:
        if r.spec.role == "final" and r.spec.data.spec == "toy":
            scores.setdefault((r.spec.method.spec, r.spec.budget), []).append(
                typical.predictions[r.key]
            )
    expected = {
        method: compare(typical.labels, scores[method, "50%"], scores["full", "100%"])
        for method in ("mde", "pep")
    }
    adjusted = dict(zip(expected, holm([c.p for c in expected.values()]), strict=True))
    for method, comparison in expected.items():
        found = row(frame, dataset="toy", method=method, budget="50%")
        assert found["delta_auc"] == comparison.difference
        assert (found["delta_low"], found["delta_high"]) == pytest.approx(
            (comparison.low, comparison.high), abs=1e-10
        )
        assert found["p_holm"] == pytest.approx(adjusted[method], abs=1e-9)


def test_verdicts_of_the_typical_run(typical):
    frame = table(typical)
    assert row(frame, dataset="toy", method="full")["verdict"] == "reference"
    assert math.isnan(row(frame, dataset="toy", method="full")["delta_auc"])
    assert row(frame, dataset="toy", method="pep", budget="50%")["verdict"] == "equivalent"
    assert row(frame, dataset="toy", method="pep", budget="10%")["verdict"] == "worse"


def test_infeasible_and_failed_cells_say_why(typical):
    frame = table(typical)
    uniform = row(frame, method="uniform")
    assert (uniform["status"], uniform["reason"]) == ("infeasible", "smallest possible is 625")
    mine = row(frame, method="mine")
    assert (mine["status"], mine["reason"]) == ("failed", "ValueError: <script> no | luck")
    for cell in (uniform, mine):
        assert cell["seeds"] == 0
        assert pd.isna(cell["parameters"])
        assert math.isnan(cell["auc"])
        assert cell["verdict"] == ""
        assert not cell["on_front"]


def test_a_failed_final_run_fails_the_cell_but_the_others_are_shown():
    run = run_of(300)
    run.add(0.0, method="full", budget="100%")
    run.add(0.1, seeds=2, method="pep", budget="10%")
    broken = spec(method="pep", budget="10%", seed=2)
    run.records.append(record(broken, "failed", reason="Diverged: loss is nan"))
    pep = row(table(run), method="pep")
    assert (pep["status"], pep["reason"], pep["seeds"]) == ("failed", "Diverged: loss is nan", 2)
    assert pep["auc"] > 0.5
    assert (pep["verdict"], pep["on_front"]) == ("", False)


def test_failed_tuning_trials_do_not_matter_if_one_succeeded():
    run = run_of(300)
    run.add(0.1, method="pep", budget="10%")
    trial = spec(method="pep", budget="10%", seed=98, role="tuning")
    run.records.append(record(trial, "failed", reason="out of memory"))
    assert row(table(run), method="pep")["status"] == "ok"


def test_tuning_without_final_runs_is_incomplete():
    trial = spec(role="tuning")
    frame = analyse([record(trial)], {}.__getitem__, {}.__getitem__).frame
    assert frame["status"].tolist() == ["incomplete"]
    assert "run the same command again" in frame["reason"][0]


def test_without_the_reference_nothing_is_compared():
    run = run_of(300)
    run.add(0.1, method="pep", budget="10%")
    pep = row(table(run), method="pep")
    assert math.isnan(pep["delta_auc"])
    assert pep["verdict"] == ""
    assert pep["auc_low"] < pep["auc"]


def test_another_reference_stands_at_each_budget(typical):
    cells = [cell for cell in cells_of(typical.records) if cell.dataset == "toy"]
    (block,) = blocks_of(cells, typical.load_predictions, typical.load_labels)
    pairs = {cells[pair.cell].name: pair for pair in against_reference(block, "mde", MARGIN)}
    own = [pair.verdict for name, pair in pairs.items() if name.method == "mde"]
    assert own == ["reference"] * 2
    pep = pairs["toy", "fm", "pep", "10%"]
    aucs = [
        row(table(typical), dataset="toy", method=m, budget="10%")["auc"] for m in ("pep", "mde")
    ]
    assert pep.main.difference == pytest.approx(aucs[0] - aucs[1])


@pytest.mark.parametrize("difference", [{"split": "0dd" * 5}, {"dim": 8}, {"objective": "logloss"}])
def test_other_protocols_are_kept_apart_and_not_compared(difference):
    run = run_of(300)
    run.add(0.0, method="full", budget="100%")
    run.add(0.1, method="pep", budget="10%")
    run.add(0.1, method="pep", budget="10%", **difference)
    analysis = analysis_of(run)
    pep = analysis.frame.query("method == 'pep'")
    assert len(pep) == 2
    assert pep["delta_auc"].notna().sum() == 1
    assert pep["seeds"].tolist() == [3, 3]
    assert pep["dataset"].nunique() == 2
    assert all(name.startswith("toy [D=") for name in pep["dataset"])
    assert len(fronts(analysis.frame, analysis.comparisons)) == 2


def test_a_missing_prediction_costs_that_comparison_only():
    run = typical_run()
    lost = next(r for r in run.records if r.spec.method.spec == "pep" and r.key in run.predictions)
    del run.predictions[lost.key]
    analysis = analysis_of(run)
    dataset, _, method, budget = lost.spec.cell
    hit = row(analysis.frame, dataset=dataset, method=method, budget=budget)
    assert hit["status"] == "ok"
    assert hit["auc"] > 0.5
    assert math.isnan(hit["delta_auc"])
    assert math.isnan(hit["auc_low"])
    assert analysis.frame["delta_auc"].notna().sum() == 7
    notes = analysis.comparisons.query("note != ''")["note"].tolist()
    assert notes == [f"the predictions of run {lost.key[:12]} are missing or damaged"]


def test_predictions_that_do_not_fit_the_labels_cost_that_comparison_only():
    run = typical_run()
    cut = next(r for r in run.records if r.spec.method.spec == "pep" and r.key in run.predictions)
    run.predictions[cut.key] = run.predictions[cut.key][:-1]
    assert table(run)["delta_auc"].notna().sum() == 7


def test_a_missing_prediction_of_the_reference_leaves_its_figures():
    run = typical_run()
    lost = next(
        r
        for r in run.records
        if r.spec.cell[:3] == ("toy", "fm", "full") and r.key in run.predictions
    )
    del run.predictions[lost.key]
    frame = table(run)
    assert frame.query("dataset == 'toy'")["delta_auc"].notna().sum() == 0
    assert frame.query("dataset == 'two'")["delta_auc"].notna().sum() == 4
    assert row(frame, dataset="toy", method="full")["verdict"] == "reference"


def test_one_class_in_the_test_split_leaves_the_recorded_figures():
    run = typical_run()
    run.labels = np.zeros_like(run.labels)
    frame = table(run)
    assert frame["auc"].notna().sum() == 10
    assert frame[["auc_low", "delta_auc", "p_holm"]].isna().all(axis=None)


def test_seeds_that_differ_are_compared_unpaired():
    run = run_of(300)
    run.add(0.0, method="full", budget="100%", seeds=3)
    run.add(0.1, method="pep", budget="10%", seeds=5)
    comparisons = analysis_of(run).comparisons
    assert comparisons["paired"].tolist() == [False]
    assert (comparisons["seeds"][0], comparisons["reference_seeds"][0]) == (5, 3)


def test_parameters_and_bytes_are_the_largest_over_seeds():
    run = run_of(300)
    run.records.append(record(spec(seed=99, role="tuning")))
    for seed, parameters in enumerate((990, 1000, 980)):
        run.add_final(0.1, seed, parameters, method="pep", budget="10%")
    pep = row(table(run), method="pep")
    assert (pep["parameters"], pep["bytes"]) == (1000, 4000)


def test_final_runs_of_an_older_best_trial_are_left_out():
    run = run_of(300)
    run.add(0.1, method="pep", budget="10%")
    better = spec(method="pep", budget="10%", seed=97, role="tuning")
    training = better.training.model_copy(update={"learning_rate": 0.5})
    better = better.model_copy(update={"training": training})
    run.records.append(record(better, validation=ScoresRecord(auc=0.9, log_loss=0.1)))
    assert row(table(run), method="pep")["status"] == "incomplete"


def comparison(parameters, p, difference=0.0, method="pep", verdict="non-inferior"):
    return {
        "dataset": "toy",
        "backbone": "fm",
        "method": method,
        "full_parameters": 1000,
        "parameters": parameters,
        "difference": difference,
        "verdict": verdict,
        "p_noninferior": p,
    }


def test_parity_is_the_smallest_size_shown_noninferior():
    rows = [comparison(500, 0.001), comparison(100, 0.02), comparison(10, 0.03)]
    rows += [comparison(500, 0.5, method="mde"), comparison(5, 0.001, math.nan, method="lost")]
    parity = compression_at_parity(pd.DataFrame(rows))
    assert parity["method"].tolist() == ["mde", "pep"]
    assert parity["parameters"].fillna(-1).tolist() == [-1, 100]
    assert parity["compression"].fillna(-1).tolist() == [-1, 10]


def test_parity_without_parameters_is_without_end():
    parity = compression_at_parity(pd.DataFrame([comparison(0, 0.001)]))
    assert parity[["parameters", "compression"]].to_numpy().tolist() == [[0, math.inf]]


def test_parity_is_adjusted_for_the_number_of_methods():
    rows = [comparison(500, 0.03), comparison(100, 0.02, method="mde")]
    rows.append(comparison(10, 0.9, method="mde"))
    assert compression_at_parity(pd.DataFrame(rows))["parameters"].fillna(-1).tolist() == [100, -1]


def rejected(p, level=0.05):
    """Bretz et al. (2009), algorithm 1, on chains (methods, budgets) of p-values.

    Each budget leaves its level to the next one of its method, the last one to the others' firsts.
    """
    methods, budgets = p.shape
    nodes = [(m, b) for m in range(methods) for b in range(budgets)]
    levels = {node: level / methods * (node[1] == 0) for node in nodes}
    edges = {(x, y): 0.0 for x in nodes for y in nodes}
    for m, b in nodes:
        for other in range(methods):
            if b + 1 < budgets:
                edges[(m, b), (m, b + 1)] = 1.0
            elif other != m:
                edges[(m, b), (other, 0)] = 1 / (methods - 1)
    found, left = set(), list(nodes)
    while gone := next((node for node in left if p[node] < levels[node]), None):
        found.add(gone)
        left.remove(gone)
        old = dict(edges)
        for x in left:
            levels[x] += levels[gone] * old[gone, x]
            for y in left:
                back = old[x, gone] * old[gone, x]
                path = old[x, y] + old[x, gone] * old[gone, y]
                edges[x, y] = path / (1 - back) if x != y and back < 1 else 0.0
    return found


def test_parity_hands_the_level_on_as_the_graphical_procedure_does():
    rng = np.random.default_rng(2)
    for _ in range(40):
        p = rng.random((3, 2)) ** 4
        rows = [
            comparison((500, 100)[b], p[m, b], method="abc"[m]) for m in range(3) for b in range(2)
        ]
        found = compression_at_parity(pd.DataFrame(rows))["parameters"].fillna(-1).tolist()
        expected = rejected(p)
        assert found == [(-1, 500, 100)[sum(m == at for m, _ in expected)] for at in range(3)]


def test_parity_ends_where_the_verdict_is_worse():
    rows = [comparison(500, 0.001), comparison(100, 0.001, verdict="worse")]
    assert compression_at_parity(pd.DataFrame(rows))["parameters"].tolist() == [500]


def test_parity_is_never_claimed_where_the_verdict_is_undecided_or_worse():
    rng, claimed = np.random.default_rng(5), 0
    for _ in range(30):
        rows = []
        for parameters in (500, 100, 10):
            z = rng.normal(2.0, 1.5, 6)  # differences and margin in standard errors
            p, low, high = (2 * norm.sf(abs(z - 1)), norm.sf(z), norm.sf(2 - z))
            adjusted = holm(p), holm(np.maximum(low, high)), holm(low)
            for n, method in enumerate("abcdef"):
                words = verdict(z[n] - 1, *(each[n] for each in adjusted))
                rows.append(comparison(parameters, low[n], z[n] - 1, method, words))
        frame = pd.DataFrame(rows)
        for found in compression_at_parity(frame).dropna().to_dict("records"):
            mine = (frame["method"] == found["method"]) & (
                frame["parameters"] >= found["parameters"]
            )
            assert set(frame[mine]["verdict"]) <= {"better", "equivalent", "non-inferior"}
            claimed += 1
    assert claimed > 10


def test_fronts_are_plain_and_sorted(typical):
    analysis = analysis_of(typical)
    toy, two = fronts(analysis.frame, analysis.comparisons)
    assert (toy["dataset"], toy["backbone"], two["dataset"]) == ("toy", "fm", "two")
    assert [point["parameters"] for point in toy["points"]] == [1000, 5000]
    assert [point["method"] for point in toy["points"]] == ["pep", "mde"]
    assert toy["reference_point"] == {"parameters": FULL, "auc": 0.5}
    small, large = (point["auc"] - 0.5 for point in toy["points"])
    assert toy["hypervolume"] == pytest.approx(
        small * math.log10(5) + large * math.log10(2), abs=1e-12
    )
    assert {entry["method"] for entry in toy["parity"]} == {"mde", "pep"}
    on_front = analysis.frame.query("dataset == 'toy' and on_front")
    assert sorted(on_front["method"]) == ["mde", "pep"]


def test_a_cell_without_parameters_takes_no_area_from_the_others():
    """It dominates them all where its AUC is the highest, but has no area of its own."""
    frame = pd.DataFrame(
        {
            "method": ["full", "pep", "no-embedding"],
            "budget": ["100%", "10%", "100%"],
            "status": "ok",
            "full_parameters": FULL,
            "parameters": [FULL, FULL // 10, 0],
            "auc": [0.7, 0.7, 0.8],
            "on_front": [False, False, True],
            "dataset": "toy",
            "backbone": "fm",
        }
    )
    none = pd.DataFrame({name: [] for name in COMPARISON_COLUMNS})
    (found,) = fronts(frame, none)
    assert [point["method"] for point in found["points"]] == ["no-embedding"]
    assert found["hypervolume"] == pytest.approx(0.2)


def test_what_tuning_really_used_is_told(typical):
    frame = table(typical)
    for _, line in frame.iterrows():
        mine = [
            record
            for record in typical.records
            if record.spec.role == "tuning"
            and (record.spec.method.spec, record.spec.budget, record.spec.data.spec)
            == (line["method"], line["budget"], line["dataset"])
        ]
        spent = sum(phase.cpu for record in mine for phase in record.seconds.values())
        assert line["tuning_trials"] == len(mine)
        assert line["tuning_seconds"] == pytest.approx(spent)
