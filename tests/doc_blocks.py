"""Code blocks of the documentation, and how tests run them.

A comment before each block of shell commands says how tests run it:

``<!-- run -->``
    Unchanged. All blocks of a page run in one folder, in the order of the page.
``<!-- run: data ml-100k,anime; module onnx; with --seeds 3 -->``
    Only if the folder ``PEPBENCH_DATA_DIR`` contains these data sets and these modules are
    installed, with these options added to every ``pepbench run``. Each part is optional.
``<!-- not run: why -->``
    Not at all, for this reason. The options must still exist.
``<!-- ci: name -->``
    By ``.ci/run``.

A block in another language whose first line is a comment with a file name, such as
``# popular.py``, is written to that file.
"""

import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from pepbench.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")],
    key=lambda page: page.as_posix(),
)
FENCE = re.compile(
    r"(?:^ *<!-- (?P<marker>.*?) -->\n)?^ *```(?P<language>\w+)\n(?P<body>.*?)^ *```$", re.M | re.S
)
FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
PARTS = {"data", "module", "with"}


@dataclass(frozen=True)
class Block:
    """A fenced block and the comment before it."""

    language: str
    body: str
    marker: str

    @property
    def file(self) -> str | None:
        """The file that the block is written to, if any."""
        named = FILE.match(self.body)
        return named[1] if named and self.language != "sh" else None

    @property
    def runs(self) -> bool:
        return self.marker == "run" or self.marker.startswith("run:")

    @property
    def is_marked(self) -> bool:
        """Whether a valid comment says how tests run the block."""
        said = self.marker.removeprefix("not run:").strip()
        if self.marker.startswith("not run:") or self.marker.startswith("ci:"):
            return bool(said)
        return self.runs and set(self.parts) <= PARTS

    @property
    def parts(self) -> dict[str, str]:
        words = [part.strip() for part in self.marker.partition(":")[2].split(";") if part.strip()]
        return {word.partition(" ")[0]: word.partition(" ")[2] for word in words}

    def lacking(self) -> str:
        """Return what this machine lacks to run the block; empty if nothing."""
        given = os.environ.get("PEPBENCH_DATA_DIR")
        for name in filter(None, self.parts.get("data", "").split(",")):
            if given is None or not (Path(given) / name).exists():
                return f"PEPBENCH_DATA_DIR holds no {name}"
        for name in filter(None, self.parts.get("module", "").split(",")):
            if importlib.util.find_spec(name) is None:
                return f"{name} is not installed"
        return ""


def blocks(page: Path) -> list[Block]:
    return [
        Block(found["language"], found["body"], found["marker"] or "")
        for found in FENCE.finditer(page.read_text("utf-8"))
    ]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that ``words`` call, and the remaining words."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    return {"--help"} | {option for parameter in command.params for option in parameter.opts}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield every call of pepbench on a page, in blocks and in the text."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.body.replace("\\\n", " ").splitlines():
                for part in line.split("#")[0].split("&&"):
                    words = shlex.split(part)
                    if words and words[0].endswith("pepbench"):
                        yield words[1:]
    for call in re.findall(r"`(pepbench [^`]+)`", FENCE.sub("", page.read_text("utf-8"))):
        yield shlex.split(call)[1:]
