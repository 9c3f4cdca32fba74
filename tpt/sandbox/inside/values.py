"""Plain values over a socket: what a program returned, without any of its code.

A decoded value is built of exact built-in types, so no comparison made with it can run a method the program wrote.
Runs inside the sandbox, on the bare standard library.
"""

from __future__ import annotations

import builtins
import importlib
import json
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

_SMALL = 10**15
MAX_DEPTH = 200

Refer = Callable[[Any], Any]
"""Turns a value that is not plain into its reference, or a reference number back into something usable."""


class NotPlainError(TypeError):
    """Raised for a value that has no plain form, such as a function or an object of the program's own class."""


def refuse_reference(value: Any) -> Any:
    """Refuse what is not plain (the ``refer`` of a place that knows no references)."""
    raise NotPlainError(f"a value of type {type(value).__name__} is not plain data")


def encode(value: Any, refer: Refer = refuse_reference, depth: int = 0) -> Any:
    """Return JSON for a value; whatever is not plain goes through ``refer``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        return number if -_SMALL < number < _SMALL else {"t": "int", "v": hex(number)}
    if isinstance(value, float):
        return float.__float__(value)
    if depth > MAX_DEPTH:
        raise NotPlainError(f"a value nested deeper than {MAX_DEPTH} levels is not plain data")
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
        return encode(value.item(), refer, depth + 1)
    return _encode_compound(value, refer, depth + 1)


def _encode_compound(value: Any, refer: Refer, depth: int) -> Any:
    if isinstance(value, list):
        return [encode(item, refer, depth) for item in value]
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            return {"t": name, "v": [encode(item, refer, depth) for item in value]}
    if isinstance(value, dict):
        pairs = [[encode(key, refer, depth), encode(item, refer, depth)] for key, item in value.items()]
        return {"t": "dict", "v": pairs}
    if isinstance(value, complex):
        return {"t": "complex", "v": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"t": type(value).__name__, "v": value.hex()}
    if isinstance(value, range):
        return {"t": "range", "v": [encode(part, refer) for part in (value.start, value.stop, value.step)]}
    if type(value) is type and vars(builtins).get(name := value.__name__) is value:
        return {"t": "type", "v": name}
    if isinstance(value, Fraction):
        return {"t": "Fraction", "v": [encode(value.numerator), encode(value.denominator)]}
    if isinstance(value, Decimal):
        return {"t": "Decimal", "v": str(value)}
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and value.dtype.kind in "biuf":
        return {"t": "ndarray", "v": [str(value.dtype.str), encode(value.tolist(), refer, depth)]}
    return {"t": "ref", "v": refer(value)}


def decode(data: Any, refer: Refer = refuse_reference, depth: int = 0) -> Any:
    """Return the value of its JSON; references go through ``refer``.

    Raises:
        NotPlainError: the JSON is not something ``encode`` writes.
    """
    if depth > 2 * MAX_DEPTH:
        raise NotPlainError("a value nested too deep")
    if isinstance(data, list):
        return [decode(item, refer, depth + 1) for item in data]
    if not isinstance(data, dict):
        return data
    try:
        return _decode_tagged(data["t"], data["v"], refer, depth + 1)
    except NotPlainError:
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise NotPlainError(f"not the form of a value: {type(error).__name__}: {error}") from None


def _decode_tagged(tag: str, data: Any, refer: Refer, depth: int) -> Any:
    if tag == "ref":
        return refer(data)
    if tag == "int":
        return int(data, 16)
    if tag in ("set", "frozenset"):
        return _in_order(_SEQUENCES[tag], [decode(item, refer, depth) for item in data])
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](decode(item, refer, depth) for item in data)
    if tag == "dict":
        return {decode(key, refer, depth): decode(item, refer, depth) for key, item in data}
    if tag == "complex":
        return complex(*data)
    if tag == "range":
        return range(*(decode(part, refer, depth) for part in data))
    if tag in ("bytes", "bytearray"):
        return (bytes if tag == "bytes" else bytearray).fromhex(data)
    if tag == "type" and isinstance(kind := getattr(builtins, data), type):
        return kind
    if tag == "Fraction":
        return Fraction(*(decode(part, refer, depth) for part in data))
    if tag == "Decimal":
        return Decimal(data)
    if tag == "ndarray" and data[0][1:] in _NUMBERS:
        return importlib.import_module("numpy").array(decode(data[1], refer, depth), dtype=data[0])
    raise KeyError(tag)


def _in_order(kind: type[Any], items: list[Any]) -> Any:
    """Return a set that is walked in the order of ``items``, as the one they come from was, where that can be had.

    The order depends on the size of the table, and that on how the set was made: item by item, or from another set.
    """
    made = kind(items)
    again = made if list(made) == items else kind(set(items))
    return again if list(again) == items else made


_NUMBERS = ("b1", *(f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)))
_SEQUENCES: dict[str, type[Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}


def dumps(data: Any) -> bytes:
    """Return the bytes of JSON data."""
    return json.dumps(data).encode()
