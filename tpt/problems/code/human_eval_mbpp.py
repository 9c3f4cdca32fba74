"""HumanEval and MBPP: small Python functions checked by assertions."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

from tpt.errors import ProblemError
from tpt.problems.code.rows import Item, allow_code_params, json_cell, program, read_items, text_cell
from tpt.problems.math.rows import Hub
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, choice_param, int_param

HUMAN_EVAL = Hub("openai/openai_humaneval", ("test",))
MBPP_SPLITS = ("train", "test", "validation", "prompt")
MBPP = {name: Hub("google-research-datasets/mbpp", MBPP_SPLITS, config=name) for name in ("full", "sanitized")}

_MBPP_TIME_LIMIT_S = 10
"""One of its own solutions takes 5 s of a middling core."""


def human_eval(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``human_eval?split=test`` or ``human_eval:PATH``.

    Any file of the same columns will do; ``canonical_solution`` may be missing.
    """
    allow_code_params(spec)

    def make(row: Row, problem_id: str) -> Item:
        prompt, name = text_cell(row, "prompt"), text_cell(row, "entry_point").strip()
        body = cell_text(row, "canonical_solution")
        test = {
            "type": "assert",
            "code": f"{text_cell(row, 'test').strip()}\n\ncheck({name})\n",
            "setup": prompt,
            "entry_point": name,
        }
        question = (
            f"Complete the function {name}. Answer with the whole program, imports included.\n\n"
            f"```python\n{prompt.rstrip()}\n```"
        )
        solution = None if body is None else _completed(prompt, body.replace("\r\n", "\n"))
        return program(problem_id, question, [test], solution=solution)

    return read_items(spec, HUMAN_EVAL, make)


def _completed(prompt: str, body: str) -> str:
    """Put a function's body under its head; some files indent the two differently."""
    try:
        ast.parse(prompt + body)
    except SyntaxError:
        return prompt + textwrap.indent(textwrap.dedent(body.expandtabs(8)), "    ")
    return prompt + body


def mbpp(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``mbpp?version=full|sanitized&split=...`` or ``mbpp:PATH``.

    The question shows the first ``shown`` assertions (1), without which nobody could know the function's name.
    """
    allow_code_params(spec, "version", "shown")
    version = choice_param(spec, "version", MBPP, default="full")
    shown = int_param(spec, "shown", default=1, least=1)

    def make(row: Row, problem_id: str) -> Item:
        text = text_cell(row, "text" if row.cells.get("text") else "prompt")
        asserts = [str(each).replace("\r\n", "\n") for each in json_cell(row, "test_list", list)]
        if not asserts:
            raise ProblemError(f"{row.where}: no assertions in test_list; the columns are {', '.join(row.cells)}.")
        code = text_cell(row, "code")
        before = "\n".join([str(row.cells.get("test_setup_code") or ""), *json_cell(row, "test_imports", list)]).strip()
        common = {"setup": before, "entry_point": _entry_point(code, asserts[0])}
        common = {key: value for key, value in common.items() if value}
        question = "\n".join([text.strip(), "", "It must pass tests such as:", "", *asserts[:shown]])
        tests = [{"type": "assert", "code": each, **common} for each in asserts]
        return program(problem_id, question, tests, solution=code)

    return read_items(spec, MBPP[version], make, time_limit_s=_MBPP_TIME_LIMIT_S)


def _entry_point(code: str, assertion: str) -> str | None:
    """Return the function of the reference program that an assertion calls; None where that is not plain to see."""
    try:
        tree, called = ast.parse(code), ast.walk(ast.parse(assertion))
    except (SyntaxError, ValueError):
        return None
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names = [node.id for node in called if isinstance(node, ast.Name) and node.id in defined]
    return names[0] if names else None
