"""Pairs, tuning, LaTeX, text plots, places of labels."""

import io
import itertools
import math
import re
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_factory import record, run_of, spec, typical_run
from rich.console import Console
from run_folders import stored

from pepbench.analysis.pair import chosen_pairs
from pepbench.analysis.runs import open_runs
from pepbench.analysis.significance import compare
from pepbench.analysis.tuning import curves_frame, gains_frame, importances, trials_frame
from pepbench.errors import PlanError, RecordError
from pepbench.records import EpochRecord, ScoresRecord
from pepbench.report.charts.labels import lines_of, places
from pepbench.report.findings import load_runs
from pepbench.report.latex import escape, leaderboard_latex
from pepbench.report.terminal.pair_view import PairView, pair_json
from pepbench.report.terminal.text_plot import front_plot
from pepbench.report.terminal.tuning_view import TuningView
from pepbench.report.write import leaderboard_parquet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    stored(typical_run(), folder)
    return folder


def printed(view, encoding="utf-8", width=80):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, color_system=None).print(view)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_a_pair_is_compared_as_the_analysis_compares(folder):
    run = typical_run()
    (pair,) = chosen_pairs(open_runs([folder]), ("pep", "mde"), "toy", "10%", None)
    scores = [
        np.stack(
            [
                run.predictions[made.key]
                for made in run.records
                if made.spec.cell == ("toy", "fm", method, "10%") and made.key in run.predictions
            ]
        )
        for method in ("pep", "mde")
    ]
    expected = compare(run.labels, *scores)
    assert pair.comparison.difference == pytest.approx(expected.difference, abs=1e-12)
    assert pair.comparison.p == pytest.approx(expected.p)
    assert (pair.rows, pair.positives) == (len(run.labels), int(run.labels.sum()))


def test_a_method_with_one_cell_stands_at_every_budget_of_the_other(folder):
    pairs = chosen_pairs(open_runs([folder]), ("pep", "full"), "toy", None, None)
    assert [(pair.a.budget, pair.b.budget) for pair in pairs] == [("50%", "100%"), ("10%", "100%")]


@pytest.mark.parametrize(
    ("methods", "options", "error", "words"),
    [
        (("pepp", "mde"), {}, PlanError, "pep"),
        (("pep", "pep"), {}, PlanError, "compared with itself"),
        (("pep", "mde"), {"dataset": "toys"}, PlanError, "toy"),
        (("pep", "mde"), {"budget": "3%"}, PlanError, "10%"),
        (("mine", "uniform"), {}, RecordError, "have no cell to compare there"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_can(folder, methods, options, error, words):
    options = {"dataset": None, "budget": None, "backbone": None} | options
    with pytest.raises(error, match=words):
        chosen_pairs(open_runs([folder]), methods, **options)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_pair_is_printed_seed_by_seed_with_every_figure(folder, encoding):
    (pair,) = chosen_pairs(open_runs([folder]), ("pep", "mde"), "toy", "10%", None)
    text = printed(PairView(pair), encoding)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("95% interval", "degrees of freedom", "p of equivalence", "verdict", "2,000"):
        assert words in text
    assert text.count("+0.") >= 3
    assert pair_json(pair)["comparison"]["paired"] is True


def test_an_undecided_pair_says_over_what_and_how_many_seeds_would_decide(tmp_path):
    run = run_of(400)
    run.add(0.30, method="pep", budget="10%")
    run.add(0.32, method="mde", budget="10%")
    stored(run, tmp_path)
    (pair,) = chosen_pairs(open_runs([tmp_path]), ("pep", "mde"), None, None, None)
    assert pair.verdict == "undecided"
    text = " ".join(printed(PairView(pair)).split())
    assert ", over rows and seeds" in text
    assert "would decide)" in text
    known = math.isfinite(pair.seeds_to_decide)
    assert pair_json(pair)["seeds_to_decide"] == (pair.seeds_to_decide if known else None)


def test_a_pair_that_cannot_be_compared_says_why(folder):
    pairs = chosen_pairs(open_runs([folder]), ("mine", "pep"), "toy", "10%", None)
    assert pairs[0].comparison is None
    assert "no comparison: mine at 10% is failed" in " ".join(printed(PairView(pairs[0])).split())


def tuned(aucs, l2s=None):
    """A cell whose trials have these validation AUCs; the first is the default."""
    records = []
    for number, auc in enumerate(aucs):
        trial = spec(role="tuning", seed=1)
        rate = 1e-3 if number == 0 else 1e-3 * (1 + number)
        l2 = 1e-5 if number == 0 else (l2s or [1e-6] * len(aucs))[number]
        training = trial.training.model_copy(update={"learning_rate": rate, "l2": l2})
        trial = trial.model_copy(update={"training": training})
        status = "failed" if math.isnan(auc) else "ok"
        figures = {} if math.isnan(auc) else {"validation": ScoresRecord(auc=auc, log_loss=0.5)}
        made = record(trial, status, **figures)
        later = made.created + timedelta(seconds=number)
        records.append(made.model_copy(update={"created": later}))
    return records


def test_trials_come_in_the_order_of_time_with_the_best_so_far():
    frame = trials_frame(reversed(tuned([0.7, 0.68, math.nan, 0.75])))
    assert frame["default"].tolist() == [True, False, False, False]
    assert frame["best"].tolist() == [False, False, False, True]
    assert frame["best_so_far"].tolist() == [0.7, 0.7, 0.7, 0.75]
    assert "learning_rate=0.004" in frame["settings"].iloc[3]


@pytest.mark.parametrize(
    ("aucs", "gain", "best"),
    [([0.7, 0.75], 0.05, 1), ([0.7, 0.6], 0.0, 0), ([math.nan], None, None)],
)
def test_gain_is_the_best_minus_the_default(aucs, gain, best):
    (row,) = gains_frame(trials_frame(tuned(aucs))).to_dict("records")
    if gain is None:
        assert math.isnan(row["gain"])
    else:
        assert (row["gain"], row["best_trial"]) == (pytest.approx(gain), best)


def test_only_the_first_trial_is_the_default_where_a_later_one_takes_over_its_common_settings():
    default, other = tuned([math.nan, 0.75])
    default = default.model_copy(update={"status": "infeasible"})
    method = other.spec.method.model_copy(update={"options": {"rank": 3}})
    trial = default.spec.model_copy(update={"method": method})
    heir = other.model_copy(update={"spec": trial, "key": trial.key()})
    for created in (other.created, default.created):
        frame = trials_frame([heir.model_copy(update={"created": created}), default])
        assert frame["default"].tolist() == [True, False]
        assert frame["status"].tolist() == ["infeasible", "ok"]
        assert math.isnan(gains_frame(frame)["gain"].iloc[0])


@pytest.mark.parametrize("aucs", [[math.nan, 0.9], [math.nan, math.nan]])
def test_no_gain_is_told_over_fewer_folds_than_there_are(aucs):
    frames = [trials_frame(tuned(fold)).assign(fold=n) for n, fold in enumerate([[0.7, 0.8], aucs])]
    (row,) = gains_frame(pd.concat(frames)).to_dict("records")
    assert math.isnan(row["default_score"])
    assert math.isnan(row["gain"])
    assert math.isnan(row["best_score"]) == math.isnan(aucs[1])
    (row,) = gains_frame(pd.concat([frames[0], frames[0].assign(fold=1)])).to_dict("records")
    assert row["gain"] == pytest.approx(0.1)


def test_the_setting_that_decides_is_the_important_one():
    random = np.random.default_rng(0)
    l2s = [1e-5, *random.uniform(1e-6, 1e-3, 39).tolist()]
    aucs = [0.8 - 100 * l2 for l2 in l2s]
    found = importances(tuned(aucs, l2s))
    assert sum(found.values()) == pytest.approx(1)
    assert next(iter(found)) == "l2"


def test_importance_is_not_estimated_from_few_trials_or_without_variation():
    assert importances(tuned([0.7, 0.8])) == {}
    assert importances(tuned([0.7]) * 12) == {}


def test_tuning_is_shown_cell_by_cell_and_over_all():
    text = printed(TuningView(tuned([0.7, 0.68, 0.75])))
    assert "3 of 3 trials ok; best so far: 0.7000, 0.7500" in text
    assert "bought +0.0500 over the default by trial 2" in text
    assert "Tuning bought +0.0500 validation AUC in the median cell" in text


def test_curves_are_those_of_final_runs():
    curve = [EpochRecord(epoch=n, train_loss=0.5, auc=0.6 + n / 100, log_loss=0.6) for n in (1, 2)]
    made = [record(spec(role=role, seed=seed), curve=curve) for role, seed in ROLES_OF_CURVES]
    frame = curves_frame([*made, record(spec(seed=4), "failed")])
    assert frame["seed"].tolist() == [2, 2, 3, 3]
    assert frame["epoch"].tolist() == [1, 2, 1, 2]
    assert frame["auc"].tolist() == [0.61, 0.62, 0.61, 0.62]


ROLES_OF_CURVES = (("tuning", 0), ("finalist", 1), ("final", 2), ("final", 3))


def test_latex_has_a_row_per_cell_and_escapes_names(analysed):
    frame, _ = analysed
    hostile = r"a_b & 50% \input{x} <script>"
    text = leaderboard_latex(frame.assign(method=frame["method"].replace("mine", hostile)))
    rows = [line for line in text.splitlines() if re.search(r"(?<!\\) & .*\\\\$", line)]
    assert len(rows) == len(frame) + frame["dataset"].nunique()
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert escape(hostile) in text
    assert r"\input{" not in text
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2


def test_figures_are_rounded_by_their_intervals(analysed):
    frame, _ = analysed
    for half in re.findall(r"\\pm (\d\.\d+)\$", leaderboard_latex(frame)):
        assert len(half.split(".")[1].lstrip("0")) <= 2


def test_parquet_reads_back(folder):
    findings = load_runs([folder])
    table = pq.read_table(io.BytesIO(leaderboard_parquet(findings)))
    assert table.column_names == list(findings.frame.columns)
    assert table.column("auc").to_numpy().tolist()[0] == findings.frame["auc"].iloc[0]
    assert table.num_rows == len(findings.frame)


def test_text_plot_is_ascii_with_a_letter_for_each_method(analysed):
    frame, _ = analysed
    lines = front_plot(frame[frame["dataset"] == "toy"])
    text = "\n".join(lines)
    assert text.isascii()
    assert max(map(len, lines)) <= 80
    picture = "".join(line[9:] for line in lines[1:11]).replace(" ", "").replace(".", "")
    assert sorted(picture.lower()) == ["a", "b", "b", "c", "c"]
    assert lines[-1] == "a full   b mde   c pep"
    assert any(letter.isupper() for letter in picture)


def test_text_plot_says_what_stands_for_methods_that_do_not_fit(analysed):
    frame, _ = analysed
    toy = frame[frame["dataset"] == "toy"]
    point = toy[toy["status"] == "ok"].tail(1)
    alike = [point.assign(method=f"like-{number}") for number in range(8)]
    lines = front_plot(pd.concat([toy, *alike]))
    assert any("+" in line[9:] for line in lines[1:11])
    assert lines[-1].endswith("   + several")


def test_a_single_point_is_no_plot(analysed):
    frame, _ = analysed
    assert front_plot(frame.iloc[:1]) == []


def test_labels_avoid_points_and_each_other_where_there_is_room():
    x, y = [50, 50, 200, 350], [50, 70, 150, 250]
    chosen = places(x, y, ["one", "two", "three", "four"], (400, 300))
    assert len({(place.index, place.side) for place in chosen.values()}) == 4
    boxes = [box(x[p.index], y[p.index], p.side, name) for name, p in chosen.items()]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.floats(0, 300), st.sampled_from("abcdef")),
        min_size=1,
        max_size=20,
    )
)
def test_every_name_gets_one_place_beside_a_point_of_its_own(points):
    x, y, names = zip(*points, strict=True)
    chosen = places(x, y, names, (400, 300))
    assert set(chosen) == set(names)
    assert all(names[place.index] == name for name, place in chosen.items())
    assert chosen == places(x, y, names, (400, 300))


@given(st.lists(st.text("abc=_1", min_size=1, max_size=25), min_size=1, max_size=5))
def test_a_name_in_lines_is_the_same_name_broken_after_colons(words):
    name = ":".join(words)
    lines = lines_of(name)
    assert "".join(lines) == name
    assert all(line.endswith(":") for line in lines[:-1])
    assert len(lines) == min(math.ceil(len(name) / 20), len(words))


def test_long_names_are_broken_where_their_longest_line_is_shortest():
    assert lines_of("magnitude") == ["magnitude"]
    assert lines_of("pep:mode=fast") == ["pep:mode=fast"]
    assert lines_of("pep:mode=fast:retrain=initial") == ["pep:mode=fast:", "retrain=initial"]
    assert lines_of("pep:granularity=field:mode=fast") == ["pep:granularity=field:", "mode=fast"]


def test_a_long_name_covers_no_point_beside_which_it_fits_in_two_lines():
    name = "pep:mode=fast:retrain=initial"
    # In one line it is 191 pixels wide and would cover the point in the middle on the right.
    chosen = places([100, 260, 260], [150, 100, 150], [name, "b", "c"], (400, 300))
    assert chosen[name].side == "right"


def box(x, y, side, name):
    width = 6.6 * len(name)
    left = {"right": x + 8, "left": x - 8 - width}.get(side, x - width / 2)
    top = {"above": y - 21, "below": y + 8}.get(side, y - 6.5)
    return left, top, left + width, top + 13


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_reports_of_ties_do_not_depend_on_the_order_of_records(tmp_path):
    run = run_of()
    run.add(0.1, method="a", budget="10%")
    run.add(0.1, method="b", budget="10%")
    stored(run, tmp_path / "x")
    run.records.reverse()
    stored(run, tmp_path / "y")
    assert load_runs([tmp_path / "x"]).frame.equals(load_runs([tmp_path / "y"]).frame)
