"""Generate the site's pages on boards: one for each board and method, and two over all boards.

Figures come from the boards' published files, verdicts are theirs, and recommendations follow the
rules of :mod:`pepbench.analysis.recommend`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import groupby
from json import dumps
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from board_tables import (
    Figure,
    Row,
    budget_figure,
    contrast_tables,
    details,
    table,
    time_figure,
    verdict,
)

from pepbench.analysis.leaderboard import REFERENCE
from pepbench.analysis.metrics import METRICS, measured_delta, metric_of
from pepbench.analysis.recommend import Recommendation, within_budget
from pepbench.leaderboards.board_page import SUBMITTED, best_table, markdown, submitted_frame
from pepbench.leaderboards.boards import Board, find_boards
from pepbench.leaderboards.publish import README, lead_of
from pepbench.leaderboards.recommend import Evidence, evidence
from pepbench.leaderboards.record_packing import RECORDS_FILE
from pepbench.leaderboards.submitted import MARK
from pepbench.report.cards import method_cards
from pepbench.report.charts.highlight import highlighted, report_marks
from pepbench.report.charts.pareto import front_chart
from pepbench.report.charts.style import DARK, unchecked
from pepbench.report.page.html import PAGE, SYMBOLS, asset, numbered, packed_specs
from pepbench.report.phrases import outcome, percent, short_count, with_interval
from pepbench.units import FULL, dataset_title

ASSETS = Path(__file__).parent / "boards"
RELATIVE = re.compile(r"\]\((?![a-z]+:|#)")
"""Where the target of a link to another file begins."""


@dataclass(frozen=True)
class Published:
    """A board with its evidence.

    Attributes
    ----------
    features, rows
        Of each data set: features, and training rows (of a fold, if there are folds) if known.
    """

    board: Board
    known: Evidence
    features: Mapping[str, int]
    rows: Mapping[str, int]

    @classmethod
    def of(cls, board: Board) -> "Published":
        """Read the board's folder.

        Records do not count rows. The full table is trained without a search, so that its rows a
        second, times seconds and divided by epochs, are the training rows.
        """
        known = evidence(str(board.folder), None)
        features, rows = {}, {}
        for record in known.records:
            name = record.spec.data.spec
            features[name] = record.spec.full_parameters // record.spec.dim
            if record.spec.method.name == "full" and record.samples_per_second and record.curve:
                seconds = sum(phase.wall for phase in record.seconds.values())
                rows[name] = round(record.samples_per_second * seconds / len(record.curve))
        return cls(board, known, features, rows)

    @property
    def slug(self) -> str:
        """Name of the board's page, without suffix."""
        return self.board.name.replace("/", "-")

    @property
    def contrasts(self) -> pd.DataFrame | None:
        """The contrasts, if the board has primary ones."""
        pairs = self.known.pairs
        return pairs if pairs is not None and "primary" in pairs and any(pairs["primary"]) else None

    def size(self, dataset: str) -> tuple[Figure, Figure]:
        """Features, and training rows per feature."""
        features = self.features[dataset]
        dense = self.rows.get(dataset, math.nan) / features
        text = "" if math.isnan(dense) else f"{dense:,.0f}" if dense >= 10 else f"{dense:.1f}"
        return Figure(f"{features:,}", features), Figure(text, dense)


@cache
def board_pages(results: Path) -> dict[str, str]:
    """Contents of the pages, and of what they load, by path below ``boards/``."""
    found = [Published.of(b) for b in find_boards(results) if (b.folder / RECORDS_FILE).is_file()]
    places = sorted((pair for one in found for pair in _places(one)), key=lambda pair: pair[0])
    methods = {
        name: [row for _, row in pairs] for name, pairs in groupby(places, lambda pair: pair[0])
    }
    parts = {f"{one.slug}.md": _board_page(one) for one in found}
    parts |= {f"methods/{name}.md": _method_page(name, rows) for name, rows in methods.items()}
    parts |= {"index.md": _index(found, methods), "which-method.md": _which_method(found)}
    with unchecked():
        pages = {path: "\n\n".join(page) for path, page in parts.items()}
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return {
        **pages,
        "assets/boards.js": asset("shared.js") + (ASSETS / "boards.js").read_text("utf-8"),
        "assets/boards.css": (ASSETS / "boards.css").read_text("utf-8"),
        "assets/vega.js": f'"use strict";window.vegaReady=(async()=>{{{library}\n}})();',
    }


def _index(found: Sequence[Published], methods: Iterable[str]) -> Iterator[str]:
    yield "# Boards"
    yield "A page for each board, with its front and all its cells, and one for each method."
    yield "[Which method for my table?](which-method.md)"
    rows = [
        [
            f"[{one.board.name}]({one.slug}.md)",
            dataset_title(str(name)),
            ", ".join(dict.fromkeys(block["backbone"])),
            *(figure.shown for figure in one.size(str(name))),
            f"{block['method'].nunique()}",
            f"{block['folds'].max()}",
        ]
        for one in found
        for name, block in one.known.frame.groupby("dataset", sort=False)
    ]
    headings = ["board", "data set", "backbones", "features", "rows per feature", "methods"]
    yield markdown(rows, [*headings, "folds"], texts=3)
    yield "## Methods"
    yield ", ".join(f"[{name}](methods/{name}.md)" for name in methods)


def _board_page(one: Published) -> Iterator[str]:
    frame, name = one.known.frame, one.board.name
    card, title = METRICS[metric_of(frame)], "; ".join(map(dataset_title, one.features))
    budgets = ", ".join(text for text in dict.fromkeys(frame["budget"]) if text != FULL)
    yield f"# {name}"
    yield (
        f"Which methods keep the {card.name} of the full table on {title} with "
        f"{', '.join(dict.fromkeys(frame['backbone']))}, at {budgets} of its parameters?"
    )
    for dataset, folds in frame.groupby("dataset", sort=False)["folds"].max().items():
        features, dense = (figure.shown for figure in one.size(str(dataset)))
        yield (
            f"{dataset_title(str(dataset))}: {features} features, {dense or 'unknown'} training "
            f"rows per feature, {'one split' if folds == 1 else f'{folds} folds'}."
        )
    if one.contrasts is None:
        yield "## The best of each size"
        yield best_table(frame)
    else:
        yield "## Primary contrasts"
        yield from contrast_tables(one.contrasts)
    marks = report_marks(frame, one.contrasts)
    named = {method: marks[method] for method in highlighted(frame, one.contrasts)}
    chart = front_chart(frame, "pareto", named)
    yield f"## {chart.title}"
    legend = (
        f'<a href="methods/{_page(method)}.html"><span class="mark" data-colour="{mark.colour}">'
        f"{SYMBOLS[mark.shape]}</span> {escape(method)}</a>"
        for method, mark in named.items()
    )
    yield f'<p class="legend">{" ".join(legend)}</p>'
    specs: list[dict[str, Any]] = []
    for panel in numbered(specs, chart):
        title, words = escape(panel["title"]), escape(panel["words"])
        yield (
            f'<figure class="chart" data-chart="{panel["id"]}"><figcaption>{title}</figcaption>'
            f'<div class="drawing" role="img" aria-label="{words}. The figures are in the table.">'
            "</div></figure>"
        )
    yield " ".join(chart.lines)
    yield "## What came out"
    folder = f"../../results/{name}"
    # Links of the page in the board's folder are relative to that.
    yield RELATIVE.sub(f"]({folder}/", lead_of(one.board.folder / README))
    yield (
        f"[Threats to validity, and how it was made]({folder}/{README}); "
        f"[the report]({folder}/{PAGE}); [all boards](index.md)."
    )
    yield "## All cells"
    yield _cell_table(frame, f"Cells of {name}")
    submitted = submitted_frame(one.board, one.known.records, one.known.margin)
    if len(submitted):
        yield "## Submitted by others"
        yield SUBMITTED
        yield _cell_table(submitted, f"Cells of {name}, submitted by others")
    yield _scripts("assets", specs)


def _cell_table(frame: pd.DataFrame, label: str) -> str:
    rows: list[Row] = [{"method": _linked(name), **row} for name, row in _cells(frame)]
    return table(rows, label, only_if_various=("data set", "backbone"))


def _linked(method: str) -> str:
    """A method with a link to its page; those that others have submitted have none."""
    name = escape(method)
    return name if name.endswith(MARK) else f'<a href="methods/{_page(method)}.html">{name}</a>'


def _cells(frame: pd.DataFrame) -> Iterator[tuple[str, Row]]:
    """Of each cell but full tables: its method, and what else its row says."""
    metric = metric_of(frame)
    cards = {card.spec: card for card in method_cards(frame["method"])}
    for cell in frame.to_dict("records"):
        if _page(cell["method"]) == REFERENCE:
            continue
        delta = measured_delta(cell, metric)
        known = not pd.isna(cell["parameters"])
        size = f"{short_count(cell['parameters'])} ({percent(cell['share'])})" if known else ""
        yield (
            cell["method"],
            {
                "budget": budget_figure(cell["budget"]),
                METRICS[metric].difference: Figure(with_interval(*delta, sign=True), delta[0]),
                "verdict": verdict(outcome(cell), cell["reason"]),
                "backbone": escape(cell["backbone"]),
                "data set": escape(dataset_title(cell["dataset"])),
                "parameters": Figure(size, cell["parameters"]),
                "CPU": time_figure(cell["cpu_seconds"]),
                "front": "★" if cell["on_front"] else "",
                "family": cards[cell["method"]].family,
            },
        )


def _page(method: str) -> str:
    """Name of a method's page: its spec without options and rounding."""
    return method.partition(":")[0].partition("+")[0]


def _places(one: Published) -> Iterator[tuple[str, Row]]:
    """The cells as rows of methods' pages, with the name of the page."""
    board = f'<a href="../{one.slug}.html">{one.board.name}</a>'
    for method, row in _cells(one.known.frame):
        yield _page(method), {"board": board, "method": escape(method), **row}


def _method_page(name: str, rows: Sequence[Row]) -> Iterator[str]:
    (card,) = method_cards([name])
    yield f"# {name}"
    if card.family:
        yield f"{card.family.capitalize()}{f', {card.year}' if card.year else ''}."
    yield from (f"<p>{paragraph}</p>" for paragraph in card.paragraphs[:1])
    yield "[Source, options and ranges](../../methods.md)"
    yield "## Its places on the boards"
    yield table(rows, f"Places of {name}", only_if_various=("method", "family"))
    yield _scripts("../assets", [])


def _which_method(found: Sequence[Published]) -> Iterator[str]:
    rows, boards = [], [one for one in found if one.board.counts]
    for one in boards:
        known = one.known
        for budget in dict.fromkeys(known.frame["budget"]):
            if budget != FULL:
                choices = within_budget(known.frame, known.pairs, budget, known.margin)
                rows += [_advice(one, budget, choice) for choice in choices if choice.choice]
    features = [count for one in boards for count in one.features.values()]
    dense = [one.size(name)[1].number for one in boards for name in one.rows]
    yield "# Which method for my table?"
    yield (
        "Take the boards whose data are most like yours: type in your numbers, and the nearest "
        "come first. Then check the method on your own rows: "
        "[`pepbench recommend`](../recommend.md) has its rules and prints the commands."
    )
    yield (
        '<div class="filters">'
        '<label>Features <input id="my-features" type="number" min="1"></label>'
        '<label>Training rows <input id="my-rows" type="number" min="1"></label>'
        '<output id="nearest" aria-live="polite"></output></div>'
    )
    yield table(rows, "What the boards recommend")
    yield "## What is not known"
    yield (
        f"* Tables outside what was run: {min(features):,} to {max(features):,} features, "
        f"{min(dense):.2g} to {max(dense):,.0f} training rows per feature.\n"
        "* Whether the nearest board is the right one: near means a small difference of the "
        "logarithms of both numbers. No test says that methods do alike on tables that are near.\n"
        "* Budgets and backbones that are not in the table.\n"
        "* What each board leaves open: open *known, and not* in its row."
    )
    yield _scripts("assets", [])


def _advice(one: Published, budget: str, found: Recommendation) -> Row:
    choice = found.choice
    assert choice is not None
    features, dense = one.size(found.dataset)
    lines = [f"It has {found.reason}."]
    if found.alike:
        lines.append(f"As good: {', '.join(other.method for other in found.alike)}.")
    if found.undecided:
        lines.append(f"Not shown to be worse: {', '.join(found.undecided)}.")
    lines += [f"Not known: {line[0].lower()}{line[1:]}" for line in found.unknown]
    delta = (choice.difference, choice.low, choice.high)
    return {
        "method": _linked(choice.method),
        "budget": budget_figure(budget),
        "Δ to the full table": Figure(with_interval(*delta, sign=True), choice.difference),
        "verdict": verdict(choice.verdict),
        "why": details("known, and not", lines),
        "features": features,
        "rows per feature": dense,
        "data set": escape(dataset_title(found.dataset)),
        "backbone": escape(found.backbone),
        "board": f'<a href="{one.slug}.html">{escape(one.board.name)}</a>',
        "CPU": time_figure(choice.cpu_seconds),
    }


def _scripts(assets: str, specs: Sequence[dict[str, Any]]) -> str:
    library = f'<script src="{assets}/vega.js"></script>\n' if specs else ""
    dark = dumps(DARK, sort_keys=True)
    return (
        f'<script type="application/json" id="dark-colours">{dark}</script>\n'
        f'<script type="text/plain" id="charts">{packed_specs(specs)}</script>\n'
        f'{library}<script src="{assets}/boards.js"></script>'
    )
