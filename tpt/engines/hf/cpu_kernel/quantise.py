"""Rounds the rows that go into an int8 matrix product to whole numbers, compiled for this processor by numba.

Torch's own rounds a whole batch by one scale, so that one large number costs every other row its precision and a row
depends on its neighbours. Done row by row with torch's operators it takes five passes, six times as long as here.
"""

from __future__ import annotations

import numpy as np
import torch

from tpt.engines.hf.cpu_kernel.attention import compiled

_INFINITE = np.uint32(0x7F800000)
_SIZE = np.uint32(0x7FFFFFFF)
_SMALLEST = np.uint32(0x0DA24260)
"""Bits of 1e-30: the scale of a row of zeros must not be zero."""
_LEVELS, _NOUGHT = np.float32(126.5), np.float32(128.5)
"""Of the 127 on either side of 128; half of one more, since what lies between is cut off, and half of one less, since a
scale is rounded."""
_HALF_BFLOAT16, _BFLOAT16 = np.uint32(0x8000), np.uint32(0xFFFF0000)
_SHIFTS = {torch.float32: (torch.uint32, 0), torch.bfloat16: (torch.uint16, 16)}
"""How a number's bits are read, and how far left they stand in those of a float32."""


def quantised_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as whole numbers and what each row's count, so that ``rows`` is about ``(numbers - 128) * scales``.

    Scales are bfloat16 numbers, in which outputs of either type can be multiplied by them without another rounding.

    Args:
        rows: ``[rows, width]`` in float32 or bfloat16; infinities and NaN make their row's scale NaN.

    Returns:
        ``[rows, width]`` in uint8, and ``[rows, 1]`` of the rows' type.
    """
    bits, shift = _SHIFTS[rows.dtype]
    numbers = torch.empty(rows.shape, dtype=torch.uint8)
    scales = torch.empty(len(rows), 1)
    _quantise(rows.view(bits).numpy(), np.uint32(shift), numbers.numpy(), scales.numpy())
    return numbers, scales.to(rows.dtype)


@compiled
def _quantise(rows, shift, numbers, scales):  # type: ignore[no-untyped-def]
    for row in range(rows.shape[0]):
        bits, out = rows[row], numbers[row]
        # The size of a float32 grows with its bits, and whole numbers are compared in vectors.
        largest = _SMALLEST
        for at in range(len(bits)):
            size = np.uint32(np.uint32(np.uint32(bits[at]) << shift) & _SIZE)
            largest = size if size > largest else largest
        exact = np.float32(np.uint32(largest).view(np.float32) / _LEVELS)
        scale = np.uint32((exact.view(np.uint32) + _HALF_BFLOAT16) & _BFLOAT16).view(np.float32)
        inverse = np.float32(1) / scale
        scales[row, 0] = scale if largest < _INFINITE else np.float32(np.nan)
        for at in range(len(bits)):
            value = np.uint32(np.uint32(bits[at]) << shift).view(np.float32)
            out[at] = np.uint8(np.int32(value * inverse + _NOUGHT))
