"""Results as text and as the tables of the README."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from benchmarks.goals import Goal, short

BEGIN = "<!-- benchmarks.training: begin -->"
END = "<!-- benchmarks.training: end -->"


def markdown(document: dict[str, Any]) -> str:
    """All tables, between the README's marks."""
    parts = [BEGIN, _headline(document)]
    for title, rows in _speeds(document):
        parts += [f"**{title}**", tabulate(rows, headers="keys", tablefmt="github")]
    bounds = _bounds(document)
    if bounds:
        parts += [
            "**Memory bandwidth** (factorisation machine, full table)",
            tabulate(bounds, headers="keys", tablefmt="github"),
        ]
    parts += ["**Start**", _start(document)]
    parts += ["**Goals**", tabulate(_goals(document), headers="keys", tablefmt="github")]
    return "\n\n".join([*parts, END])


def text(document: dict[str, Any]) -> str:
    """All tables for a terminal."""
    parts = [_headline(document)]
    for title, rows in [*_speeds(document), ("Memory bandwidth", _bounds(document))]:
        parts += [title + "\n" + tabulate(rows, headers="keys")]
    parts += [_start(document), tabulate(_goals(document), headers="keys")]
    return "\n\n".join(parts)


def into_readme(readme: str, tables: str) -> str:
    """The README's text with the part between its marks replaced.

    >>> into_readme(f"a {BEGIN} old {END} b", f"{BEGIN} new {END}").count("old")
    0
    """
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return before + tables + after


def _headline(document: dict[str, Any]) -> str:
    machine = document["machine"]
    line = (
        f"Measured on {machine['cpu']}, {machine['cores']} cores; Python {machine['python']}, "
        f"torch {machine['torch']}, pepbench {machine['pepbench'][:12]}; "
        f"medians of {document['rounds']}; load average before the start {machine['load']:.1f}."
    )
    absent = document["not_installed"]
    return f"{line} Left out, not installed: {', '.join(absent)}." if absent else line


def _speeds(document: dict[str, Any]) -> list[tuple[str, list[dict[str, str]]]]:
    """A table for each backbone and number of threads: contenders by sizes."""
    results = document["results"]
    tables = []
    for backbone, threads in dict.fromkeys((r["backbone"], r["threads"]) for r in results):
        columns = [r for r in results if (r["backbone"], r["threads"]) == (backbone, threads)]
        names = dict.fromkeys(name for r in columns for name in r["samples_per_second"])
        rows = [
            {"samples/s (ours ÷ theirs)": name, **{_size(r): _cell(r, name) for r in columns}}
            for name in names
        ]
        title = {"fm": "Factorisation machine", "deepfm": "DeepFM"}[backbone]
        tables.append((f"{title}, {threads} thread{'s'[: threads > 1]}", rows))
    return tables


def _size(result: dict[str, Any]) -> str:
    size = (f"N = {short(result['features'])}", f"D = {result['dim']}", f"F = {result['fields']}")
    return ", ".join([*size, f"B = {result['batch']}"])


def _cell(result: dict[str, Any], name: str) -> str:
    speed = result["samples_per_second"].get(name)
    if speed is None:
        return "–"
    ratio = result["ours_over_theirs"].get(name)
    return f"{_rounded(speed):,}" + ("" if ratio is None else f" ({ratio:.2f})")


def _rounded(speed: int) -> int:
    """Three significant digits; more would be noise."""
    return round(speed, 3 - len(str(speed)))


def _bounds(document: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for result in document["results"]:
        if "bound" in result:
            bound, threads = result["bound"], result["threads"]
            row = {
                "features": short(result["features"]),
                "threads": str(threads),
                "GB/s": f"{document['bandwidth'][str(threads)] / 1e9:.1f}",
                "optimizer": bound["optimizer"],
                "distinct features of a batch": f"{bound['distinct_features']:,}",
                "MB a step": f"{bound['bytes_of_step'] / 1e6:.2f}",
                "bound, samples/s": f"{_rounded(bound['samples_per_second']):,}",
                "reached": f"{bound['fraction']:.1%}",
            }
            rows.append(row)
    return rows


def _start(document: dict[str, Any]) -> str:
    start = document["start_seconds"]
    return (
        f"First step on the cached synthetic data set after {start['total']:.2f} s: "
        f"{start['open']:.2f} s to open it, {start['build']:.2f} s to build the model, "
        f"{start['first_step']:.2f} s for the step. When the loops are still to be compiled: "
        f"{start['total_when_compiling']:.2f} s."
    )


def _goals(document: dict[str, Any]) -> list[dict[str, str]]:
    """A line for each goal and setting, with a column for each size of the table."""
    found = [Goal(**entry) for entry in document["goals"]]
    sizes = dict.fromkeys(goal.size for goal in found)
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for goal in found:
        bound = f"{'≥' if goal.at_least else '≤'} {goal.limit:g}"
        line = {"goal": goal.question, "bound": bound, "setting": goal.setting}
        cells = lines.setdefault(tuple(line.values()), {**line, **dict.fromkeys(sizes, "")})
        note = f" ({goal.note})" if goal.note else ""
        cell = f"{'met' if goal.met else 'missed'}: {goal.figure:.2f}{note}"
        cells[goal.size] = f"{cells[goal.size]}; {cell}".lstrip("; ")
    return sorted(lines.values(), key=lambda line: line["goal"])
