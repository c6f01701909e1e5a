"""Generate the site's pages on boards: one for each board and method, and two over all boards.

Figures come from the boards' published files, verdicts are theirs, and recommendations follow the
rules of :mod:`pepbench.analysis.recommend`. The templates in ``boards/`` lay them out.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from json import dumps
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import FileSystemLoader
from markupsafe import Markup

from pepbench.analysis.cells import REFERENCE
from pepbench.analysis.frames import by_block
from pepbench.analysis.metrics import METRICS, card_of, metric_of
from pepbench.analysis.recommend import within_budget
from pepbench.leaderboards.across_boards import rows_per_feature
from pepbench.leaderboards.board_page import best_table, findings, submitted_table
from pepbench.leaderboards.board_results import BoardResults, load_results
from pepbench.leaderboards.boards import Board, find_boards
from pepbench.leaderboards.publish import README, hand_written
from pepbench.leaderboards.recommend import reasons
from pepbench.leaderboards.record_packing import RECORDS_FILE
from pepbench.report.cards import method_cards
from pepbench.report.charts.highlight import highlighted, report_marks
from pepbench.report.charts.panels import unchecked
from pepbench.report.charts.pareto import front_chart
from pepbench.report.charts.style import DARK
from pepbench.report.page.html import SYMBOLS, asset, environment, numbered, packed_specs
from pepbench.report.page.tables import cell_row, sort_number
from pepbench.report.phrases import block_title
from pepbench.report.table_rows import contrast_sentence, contrast_table
from pepbench.units import FULL, Budget

ASSETS = Path(__file__).parent / "boards"
RELATIVE = re.compile(r"\]\((?![a-z]+:|#)")
"""Where the target of a link to another file begins."""

Row = dict[str, Any]


def _same_in(name: str, rows: Sequence[Row]) -> bool:
    """Whether all rows say the same in a column, or each the name of its board."""
    named = all(row[name] == row.get("board", "") for row in rows)
    return named or len({str(row[name]) for row in rows}) == 1


TEMPLATES = environment(FileSystemLoader(ASSETS))
TEMPLATES.globals["dark"] = Markup(dumps(DARK, sort_keys=True))
TEMPLATES.tests["same_in"] = _same_in


@cache
def board_pages(results: Path) -> dict[str, str]:
    """Contents of the pages, and of what they load, by path below ``boards/``."""
    pages: dict[str, str] = {}
    cells: list[Row] = []
    boards: list[Row] = []
    advice: list[Row] = []
    for board in find_boards(results):
        if (board.folder / RECORDS_FILE).is_file():
            known = load_results(board.folder)
            rows = _cells(board, known)
            pages[f"{_slug(board)}.md"] = _board_page(board, known, rows)
            cells += [row for row in rows if row["page"] != REFERENCE]
            boards += _data_sets(rows, known)
            advice += _advice(rows, known) if board.counts else []
    cells.sort(key=lambda row: str(row["page"]))
    methods = {name: list(rows) for name, rows in groupby(cells, lambda row: str(row["page"]))}
    for card in method_cards(methods):
        pages[f"methods/{card.spec}.md"] = _page("method", card=card, rows=methods[card.spec])
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return {
        **pages,
        "index.md": _page("index", rows=boards, methods=methods),
        "which-method.md": _page("which-method", rows=advice),
        "assets/boards.js": asset("shared.js") + (ASSETS / "boards.js").read_text("utf-8"),
        "assets/boards.css": (ASSETS / "boards.css").read_text("utf-8"),
        "assets/vega.js": f'"use strict";window.vegaReady=(async()=>{{{library}\n}})();',
    }


def _page(template: str, **parts: Any) -> str:
    return TEMPLATES.get_template(f"{template}.jinja").render(parts)


def _slug(board: Board) -> str:
    return board.name.replace("/", "-")


def _cells(board: Board, known: BoardResults) -> list[Row]:
    """The rows of the report, with what the site adds: family, links, and size of the data."""
    metric, densities = metric_of(known.frame), rows_per_feature(known.records)
    sizes = {of.data.spec: of.full_parameters // of.dim for of in (r.spec for r in known.records)}
    families = {card.spec: card.family for card in method_cards(known.frame["method"])}
    rows = []
    for cell in known.frame.to_dict("records"):
        row = cell_row(cell, metric)
        features, density = sizes[row["dataset"]], densities.get(row["dataset"], math.nan)
        row["page"] = re.split("[:+]", row["method"])[0]
        row["slug"] = _slug(board)
        row["links"] = {"method": f"methods/{row['page']}.html", "board": f"{row['slug']}.html"}
        row["board"] = board.name
        row["family"] = families[row["method"]]
        row["features"] = f"{features:,}"
        row["density"] = f"{density:,.{0 if density >= 10 else 1}f}".replace("nan", "unknown")
        row["sort"]["budget"] = Budget(row["budget"]).order
        row["sort"] |= {"features": features, "density": sort_number(density)}
        rows.append(row)
    return rows


def _data_sets(rows: Sequence[Row], known: BoardResults) -> Iterator[Row]:
    """A row for each data set of a board."""
    for name, block in known.frame.groupby("dataset", sort=False):
        first = next(row for row in rows if row["dataset"] == name)
        yield first | {
            "backbones": ", ".join(dict.fromkeys(block["backbone"])),
            "methods": block["method"].nunique(),
            "folds": block["folds"].max(),
        }


def _advice(rows: Sequence[Row], known: BoardResults) -> Iterator[Row]:
    """The rows of the cells that a board recommends, with the reasons."""
    cells = {(row["dataset"], row["backbone"], row["method"], row["budget"]): row for row in rows}
    for budget in dict.fromkeys(known.frame["budget"]):
        if budget != FULL:
            for found in within_budget(known.frame, known.contrasts, budget, known.margin):
                if choice := found.choice:
                    cell = cells[found.dataset, found.backbone, choice.method, choice.budget]
                    unknown = (f"Not known: {line[0].lower()}{line[1:]}" for line in found.unknown)
                    yield cell | {"why": [*reasons(found), *unknown]}


def _board_page(board: Board, known: BoardResults, rows: Sequence[Row]) -> str:
    frame, pairs = known.frame, known.contrasts
    marks = report_marks(frame, pairs)
    named = {method: marks[method] for method in highlighted(frame, pairs)}
    folder, specs = f"../../results/{board.name}", list[Row]()
    # Links of the page in the board's folder are relative to that.
    title, *texts = (
        RELATIVE.sub(f"]({folder}/", text) for text in hand_written(board.folder / README)
    )
    with unchecked():
        chart = front_chart(frame, "pareto", named)
        panels = numbered(specs, chart)
    return _page(
        "board",
        title=title,
        question=Markup(texts[0]),
        threats=Markup(texts[1]),
        metric=METRICS[metric_of(frame)],
        data=list(_data_sets(rows, known)),
        budgets=dict.fromkeys(row["budget"] for row in rows if row["budget"] != FULL),
        contrasts=list(_contrasts(frame, pairs, known.margin)),
        best=Markup(best_table(frame)),
        chart=chart,
        panels=panels,
        charts=packed_specs(specs),
        named=named,
        symbols=SYMBOLS,
        folder=folder,
        rows=[row for row in rows if row["page"] != REFERENCE],
        submitted=Markup(
            "\n\n".join(submitted_table(board, known.records, known.margin, known.folds))
        ),
    )


def _contrasts(frame: pd.DataFrame, pairs: pd.DataFrame, margin: float) -> Iterator[dict[str, Any]]:
    """Primary contrasts of each data set and backbone, what they hold over, and what they show."""
    for name, block in by_block(pairs[pairs["primary"]]):
        rows, difference = list[Row](), card_of(block).difference
        words = contrast_table(block, detail=False)
        for row, of in zip(words, block.to_dict("records"), strict=True):
            sort = {"budget": Budget(of["budget"]).order, difference: sort_number(of["difference"])}
            rows.append(row | {"reason": of["note"], "sort": sort})
        yield {
            "title": block_title(name),
            "rows": rows,
            "basis": contrast_sentence(block),
            "findings": list(findings(frame, block, margin)),
        }
