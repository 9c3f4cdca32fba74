"""Attention of one new token a row over shared and own keys and values, compiled for this processor by numba.

Torch has no operator for this: its batched products read every row to the width of the longest, and leave scores,
masks and weights to passes of their own. Here a row's own positions are read and no others, and what lies between
keys and values stays in the cache. All arithmetic is in float32, bfloat16 being widened as it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from tpt.engines.hf.cpu_kernel.llvm_intrinsics import (
    LANES,
    SUMS,
    add_weighted,
    added,
    dot_products,
    float_of_bits,
    widened,
)
from tpt.engines.hf.cpu_kernel.threads import ThreadTeam

_Ints = NDArray[np.int64]
_F = np.float32


def compiled(function: Any) -> Any:
    """Return a function compiled for this processor, its machine code kept for later processes where there is room."""
    settings = {"fastmath": set(SUMS), "nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:
        # There is no folder to keep the machine code in, so each process makes it anew.
        return numba.njit(**settings)(function)


@dataclass(frozen=True, slots=True)
class RowTable:
    """Where the rows find what they share; arrays by row but ``order`` and ``cuts``."""

    order: _Ints
    """The rows, those that share a prompt block side by side."""
    cuts: _Ints
    """Where in ``order`` each share of the work begins, and the end."""
    prompt_blocks: _Ints
    lengths: _Ints
    """Positions in use of the row's prompt block."""


@dataclass(frozen=True, slots=True)
class RowProgress:
    """How far the rows are; arrays by row."""

    starts: _Ints
    """Position of the decode block's first token."""
    counts: _Ints
    """Index of the newest token in its decode block."""


def attend(
    queries: NDArray[Any],
    newest: tuple[NDArray[Any], NDArray[Any]],
    blocks: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    table: RowTable,
    progress: RowProgress,
    team: ThreadTeam,
    *,
    first_seen: _Ints,
    scaling: float,
    softcap: float,
) -> NDArray[np.float32]:
    """Put each row's newest key and value into its decode block; return its attention over all that it sees.

    That is softmax(soft-capped, scaled query @ keys) @ values, ``[rows, heads, group, width]``.

    Args:
        queries: ``[rows, heads, group, width]``, heads being those of keys; float32, or bfloat16 bits as uint16.
        newest: Keys and values of the tokens fed, each ``[rows, heads, width]``.
        blocks: Prefix, prompt blocks and decode blocks, each ``[2, count, heads, positions, width]``, of the same dtype.
        table: Which of them a row attends to.
        progress: How far the rows are.
        team: Threads that join in.
        first_seen: ``[rows]``, the first position that a row's token sees.
        scaling: Factor of the scores.
        softcap: Where the scores level off; 0: nowhere.
    """
    group, width = queries.shape[2:]
    lanes = gcd(width, LANES)
    shape = ((0,) * group, (0,) * (width // lanes), (0,) * lanes)
    mixed = np.empty(queries.shape, np.float32)
    rows = (table.order, table.prompt_blocks, table.lengths, first_seen, progress.starts, progress.counts)
    given = (queries, *newest, *blocks, *rows, _F(scaling), _F(softcap), mixed, *shape)
    taken, done = np.zeros(1, np.int64), np.zeros(1, np.int64)
    shares = len(table.cuts) - 1
    team.share(partial(_attend_shares, *given, table.cuts, taken, done), lambda: _count(done, 0) == shares)
    return mixed


@compiled
def _exp(x):  # type: ignore[no-untyped-def]
    """Return e to the power of a number up to 0, to 2e-7 of it; the processor's own would not be done in vectors.

    A power of two times the polynomial of Cephes' expf.
    """
    x = _F(-87.0) if x < _F(-87.0) else x
    n = np.floor(x * _F(1.44269504) + _F(0.5))
    r = x - n * _F(0.693359375) + n * _F(2.12194440e-4)
    p = _F(1.9875691500e-4)
    p = p * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    return (p * r * r + r + _F(1.0)) * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@compiled
def _capped(score, softcap):  # type: ignore[no-untyped-def]
    """Return softcap * tanh(score / softcap)."""
    e = _exp(_F(-2.0) * abs(score) / softcap)
    level = softcap * (_F(1.0) - e) / (_F(1.0) + e)
    return -level if score < _F(0.0) else level


@compiled
def _weigh(scores, count, softcap):  # type: ignore[no-untyped-def]
    """Turn scores into weights, and return what their sum is to be divided by."""
    if softcap > _F(0.0):
        for index in range(count):
            scores[index] = _capped(scores[index], softcap)
    top = scores[0]
    for index in range(count):
        top = max(top, scores[index])
    total = _F(0.0)
    for index in range(count):
        weight = _exp(scores[index] - top)
        scores[index] = weight
        total += weight
    return total


@compiled
def _address(block, item, head, position):  # type: ignore[no-untyped-def]
    """Return where a prompt block's or decode block's keys begin, from a position on."""
    offset = item * block.strides[1] + head * block.strides[2] + position * block.strides[3]
    return np.int64(block.ctypes.data) + offset


@compiled
def _attend_some(  # type: ignore[no-untyped-def]
    queries, keys, values, prefix, prompt_blocks, decode_blocks, order, row_blocks, lengths, first_seen, starts, counts,
    scaling, softcap, mixed, group_size, vector_count, lane_count, begin, end,
):  # fmt: skip
    """Attend for the rows from ``begin`` to ``end`` of ``order``."""
    _, heads, group, width = queries.shape
    prefix_length, line = prefix.shape[3], decode_blocks.strides[3]
    scores = np.empty((group, prefix_length + prompt_blocks.shape[3] + decode_blocks.shape[3]), np.float32)
    query, sums = np.empty((group, width), np.float32), np.empty((group, width), np.float32)
    at, score_line = np.int64(scores.ctypes.data), scores.strides[0]
    query_at, sums_at = np.int64(query.ctypes.data), np.int64(sums.ctypes.data)
    for index in range(begin, end):
        row = order[index]
        block, first = row_blocks[row], first_seen[row]
        from_prefix = min(first, prefix_length)
        from_prompt = min(max(first - prefix_length, 0), lengths[row])
        from_decode = max(first - starts[row], 0)
        prompt_count, decode_count = lengths[row] - from_prompt, counts[row] + 1 - from_decode
        prompt_start = prefix_length - from_prefix
        decode_start = prompt_start + prompt_count
        for head in range(heads):
            # While this head is computed, the next one's, or the next row's, is brought into the cache.
            last = head == heads - 1
            next_row = order[index + 1] if last and index + 1 < end else row
            next_head = 0 if last else head + 1
            for query_head in range(group):
                for number in range(width):
                    query[query_head, number] = widened(queries[row, head, query_head, number]) * scaling
                    sums[query_head, number] = _F(0.0)
            for number in range(width):
                decode_blocks[0, row, head, counts[row], number] = keys[row, head, number]
                decode_blocks[1, row, head, counts[row], number] = values[row, head, number]
            shared = _address(prefix, 0, head, from_prefix)
            own_prompt = _address(prompt_blocks, block, head, from_prompt)
            own_decode = _address(decode_blocks, row, head, from_decode)
            next_prompt = _address(prompt_blocks, row_blocks[next_row], next_head, 0)
            next_decode = _address(decode_blocks, next_row, next_head, 0)
            parts = (
                (shared, prompt_start, at, shared, prefix.strides[0]),
                (own_prompt, prompt_count, at + 4 * prompt_start, next_prompt, prompt_blocks.strides[0]),
                (own_decode, decode_count, at + 4 * decode_start, next_decode, decode_blocks.strides[0]),
            )
            for start, count, to, ahead, _ in parts:
                dot_products(
                    decode_blocks, query_at, start, line, count, to, score_line, ahead, group_size, vector_count, lane_count
                )  # fmt: skip
            for query_head in range(group):
                query[query_head, 0] = _F(1.0) / _weigh(scores[query_head], decode_start + decode_count, softcap)
            for start, count, to, ahead, to_values in parts:
                start, ahead = start + to_values, ahead + to_values
                add_weighted(
                    decode_blocks, start, line, count, to, score_line, sums_at, ahead, group_size, vector_count, lane_count
                )  # fmt: skip
            for query_head in range(group):
                for number in range(width):
                    mixed[row, head, query_head, number] = sums[query_head, number] * query[query_head, 0]


@compiled
def _attend_shares(  # type: ignore[no-untyped-def]
    queries, keys, values, prefix, prompt_blocks, decode_blocks, order, row_blocks, lengths, first_seen, starts, counts,
    scaling, softcap, mixed, group_size, vector_count, lane_count, cuts, taken, done,
):  # fmt: skip
    """Attend for one share of the rows after another, as long as there are any that nobody has taken."""
    share = _count(taken, 1)
    while share < len(cuts) - 1:
        _attend_some(
            queries, keys, values, prefix, prompt_blocks, decode_blocks, order, row_blocks, lengths, first_seen, starts, counts,
            scaling, softcap, mixed, group_size, vector_count, lane_count, cuts[share], cuts[share + 1],
        )  # fmt: skip
        _count(done, 1)
        share = _count(taken, 1)


@compiled
def _count(counter, more):  # type: ignore[no-untyped-def]
    """Return a count that threads share, and add to it."""
    return added(np.int64(counter.ctypes.data), more)
