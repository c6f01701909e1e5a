from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from rich.console import Console

from pepbench.analysis.frames import COLUMNS, INTERVALS, frame_of
from pepbench.analysis.primary import CONTRAST_COLUMNS
from pepbench.report.charts.panels import svg_bytes
from pepbench.report.charts.pareto import front_chart
from pepbench.report.latex import leaderboard_latex
from pepbench.report.markdown import (
    contrast_parts,
    escape,
    leaderboard_csv,
    leaderboard_markdown,
    markdown_table,
)
from pepbench.report.phrases import parity_sentences, percent, short_count
from pepbench.report.table_rows import contrast_sentence, contrast_table, not_compared
from pepbench.report.terminal.leaderboard_view import LeaderboardView
from pepbench.units import duration

CONTRAST = {
    "dataset": "toy",
    "backbone": "fm",
    "budget": "10%",
    "method": "pep:granularity=feature",
    "other": "magnitude",
    "primary": True,
    "metric": "auc",
    "difference": -0.01234,
    "low": -0.02,
    "high": -0.00468,
    "p_holm": 0.012,
    "verdict": "worse",
    "basis": "folds",
    "folds": 10,
    "folds_won": 0.1,
    "note": "",
}


def contrasts_of(*rows):
    return frame_of([CONTRAST | row for row in rows], CONTRAST_COLUMNS)


def printed(frame, fronts, encoding="utf-8", contrasts=None, **options):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=80, **options)
    console.print(LeaderboardView(frame, fronts, contrasts=contrasts))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_csv_has_the_columns_and_reads_back_exactly(analysed):
    frame, _ = analysed
    text = leaderboard_csv(frame)
    known = [name for name in COLUMNS if name not in INTERVALS or frame[name].notna().any()]
    assert text.splitlines()[0] == ",".join(known)
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(frame)
    for column in frame[known].select_dtypes("float64"):
        values = [float(row[column] or "nan") for row in read]
        np.testing.assert_array_equal(values, frame[column])
    assert read[1]["parameters"] == "5000"
    assert (read[-1]["on_front"], read[-1]["status"]) == ("False", "ok")


def test_markdown_table_has_the_columns_and_a_row_per_cell(analysed):
    frame, _ = analysed
    header, rule, *rows = markdown_table(frame).splitlines()
    columns = [name for name in COLUMNS if name not in INTERVALS]
    assert [name.strip() for name in header.strip("|").split("|")] == columns
    assert set(rule) <= set("|-:")
    assert len(rows) == len(frame)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {len(columns) + 1}


def test_markdown_escapes_what_comes_from_outside(analysed):
    frame, fronts = analysed
    hostile = "<script>alert(1)</script>|*b*\n"
    frame = frame.assign(method=frame["method"].replace("mine", hostile))
    entry = {"method": hostile, "parameters": 10, "compression": 3.0}
    fronts = [{**fronts[0], "dataset": "<script>", "parity": [entry]}]
    page = leaderboard_markdown(frame, fronts)
    assert "<script>" not in page
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;\|\*b\*" in page


def test_markdown_page_says_what_is_shown_and_how_to_read_it(analysed):
    page = leaderboard_markdown(*analysed)
    assert (
        "pep is shown to keep parity (within 0.001 AUC) down to 50.0% of the full table (2.0x)."
        in page
    )
    assert "Hypervolume" in page
    assert "95% intervals" in page
    for column in ("parameters", "share", "bytes", "auc", "p_holm", "verdict", "on_front"):
        assert f"**{column}**" in page


def test_names_with_underscores_stay_readable():
    assert escape("wide_deep") == "wide_deep"
    assert escape("__init__") == r"\_\_init\_\_"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_terminal_view_fits_80_columns_with_and_without_unicode(analysed, encoding):
    frame, fronts = analysed
    frame = frame.assign(method=frame["method"].replace("mine", "pep:granularity=feature_dim"))
    text = printed(frame, fronts, encoding, color_system=None)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "\x1b" not in text
    assert ("★" in text) == (encoding == "utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_contrasts_come_first_then_the_front_then_the_leaderboard(analysed, encoding):
    contrasts = contrasts_of({"method": "pep"}, {"budget": "1%", "folds_won": 0.5})
    text = printed(*analysed, encoding, contrasts, color_system=None)
    places = [text.index(words) for words in ("folds won", "by parameters", "budget  method")]
    assert places == sorted(places)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[: lines.index("")]
    minus = "−" if encoding == "utf-8" else "-"
    (row,) = [line for line in table if f"pep {minus} magnitude" in line]
    for words in ("10%", "-0.0123", "-0.0200 to -0.0047", "worse", "1 of 10"):
        assert words in row
    words = [
        line for line in table if line.startswith(("Verdicts are adjusted", "tuning and seeds"))
    ]
    assert len(words) == 2
    assert "10 folds" in " ".join(words)


def test_contrasts_at_one_budget_leave_room_for_names(analysed):
    names = {"method": "popular", "low": -0.0000123}
    contrasts = contrasts_of(*(names | {"other": one} for one in ("hash", "pep:schedule=epochs")))
    table = printed(*analysed, contrasts=contrasts, color_system=None).split("\n\n")[0]
    assert "contrast at 10%" in table
    assert "popular − hash" in table
    assert "pep:schedule=epochs" in table
    assert table.count("10%") == 1


def test_exploratory_pairs_are_no_contrasts():
    table = contrast_table(contrasts_of({}, {"primary": False, "other": "full"}))
    assert [row["contrast"] for row in table] == ["pep:granularity=feature − magnitude"]


def test_reasons_stand_below_the_table_of_contrasts():
    without = {"other": "mde", "difference": np.nan, "verdict": "", "note": "mde is infeasible"}
    found = contrasts_of({}, without, without | {"primary": False, "other": "uniform"})
    page = "\n".join(contrast_parts(found))
    assert not any("infeasible" in line for line in page.splitlines() if line.startswith("|"))
    words = "Not compared: pep:granularity=feature − mde at 10% (mde is infeasible)."
    assert page.splitlines()[-1] == words == not_compared(found)
    assert not_compared(contrasts_of({})) == ""


@pytest.mark.parametrize(("folds", "few"), [(3, True), (5, False)])
def test_few_folds_are_called_few(folds, few):
    words = contrast_sentence(contrasts_of({"folds": folds}))
    assert f"{folds} folds" in words
    assert ("five or more" in words) == few


def test_windows_of_a_split_by_time_are_not_called_splits():
    words = contrast_sentence(contrasts_of({"basis": "windows"}))
    assert "hold over 10 windows of one period" in words
    assert "has not been measured" in words
    assert "splits" not in words


def test_specs_with_options_have_titles_where_people_read(analysed):
    frame, fronts = analysed
    spec, title = "synthetic:rows=5000000:fields=39", "drawn, 5M rows, 39 fields"
    frame = frame.assign(dataset=frame["dataset"].replace("toy", spec))
    fronts = [front | {"dataset": front["dataset"].replace("toy", spec)} for front in fronts]
    people = [
        printed(frame, fronts, color_system=None),
        leaderboard_markdown(frame, fronts),
        leaderboard_latex(frame),
        svg_bytes(front_chart(frame).picture()).decode(),
    ]
    assert [(title in text, spec in text) for text in people] == [(True, False)] * 4
    assert spec in leaderboard_csv(frame)


def test_terminal_view_shows_verdicts_reasons_and_parity(analysed):
    text = printed(*analysed, color_system=None)
    for words in (
        "reference",
        "equivalent",
        "worse",
        "infeasible: uniform at 1%: smallest possible is 625",
        "failed: mine at 10%: ValueError: <script> no | luck",
        "pep is shown to keep parity (within 0.001 AUC) down to 50.0% of the full table (2.0x).",
    ):
        assert words in " ".join(text.split())


def test_terminal_view_takes_names_literally_and_colours_verdicts(analysed):
    frame, fronts = analysed
    frame = frame.assign(method=frame["method"].replace("mine", "[red]x"))
    text = printed(frame, fronts, force_terminal=True, color_system="standard")
    assert "[red]x" in text
    assert "\x1b[31mworse" in text


def test_characters_a_terminal_lacks_are_replaced(analysed):
    frame, fronts = analysed
    frame = frame.assign(reason=frame["reason"].replace("smallest possible is 625", "N·D"))
    assert "uniform at 1%: N?D" in printed(frame, fronts, "ascii", color_system=None)


def test_a_run_without_finished_cells_can_be_shown(analysed):
    frame, _ = analysed
    text = printed(frame[frame["status"] != "ok"], [], color_system=None)
    assert "infeasible" in text


def front_with(**compressions):
    parity = [
        {"method": name, "parameters": None if c is None else 10, "compression": c}
        for name, c in compressions.items()
    ]
    return {"parity": parity}


def test_parity_sentences():
    shown, others = parity_sentences(front_with(pep=8.13, mde=None))
    assert shown == (
        "pep is shown to keep parity (within 0.001 AUC) down to 12.3% of the full table (8.1x)."
    )
    assert others == "Parity is not shown at any budget for: mde."
    (none,) = parity_sentences(front_with(pep=None))
    assert none.startswith("No method is shown to keep parity with the full table (within 0.001")
    assert parity_sentences(front_with()) == []
    without = {"parity": [{"method": "zero", "parameters": 0, "compression": None}]}
    assert parity_sentences(front_with() | without) == [
        "zero is shown to keep parity (within 0.001 AUC) without any parameters."
    ]


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (short_count, 0, "0"),
        (short_count, 999, "999"),
        (short_count, 999_499, "999k"),
        (short_count, 999_500, "1.00M"),
        (short_count, 33_000_000, "33.0M"),
        (percent, 0.0, "0%"),
        (percent, 0.99999, "100%"),
        (percent, 0.00999, "0.999%"),
        (duration, 9.96, "10s"),
        (duration, 59.7, "1m00s"),
        (duration, 3599.6, "1h00m"),
    ],
)
def test_figures_round_without_surprises(function, value, text):
    assert function(value) == text
