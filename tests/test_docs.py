"""The documentation is correct: code runs, links have targets, tables agree with the code."""

import doctest
import importlib
import importlib.util
import json
import pkgutil
import re
import tomllib
from operator import attrgetter
from pathlib import Path

import pytest
from doc_blocks import FENCE, PAGES, ROOT, blocks, command_of, commands, options_of

import pepbench
from pepbench.analysis.frames import COLUMNS, COMPARISON_COLUMNS, PAIR_COLUMNS
from pepbench.analysis.fronts import POINT_COLUMNS
from pepbench.analysis.primary import CONTRAST_COLUMNS
from pepbench.analysis.width_recovery import RECOVERY_COLUMNS

# In an editable install the last two are outside the package, so they are walked separately.
MODULES = sorted(
    {
        module.name
        for room in ("pepbench", "pepbench.baselines", "pepbench.datasets")
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}.")
        if not module.name.endswith("__main__")
    }
)


def fenced(page, language):
    return [block.body for block in blocks(ROOT / page) if block.language == language]


def has_examples(name):
    source = importlib.util.find_spec(name).origin
    return ">>>" in Path(source).read_text("utf-8")


@pytest.mark.parametrize("name", [*filter(has_examples, MODULES)])
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", page.read_text())):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def located():
    rows = re.findall(
        r"^\| ([^|]+) \| ((?:`[^`|]+`(?:, )?)+) \| ([^|]+) \|$",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.MULTILINE,
    )
    for concept, *cells in rows:
        files, symbols = (re.findall(r"`([^`]+)`", cell) for cell in cells)
        # Further files may be named relative to the folder of the first.
        folder = files[0].rpartition("/")[0]
        files = [file if "/" in file else f"{folder}/{file}" for file in files]
        yield pytest.param(files, symbols, id=concept)


def importable(file):
    module = file.removesuffix(".py").rstrip("/").replace("/", ".").removeprefix("tests.")
    if module.startswith(("baselines.", "datasets.")):
        module = f"pepbench.{module}"
    return importlib.import_module(module)


@pytest.mark.parametrize(("files", "symbols"), list(located()))
def test_concepts_are_where_contributing_says(files, symbols):
    assert all((ROOT / file).exists() for file in files)
    modules = [importable(file) for file in files if file.endswith((".py", "/"))]
    for symbol in symbols:
        name = symbol.split(".")[0]
        homes = [module for module in modules if hasattr(module, name)]
        assert homes, symbol
        assert attrgetter(symbol)(homes[0]) is not None


def test_every_row_of_the_map_is_checked():
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Where does X live?")[1]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(list(located())) == len(rows) - 2  # the head and the line below it


def called():
    for page in PAGES:
        for words in commands(page):
            yield pytest.param(words, id=" ".join(words))


@pytest.mark.parametrize("words", list(called()))
def test_commands_and_their_options_exist(words):
    command, rest = command_of(words)
    assert not hasattr(command, "commands") or rest[:1] in ([], ["COMMAND"], ["--version"]), rest
    for word in rest:
        if word.startswith("-"):
            assert word.split("=")[0] in options_of(command), word


def test_commands_that_the_gate_takes_from_the_readme_are_one_line_each():
    blocks = re.findall(
        r"^<!-- ci: (\S+) -->\n```sh\n(.+)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    gate = (ROOT / ".ci/run").read_text()
    assert sorted(name for name, _ in blocks) == ["main-job", "tests"]
    for name, _ in blocks:
        assert f"readme_command {name})" in gate


@pytest.mark.slow
def test_the_method_shown_runs_as_a_plug_in(tiny_run, tmp_path):
    (source,) = fenced("README.md", "python")
    plugin = tmp_path / "shown.py"
    plugin.write_text(source)
    ran = tiny_run(
        f"--plugin={plugin}",
        "--methods=popular,random-mask,full",
        "--budgets=60%",
        "--json",
    )
    assert ran.code == 0, ran.err
    cells = {cell["method"]: cell for cell in json.loads(ran.out)["cells"]}
    assert {cell["status"] for cell in cells.values()} == {"ok"}
    assert 0 < cells["popular"]["share"] <= 0.6


@pytest.mark.slow
def test_data_set_shown_runs_as_a_plug_in(tiny_run, tmp_path):
    (source,) = fenced("docs/add-a-dataset.md", "python")
    plugin = tmp_path / "coins.py"
    plugin.write_text(source)
    ran = tiny_run(
        f"--plugin={plugin}", "--datasets=coins", "--methods=full", "--epochs=10", "--json"
    )
    assert ran.code == 0, ran.err
    (cell,) = json.loads(ran.out)["cells"]
    # One label in ten is flipped: the best AUC is 0.9.
    assert cell["auc"] == pytest.approx(0.9, abs=0.02)


def test_columns_of_the_leaderboard_are_those_described():
    page = (ROOT / "docs/output.md").read_text()
    table = page.split("## Columns of leaderboard.csv")[1].split("## Records")[0]
    assert names_in_first_column(table) == list(COLUMNS)


def test_columns_of_the_widths_are_those_described():
    page = (ROOT / "docs/output.md").read_text()
    table = page.split("## Columns of widths.csv")[1].split("## JSON")[0]
    assert names_in_first_column(table) == list(RECOVERY_COLUMNS)


def test_columns_of_comparisons_are_those_described():
    page = (ROOT / "docs/output.md").read_text()
    _, table = page.split("## Columns of contrasts.csv")
    contrasts, table = table.split("## Columns of fronts.csv")
    points, table = table.split("`comparisons.csv` compares")
    pairs = table.split("## Columns of widths.csv")[0]
    assert names_in_first_column(contrasts) == list(CONTRAST_COLUMNS)
    assert set(names_in_first_column(points)) == set(POINT_COLUMNS)
    assert set(names_in_first_column(pairs)) == {*COMPARISON_COLUMNS, *PAIR_COLUMNS}


def names_in_first_column(table):
    return [
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]


def test_version_is_told_in_one_place():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {pepbench.__version__}" in citation


@pytest.mark.parametrize(
    "path",
    [
        "docs/tutorials/compare-with-a-board.md",
        "docs/reference/python/run.md",
        "pepbench/cli/run.py",
    ],
)
def test_examples_beside_a_board_name_a_budget_that_it_has(path):
    example = r'(?:--against |run_against\(\s*")(ml-1m-ids)\b.*?budgets\W+([\d.]+%)'
    ((board, budget),) = re.findall(example, (ROOT / path).read_text("utf-8"), re.DOTALL)
    plan = tomllib.loads((ROOT / "results" / board / "plan.toml").read_text("utf-8"))
    assert budget in plan["budgets"]
