"""Sources in, problems out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Literal, cast

from msgspec.structs import replace

from tpt.errors import OwnCodeError, ProblemError
from tpt.problems.code.apps import apps
from tpt.problems.code.code_contests import code_contests
from tpt.problems.code.human_eval_mbpp import human_eval, mbpp
from tpt.problems.code.leetcode import leetcode
from tpt.problems.code.live_code_bench import live_code_bench
from tpt.problems.code.rows import Item
from tpt.problems.math.aqua import load_aqua
from tpt.problems.math.gsm8k import load_gsm8k
from tpt.problems.math.gsm_hard import load_gsm_hard
from tpt.problems.math.math import load_math
from tpt.problems.math.svamp import load_svamp
from tpt.problems.overlap import Overlap, check_disjoint, closest_pairs, duplicates, told_apart
from tpt.problems.spec import OWN, TABLE, Spec, allow_no_rest, allow_params, choice_param, int_param, parse_spec
from tpt.problems.table import load_table
from tpt.records import Problem
from tpt.system.own_code import last_lines, load_own_code

__all__ = [
    "Overlap",
    "check_disjoint",
    "closest_pairs",
    "duplicates",
    "load_problems",
    "load_wrong_programs",
    "told_apart",
]

PROGRAM_SOURCES: dict[str, Callable[[Spec], Iterator[Item]]] = {
    "apps": apps,
    "code_contests": code_contests,
    "human_eval": human_eval,
    "leetcode": leetcode,
    "live_code_bench": live_code_bench,
    "mbpp": mbpp,
}
_PUBLISHED = {
    "aqua": load_aqua,
    "gsm8k": load_gsm8k,
    "gsm_hard": load_gsm_hard,
    "math": load_math,
    "math500": load_math,
    "svamp": load_svamp,
}
DEFAULT_SIZE = 500
"""Problems generated when the spec of a procedural source does not say how many."""


def load_problems(
    spec: str,
    *,
    columns: Mapping[str, str] | None = None,
    kind: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Problem]:
    """Load the problems that a source spec names, in the order of the source.

    - ``word_problems?split=train|heldout&size=800&seed=0``
    - ``gsm8k?split=train|test`` from the Hub, ``gsm8k:PATH?split=train|test`` from local files
    - ``math?split=train|test&subject=algebra,geometry&level=1,2`` and ``math500``, or ``math:PATH``, ``math500:PATH``
    - ``svamp``, ``gsm_hard`` and ``aqua?split=train|dev|test``, or ``svamp:PATH`` and so on
    - ``reasoning_gym:TASK?PARAM=...&size=500&seed=7&split=all|train|heldout``
    - ``code_contests?split=train|valid|test``, ``apps?split=train|test``, ``human_eval?split=test`` and
      ``mbpp?version=full|sanitized&split=train|test|...`` from the Hub; with ``live_code_bench`` and ``leetcode``,
      all of them as ``NAME:PATH`` from a file or folder in their own layout
    - ``tiny_programs?split=train|heldout&size=300&seed=0``
    - ``FILE.py:FUNCTION?PARAM=...``: what your own function returns for these parameters, an iterable of Problem
    - ``PATH?split=all|train|heldout`` with PATH ending in .jsonl, .json, .csv, .tsv (all four also with .gz) or .parquet,
      a pattern such as ``part-*.jsonl``, or a folder of such files: your own problems

    Args:
        spec: the source.
        columns: field of Problem to column of the file, such as ``{"question": "prompt"}``; for files of your own only,
            other sources have fixed columns.
        kind: the verifier, where it is not to be the source's usual one; a ``kind`` column of a file wins over it.
        limit: take only the first so many; nothing is shuffled.
        seed: of procedural sources whose spec names none.

    Raises:
        ProblemError: the source is unknown, cannot be read, or holds rows that are no problems.
    """
    if limit is not None and limit < 1:
        raise ProblemError(f"problem source {spec!r}: limit = {limit} leaves no problems; allowed: 1 and up, or None.")
    parsed = parse_spec(spec)
    return _load(parsed, columns=columns or {}, kind=kind or None, seed=seed, limit=limit)[:limit]


def load_wrong_programs(spec: str, *, limit: int | None = None) -> dict[str, tuple[str, ...]]:
    """Return problem id to the programs that the source knows to be wrong; empty where it keeps none.

    ``limit``: of the first so many problems only.
    """
    parsed = parse_spec(spec)
    items = PROGRAM_SOURCES[parsed.name](parsed) if parsed.name in PROGRAM_SOURCES else iter(())
    return {item.problem.id: item.wrong_programs for item in islice(items, limit) if item.wrong_programs}


def _load(spec: Spec, *, columns: Mapping[str, str], kind: str | None, seed: int, limit: int | None) -> list[Problem]:
    if spec.name == TABLE:
        return load_table(spec, columns=columns, kind=kind)
    if spec.name == OWN:
        return _of_kind(_load_own(spec, limit), kind)
    if spec.name in _PUBLISHED:
        return _PUBLISHED[spec.name](spec, kind=kind)
    if spec.name in PROGRAM_SOURCES:
        return _of_kind([item.problem for item in islice(PROGRAM_SOURCES[spec.name](spec), limit)], kind)
    if spec.name == "reasoning_gym":
        from tpt.problems.procedural.reasoning_gym import load_reasoning_gym

        return load_reasoning_gym(spec, kind=kind, seed=seed, default_size=DEFAULT_SIZE)
    return _load_procedural(spec, kind=kind, seed=seed)


def _load_own(spec: Spec, limit: int | None) -> list[Problem]:
    function = load_own_code(spec.rest)
    try:
        problems = list(islice(function(**spec.params), limit))
    except Exception as error:
        raise OwnCodeError(f"problem source {spec.text!r} raised:\n{last_lines(error)}") from None
    other = next((each for each in problems if not isinstance(each, Problem)), None)
    if other is not None or not problems:
        said = "no problems" if other is None else f"{other!r:.100}, which is no tpt.Problem"
        raise OwnCodeError(f"problem source {spec.text!r}: {spec.rest} gave {said}")
    return problems


def _load_procedural(spec: Spec, *, kind: str | None, seed: int) -> list[Problem]:
    from tpt.problems.procedural.tiny_programs import tiny_programs
    from tpt.problems.procedural.word_problems import word_problems

    allow_no_rest(spec)
    allow_params(spec, ["split", "size", "seed"])
    make = tiny_programs if spec.name == "tiny_programs" else word_problems
    problems = make(
        split=cast(Literal["train", "heldout"], choice_param(spec, "split", ["train", "heldout"])),
        size=int_param(spec, "size", default=DEFAULT_SIZE, least=1),
        seed=int_param(spec, "seed", default=seed, least=0),
    )
    return _of_kind(problems, kind)


def _of_kind(problems: list[Problem], kind: str | None) -> list[Problem]:
    return problems if kind is None else [replace(problem, kind=kind) for problem in problems]
