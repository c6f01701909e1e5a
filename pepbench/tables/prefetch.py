"""Asking the memory ahead of need, from compiled loops over rows that lie scattered."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic


@intrinsic
def prefetch(_typing: Any, address: types.Type) -> tuple[Any, Any]:  # noqa: ARG001
    """Ask for the cache line at an address, to be written; a hint, never a fault."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        hint = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        place = builder.inttoptr(arguments[0], pointer)
        builder.call(hint, [place, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate
