"""``report.html``: one file that needs no network, the same bytes for the same records."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined

from pepbench.analysis.metrics import METRICS, objective_name
from pepbench.analysis.significance import ALPHA
from pepbench.analysis.tuning import gains_frame, trials_frame
from pepbench.plan import PLAN_FILE
from pepbench.report.cards import method_cards
from pepbench.report.charts.highlight import report_marks
from pepbench.report.charts.panels import PanelChart, Spec, page_spec, unchecked
from pepbench.report.charts.report_charts import charts_of
from pepbench.report.charts.style import DARK
from pepbench.report.findings import Findings
from pepbench.report.page.tables import (
    comparison_tables,
    contrast_tables,
    gain_rows,
    leaderboard_rows,
    machine_rows,
    protocol_rows,
    rank_section,
    size_tables,
    summaries,
    verdict_matrices,
    with_detail,
)
from pepbench.report.phrases import LEVEL, block_title
from pepbench.report.table_rows import CONTRAST_TEXTS
from pepbench.units import dataset_title

PAGE = "report.html"
"""Name of the page's file, and of its template."""

_EXPOSE = "window.vegaEmbed = vegaEmbed;"
SYMBOLS = {
    "circle": "●",
    "square": "■",
    "triangle-up": "▲",
    "diamond": "◆",
    "triangle-down": "▼",
    "cross": "✚",
    "triangle-right": "▶",
    "triangle-left": "◀",
}
"""Characters that stand for the shapes of marks."""


def report_html(
    findings: Findings, folder: Path, charts: Mapping[str, PanelChart] | None = None
) -> str:
    """The whole page.

    Parameters
    ----------
    findings
        As :func:`pepbench.report.findings.load_runs` returns them.
    folder
        Where the page will be: its links to records are relative to it.
    charts
        Of :func:`pepbench.report.charts.report_charts.charts_of`, if they are drawn already.
    """
    with unchecked():
        return _rendered(findings, folder, charts_of(findings) if charts is None else charts)


def _rendered(findings: Findings, folder: Path, charts: Mapping[str, PanelChart]) -> str:
    frame, records = with_detail(findings), findings.records
    specs: list[Spec] = []
    panels = {name: numbered(specs, chart) for name, chart in charts.items()}
    template = environment(PackageLoader("pepbench.report.page")).get_template(PAGE)
    return template.render(
        style=asset("report.css"),
        script=asset("shared.js") + asset("report.js"),
        library=_library(),
        title="; ".join(map(dataset_title, dict.fromkeys(frame["dataset"]))),
        summary=summaries(findings).items(),
        methods=[
            {"name": name, "colour": mark.colour, "symbol": SYMBOLS[mark.shape]}
            for name, mark in report_marks(frame, findings.contrasts).items()
        ],
        fronts={
            "pareto": "parameters",
            "pareto-bytes": "bytes",
            "pareto-time": "time",
            "pareto-auc": "parameters, AUC itself",
        },
        charts=panels,
        sizes=size_tables(findings),
        rows=leaderboard_rows(frame, findings.runs, folder),
        matrices=verdict_matrices(frame),
        contrasts=contrast_tables(findings),
        contrast_texts=CONTRAST_TEXTS,
        notes=findings.notes,
        comparisons=comparison_tables(findings),
        ranks=rank_section(findings),
        gains=gain_rows(gains_frame(trials_frame(records))),
        widths=findings.recovery.frame.to_dict("records"),
        cards=method_cards(frame["method"]),
        protocols=protocol_rows(records),
        machines=machine_rows(records),
        plans=_plans(findings),
        alpha=f"{ALPHA:g}",
        level=LEVEL,
        margin=f"{findings.margin:g}",
        metric=METRICS[findings.metric],
        goal=objective_name(records),
        dark=json.dumps(DARK, sort_keys=True),
        specs=packed_specs(specs),
    )


def numbered(specs: list[Spec], chart: PanelChart) -> list[dict[str, Any]]:
    """Append the specifications of a chart's panels; number, title and label of each."""
    panels = []
    for name, spec in chart.specs.items():
        title = block_title(name)
        panels.append({"id": len(specs), "title": title, "words": f"{chart.label}: {title}"})
        specs.append(page_spec(spec))
    return panels


def _plans(findings: Findings) -> list[dict[str, str]]:
    plans = []
    for folder in findings.runs.folders:
        path = folder / PLAN_FILE
        if path.is_file():
            plans.append({"folder": folder.name, "text": path.read_text("utf-8")})
    return plans


def packed_specs(specs: Iterable[dict[str, Any]]) -> str:
    """Specifications for the page: many charts repeat the same rows."""
    text = json.dumps(list(specs), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _packed(text)


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed, minified, as one module that leaves ``vegaEmbed`` behind."""
    return _packed(vl_convert.javascript_bundle(_EXPOSE))


def _packed(text: str) -> str:
    """Compressed, in characters that are safe in HTML; ``unpacked`` of shared.js reads it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def asset(name: str) -> str:
    """The text of a style sheet or script of the page."""
    return files("pepbench.report.page").joinpath("templates", name).read_text("utf-8")


def environment(loader: BaseLoader) -> Environment:
    """Templates in which texts are escaped and data sets are ``titled``."""
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["titled"] = dataset_title
    return made
