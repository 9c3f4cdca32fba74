"""Sources in, problems out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, cast

from tpt.errors import ProblemError
from tpt.problems.gsm8k import load_gsm8k
from tpt.problems.overlap import Overlap, check_disjoint, closest_pairs, duplicates
from tpt.problems.spec import TABLE, Spec, allow_no_rest, allow_params, choice_param, int_param, parse_spec
from tpt.problems.table import load_table
from tpt.records import Problem

__all__ = ["Overlap", "check_disjoint", "closest_pairs", "duplicates", "load_problems"]

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
    - ``reasoning_gym:TASK?PARAM=...&size=500&seed=7&split=all|train|heldout``
    - ``PATH?split=all|train|heldout`` with PATH ending in .jsonl, .json, .csv, .tsv or .parquet: your own problems

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
    return _load(parsed, columns=columns or {}, kind=kind or None, seed=seed)[:limit]


def _load(spec: Spec, *, columns: Mapping[str, str], kind: str | None, seed: int) -> list[Problem]:
    if spec.name == TABLE:
        return load_table(spec, columns=columns, kind=kind)
    if spec.name == "gsm8k":
        return load_gsm8k(spec, kind=kind)
    if spec.name == "reasoning_gym":
        from tpt.problems.reasoning_gym_tasks import load_reasoning_gym

        return load_reasoning_gym(spec, kind=kind, seed=seed, default_size=DEFAULT_SIZE)
    return _load_word_problems(spec, kind=kind, seed=seed)


def _load_word_problems(spec: Spec, *, kind: str | None, seed: int) -> list[Problem]:
    from tpt.problems.word_problems import word_problems

    allow_no_rest(spec)
    allow_params(spec, ["split", "size", "seed"])
    problems = word_problems(
        split=cast(Literal["train", "heldout"], choice_param(spec, "split", ["train", "heldout"])),
        size=int_param(spec, "size", default=DEFAULT_SIZE, least=1),
        seed=int_param(spec, "seed", default=seed, least=0),
    )
    return problems if kind is None else [dataclasses.replace(problem, kind=kind) for problem in problems]
