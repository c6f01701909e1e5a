from __future__ import annotations

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pepbench.analysis.width_profiles import POINT_COLUMNS, PROFILE_COLUMNS
from pepbench.analysis.width_recovery import (
    RECOVERY_COLUMNS,
    WidthRecovery,
    profiled,
    sampled,
)
from pepbench.report.charts.panels import svg_bytes
from pepbench.report.charts.widths import picture_name, picture_names, pictures
from pepbench.report.markdown import csv_text, recovery_markdown
from pepbench.report.terminal.leaderboard_view import RecoveryView

CELL = {"dataset": "synthetic:rows=2000:features=60", "backbone": "fm"}
METHODS = ("pep:granularity=feature_dim", "random-mask", "hash")
FIGURES = {"mean_width": 3.21, "planted_correlation": 0.5, "planted_spread": 0.04}
FIGURES |= {"planted_ceiling": 0.97, "partial_correlation": -0.12, "partial_spread": 0.01}
FIGURES |= {"frequency_correlation": 0.7, "frequency_spread": 0.02}
GAP = {"auc": 0.8, "bayes_auc": 0.9, "bayes_gap": 0.1, "gap_spread": 0.002}
NOTHING = dict.fromkeys([*FIGURES, *GAP], math.nan)


def recovery_of(planted=True, methods=METHODS):
    """Two budgets; the last method has no widths, the second the higher correlation."""
    rows, points, profiles = [], [], []
    generator = np.random.default_rng(0)
    for budget in ("50%", "10%"):
        for number, method in enumerate(methods):
            name = {**CELL, "method": method, "budget": budget}
            row = {**name, "seeds": 3, "ranked_seeds": 3, **NOTHING, **(GAP if planted else {})}
            rows.append(row)
            if number == 2:
                continue
            row |= FIGURES if planted else {"mean_width": 3.0, "frequency_correlation": 0.7}
            row["planted_correlation"] += 0.1 * number
            widths = generator.choice([0.0, 1, 4], 50) if planted else np.full(50, np.nan)
            features = pd.DataFrame({"frequency": np.arange(1, 51), "planted_width": widths})
            learnt = generator.integers(0, 9, (3, 50))
            points.append(sampled(features, learnt[0]).assign(**name))
            profiles.append(profiled(features, learnt).assign(**name))
    return WidthRecovery(
        pd.DataFrame(rows)[list(RECOVERY_COLUMNS)],
        pd.concat(points)[list(POINT_COLUMNS)],
        pd.concat(profiles)[list(PROFILE_COLUMNS)],
    )


def printed(frame, encoding="utf-8"):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=80, color_system=None).print(RecoveryView(frame))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "±"), ("ascii", "+-")])
def test_terminal_table_fits_80_columns_with_and_without_unicode(encoding, sign):
    text = printed(recovery_of().frame, encoding)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert f"0.500 {sign}0.040" in text
    assert f"0.100 {sign}0.002" in text


def test_best_agreement_comes_first_within_a_budget():
    lines = printed(recovery_of().frame).splitlines()
    places = [next(i for i, line in enumerate(lines) if word in line) for word in ("random", "pep")]
    assert places == sorted(places)


def test_columns_of_which_nothing_is_known_are_left_out():
    text = printed(recovery_of(planted=False).frame)
    for word in ("planted", "partial", "Bayes", "at most"):
        assert word not in text
    assert "freq." in text


def test_nothing_known_prints_and_writes_nothing():
    empty = pd.DataFrame(columns=list(RECOVERY_COLUMNS))
    assert printed(empty).strip() == ""
    assert recovery_markdown(empty, []) == ""


def test_markdown_has_a_row_per_cell_escapes_names_and_shows_pictures():
    hostile = recovery_of(methods=("<b>|x*y*", "random-mask", "hash"))
    page = recovery_markdown(hostile.frame, picture_names(hostile))
    assert "<b>" not in page
    assert r"&lt;b&gt;\|x\*y\*" in page
    rows = [line for line in page.splitlines() if line.startswith(("| 50%", "| 10%"))]
    assert len(rows) == 6
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "![widths-random-mask](widths-random-mask.svg)" in page


def test_csv_reads_back():
    frame = recovery_of().frame
    read = pd.read_csv(io.StringIO(csv_text(frame)))
    assert tuple(read.columns) == RECOVERY_COLUMNS
    pd.testing.assert_frame_equal(read, frame.reset_index(drop=True))


@pytest.mark.slow
def test_each_method_with_widths_has_a_picture_with_a_panel_per_budget():
    recovery = recovery_of()
    charts = pictures(recovery)
    assert list(charts) == [picture_name(method) for method in METHODS[:2]]
    svg = svg_bytes(charts["widths-random-mask"]).decode()
    assert svg.count(">planted width<") == 2
    assert svg.count(">training frequency (log scale)<") == 2
    assert len(re.findall(r'aria-roledescription="circle"', svg)) == 2 * 50
    assert CELL["dataset"] in svg


def test_without_truth_only_frequency_is_drawn():
    svg = svg_bytes(pictures(recovery_of(planted=False))["widths-random-mask"]).decode()
    assert "planted" not in svg
    assert svg.count(">training frequency (log scale)<") == 2


@pytest.mark.parametrize("spec", ["pep:rate=0.5", "mde:a/b\\c", "magnitude+int8"])
def test_pictures_have_names_that_every_file_system_takes(spec):
    assert re.fullmatch(r"widths-[\w.+=-]+", picture_name(spec))
