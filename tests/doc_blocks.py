"""Code blocks of the documentation, and how they are run.

A block of commands says in a comment before it how it is run:

``<!-- run -->``
    As it stands, in the order of the page, all blocks of a page in one folder.
``<!-- run: data ml-100k,anime; module onnx; with --seeds 3 -->``
    Where the folder ``PEPBENCH_DATA_DIR`` holds these; where these modules are installed; with
    these options at the end of every ``pepbench run``. Each part may be missing.
``<!-- not run: why -->``
    Never, for this reason; its options must exist nonetheless.
``<!-- ci: name -->``
    By ``.ci/run``.

Blocks of Python and the like whose first line is a comment with a file's name, such as
``# popular.py``, are written to that file.
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
    """A fenced block, and what the comment before it says."""

    language: str
    body: str
    marker: str

    @property
    def file(self) -> str | None:
        """The file that the block shows."""
        named = FILE.match(self.body)
        return named[1] if named and self.language != "sh" else None

    @property
    def runs(self) -> bool:
        return self.marker == "run" or self.marker.startswith("run:")

    @property
    def is_marked(self) -> bool:
        """Whether it is said how the block is run, in words that are known."""
        said = self.marker.removeprefix("not run:").strip()
        if self.marker.startswith("not run:") or self.marker.startswith("ci:"):
            return bool(said)
        return self.runs and set(self.parts) <= PARTS

    @property
    def parts(self) -> dict[str, str]:
        words = [part.strip() for part in self.marker.partition(":")[2].split(";") if part.strip()]
        return {word.partition(" ")[0]: word.partition(" ")[2] for word in words}

    def lacking(self) -> str:
        """What the block needs and this machine has not; empty if it can run."""
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
    """The command that words name, and the words after its name."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    return {"--help"} | {option for parameter in command.params for option in parameter.opts}


def commands(page: Path) -> Iterator[list[str]]:
    """Every call of the program on a page, in blocks and in the text."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.body.replace("\\\n", " ").splitlines():
                for part in line.split("#")[0].split("&&"):
                    words = shlex.split(part)
                    if words and words[0].endswith("pepbench"):
                        yield words[1:]
    for call in re.findall(r"`(pepbench [^`]+)`", FENCE.sub("", page.read_text("utf-8"))):
        yield shlex.split(call)[1:]
