"""Standard output is for results: JSON as it should be, and nothing that plug-ins print."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import TextIO


def print_json(document: object) -> None:
    """Print the JSON document of ``--json``; escaped where the terminal lacks characters."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(document, indent=2, ensure_ascii=not is_unicode, allow_nan=False))


def prints_to_stderr() -> redirect_stdout[TextIO]:
    """A context in which ``print`` of a plug-in's code writes to standard error."""
    return redirect_stdout(sys.stderr)
