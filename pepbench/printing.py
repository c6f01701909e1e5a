"""JSON on standard output."""

from __future__ import annotations

import json
import sys


def print_json(document: object) -> None:
    """Print the JSON document of ``--json``; escaped where the terminal lacks characters."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(document, indent=2, ensure_ascii=not is_unicode, allow_nan=False))
