r"""MATH, 7,500 training and 5,000 test competition problems, and MATH-500, a sample of the latter."""

from __future__ import annotations

import re
from pathlib import Path

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.math.rows import hub_rows, local_path, local_rows, split_of_name
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, allow_params, bad_value, choice_param
from tpt.records import Problem

HUB_ID = "EleutherAI/hendrycks_math"
HUB_ID_500 = "HuggingFaceH4/MATH-500"
SPLITS = ("train", "test")
SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
LEVELS = ("1", "2", "3", "4", "5")

_FILTERS = ("subject", "level")
_MOST_BOXES = 10
_QUESTIONS = ("problem", "question", "prompt")
# Some copies end each question with what they ask of the answer; here that is the prompt template's to say.
_INSTRUCTION = re.compile(r"\s*Please reason step by step, and put your final answer within \\boxed\{\}\.?\s*\Z")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_JOINED = re.compile(r"[\s$\\]*(?:,|and|,\s*and)[\s$\\]*(?:[A-Za-z]\s*=\s*)?")


def load_math(spec: Spec, *, kind: str | None) -> list[Problem]:
    r"""Load MATH or MATH-500; the ids are ``math/test/00042`` and ``math500/00042``, the position before any filter.

    The spec is ``math?split=train|test`` or ``math500`` for the Hub, where MATH is its seven subjects in alphabetical
    order, or ``math:PATH``, ``math500:PATH``, where PATH is a file or a folder with files of the usual names. Both take
    ``subject=algebra,geometry`` and ``level=1,2``. The file needs a question (problem, question or prompt) and an answer,
    or a solution whose last ``\boxed{}`` is the answer.
    """
    allow_params(spec, [*_FILTERS, "split"] if spec.name == "math" else _FILTERS)
    path = local_path(spec)
    part = _part(spec, path)
    rows = _local_rows(spec, path, part) if path else _hub_rows(spec, part)
    wanted = {name: _wanted(spec, name) for name in _FILTERS if name in spec.params}
    problems = [
        _problem(row, f"{part}/{index:05d}", source=spec.name, kind=kind or "math")
        for index, row in enumerate(rows)
        if all(_trait(row, name) in values for name, values in wanted.items())
    ]
    if not problems:
        raise ProblemError(
            f"problem source {spec.text!r}: none of its {len(rows)} problems has this subject and level."
        )
    return problems


def last_boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{}`` of a text holds; several that are joined by "and" are one answer, ``-2, 1``."""
    marks = list(_BOX.finditer(text))[-_MOST_BOXES:]
    boxes = [(mark.start(), *_content(text, mark.end())) for mark in marks]
    found = [(start, content, end) for start, content, end in boxes if content]
    if not found:
        return None
    contents = [found[-1][1]]
    for (_, content, end), (start, _, _) in zip(found[-2::-1], found[:0:-1], strict=True):
        if not _JOINED.fullmatch(text[end:start]) or len(text[end:start]) > 40:
            break
        contents.insert(0, content)
    return ", ".join(contents)


def _content(text: str, start: int) -> tuple[str, int]:
    """Return what stands in the braces that open at ``start``, or else the one character there, and where it ends."""
    if text[start : start + 1] != "{":
        return text[start : start + 1].strip(" $.\n"), start + 1
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0:
            return text[start + 1 : match.start()].strip(), match.end()
    return "", len(text)


def _part(spec: Spec, path: Path | None) -> str:
    """Return what the ids begin with."""
    if spec.name == "math500":
        return "math500"
    named = split_of_name(path, SPLITS) if path else None
    if path is None or path.is_dir() or "split" in spec.params or named:
        return f"math/{choice_param(spec, 'split', SPLITS, default=named)}"
    return f"math/{path.stem}"


def _hub_rows(spec: Spec, part: str) -> list[Row]:
    instead = f"use {spec.name}:PATH with a file of the columns problem and solution."
    if spec.name == "math500":
        return hub_rows(HUB_ID_500, "test", instead=instead)
    split = part.partition("/")[2]
    return [row for subject in SUBJECTS for row in hub_rows(HUB_ID, split, config=subject, instead=instead)]


def _local_rows(spec: Spec, path: Path, part: str) -> list[Row]:
    if spec.name == "math500":
        return local_rows(path, title="MATH-500", stems=["math500", "math_500", "test"])
    split = part.partition("/")[2]
    if path.is_dir() and all((path / subject).is_dir() for subject in SUBJECTS):
        title = f"MATH {split} split"
        return [row for each in SUBJECTS for row in local_rows(path / each, title=title, stems=[split])]
    return local_rows(path, title=f"MATH {split} split", stems=[split, f"math_{split}"])


def _wanted(spec: Spec, name: str) -> set[str]:
    """Return the values of a filter, ``algebra,geometry``."""
    allowed = SUBJECTS if name == "subject" else LEVELS
    values = set(spec.params[name].split(","))
    for value in sorted(values - set(allowed)):
        bad_value(spec, name, f"one or several, with commas, of {', '.join(allowed)}", did_you_mean(value, allowed))
    return values


def _trait(row: Row, name: str) -> str:
    """Return a row's subject or level in the spelling of the filters."""
    text = (cell_text(row, "type") or cell_text(row, "subject")) if name == "subject" else cell_text(row, "level")
    if text is None:
        raise ProblemError(f"{row.where}: no {name} here, so the filter {name}= cannot be used. Leave it out.")
    return _spelt(text).removeprefix("level_") if name == "level" else _spelt(text)


def _spelt(text: str) -> str:
    return text.lower().replace("&", "and").replace(" ", "_")


def _problem(row: Row, problem_id: str, *, source: str, kind: str) -> Problem:
    question = next((text for name in _QUESTIONS if (text := cell_text(row, name))), "")
    solution = cell_text(row, "solution")
    answer = cell_text(row, "answer") or last_boxed(solution or "") or ""
    if not question.strip() or not answer.strip():
        raise ProblemError(
            f"{row.where}: no MATH row; expected problem and answer, or a solution with \\boxed{{...}}, got columns "
            f"{', '.join(row.cells)}."
        )
    return Problem(
        problem_id,
        _INSTRUCTION.sub("", question),
        answer.strip(),
        kind,
        solution=solution,
        source=source,
        level=_spelt(cell_text(row, "level") or "").removeprefix("level_"),
    )
