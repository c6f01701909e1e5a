"""ReLU and dropout in one pass, with masks from a fast generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pepbench.compiling import compiled
from pepbench.tables.kernels import Floats

BLOCK = 512
"""Random numbers of 64 bits that are drawn at once: they stay in the fastest cache."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)

_exact = compiled(error_model="numpy")
"""Without fast maths: a nan or an infinity, which ends a training, must pass."""


class ReLUDropout(nn.Module):
    """ReLU, then dropout (Srivastava et al., JMLR 2014), of any shape.

    In training each output is 0 with ``probability``, or else divided by 1 − ``probability``. On a
    CPU a compiled loop does both at once. Its masks are independent draws from the same
    distribution as those of ``torch.nn.Dropout``, in a tenth of the time. They depend on the state
    of torch's generator alone, not on the number of threads. Elsewhere, and in half precision, it
    is ``torch.nn.functional.dropout``.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs in the shape of the inputs; without dropout when not training."""
        if not self.training:
            return inputs.relu()
        if inputs.device.type != "cpu" or inputs.dtype not in (torch.float32, torch.float64):
            return functional.dropout(inputs.relu(), self.probability)
        outputs: Tensor = _ReLUDropout.apply(inputs, self.probability)  # type: ignore[no-untyped-call]
        return outputs

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.probability}"


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, probability: float) -> Tensor:
        outputs = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        seed = np.uint64(torch.randint(2**63 - 1, ()).item())
        ctx.scale = 1 / (1 - probability)
        dropped = np.uint32(round(probability * 2**32))
        of_inputs = inputs.detach().contiguous().view(-1).numpy()
        relu_dropout(of_inputs, seed, dropped, ctx.scale, outputs.view(-1).numpy())
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (outputs,) = ctx.saved_tensors
        result = torch.empty_like(outputs)
        tensors = (outputs, gradient.contiguous(), result)
        relu_dropout_backward(ctx.scale, *(tensor.view(-1).numpy() for tensor in tensors))
        return result, None


@_exact
def relu_dropout(
    inputs: Floats, seed: np.uint64, dropped: np.uint32, scale: float, outputs: Floats
) -> None:
    """Fill ``outputs`` (n,) with relu(``inputs``) · ``scale``, or 0 where a unit is dropped.

    A unit is dropped with probability ``dropped`` / 2³², by 32 random bits of its own. They are
    those of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014) from ``seed``: hashes of positions, of which the processor computes several at
    once.
    """
    n = inputs.shape[0]
    kind = inputs.dtype.type
    zero, factor = kind(0), kind(scale)
    drawn = np.empty(BLOCK, np.uint64)
    words = drawn.view(np.uint32)
    state = seed
    for start in range(0, n, 2 * BLOCK):
        for k in range(BLOCK):
            z = state + np.uint64(k + 1) * _GAMMA
            z = (z ^ (z >> _30)) * _MIX_1
            z = (z ^ (z >> _27)) * _MIX_2
            drawn[k] = z ^ (z >> _31)
        state += np.uint64(BLOCK) * _GAMMA
        # Slices, since loops whose indices may be negative are not vectorised.
        block, result = inputs[start : start + 2 * BLOCK], outputs[start : start + 2 * BLOCK]
        for k in range(block.shape[0]):
            # A nan is not ≤ 0, and remains.
            passes = not (block[k] <= zero or words[k] < dropped)
            result[k] = block[k] * factor if passes else zero


@_exact
def relu_dropout_backward(
    scale: float, outputs: Floats, gradient: Floats, inputs_gradient: Floats
) -> None:
    """Gradient of :func:`relu_dropout` from its outputs, which are 0 where none passes; (n,)."""
    kind = outputs.dtype.type
    zero, factor = kind(0), kind(scale)
    for k in range(outputs.shape[0]):
        inputs_gradient[k] = gradient[k] * factor if outputs[k] != zero else zero
