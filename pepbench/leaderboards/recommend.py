"""The command ``recommend``: from a board or a run to a method, lines of Python and commands."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from pepbench.analysis.recommend import Choice, Recommendation, losing_at_most, within_budget
from pepbench.analysis.tuning import written
from pepbench.catalog import Catalog
from pepbench.component import Value, split_spec
from pepbench.errors import EXIT_FAILED, PlanError, unknown_name
from pepbench.leaderboards.board_results import BoardResults, load_results
from pepbench.leaderboards.boards import find_boards, results_folder
from pepbench.leaderboards.python_lines import python_lines
from pepbench.leaderboards.record_packing import RECORDS_FILE
from pepbench.plan import MANY_FOLDS
from pepbench.printing import print_json
from pepbench.records import Record
from pepbench.report.findings import Findings, load_runs
from pepbench.report.phrases import percent
from pepbench.units import duration

Evidence = BoardResults | Findings
"""What a recommendation is made from: a published board or a run."""


def evidence(source: str, results: Path | None) -> Evidence:
    """Read a run's folder, a published board's folder, or a board by its name.

    Raises
    ------
    PlanError
        If there is no such board; names the nearest.
    RecordError
        If a folder holds no records, or they cannot be read.
    """
    folder = Path(source)
    if folder.is_dir() and not (folder / RECORDS_FILE).is_file():
        return load_runs([folder])
    if not folder.is_dir():
        (board,) = find_boards(results_folder(results), [source])
        folder = board.folder
    if not (folder / RECORDS_FILE).is_file():
        raise PlanError(f"{folder}: this board has no {RECORDS_FILE} yet; run it first")
    return load_results(folder)


def recommend(
    source: str,
    *,
    budget: str | None = None,
    loss: float | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    results: Path | None = None,
    plugins: tuple[Path, ...] = (),
    as_json: bool = False,
) -> int:
    """Print which method to take, and how to use it and check it.

    Parameters
    ----------
    source
        Name or folder of a board, or folder of a run.
    budget, loss
        The budget, or the AUC that may be lost; one of both.
    dataset, backbone
        By default, all of the board.
    results
        Folder of the boards.
    plugins
        Files that define further methods.
    as_json
        Print one JSON document.

    Returns
    -------
    int
        0, or 1 if no method can be recommended.

    Raises
    ------
    PlanError
        If both or none of ``budget`` and ``loss`` are given, or for a name that is not there.
    """
    if (budget is None) == (loss is None):
        raise PlanError("give either --budget or --lose-at-most")
    known = evidence(source, results)
    frame = _chosen(_chosen(known.frame, "dataset", dataset), "backbone", backbone)
    if budget is not None:
        found = within_budget(frame, known.contrasts, budget, known.margin)
    else:
        found = losing_at_most(frame, known.comparisons, cast(float, loss))
    catalog = Catalog(plugins)
    answers = [Answer.of(one, known.records, catalog) for one in found]
    if as_json:
        print_json(
            {
                "from": source,
                "budget": budget,
                "lose_at_most": loss,
                "recommendations": [_as_data(answer) for answer in answers],
            }
        )
    else:
        print("\n\n".join("\n".join(_lines(answer)) for answer in answers))
    return 0 if any(one.choice for one in found) else EXIT_FAILED


def _chosen(frame: pd.DataFrame, column: str, name: str | None) -> pd.DataFrame:
    if name is None:
        return frame
    if name not in set(frame[column]):
        raise PlanError(unknown_name(column, name, set(frame[column])))
    return frame[frame[column] == name]


@dataclass(frozen=True)
class Answer:
    """A recommendation with what its reader does next.

    Attributes
    ----------
    found
        The recommendation.
    options
        Of the chosen method, for each option that was tuned: the value of each of its final runs,
        in ascending order.
    python
        Lines for a model of one's own; empty where ``pepbench.nn`` does not have the method.
    commands
        That check it on rows of one's own.
    notes
        On options and lines.
    """

    found: Recommendation
    options: dict[str, tuple[Value, ...]]
    python: tuple[str, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, found: Recommendation, records: Sequence[Record], catalog: Catalog) -> Answer:
        """Add options, lines and commands to a recommendation."""
        if found.choice is None:
            return cls(found, {}, (), (), ())
        choices = (found.choice, *found.alike)
        tuned = [tuned_options(records, found, each) for each in choices]
        specs = [
            spelt_out(each.method, records, options)
            for each, options in zip(choices, tuned, strict=True)
        ]
        spec, notes = usable_spec(specs[0], tuned[0], catalog)
        python, more = python_lines(spec, found.choice.budget, catalog)
        others = zip(found.alike, specs[1:], tuned[1:], strict=True)
        for other, theirs, options in () if python else others:
            usable, _ = usable_spec(theirs, options, catalog)
            python, _ = python_lines(usable, other.budget, catalog)
            if python:
                more = (*more, f"the lines below are for {other.method}")
                break
        commands = check_commands(specs, found.backbone, found.choice.budget, catalog)
        return cls(found, tuned[0], python, commands, (*notes, *more))


def tuned_options(
    records: Sequence[Record], found: Recommendation, choice: Choice
) -> dict[str, tuple[Value, ...]]:
    """The options that tuning varied, with the value of each final run, in ascending order."""
    cell = (found.dataset, found.backbone, choice.method, choice.budget)
    mine = [record.spec for record in records if record.spec.cell == cell]
    tried: dict[str, set[Value]] = {}
    for spec in mine:
        for name, value in spec.method.options.items():
            tried.setdefault(name, set()).add(value)
    finals = [spec.method.options for spec in mine if spec.role == "final"]
    return {
        name: tuple(sorted((options[name] for options in finals), key=lambda v: (str(type(v)), v)))
        for name, values in tried.items()
        if len(values) > 1 and finals
    }


def spelt_out(method: str, records: Sequence[Record], tuned: Collection[str] = ()) -> str:
    """A method's spec by its own name where the plan gave it another one, as in ``mine=pep``.

    Without the ``tuned`` options.
    """
    spec = next((r.spec.method for r in records if r.spec.method.spec == method), None)
    if spec is None or split_spec(method)[0] == spec.name:
        return method
    fixed = {name: value for name, value in spec.options.items() if name not in tuned}
    return ":".join([spec.name, *(f"{name}={value}" for name, value in fixed.items())])


def usable_spec(
    method: str, options: dict[str, tuple[Value, ...]], catalog: Catalog
) -> tuple[str, tuple[str, ...]]:
    """A method's spec with the options that were tuned, and notes on how they were chosen.

    Where folds chose different values, the spec has the median of numbers, and of names the one
    chosen most often. Without options, where this version does not have them.
    """
    differing = {name: values for name, values in options.items() if len(set(values)) > 1}
    notes = (
        (
            f"tuned anew in each fold: {', '.join(differing)}; the line has the median of numbers, "
            "and of names the one chosen most often",
        )
        if differing
        else ()
    )
    middles = {
        name: statistics.median_low(v) if _are_numbers(v) else statistics.mode(v)
        for name, v in options.items()
    }
    for text in (written, str):  # short, unless rounding leaves the option's range
        spec = method + "".join(f":{name}={text(v)}" for name, v in middles.items())
        try:
            catalog.select("method", spec)
        except PlanError as error:
            problem = str(error)
        else:
            return spec, notes
    name = method.partition(":")[0]
    if name.partition("+")[0] not in catalog.entries("method"):
        return name, (f"{name} is not built in: name its file with --plugin",)
    return name, (f"this version has no {method}: {problem.partition('. Known')[0]}",)


def check_commands(
    specs: Sequence[str], backbone: str, budget: str, catalog: Catalog
) -> tuple[str, ...]:
    """Commands that compare methods, by their specs, with each other and the full table."""
    methods = [usable_spec(spec, {}, catalog)[0] for spec in specs]
    names = ",".join(dict.fromkeys([*methods, "full"]))
    are_known = split_spec(backbone)[0] in catalog.entries("backbone") and all(
        split_spec(method)[0].partition("+")[0] in catalog.entries("method") for method in methods
    )
    files = [*map(str, catalog.plugins)] or ([] if are_known else ["FILE.py"])
    plugins = "".join(f" --plugin {file}" for file in files)
    return (
        "pepbench data add mine --from FILE --label COLUMN --fields COLUMN,COLUMN",
        f"pepbench run --datasets mine --backbones {backbone} --methods {names} "
        f"--budgets {budget} --folds {MANY_FOLDS}{plugins}",
    )


def _tuned(name: str, values: Sequence[Value]) -> str:
    """An option with its value, or with those of all folds.

    >>> _tuned("alpha", (0.1, 0.2, 0.25))
    'alpha = 0.1 to 0.25'
    >>> _tuned("start", ("initial", "trained", "trained"))
    'start = trained (2 of 3) or initial (1)'
    """
    if _are_numbers(values) or len(set(values)) == 1:
        ends = dict.fromkeys(map(written, (values[0], values[-1])))
        return f"{name} = {' to '.join(ends)}"
    (first, most), *others = Counter(map(written, values)).most_common()
    named = [f"{first} ({most} of {len(values)})", *(f"{one} ({n})" for one, n in others)]
    return f"{name} = {' or '.join(named)}"


def _are_numbers(values: Sequence[Value]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _as_data(answer: Answer) -> dict[str, Any]:
    document = asdict(answer.found)
    cells = (document[name] for name in ("choice", "best", "no_table"))
    for choice in (*cells, *document["alike"]):
        for name, value in (choice or {}).items():
            if isinstance(value, float) and math.isnan(value):
                choice[name] = None
    return document | {
        "options": {name: list(values) for name, values in answer.options.items()},
        "python": list(answer.python),
        "commands": list(answer.commands),
        "notes": list(answer.notes),
    }


def _lines(answer: Answer) -> Iterator[str]:
    found = answer.found
    place = f"{found.dataset}, {found.backbone}"
    if found.choice is None:
        yield f"{place}: no recommendation: {found.reason}."
        if found.best is not None:
            yield f"  Nearest: {_described(found.best)}."
    else:
        yield f"{place}: take {_described(found.choice)}."
        yield from (f"  {sentence}" for sentence in reasons(found))
        if answer.options:
            yield f"  Tuned: {', '.join(map(_tuned, answer.options, answer.options.values()))}."
        yield from (f"  Note: {note}." for note in answer.notes)
    if found.unknown:
        yield "What it does not know:"
        yield from (f"  * {sentence}" for sentence in found.unknown)
    if answer.python:
        yield "In your model:"
        yield from (f"  {line}" for line in answer.python)
    if answer.commands:
        yield "To check it on your rows:"
        yield from (f"  {line}" for line in answer.commands)


def reasons(found: Recommendation) -> Iterator[str]:
    """Why a method is recommended, and what else might be, in sentences."""
    yield f"Why: {found.reason}."
    if found.no_table:
        yield f"But ask whether vectors pay: {_described(found.no_table)}."
    if found.alike:
        yield "As good by this rule: " + "; ".join(map(_described, found.alike)) + "."
    if found.undecided:
        yield f"Lower, but not shown to be worse than the best: {', '.join(found.undecided)}."


def _described(choice: Choice) -> str:
    share = percent(choice.parameters / choice.full_parameters)
    text = f"{choice.method} at {choice.budget} ({choice.parameters:,} parameters, {share}"
    if not math.isnan(choice.cpu_seconds):
        text += f"; {duration(choice.cpu_seconds)} of CPU a training"
    if math.isnan(choice.difference):
        return f"{text}; AUC {choice.auc:.4f}, not compared with the full table)"
    return (
        f"{text}; ΔAUC to the full table {choice.difference:+.4f}, "
        f"95% interval {choice.low:+.4f} to {choice.high:+.4f}: {choice.verdict})"
    )
