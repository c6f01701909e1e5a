"""Exported tables, looked up with numpy and safetensors alone.

>>> from pepbench.serve import load
>>> table = load("OUT")                                     # doctest: +SKIP
>>> table.lookup({"user": ["7"], "item": ["12"]}).shape     # doctest: +SKIP
(1, 2, 16)
"""

from __future__ import annotations

from pepbench.errors import ServeError
from pepbench.serve.table import ServedTable, load

__all__ = ["ServeError", "ServedTable", "load"]
