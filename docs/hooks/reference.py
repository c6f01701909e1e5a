"""Generate reference pages from the code: the command line and the schema of records."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import griffe
from pydantic import BaseModel
from typer.cli import get_docs_for_click
from typer.main import get_command

from pepbench.cli import app
from pepbench.records import Record
from pepbench.report.cards import docstring_markdown
from pepbench.report.markdown import github_table


def command_line() -> str:
    """Describe every command with its usage, arguments, options and examples."""
    command = get_command(app)
    context: Any = command.context_class(command)
    text = get_docs_for_click(obj=command, ctx=context, indent=1, name="pepbench")
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", text)  # they follow, and in full
    # Examples are lines indented by two blanks, with empty lines between them.
    return re.sub(r"\n\n  (?=\S)", "\n    ", text).replace("Examples:\n", "Examples:\n\n")


def record_schema() -> str:
    """Describe every model of a record file with its keys, outermost first."""
    source = griffe.load("pepbench.records", try_relative_path=False)
    return "\n\n".join(
        part for model in _models(Record) for part in _model(model, source[model.__name__])
    )


def _models(kind: Any) -> list[type[BaseModel]]:
    kinds = [kind]
    for outer in kinds:
        fields = outer.model_fields.values() if _is_model(outer) else ()
        inner = (*get_args(outer), *(field.annotation for field in fields))
        kinds += [each for each in dict.fromkeys(inner) if each not in kinds]
    return [each for each in kinds if _is_model(each)]


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _model(model: type[BaseModel], source: Any) -> Iterator[str]:
    yield f"## {model.__name__}"
    yield docstring_markdown(inspect.getdoc(model) or "")
    rows = []
    for name in model.model_fields:
        attribute = source.members[name]
        meaning = docstring_markdown(attribute.docstring.value) if attribute.docstring else ""
        kind = str(attribute.annotation).replace("|", "\\|")
        rows.append((f"`{name}`", f"`{kind}`", " ".join(meaning.split())))
    headings = ("key", "type", "meaning")
    yield github_table(rows, headings, headings)


PARTS: dict[str, Callable[[], str]] = {
    "command line": command_line,
    "record schema": record_schema,
}
"""Texts that replace ``<!-- generated: NAME -->`` on a page, by name."""
