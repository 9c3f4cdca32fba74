"""What numba's compiler cannot be brought to write of itself: loops whose sums stay in vector registers.

Each function is an intrinsic that is unrolled for the number of query heads, and for the vectors that a head's numbers
fill, when the code around it is compiled. Both come as lengths of tuples, since a tuple's length is part of its type.
Addresses are plain integers; keys and values are float32, or the bits of bfloat16 as uint16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.binding import ffi
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
"""float32 numbers a vector; on processors with narrower ones it becomes several."""
_REGISTERS = 16
_CACHE_LINE = 64
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
# Sums may be taken in any order; infinities and NaN keep their meaning, since damaged weights must not go unseen.
SUMS = ("reassoc", "contract", "nsz", "arcp")


@intrinsic  # type: ignore[untyped-decorator]
def widened(_context: Any, number: Any) -> Any:
    """Return a float32, or the bits of a bfloat16, as float32."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _INT), _INT(16)), _FLOAT)

    return types.float32(number), generate


@intrinsic  # type: ignore[untyped-decorator]
def float_of_bits(_context: Any, _bits: Any) -> Any:
    """Return the float32 that has the bits of an int32."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _FLOAT)

    return types.float32(types.int32), generate


@intrinsic  # type: ignore[untyped-decorator]
def added(_context: Any, _address: Any, _more: Any) -> Any:
    """Add to the int64 at an address, between other threads' additions, and return what it was."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        address, more = arguments
        return builder.atomic_rmw("add", builder.inttoptr(address, more.type.as_pointer()), more, "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def dot_products(
    _context: Any,
    like: Any,
    queries: Any,
    keys: Any,
    line: Any,
    count: Any,
    scores: Any,
    scores_line: Any,
    ahead: Any,
    group: Any,
    vectors: Any,
    lanes: Any,
) -> Any:
    """Write the product of every query with every key.

    Args:
        like: An array of the keys' dtype.
        queries: Address of float32 ``[group, width]``.
        keys: Address of the first; ``width`` numbers each.
        line: Bytes from one key to the next.
        count: How many keys.
        scores: Address of float32 ``[group, count]``.
        scores_line: Bytes from one query's scores to the next's.
        ahead: Address of the keys that will be wanted next, to be brought into the cache.
        group: A tuple as long as there are queries.
        vectors: A tuple as long as there are vectors in ``width``.
        lanes: A tuple as long as there are numbers in a vector.
    """
    shape = _Shape(like, group, vectors, lanes)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _, queries, keys, line, count, scores, scores_line, ahead, *_ = arguments
        held = [shape.load(builder, shape.float32_at(builder, queries, head), wide=True) for head in range(shape.heads)]
        with cgutils.for_range(builder, count, intp=count.type) as loop:
            offset = builder.mul(loop.index, line)
            shape.prefetch(builder, builder.add(ahead, offset), shape.vectors)
            key = shape.load(builder, builder.add(keys, offset))
            for head in range(shape.heads):
                total = _sum(builder, [builder.fmul(*pair, flags=SUMS) for pair in zip(held[head], key, strict=True)])
                row = builder.add(scores, builder.mul(scores_line, scores_line.type(head)))
                builder.store(total, _element(builder, row, loop.index), align=4)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 7, group, vectors, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_weighted(
    _context: Any,
    like: Any,
    values: Any,
    line: Any,
    count: Any,
    weights: Any,
    weights_line: Any,
    sums: Any,
    ahead: Any,
    group: Any,
    vectors: Any,
    lanes: Any,
) -> Any:
    """Add to every query's sum the values, each times the query's weight for it.

    Args:
        like: An array of the values' dtype.
        values: Address of the first; ``width`` numbers each.
        line: Bytes from one value to the next.
        count: How many values.
        weights: Address of float32 ``[group, count]``.
        weights_line: Bytes from one query's weights to the next's.
        sums: Address of float32 ``[group, width]``.
        ahead: Address of the values that will be wanted next.
        group: As for ``dot_products``.
        vectors: As there.
        lanes: As there.
    """
    shape = _Shape(like, group, vectors, lanes)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _, values, line, count, weights, weights_line, sums, ahead, *_ = arguments
        step = max(1, _REGISTERS // shape.heads)
        for first in range(0, shape.vectors, step):
            part = range(first, min(first + step, shape.vectors))
            kept = [
                (head, vector, cgutils.alloca_once(builder, shape.wide))
                for head in range(shape.heads)
                for vector in part
            ]
            for head, vector, cell in kept:
                there = shape.float32_at(builder, sums, head, vector)
                builder.store(shape.load_one(builder, there, wide=True), cell)
            with cgutils.for_range(builder, count, intp=count.type) as loop:
                offset = builder.mul(loop.index, line)
                if first == 0:
                    shape.prefetch(builder, builder.add(ahead, offset), shape.vectors)
                value = shape.load(builder, builder.add(values, offset))
                for head, vector, cell in kept:
                    row = builder.add(weights, builder.mul(weights_line, weights_line.type(head)))
                    weight = builder.load(_element(builder, row, loop.index), align=4)
                    product = builder.fmul(shape.spread(builder, weight), value[vector], flags=SUMS)
                    builder.store(builder.fadd(product, builder.load(cell), flags=SUMS), cell)
            for head, vector, cell in kept:
                there = shape.float32_at(builder, sums, head, vector)
                builder.store(builder.load(cell), builder.inttoptr(there, shape.wide.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(like, *[types.int64] * 7, group, vectors, lanes), generate


def _own_up_to_missing_names() -> None:
    """Have llvmlite's handle of its library not claim such names as ``__dict__``.

    It takes every name for one of the library's functions, and vLLM, which looks for kernels in the ``__dict__`` of all that
    is loaded, fails on what it gets. Nothing happens where llvmlite has no such handle.
    """
    handle: Any = type(getattr(ffi, "lib", None))
    answer = getattr(handle, "__getattr__", None)
    if answer is None:
        return

    def named(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return answer(self, name)

    handle.__getattr__ = named


_own_up_to_missing_names()


class _Shape:
    """How the numbers of one key or value lie in vectors."""

    def __init__(self, like: Any, group: Any, vectors: Any, lanes: Any) -> None:
        self.heads, self.vectors, self.lanes = group.count, vectors.count, lanes.count
        self.wide = ir.VectorType(_FLOAT, self.lanes)
        self._is_wide = like.dtype == types.float32
        self._size = 4 if self._is_wide else 2

    def float32_at(self, builder: Any, start: Any, head: int, vector: int = 0) -> Any:
        """Return the address of a vector in float32 ``[group, width]``."""
        return builder.add(start, start.type((head * self.vectors + vector) * self.lanes * 4))

    def load(self, builder: Any, address: Any, *, wide: bool = False) -> list[Any]:
        """Return all numbers of a key, value or (``wide``) query, as vectors of float32."""
        size = (4 if wide else self._size) * self.lanes
        starts = [builder.add(address, address.type(index * size)) for index in range(self.vectors)]
        return [self.load_one(builder, start, wide=wide) for start in starts]

    def load_one(self, builder: Any, address: Any, *, wide: bool = False) -> Any:
        """Return one vector of float32."""
        if wide or self._is_wide:
            return builder.load(builder.inttoptr(address, self.wide.as_pointer()), align=4)
        narrow, bits = ir.VectorType(ir.IntType(16), self.lanes), ir.VectorType(_INT, self.lanes)
        raw = builder.load(builder.inttoptr(address, narrow.as_pointer()), align=2)
        moved = builder.shl(builder.zext(raw, bits), ir.Constant(bits, [16] * self.lanes))
        return builder.bitcast(moved, self.wide)

    def spread(self, builder: Any, number: Any) -> Any:
        """Return a vector that holds a number in all lanes."""
        one = builder.insert_element(ir.Constant(self.wide, ir.Undefined), number, _INT(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, self.lanes), [0] * self.lanes))

    def prefetch(self, builder: Any, address: Any, vectors: int) -> None:
        """Ask for vectors at an address; one that is not there does no harm."""
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for offset in range(0, vectors * self.lanes * self._size, _CACHE_LINE):
            there = builder.inttoptr(builder.add(address, address.type(offset)), pointer)
            builder.call(function, [there, _INT(0), _INT(3), _INT(1)])


def _sum(builder: Any, vectors: list[Any]) -> Any:
    """Return the sum of all numbers of vectors."""
    total = vectors[0]
    for each in vectors[1:]:
        total = builder.fadd(each, total, flags=SUMS)
    name = f"llvm.vector.reduce.fadd.v{total.type.count}f32"
    kind = ir.FunctionType(_FLOAT, [_FLOAT, total.type])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, name), [_FLOAT(-0.0), total], fastmath=SUMS
    )


def _element(builder: Any, start: Any, index: Any) -> Any:
    """Return a pointer to a number of a float32 array."""
    return builder.inttoptr(builder.add(start, builder.mul(index, index.type(4))), _FLOAT.as_pointer())
