"""LiveCodeBench's JSON layout: contest problems by date, as whole programs or methods of ``class Solution``.

Hidden tests come as JSON or as a compressed pickle of one string. A pickle is a program that can do anything, so it is
never run: its instructions are read, and only those that spell out one string are let through.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Iterator
from typing import Any

from tpt.errors import ProblemError
from tpt.problems.code.rows import (
    ASK_PROGRAM,
    Item,
    allow_code_params,
    function_tests,
    json_cell,
    program,
    read_items,
    stdin_tests,
    text_cell,
    with_starter,
)
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, int_param

_LARGEST = 2**28
"""Bytes that hidden tests may unpack to; anything larger is taken for a decompression bomb."""
_HARMLESS = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"}
_TEXT = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}


def live_code_bench(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``live_code_bench:PATH``, public tests first, the first ``max_tests`` of each (0: all)."""
    allow_code_params(spec, "max_tests")
    max_tests = int_param(spec, "max_tests", default=0, least=0)

    def make(row: Row, problem_id: str) -> Item:
        cases = json_cell(row, "public_test_cases", list) + _hidden(row)
        question, starter = text_cell(row, "question_content").strip(), cell_text(row, "starter_code") or ""
        try:
            if any(case["testtype"] == "functional" for case in cases):
                name = str(json_cell(row, "metadata", dict)["func_name"])
                calls = [(_lines(case["input"]), json.loads(case["output"])) for case in cases]
                tests = function_tests(name, calls, in_class="class Solution" in starter)
                question = with_starter(question, starter)
            else:
                tests = stdin_tests([(case["input"], case["output"]) for case in cases], {})
                question = f"{question}\n\n{ASK_PROGRAM}"
        except (KeyError, TypeError, ValueError) as error:
            raise ProblemError(
                f"{row.where}: a test is not of the form {{input, output, testtype}}, or a functional one has no "
                f"metadata.func_name: {type(error).__name__} {error}."
            ) from None
        if not tests:
            raise ProblemError(f"{row.where}: no tests in public_test_cases or private_test_cases.")
        return program(problem_id, question, tests[: max_tests or None])

    return read_items(spec, None, make)


def _lines(text: str) -> list[Any]:
    """Arguments of a functional test stand as JSON, one a line."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _hidden(row: Row) -> list[Any]:
    value = row.cells.get("private_test_cases")
    if not isinstance(value, str) or value.lstrip()[:1] in ("[", ""):
        return list(json_cell(row, "private_test_cases", list))
    where = f"{row.where}, column 'private_test_cases'"
    try:
        unpacker = zlib.decompressobj()
        pickled = unpacker.decompress(base64.b64decode(value, validate=True), _LARGEST)
    except (binascii.Error, zlib.error) as error:
        raise ProblemError(f"{where}: neither JSON nor base64 of compressed data: {error}.") from None
    if unpacker.unconsumed_tail:
        raise ProblemError(f"{where}: unpacks to more than {_LARGEST >> 20} MiB.")
    text = _pickled_text(pickled, where)
    return list(json_cell(Row(row.where, {"private_test_cases": text}), "private_test_cases", list))


def _pickled_text(data: bytes, where: str) -> str:
    """Return the one string that a pickle holds, without running the pickle."""
    texts: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in _TEXT:
                texts.append(str(argument))
            elif operation.name not in _HARMLESS:
                raise ProblemError(f"{where}: a pickle that is more than one string ({operation.name}); not read.")
    except ValueError as error:
        raise ProblemError(f"{where}: not a readable pickle: {error}.") from None
    if len(texts) != 1:
        raise ProblemError(f"{where}: a pickle of {len(texts)} strings; expected one.")
    return texts[0]
