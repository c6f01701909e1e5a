"""Compiled loops: numba, cached on disk wherever that is possible."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])


class _Cache(FunctionCache):
    """A cache that may fail: its folder may turn unwritable or full, and a file may be damaged."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


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
        dispatcher: Any = numba.njit(nogil=True, **flags)(function)
        # As ``cache=True`` does, which raises where there is no folder to write to.
        with suppress(RuntimeError, OSError):
            dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
        result: Function = dispatcher
        return result

    return compile_it
