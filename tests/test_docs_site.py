"""The documentation site builds strictly, is generated from the code, and needs no network."""

import importlib.util
import re
import subprocess
import sys

import pandas as pd
import pytest
import typer.main
from doc_blocks import ROOT

from pepbench.cli import app
from pepbench.records import Record, TrialSpec


def hook(name):
    """Load a module of docs/hooks by its path, as mkdocs does."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/hooks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def links():
    sys.path.insert(0, str(ROOT / "docs/hooks"))
    try:
        return hook("site").with_site_links
    finally:
        sys.path.remove(str(ROOT / "docs/hooks"))


URIS = {"pep.md", "tutorials/first-run.md", "repository/benchmarks/README.md", "a.png"}


@pytest.mark.parametrize(
    ("path", "text", "on_site"),
    [
        ("docs/index.md", "[x](../benchmarks/README.md)", "[x](repository/benchmarks/README.md)"),
        ("README.md", "[x](docs/pep.md#how)", "[x](../pep.md#how)"),
        ("docs/tutorials/first-run.md", "![x](../a.png)", "![x](../a.png)"),
        ("README.md", "![x](docs/a.png)", "![x](../a.png)"),
        ("README.md", "[the code](pepbench/pep.py)", "the code (`pepbench/pep.py`)"),
        ("docs/index.md", "[lost](nowhere.md)", "[lost](nowhere.md)"),
        ("README.md", "[x](https://example.org)", "[x](https://example.org)"),
        ("README.md", "```sh\n[x](docs/pep.md)\n```", "```sh\n[x](docs/pep.md)\n```"),
    ],
)
def test_links_hold_on_the_site(links, path, text, on_site):
    assert links(text, path, URIS) == on_site


def test_command_line_is_described_in_full():
    page = hook("reference").command_line()

    def described(command, path):
        (section,) = re.findall(rf"^#+ `{path}`\n(.*?)(?=^#+ `pepbench|\Z)", page, re.M | re.S)
        options = {option for parameter in command.params for option in parameter.opts}
        assert {o for o in options if o.startswith("-")} <= set(re.findall(r"--?[\w-]+", section))
        for name, inner in getattr(command, "commands", {}).items():
            described(inner, f"{path} {name}")

    described(typer.main.get_command(app), "pepbench")


def test_schema_of_records_has_every_key():
    page = hook("reference").record_schema()
    for model in (Record, TrialSpec):
        part = page.split(f"## {model.__name__}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` ", part, re.M) == list(model.model_fields)


def test_tables_of_boards_are_sorted_by_number_and_leave_unknown_figures_last():
    macros = hook("board_pages").TEMPLATES.get_template("macros.jinja").module
    row = {"method": "pep", "delta": "<1", "cpu": "", "sort": {"delta": "0.5", "cpu": ""}}
    table = str(macros.table([row], "Cells", ["method", "delta", "cpu"]))
    assert '<th scope="row">pep</th>' in table
    assert '<td class="number" data-sort="0.5">&lt;1</td>' in table
    assert '<td class="number" data-sort=""></td>' in table
    assert re.findall(r"<button[^>]*>([^<]+)<", table) == ["method", "ΔAUC", "CPU"]
    assert table.count("data-numeric") == 2


def test_tables_of_boards_leave_out_columns_that_say_the_same():
    macros = hook("board_pages").TEMPLATES.get_template("macros.jinja").module
    rows = [{"method": name, "backbone": "fm", "sort": {}} for name in ("pep", "qr")]
    table = str(macros.table(rows, "Cells", ["method", "backbone"], various=["backbone", "method"]))
    assert re.findall(r"<button[^>]*>([^<]+)<", table) == ["method"]


@pytest.mark.parametrize(("second", "shown"), [("two", []), ("three", ["data set"])])
def test_tables_of_boards_leave_out_data_sets_named_as_the_boards(second, shown):
    macros = hook("board_pages").TEMPLATES.get_template("macros.jinja").module
    named = (("one", "one"), ("two", second))
    rows = [{"board": board, "dataset": dataset, "sort": {}} for board, dataset in named]
    table = str(macros.table(rows, "Cells", ["board", "dataset"], various=["dataset"]))
    assert re.findall(r"<button[^>]*>([^<]+)<", table) == ["board", *shown]


@pytest.mark.slow
def test_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text("utf-8")
        assert not re.search(r'(src="|<link [^>]*stylesheet[^>]*href=")https?:', text), page
        assert "<!-- generated" not in text, page
        if page.parent.name == "python":
            assert "<blockquote>" not in text, page  # a doctest that is not shown as code
    boards_show_what_is_published(tmp_path / "boards")


def boards_show_what_is_published(boards):
    for page in boards.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#:]+)["#]', page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page, target)
    cells = pd.read_csv(ROOT / "results/anime/leaderboard.csv")
    cells = cells[cells["method"] != "full"]
    page = (boards / "anime.html").read_text("utf-8")
    rows = re.findall(r'<tr><th scope="row"><a [^>]*>(.*?)</a>.*?</tr>', page)
    assert [row.replace("<wbr>", "") for row in rows] == cells["method"].tolist()
    known = [f"{delta:.10g}" for delta in cells["delta_auc"].dropna()]
    assert set(known) <= set(re.findall(r'data-sort="([^"]+)"', page))
    assert page.count('<figure class="chart"') == cells["backbone"].nunique()
    (_, *places) = (boards / "methods/mde.html").read_text("utf-8").split('html">anime</a></th>')
    assert len(places) == (cells["method"] == "mde").sum()
    # anime: 419,943 rows, eight tenths of which are for training; means over folds
    advice = (boards / "which-method.html").read_text("utf-8")
    assert re.search(r'data-sort="23\.3\d+">23</td>', advice)
