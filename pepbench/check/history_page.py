"""What ``pepbench report --history`` writes: the history as a picture and a page of its own."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from pepbench.check.history import read_history
from pepbench.check.history_chart import history_chart
from pepbench.records import write_atomically
from pepbench.report.charts.style import png_bytes, svg_bytes

PAGE = "history.html"

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>pepbench: checks over time</title>
<link rel="icon" href="data:,">
<style>
:root { --ground: #fff; --ink: #1b1f24; --soft: #545c66; --line: #d8dce2; --bad: #a3260f; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171c; --ink: #e4e6ea; --soft: #abb2bc; --line: #3a404a; --bad: #ffab99; }
}
body { margin: 0 auto; max-width: 1100px; padding: 20px; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", Verdana, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; }
p { color: var(--soft); }
.picture { background: #fff; border: 1px solid var(--line); border-radius: 10px; overflow-x: auto; }
.picture svg { display: block; width: 100%; min-width: 640px; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: 1.2rem 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; }
.failed { color: var(--bad); font-weight: 600; }
</style>
</head>
<body>
<main>
<h1>Checks over time</h1>
<p>{{ checks | length }} checks from {{ checks[-1].date }} to {{ checks[0].date }}.
{{ n_failed }} failed.</p>
<div class="picture" role="img" tabindex="0"
 aria-label="AUC and times of each cell over time; what has got worse is in the table.">
{{ picture | safe }}
</div>
<div class="scroll" role="region" tabindex="0" aria-label="All checks">
<table>
<caption>All checks, the latest first</caption>
<thead><tr><th scope="col">time (UTC)</th><th scope="col">revision</th>
<th scope="col">outcome</th><th scope="col">what has got worse</th></tr></thead>
<tbody>
{% for check in checks %}
<tr><td>{{ check.time }}</td><td><code>{{ check.revision }}</code></td>
<td{% if check.failed %} class="failed"{% endif %}>{{ "failed" if check.failed else "passed" }}</td>
<td>{% for line in check.worse %}
{{ line }}{% if not loop.last %}<br>{% endif %}
{% endfor %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</main>
</body>
</html>
"""


def report_history(path: Path, out: Path | None, *, open_page: bool, as_json: bool) -> int:
    """Write ``history.html``, ``.svg`` and ``.png``, and say what was written.

    Parameters
    ----------
    path
        To which checks were appended.
    out
        Folder to write to; by default the file's.
    open_page
        Show the page in the browser.
    as_json
        Print all checks as one JSON document instead of the files' names.

    Raises
    ------
    RecordError
        As :func:`pepbench.check.history.read_history`.
    """
    frame = read_history(path, lambda line: print(f"pepbench: {line}", file=sys.stderr))
    folder = out or path.parent
    chart = history_chart(frame)
    picture = svg_bytes(chart)
    write_atomically(folder / "history.svg", picture)
    write_atomically(folder / "history.png", png_bytes(chart))
    write_atomically(folder / PAGE, history_html(frame, picture.decode()).encode())
    if as_json:
        print(json.dumps({"checks": list(checks_of(frame))}, indent=2, ensure_ascii=False))
    else:
        print(*(folder / name for name in (PAGE, "history.svg", "history.png")), sep="\n")
    if open_page:
        webbrowser.open((folder / PAGE).resolve().as_uri())
    return 0


def history_html(frame: pd.DataFrame, picture: str) -> str:
    """One page that needs no network: the picture, and a table of all checks.

    Parameters
    ----------
    frame
        As :func:`pepbench.check.history.read_history` returns it.
    picture
        As SVG.
    """
    checks = list(checks_of(frame))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_TEMPLATE).render(
        checks=checks,
        n_failed=sum(check["failed"] for check in checks),
        picture=picture,
    )


def checks_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Each check, the latest first: its time, revision, outcome, and what has got worse."""
    for (created, git), findings in reversed(
        list(frame.groupby(["created", frame["git"].fillna("")], sort=False))
    ):
        yield {
            "date": f"{created:%Y-%m-%d}",
            "time": f"{created:%Y-%m-%d %H:%M}",
            "revision": str(git)[:12],
            "failed": bool(findings["failed"].iloc[0]),
            "worse": [_line(row) for row in findings[findings["alarm"]].to_dict("records")],
        }


def _line(finding: Mapping[Any, Any]) -> str:
    words = f"{finding['subject']}: {finding['kind']} {finding['verdict']}"
    if pd.isna(finding["change"]):
        return words
    change = f"{finding['change']:{'+.4f' if finding['unit'] == 'AUC' else '+.1%'}}"
    return f"{words} ({change.replace('-', '−')})"
