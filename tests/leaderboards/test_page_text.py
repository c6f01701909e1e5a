"""Figures in a page's hand-written text are those of its tables."""

import re
from pathlib import Path

import pytest

from pepbench.errors import RecordError
from pepbench.leaderboards.page_text import check_text, figures_in, unknown_figures
from pepbench.leaderboards.publish import BEGIN, parts_of, with_generated

TABLE = """
| contrast | budget | Δ AUC (95 % interval) | p | folds won |
|---|---|---|---|---|
| pep − magnitude | 10% | +0.0034 (+0.0012 to +0.0056) | 0.012 | 7 of 10 |
| pep − full | 5% | -0.0127 (-0.0150 to -0.0104) | <0.001 | 0 of 10 |
"""

TEXT = """
# Which is it?

At 10 % PEP is **0.0034** above magnitude pruning (+0.0012 to +0.0056, p = 0.012); at 5 % it is
−0.0127 from the full table of MovieLens 100K ([arXiv 2101.07577](https://x.org/2101.07577v3.pdf)),
in 7 of 10 folds. `pepbench run --budgets 12.5%` in 2026 with torch 2.3.1 gave it.

1. A list has numbers, too.
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(with_generated(path, TABLE, "Board"))
    path.write_text(TEXT + path.read_text())
    return path


def test_a_page_that_quotes_its_table_passes(page):
    assert check_text(page, (), strict=True).good is True


def digits_of_figures():
    for figure in figures_in(TEXT):
        for place, digit in enumerate(figure):
            if digit.isdigit():
                yield figure, figure[:place] + str((int(digit) + 1) % 10) + figure[place + 1 :]


@pytest.mark.parametrize(("figure", "changed"), list(digits_of_figures()))
def test_every_changed_digit_of_a_figure_is_found(page, figure, changed):
    written = page.read_text().replace("−", "-").replace(" %", "%")
    pattern = rf"(?<![\w.,+-]){re.escape(figure)}(?![\w.%])"
    page.write_text(re.sub(pattern, changed, written, count=1))
    check = check_text(page, (), strict=True)
    assert (check.good, changed in check.line) == (False, True)
    assert check_text(page, (), strict=False).good is None
    assert check_text(page, (f"as the plan says: {changed}",), strict=True).good is True


def test_a_sign_counts_where_it_is_written():
    assert unknown_figures("−0.0034 and 0.0034", [TABLE]) == ["-0.0034"]


def test_what_is_no_figure_of_a_result_is_passed_over():
    text = "`0.1`, [a](b-0.2.svg), v1.2, 1.2.3, 100K, in 2026, ![c](d-0.3.png), feature_1\n 2. Two"
    assert figures_in(text) == []
    assert figures_in("```\n0.1\n```\n<!-- 0.2 --> 1,234.5, 2e-3, 7, 1.5e-4, (0.25), 2021 %") == [
        "1,234.5", "2e-3", "7", "1.5e-4", "0.25", "2021%"
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["Better", "worse", "undecided", "shown", "beats", "refuted"])
def test_a_page_with_contrasts_may_not_tell_verdicts_by_hand(page, word):
    page.write_text(page.read_text().replace("A list has", f"PEP is {word}, and a list has"))
    check = check_text(page, (), strict=True)
    assert (check.good, word in check.line) == (False, True)
    assert check_text(page, (), strict=False).good is True


def test_every_changed_digit_of_a_published_page_is_found():
    """Of the text that is written by hand; the generated part is compared as a whole."""
    pages = [
        path
        for path in sorted((Path(__file__).parents[2] / "results").rglob("README.md"))
        if BEGIN in path.read_text("utf-8")
    ]
    assert len(pages) > 4
    for path in pages:
        text, generated = parts_of(path)
        plan = path.parent / "plan.toml"
        sources = (generated, plan.read_text("utf-8") if plan.is_file() else "")
        for figure in figures_in(text):
            for place, digit in enumerate(figure):
                if digit.isdigit():
                    other = figure[:place] + str((int(digit) + 1) % 10) + figure[place + 1 :]
                    assert unknown_figures(f" {other} ", sources), (path, figure, other)


def test_a_page_without_marks_is_refused(page):
    page.write_text("# Nothing generated, 0.5\n")
    with pytest.raises(RecordError, match="between which the generated part goes"):
        check_text(page, (), strict=True)
