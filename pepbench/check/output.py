"""A check's findings as a table, JSON, JUnit XML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pepbench.check.baseline import Baseline
from pepbench.check.findings import Finding
from pepbench.records import Environment
from pepbench.report.markdown import escape, github_table


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    baseline: Baseline
    environment: Environment
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    seconds: float

    @property
    def failed(self) -> int:
        """Number of findings that fail the check."""
        return sum(finding.failed for finding in self.findings)

    def summary(self) -> str:
        """The outcome in one sentence."""
        total = len(self.findings)
        if self.failed:
            return f"{self.failed} of {total} figures have got worse."
        undecided = sum(finding.verdict == "undecided" for finding in self.findings)
        tail = f"; {undecided} undecided" if undecided else ""
        return f"None of {total} figures is shown to have got worse{tail}."


def as_table(checked: Checked) -> Group:
    """The findings as a table for a terminal; unchanged sizes take one line."""
    findings = shown(checked.findings)
    common = common_start([f.subject for f in findings if ", " in f.subject])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("subject", overflow="fold")
    for name in ("baseline", "now", "change", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for finding in findings:
        style = "bold red" if finding.failed else ""
        kind, subject, *cells, _ = row(finding)
        cells = [kind, subject.removeprefix(common), *cells, _words(finding)]
        table.add_row(*[Text(cell, style) for cell in cells])
    return Group(
        *([Text(common.removesuffix(", "), "bold")] if common else []),
        table,
        *[Text(warning, "yellow") for warning in checked.warnings],
        Text(checked.summary(), "bold red" if checked.failed else "bold green"),
    )


def shown(findings: Sequence[Finding]) -> list[Finding]:
    """The findings to show: changed sizes, or one line for all sizes if none has changed."""
    sizes = [finding for finding in findings if finding.kind == "size"]
    changed = [finding for finding in sizes if finding.failed]
    if sizes and not changed:
        changed = [Finding("size", f"all {len(sizes)} counts", "same", False)]
    others = [finding for finding in findings if finding.kind != "size"]
    accuracy = [finding for finding in others if finding.kind == "accuracy"]
    return [*accuracy, *changed, *(f for f in others if f.kind != "accuracy")]


def common_start(subjects: Sequence[str]) -> str:
    """The data set and backbone that all cells share, as a common prefix; or an empty string.

    >>> common_start(["anime, fm, pep, 10%", "anime, fm, mde, 10%: train"])
    'anime, fm, '
    """
    starts = {", ".join(subject.split(", ")[:2]) for subject in subjects}
    return f"{starts.pop()}, " if len(starts) == 1 else ""


def row(finding: Finding) -> tuple[str, str, str, str, str, str, str]:
    """Kind, subject, baseline, now, change, p and verdict as text."""
    return (
        finding.kind,
        finding.subject,
        _figure(finding.baseline, finding.unit),
        _figure(finding.current, finding.unit),
        _change(finding),
        "" if finding.p is None else f"{finding.p:.3f}",
        finding.verdict,
    )


def _words(finding: Finding) -> str:
    return f"{finding.verdict}: {finding.note}" if finding.note else finding.verdict


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "AUC":
        return f"{value:.4f}"
    if unit in ("parameters", "bytes", "backbone parameters"):
        return f"{value:,.0f} {unit}"
    return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def _change(finding: Finding) -> str:
    if finding.change is None:
        return ""
    return f"{finding.change:+.4f}" if finding.unit == "AUC" else f"{finding.change:+.1%}"


def as_json(checked: Checked) -> dict[str, Any]:
    """The document of ``--json``."""
    return {
        "failed": checked.failed,
        "summary": checked.summary(),
        "warnings": list(checked.warnings),
        "baseline": {
            "created": checked.baseline.created.isoformat(),
            "environment": checked.baseline.environment.model_dump(mode="json"),
        },
        "environment": checked.environment.model_dump(mode="json"),
        "seconds": round(checked.seconds, 1),
        "findings": [vars(finding) for finding in checked.findings],
    }


def as_junit(checked: Checked) -> bytes:
    """JUnit XML with a test case for each finding."""
    suite = ElementTree.Element(
        "testsuite",
        name="pepbench check",
        tests=str(len(checked.findings)),
        failures=str(checked.failed),
        errors="0",
        skipped="0",
        time=f"{checked.seconds:.1f}",
    )
    for finding in checked.findings:
        unit = f" ({finding.unit})" if finding.kind == "size" else ""
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"pepbench.{finding.kind}", name=finding.subject + unit
        )
        text = ", ".join(cell for cell in row(finding)[2:] if cell)
        if finding.failed:
            failure = ElementTree.SubElement(case, "failure", message=_words(finding))
            failure.text = text
        else:
            ElementTree.SubElement(case, "system-out").text = f"{text}; {finding.note}".strip("; ")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def as_markdown(checked: Checked) -> str:
    """A Markdown summary for the page of a CI job."""
    mark = "❌" if checked.failed else "✅"
    lines = [f"## {mark} pepbench check", "", checked.summary(), ""]
    lines += [f"> {escape(warning)}" for warning in checked.warnings]
    lines += ["" for _ in checked.warnings[:1]]
    rows = []
    for finding in shown(checked.findings):
        *cells, words = map(escape, (*row(finding)[:-1], _words(finding)))
        rows.append([*cells, f"**{words}**" if finding.failed else words])
    headings = ("what", "subject", "baseline", "now", "change", "p", "verdict")
    lines.append(github_table(rows, headings, ("what", "subject", "verdict")))
    created = checked.baseline.created
    revision = (checked.baseline.environment.git or "unknown")[:12]
    lines += ["", f"Baseline of {created:%Y-%m-%d}, revision {revision}."]
    return "\n".join(lines) + "\n"
