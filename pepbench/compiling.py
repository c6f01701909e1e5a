"""Compiled loops: numba, cached on disk wherever that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**flags: Any) -> Callable[[Function], Function]:
    """Compile a function when it is first called, without Python's global lock.

    Numba keeps what it compiled beside the source file or in the user's cache folder. Where neither
    can be written, as in a container without a home, the function is compiled in each process.

    Parameters
    ----------
    flags
        Of ``numba.njit``, such as ``fastmath=True``.
    """

    def compile_it(function: Function) -> Function:
        try:
            result: Function = numba.njit(cache=True, nogil=True, **flags)(function)
        except RuntimeError:  # "cannot cache function ...: no locator available"
            result = numba.njit(nogil=True, **flags)(function)
        return result

    return compile_it
