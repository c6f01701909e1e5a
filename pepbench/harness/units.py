"""Times and sizes as people write them."""

from __future__ import annotations

import re

from pepbench.errors import PlanError

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_seconds(text: str, option: str) -> float:
    """A time such as ``90s``, ``10m`` or ``1.5h``; raises :class:`PlanError`.

    >>> parse_seconds("10m", "--trial-timeout")
    600.0
    """
    return _parse(text, option, SECONDS, "90s, 10m or 1.5h")


def parse_bytes(text: str, option: str) -> int:
    """A size such as ``500MB`` or ``4GB``; raises :class:`PlanError`.

    >>> parse_bytes("1.5GB", "--memory-limit")
    1500000000
    """
    return round(_parse(text, option, BYTES, "500MB or 4GB"))


def _parse(text: str, option: str, units: dict[str, float] | dict[str, int], such_as: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match and match[2] in units and float(match[1]) > 0:
        return float(match[1]) * units[match[2]]
    raise PlanError(f"{option}: {text!r} is not understood; write, say, {such_as}")
