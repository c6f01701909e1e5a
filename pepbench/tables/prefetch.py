"""Software prefetch, for compiled loops over rows that are scattered in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from pepbench.compiling import compiled

PREFETCH_ROWS = 8
"""How many rows ahead of its present one a loop prefetches."""

_LINE = 64
"""Bytes of a cache line."""


@intrinsic
def prefetch(_typing: Any, address: types.Type) -> tuple[Any, Any]:  # noqa: ARG001
    """Prefetch the cache line at ``address`` for writing; a hint, which never faults."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        hint = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        place = builder.inttoptr(arguments[0], pointer)
        builder.call(hint, [place, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@compiled()
def prefetch_row(table: NDArray[Any], row: int) -> None:
    """Prefetch all cache lines of ``table[row]``; ``table`` is C-contiguous."""
    stride = table.strides[0]
    start = table.ctypes.data + stride * row
    for offset in range(0, stride, _LINE):
        prefetch(np.uintp(start + offset))  # type: ignore[call-arg]
