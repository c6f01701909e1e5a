"""The page in headless Chromium: no console error, sorting, filtering, picking out, hovering."""

import pytest
from browsing import SCREENS, chromium, screen, scrolls_sideways
from record_factory import typical_run
from run_folders import stored

from pepbench.report.findings import load_runs
from pepbench.report.page.html import report_html

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    stored(typical_run(), folder)
    (folder / "report.html").write_text(report_html(load_runs([folder]), folder))
    return (folder / "report.html").as_uri()


@pytest.fixture(params=SCREENS, ids=str)
def page(browser, address, request):
    with screen(browser, *request.param, offline=True) as opened:
        opened.goto(address)
        # Charts are drawn when they come into view.
        opened.locator("#fronts .chart").first.scroll_into_view_if_needed()
        opened.wait_for_selector("#fronts .chart[data-drawn] svg")
        yield opened


def column(page, place):
    cells = f"#board tbody tr:not([hidden]) > :nth-child({place})"
    return [cell.strip() for cell in page.locator(cells).all_text_contents()]


def test_page_does_not_scroll_sideways(page):
    assert not scrolls_sideways(page)


def test_heading_buttons_sort_by_number_and_say_so_and_back(page):
    heading = page.locator("#board thead th", has_text="parameters")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    shown = [int(text.replace(",", "")) for text in column(page, 5) if text]
    assert shown == sorted(shown, reverse=True)
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    ascending = column(page, 5)
    assert ascending[-1] == ""  # what is not known stays last
    assert page.locator('#board [aria-sort]:not([aria-sort="none"])').count() == 1


def test_filters_leave_what_was_asked_for(page):
    page.locator("#search").fill("pep better")
    page.locator("#search").fill("pep")
    page.locator("#by-dataset").select_option("toy")
    assert set(column(page, 1)) == {"pep"}
    assert page.locator("#count").text_content().startswith("2 of ")
    page.locator("#search").fill("no such thing")
    assert column(page, 1) == []


def test_a_column_that_says_the_same_everywhere_is_left_out(page):
    for place, name, shown in ((2, "data set", True), (3, "backbone", False)):
        heading = page.locator(f"#board thead th:nth-child({place})")
        assert heading.text_content() == name
        assert heading.is_visible() == shown
        assert page.locator(f"#by-{name.replace(' ', '')}").is_visible() == shown


def test_a_reason_opens_by_keyboard(page):
    why = page.locator("#board details.why").first
    assert not why.locator("p").is_visible()
    why.locator("summary").focus()
    page.keyboard.press("Enter")
    assert why.locator("p").is_visible()


def test_a_chosen_method_stands_out_everywhere(page):
    page.get_by_role("button", name="pep", exact=True).click()
    rows = page.locator('#board tr[data-method="mde"]')
    assert "faint" in rows.first.get_attribute("class")
    faint = page.locator('#fronts .chart[data-drawn] svg path[opacity="0.13"]')
    faint.first.wait_for(state="attached")
    page.get_by_role("button", name="show all").click()
    assert "faint" not in (rows.first.get_attribute("class") or "")


def test_hovering_a_point_tells_the_whole_cell(page):
    point = page.locator("#fronts .mark-symbol path").last
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    told = tooltip.text_content()
    for words in ("method", "budget", "test AUC", "verdict", "front of parameters", "peak memory"):
        assert words in told
    assert "null" not in told


def test_open_charts_are_drawn_without_being_scrolled_to(page):
    """Or a page that is printed at once would have gaps."""
    page.wait_for_function(
        "[...document.querySelectorAll('.chart')]"
        ".every(chart => !chart.checkVisibility() || chart.dataset.drawn)"
    )
    assert page.locator("details:not([open]) .chart[data-drawn]").count() == 0
