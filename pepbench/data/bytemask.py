"""Where a byte occurs among many, at one go: for compiled loops over text."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

MASK_BYTES = 64


@intrinsic
def where_equal(_typing: Any, address: types.Type, byte: types.Type) -> tuple[Any, Any]:  # noqa: ARG001
    """Compare the :data:`MASK_BYTES` bytes at an address: one bit each, the first one lowest.

    The compiler has instructions for it on all machines; of a loop it does not make them.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), MASK_BYTES)
        first_lanes = ir.VectorType(ir.IntType(32), MASK_BYTES)
        anything = ir.Constant(lanes, ir.Undefined)
        one = builder.insert_element(anything, arguments[1], ir.IntType(32)(0))
        everywhere = builder.shuffle_vector(
            one, anything, ir.Constant(first_lanes, [0] * MASK_BYTES)
        )
        text = builder.load(builder.inttoptr(arguments[0], lanes.as_pointer()), align=1)
        return builder.bitcast(builder.icmp_unsigned("==", text, everywhere), ir.IntType(64))

    return types.uint64(types.uintp, types.uint8), generate


@intrinsic
def lowest_bit(_typing: Any, word: types.Type) -> tuple[Any, Any]:  # noqa: ARG001
    """The position of the lowest bit that is set; of zero, anything."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate
