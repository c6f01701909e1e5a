"""``report.html``: one file that needs no network, the same bytes for the same records."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pepbench.analysis.significance import ALPHA
from pepbench.analysis.tuning import curves_frame, gains_frame, trials_frame
from pepbench.plan import PLAN_FILE
from pepbench.report.charts.critical_difference import critical_panels
from pepbench.report.charts.curves import curve_panels, trial_panels
from pepbench.report.charts.forest import forest_panels
from pepbench.report.charts.palette import DARK, marks
from pepbench.report.charts.pareto import COSTS, pareto_panels
from pepbench.report.charts.pruning_curves import kept_frame, kept_panels
from pepbench.report.charts.style import Panel, page_spec, unchecked
from pepbench.report.citations import method_cards
from pepbench.report.findings import Findings
from pepbench.report.page.detail import (
    comparison_tables,
    rank_section,
    size_tables,
    summaries,
    with_detail,
)
from pepbench.report.page.tables import (
    gain_rows,
    leaderboard_rows,
    machine_rows,
    protocol_rows,
    verdict_matrices,
)
from pepbench.report.phrases import percent

_EXPOSE = "window.vegaEmbed = vegaEmbed;"
_SYMBOLS = {
    "circle": "●",
    "square": "■",
    "triangle-up": "▲",
    "diamond": "◆",
    "triangle-down": "▼",
    "cross": "✚",
    "triangle-right": "▶",
    "triangle-left": "◀",
}


def report_html(findings: Findings, folder: Path) -> str:
    """The whole page.

    Parameters
    ----------
    findings
        As :func:`pepbench.report.findings.load_runs` returns them.
    folder
        Where the page will be: its links to records are relative to it.
    """
    with unchecked():
        return _rendered(findings, folder)


def _rendered(findings: Findings, folder: Path) -> str:
    frame, records = with_detail(findings), findings.runs.records
    trials, ranks = trials_frame(records), findings.analysis.ranks
    bands = {"pareto": findings.analysis.fronts.attainment}
    specs: list[dict[str, Any]] = []
    template = _environment().get_template("report.html")
    return template.render(
        style=_asset("report.css"),
        script=_asset("report.js"),
        library=_library(),
        title=", ".join(dict.fromkeys(frame["dataset"])),
        summary=summaries(findings).items(),
        methods=[
            {"name": name, "colour": mark.colour, "symbol": _SYMBOLS[mark.shape]}
            for name, mark in marks(frame["method"]).items()
        ],
        fronts=[
            {
                "id": name,
                "words": {
                    "pareto": "parameters",
                    "pareto-bytes": "bytes",
                    "pareto-time": "time",
                }[name],
                "charts": _charts(specs, pareto_panels(frame, name, bands.get(name)), "AUC"),
            }
            for name in COSTS
        ],
        sizes=size_tables(findings),
        forest=_charts(specs, forest_panels(frame, findings.margin), "Difference of AUC"),
        curves=_charts(specs, curve_panels(curves_frame(records), frame), "Learning curves"),
        kept=_charts(specs, kept_panels(kept_frame(records), frame), "Pruning curves"),
        trials=_charts(specs, trial_panels(trials, frame), "Tuning trials"),
        rows=leaderboard_rows(frame, findings.runs, folder),
        matrices=verdict_matrices(frame),
        comparisons=comparison_tables(findings),
        ranks=rank_section(findings),
        critical=_charts(
            specs, critical_panels(ranks.ranks, ranks.tests, ranks.cliques), "Mean ranks"
        ),
        gains=gain_rows(gains_frame(trials)),
        widths=findings.recovery.frame.to_dict("records"),
        cards=method_cards(frame["method"]),
        protocols=protocol_rows(records),
        machines=machine_rows(records),
        plans=_plans(findings),
        alpha=f"{ALPHA:g}",
        level=percent(1 - ALPHA).replace(".0", ""),
        margin=f"{findings.margin:g}",
        dark=json.dumps(DARK, sort_keys=True),
        specs=_drawn(specs),
    )


def _charts(
    specs: list[dict[str, Any]], panels: dict[Any, Panel], words: str
) -> list[dict[str, Any]]:
    """Number the panels, keep their specifications, and say what each shows."""
    charts = []
    for name, panel in panels.items():
        title = " · ".join(name)
        charts.append({"id": len(specs), "title": title, "words": f"{words}: {title}"})
        spec = page_spec(panel)
        spec.pop("title", None)
        specs.append(spec)
    return charts


def _plans(findings: Findings) -> list[dict[str, str]]:
    plans = []
    for folder in findings.runs.folders:
        path = folder / PLAN_FILE
        if path.is_file():
            plans.append({"folder": folder.name, "text": path.read_text("utf-8")})
    return plans


def _drawn(specs: Iterable[dict[str, Any]]) -> str:
    """Specifications for the page: many charts repeat the same rows."""
    text = json.dumps(list(specs), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _packed(text)


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed, minified, as one module that leaves ``vegaEmbed`` behind."""
    return _packed(vl_convert.javascript_bundle(_EXPOSE))


def _packed(text: str) -> str:
    """Compressed, in letters that may stand in a page."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return files("pepbench.report.page").joinpath("templates", name).read_text("utf-8")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pepbench.report.page"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
