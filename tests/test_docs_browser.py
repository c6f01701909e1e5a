"""The site's pages on boards in headless Chromium: reading, sorting, filtering, hovering."""

import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread

import pytest
from browsing import SCREENS, chromium, screen, scrolls_sideways
from doc_blocks import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

WITH_FOLDS = "boards/ml-100k-ids.html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=500)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(params=SCREENS, ids=str)
def page(browser, request):
    with screen(browser, *request.param) as opened:
        yield opened


def shown(page, heading):
    """What a column of the last table says in the rows that are not filtered out."""
    table = page.locator("table.board").last
    names = table.locator("thead th").all_text_contents()
    cells = table.locator(f"tbody tr:not([hidden]) > :nth-child({names.index(heading) + 1})")
    return [cell.strip() for cell in cells.all_text_contents()]


def drawn(page, address):
    page.goto(address)
    page.wait_for_selector(".chart svg")


@pytest.mark.parametrize(
    "address",
    [
        WITH_FOLDS,
        "boards/index.html",
        "boards/which-method.html",
        "boards/methods/pep.html",
        "methods.html",
        "repository/results/index.html",
        "repository/results/ml-100k-ids/index.html",
        "repository/results/ml-100k-ids/report.html",
    ],
)
def test_pages_do_not_scroll_sideways_and_pictures_have_words(page, site, address):
    page.goto(f"{site}{address}")
    assert not scrolls_sideways(page)
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("[role=img]:not([aria-label])").count() == 0


def test_verdicts_of_the_contrasts_are_seen_at_once(page, site):
    page.goto(f"{site}{WITH_FOLDS}")
    box = page.locator("table.board").first.locator(".verdict").first.bounding_box()
    assert box["x"] + box["width"] / 2 < page.viewport_size["width"]


def test_a_reason_opens(page, site):
    page.goto(f"{site}{WITH_FOLDS}")
    why = page.locator("table.board").first.locator("details").first
    assert not why.locator("p").is_visible()
    why.locator("summary").focus()
    page.keyboard.press("Enter")
    assert "infeasible" in why.locator("p").text_content()


def test_cells_are_filtered_by_family_and_budget(page, site):
    page.goto(f"{site}{WITH_FOLDS}")
    page.get_by_label("budget").select_option("5%")
    page.get_by_label("family").select_option("search")
    assert set(shown(page, "budget")) == {"5%"}
    assert set(shown(page, "family")) == {"search"}
    rows = len(shown(page, "method"))
    assert page.locator(".filters output").text_content().startswith(f"{rows} of ")


def test_cells_are_sorted_by_number(page, site):
    page.goto(f"{site}{WITH_FOLDS}")
    heading = page.locator("table.board").last.locator("thead th", has_text="ΔAUC")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    figures = [float(text.partition(" ")[0]) for text in shown(page, "ΔAUC") if text]
    # Figures are rounded each by its own interval.
    assert all(one >= other - 0.001 for one, other in pairwise(figures))


def test_hovering_a_point_tells_its_cell(page, site):
    drawn(page, f"{site}{WITH_FOLDS}")
    point = page.locator(".chart .mark-symbol path").last
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    for words in ("method", "budget", "verdict"):
        assert words in tooltip.text_content()


def test_charts_follow_the_colour_scheme(page, site):
    drawn(page, f"{site}{WITH_FOLDS}")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ink = page.locator(".chart svg text").first.evaluate("text => getComputedStyle(text).fill")
    brightness = sum(map(int, ink.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert (brightness > 128) == dark


def test_boards_nearest_to_my_table_come_first(page, site):
    page.goto(f"{site}boards/which-method.html")
    page.get_by_label("Features", exact=True).fill("13000")
    page.get_by_label("Training rows").fill("500000")
    assert shown(page, "board")[0] == "ml-1m-ids"
    assert "38.5 training rows per feature" in page.locator("#nearest").text_content()
