"""The command line: parse, call, print.

Each command imports what it needs when it runs, so that help and completion stay quick.
"""

# isort: off
from pepbench.cli import run, reports, export, components, check, data

# isort: on
from pepbench.cli.entry import main
from pepbench.cli.program import app

COMMANDS = (run, reports, export, components, check, data)
"""The modules that add commands to :data:`app` as they are imported; help lists them so."""

__all__ = ["COMMANDS", "app", "main"]
