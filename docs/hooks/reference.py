"""Generate reference pages from the code: the command line and the schema of records."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import griffe
import typer.main
from pydantic import BaseModel

from pepbench import records
from pepbench.cli import app
from pepbench.report.cards import docstring_markdown


def command_line() -> str:
    """Describe every command with its usage, arguments, options and examples."""
    return "\n".join(_command(typer.main.get_command(app), "pepbench", 2))


def _command(command: Any, path: str, level: int) -> Iterator[str]:
    context = command.context_class(command, info_name=path)
    yield f"{'#' * level} {path}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    rows = [row for parameter in command.params if (row := _parameter(parameter, context))]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from rows
        yield ""
    if command.epilog:
        examples = re.sub(r"\n\n(?=  )", "\n", command.epilog)
        title, _, lines = examples.partition("\n")
        yield f"{title}\n\n```text\n{inspect.cleandoc(lines)}\n```\n"
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command(inner, f"{path} {name}", min(level + 1, 3))


def _parameter(parameter: Any, context: Any) -> str:
    """Return a row of the table, or an empty string for an argument without explanation."""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    name, meaning = (" ".join(text.split()).replace("|", "\\|") for text in record)
    return f"| `{name}` | {meaning} |"


def record_schema() -> str:
    """Describe every model of a record file with its keys, outermost first."""
    source = griffe.load("pepbench.records", try_relative_path=False)
    return "\n".join(
        line for model in _models(records.Record) for line in _model(model, source[model.__name__])
    )


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for outer in found:
        for field in outer.model_fields.values():
            found += [inner for inner in _inside(field.annotation) if inner not in found]
    return found


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _model(model: type[BaseModel], source: griffe.Object) -> Iterator[str]:
    yield f"## {model.__name__}\n\n{docstring_markdown(inspect.getdoc(model) or '')}\n"
    yield "| key | type | meaning |\n|---|---|---|"
    for name in model.model_fields:
        attribute = source.members[name]
        meaning = docstring_markdown(attribute.docstring.value) if attribute.docstring else ""
        kind = str(attribute.annotation).replace("|", "\\|")
        yield f"| `{name}` | `{kind}` | {' '.join(meaning.split())} |"
    yield ""


PARTS: dict[str, Callable[[], str]] = {
    "command line": command_line,
    "record schema": record_schema,
}
"""Texts that replace ``<!-- generated: NAME -->`` on a page, by name."""
