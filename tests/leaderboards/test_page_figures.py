"""Figures in a page's hand-written text are those of its tables."""

import pytest

from pepbench.errors import RecordError
from pepbench.leaderboards.page_figures import check_figures, figures_in, unknown_figures
from pepbench.leaderboards.publish import with_generated

TABLE = """
| contrast | budget | Δ AUC (95 % interval) | p |
|---|---|---|---|
| pep − magnitude | 10% | +0.0034 (+0.0012 to +0.0056) | 0.012 |
| pep − full | 5% | -0.0127 (-0.0150 to -0.0104) | <0.001 |
"""

TEXT = """
# Which is better?

At 10 % **PEP beats magnitude pruning by 0.0034** (+0.0012 to +0.0056, p = 0.012); at 5 % it loses
−0.0127 to the full table of 1,128 features ([arXiv 2101.07577](https://x.org/2101.07577v3.pdf)),
in 3 of 10 folds. `pepbench run --budgets 12.5%` in 2026 with torch 2.3.1 gave it.
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(with_generated(path, TABLE, "Board"))
    path.write_text(TEXT + path.read_text())
    return path


def test_a_page_that_quotes_its_table_passes(page):
    assert check_figures(page, (), strict=True).good is True


def digits_of_figures():
    for figure in figures_in(TEXT):
        for place, digit in enumerate(figure):
            if digit.isdigit():
                yield figure, figure[:place] + str((int(digit) + 1) % 10) + figure[place + 1 :]


@pytest.mark.parametrize(("figure", "changed"), list(digits_of_figures()))
def test_every_changed_digit_of_a_figure_is_found(page, figure, changed):
    written = page.read_text().replace("−", "-").replace(" %", "%")
    page.write_text(written.replace(figure, changed, 1))
    check = check_figures(page, (), strict=True)
    assert (check.good, changed in check.line) == (False, True)
    assert check_figures(page, (), strict=False).good is None
    assert check_figures(page, (f"as the plan says: {changed}",), strict=True).good is True


def test_a_sign_counts_where_it_is_written():
    assert unknown_figures("−0.0034 and 0.0034", [TABLE]) == ["-0.0034"]


def test_what_is_no_figure_of_a_result_is_passed_over():
    assert figures_in("`0.1`, [a](b-0.2.svg), v1.2, 1.2.3, 3 of 4, ![c](d-0.3.png) 7,5") == []
    assert figures_in("```\n0.1\n```\n<!-- 0.2 --> 1,234.5, 2e-3, 1.5e-4, (0.25)") == [
        "1,234.5", "1.5e-4", "0.25"
    ]  # fmt: skip


def test_a_page_without_marks_is_refused(page):
    page.write_text("# Nothing generated, 0.5\n")
    with pytest.raises(RecordError, match="between which the generated part goes"):
        check_figures(page, (), strict=True)
