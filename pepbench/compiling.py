"""Compiled loops: numba, cached on disk wherever that is possible.

The same bits come from a process that compiles and from one that loads what another compiled.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from numbers import Number
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

_STAMPS: dict[str, str] = {}
"""Time and size of source files when the functions in them were defined."""

Function = TypeVar("Function", bound=Callable[..., Any])


class _Cache(FunctionCache):
    """A cache that may fail: its folder may turn unwritable or full, and a file may be damaged.

    Numba looks at the function's own file only; its key here also has the flags and what the
    function takes from other files.
    """

    def __init__(self, function: FunctionType, flags: Mapping[str, object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._function = function
        self._flags = repr([(name, _ordered(flags[name])) for name in sorted(flags)])

    def _index_key(self, sig: Any, codegen: Any) -> tuple[object, ...]:
        own = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return (*own, self._flags, *sorted(set(_ingredients(self._function))))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def _ordered(value: object) -> object:
    return sorted(value) if isinstance(value, set) else value


def called_kernels(function: FunctionType) -> Iterator[Any]:
    """The compiled functions that ``function`` calls itself, by the names of its module."""
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher):
            yield value


def _ingredients(function: FunctionType) -> Iterator[tuple[str, str]]:
    """Constants of a function and of all that it calls, and versions of the files they are in."""
    code = function.__code__
    yield function.__module__, _STAMPS.get(code.co_filename, "")
    for name in code.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, Number | str | tuple):
            yield f"{function.__module__}.{name}", repr(value)
    for kernel in called_kernels(function):
        yield from _ingredients(kernel.py_func)


def compiled(**flags: Any) -> Callable[[Function], Function]:
    """Compile a function when it is first called, without Python's global lock.

    Numba keeps what it compiled beside the source file or in the user's cache folder. Where neither
    can be written, as in a container without a home, the function is compiled in each process.

    Compiled callers always inline it. Otherwise each caller's library holds a copy of it, optimised
    once more and under the same name; which copy is called, and so the order of its sums, would
    depend on what the process has compiled and what it has loaded.

    Parameters
    ----------
    flags
        Of ``numba.njit``, such as ``fastmath=True``.
    """

    def compile_it(function: Function) -> Function:
        dispatcher: Any = numba.njit(nogil=True, forceinline=True, **flags)(function)
        with suppress(OSError):
            file = dispatcher.py_func.__code__.co_filename
            state = Path(file).stat()
            _STAMPS[file] = f"{state.st_mtime_ns} {state.st_size}"
        # As ``cache=True`` does, which raises where there is no folder to write to.
        with suppress(RuntimeError, OSError):
            dispatcher._cache = _Cache(dispatcher.py_func, dispatcher.targetoptions)
        result: Function = dispatcher
        return result

    return compile_it
