"""Procedural problems from the reasoning-gym package: endless, offline, each a function of its seed and index alone."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import datetime
import enum
import json
import operator
import re
import types
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.overlap import hash_split, normalised
from tpt.problems.spec import Spec, allow_params, bad_value, choice_param, int_param
from tpt.records import Problem

STRIDE = 1_000_000
"""The library seeds item i with seed + i, so seeds 7 and 8 would share all items but one. Ours lie this far apart."""

UNSTABLE = {
    "acre": "how many are asked for",
    **dict.fromkeys(
        (
            *("codeio", "intermediate_integration", "isomorphic_strings", "knight_swap"),
            *("list_functions", "polynomial_multiplication", "ransom_note", "word_ladder"),
        ),
        "Python's string hashing or global state",
    ),
}
"""Tasks whose item i is not a function of its seed, and on what it depends (measured with reasoning-gym 0.1.19)."""

_TEMPLATE_KEYS = {"arc_1d": "task_name", "arc_agi": "task_id", "rearc": "task_id"}
"""Tasks of many templates that are drawn from again and again, and where an item says which is its own. The two or seven
sorts of question of other tasks are no clusters: they are all there are, not a sample of those there might be."""
_OWN_PARAMS = ("seed", "size", "split")
_PROBES = 32
_NUMBER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?")
_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def _library() -> Any:
    try:
        import reasoning_gym
    except ImportError:
        raise ProblemError(
            'the source reasoning_gym:… needs the package reasoning-gym: pip install "think-prune-train[gym]" (one of its '
            "dependencies has no wheel, so that takes a C compiler)"
        ) from None
    return reasoning_gym


def _datasets() -> dict[str, Any]:
    """Return the library's tasks: name to its class of problems and its class of parameters."""
    _library()
    from reasoning_gym.factory import DATASETS

    return DATASETS  # type: ignore[no-any-return]


def load_reasoning_gym(spec: Spec, *, kind: str | None, seed: int, default_size: int) -> list[Problem]:
    """Generate ``size`` problems with distinct questions from ``reasoning_gym:TASK?PARAM=...&size=500&seed=7``.

    The id's number is the library's index, so a problem is a function of its id; questions drawn before are skipped.
    ``split=train`` and ``split=heldout`` are disjoint for any seeds (see ``hash_split``); without it, different seeds
    give different draws, which in a small space can still be the same question. Items whose gold answer is wrong, as
    some of basic_arithmetic and simple_equations are, are skipped.

    Raises:
        ProblemError: for an unknown task or parameter, or when there are too few distinct questions.
    """
    task = _task(spec)
    allow_params(spec, {*_settable(task), *_OWN_PARAMS})
    size = int_param(spec, "size", default=default_size, least=1)
    seed = int_param(spec, "seed", default=seed, least=0)
    split = choice_param(spec, "split", ["all", "train", "heldout"], default="all")
    settings = _settings(spec, task)
    kind = kind or _usual_kind(spec, task, settings)
    prefix = f"reasoning_gym/{task}{_fingerprint(task, settings)}/{seed}"
    problems: list[Problem] = []
    dataset = _dataset(spec, task, settings, seed)
    for index, item in _distinct_items(spec, task, dataset):
        if split in ("all", hash_split(item["question"])):
            cluster = _template(task, dataset, index, item)
            problems.append(_problem(spec, item, problem_id=f"{prefix}/{index:05d}", kind=kind, cluster=cluster))
        if len(problems) == size:
            return problems
    raise ProblemError(
        f"problem source {spec.text!r}: size = {size}, but only {len(problems)} distinct questions were found"
        f"{'' if split == 'all' else f' for split={split}'}. Lower size, or widen the task's parameters."
    )


def _task(spec: Spec) -> str:
    tasks = sorted(_datasets().keys() - UNSTABLE.keys() - {"composite"})
    if spec.rest in tasks:
        return spec.rest
    if spec.rest in UNSTABLE:
        raise ProblemError(
            f"problem source {spec.text!r}: the items of {spec.rest} depend on {UNSTABLE[spec.rest]}, so a run could "
            "not be repeated. Take another task, or save its items to a JSONL file and use that."
        )
    raise ProblemError(
        f"problem source {spec.text!r}: task {spec.rest!r} is unknown.{did_you_mean(spec.rest, tasks)} "
        f"Write reasoning_gym:TASK with one of: {', '.join(tasks)}."
    )


def _settable(task: str) -> dict[str, Any]:
    """Return the task's parameters that a spec can set, and their types."""
    config = _datasets()[task][1]
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config) if field.name not in _OWN_PARAMS}


def _settings(spec: Spec, task: str) -> dict[str, Any]:
    hints = _settable(task)
    settings = {}
    for name, text in spec.params.items():
        if name in hints:
            try:
                settings[name] = parse_value(hints[name], text)
            except ValueError as error:
                bad_value(spec, name, str(error))
    return settings


def parse_value(hint: Any, text: str) -> Any:
    """Read a parameter's value by its type annotation; lists stand as ``a,b`` or as JSON.

    Raises:
        ValueError: its message says what is allowed.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        return parse_value(next(each for each in arguments if each is not type(None)), text)
    if origin is typing.Literal:
        return _one_of({str(each): each for each in arguments}, text)
    if hint in (list, tuple) or origin in (list, tuple, collections.abc.Sequence):
        items = _items(text)
        item_hint = arguments[0] if arguments else str
        values = [parse_value(item_hint, each) for each in items]
        return tuple(values) if tuple in (hint, origin) else values
    if hint is bool:
        return _one_of({"true": True, "false": False}, text.lower())
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _one_of({each.name.lower(): each for each in hint}, text.lower())
    if hint in (datetime.date, datetime.time):
        return _converted(hint.fromisoformat, text, f"a {hint.__name__} in ISO form")
    if hint in (int, float):
        return _converted(hint, text, "a whole number" if hint is int else "a number")
    if hint is str:
        return text
    raise ValueError("nothing: it cannot be set in a spec")


def _converted(convert: Callable[[str], Any], text: str, allowed: str) -> Any:
    try:
        return convert(text)
    except ValueError:
        raise ValueError(allowed) from None


def _one_of(allowed: Mapping[str, Any], text: str) -> Any:
    if text not in allowed:
        raise ValueError(f"one of {', '.join(allowed)}")
    return allowed[text]


def _items(text: str) -> list[str]:
    if not text.startswith("["):
        return text.split(",")
    values = _converted(json.loads, text, 'a list such as a,b or ["a", "b"]')
    return [each if isinstance(each, str) else json.dumps(each) for each in values]


def _fingerprint(task: str, settings: Mapping[str, Any]) -> str:
    """Return what tells ids of different parameters apart; empty for the task's defaults."""
    defaults = _datasets()[task][1]()
    changed = {name: value for name, value in settings.items() if not _same(value, getattr(defaults, name))}
    return f"-{zlib.crc32(repr(sorted(changed.items())).encode()):08x}" if changed else ""


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return bool(value == default)


def _usual_kind(spec: Spec, task: str, settings: Mapping[str, Any]) -> str:
    """Return "number" when all golds of a fixed probe are numbers: the same for every seed, split and size."""
    dataset = _dataset(spec, task, settings, 0)
    golds = (_item(spec, dataset, index)["answer"] for index in range(_PROBES))
    return "number" if all(isinstance(gold, str) and _NUMBER.fullmatch(gold) for gold in golds) else "exact"


def _distinct_items(spec: Spec, task: str, dataset: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield index and item of each new question, until new ones have become too rare to wait for."""
    seen: set[str] = set()
    repeats = 0
    for index in range(STRIDE):
        item = _item(spec, dataset, index)
        question = normalised(item["question"])
        repeats = repeats + 1 if question in seen else 0
        # Were one question of N left, this many misses in a row would have a chance of about e^-20.
        if repeats > max(1000, 20 * len(seen)):
            return
        if not repeats:
            seen.add(question)
            if _has_right_gold(task, item):
                yield index, item


def _dataset(spec: Spec, task: str, settings: Mapping[str, Any], seed: int) -> Any:
    try:
        # One size for all: some tasks draw as much at the start as their size says.
        return _library().create_dataset(task, seed=seed * STRIDE, size=STRIDE, **settings)
    except (AssertionError, ValueError, TypeError) as error:
        raise ProblemError(f"problem source {spec.text!r}: {task} does not allow this: {error}") from error


def _item(spec: Spec, dataset: Any, index: int) -> dict[str, Any]:
    try:
        item: dict[str, Any] = dataset[index]
    # A generator with unlucky parameters can fail in any way; what it said is passed on.
    except Exception as error:
        raise ProblemError(
            f"problem source {spec.text!r}: reasoning_gym could not generate item {index}: "
            f"{type(error).__name__}: {error}. Try other parameters."
        ) from error
    return item


def _has_right_gold(task: str, item: Mapping[str, Any]) -> bool:
    """Recheck the golds of the two tasks that are known to give wrong ones now and then."""
    if task == "basic_arithmetic":
        # It rounds divisions that do not come out even, and without parentheses prints other numbers than it computed.
        try:
            return _evaluate(item["metadata"]["expression"]) == Fraction(item["answer"])
        except ZeroDivisionError:
            return False
    if task == "simple_equations":
        # Terms can cancel: "0 = 0" has no one solution.
        metadata = item["metadata"]
        return re.search(rf"\b{re.escape(metadata['variable'])}\b", metadata["equation"]) is not None
    return True


def _evaluate(expression: str) -> Fraction:
    """Return the exact value of an expression of whole numbers, + - * / and parentheses."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return Fraction(_OPERATORS[type(node.op)](value(node.left), value(node.right)))
        if isinstance(node, ast.UnaryOp):
            return Fraction(_OPERATORS[type(node.op)](value(node.operand)))
        return Fraction(ast.literal_eval(node))

    return value(ast.parse(expression.strip(), mode="eval").body)


def _template(task: str, dataset: Any, index: int, item: Mapping[str, Any]) -> str:
    """Return which of a task's many templates an item was made from, as a cluster; empty: each stands for itself."""
    if task == "gsm_symbolic":
        return f"reasoning_gym/{task}/{dataset.task_indices[index]}"
    return f"reasoning_gym/{task}/{item['metadata'][_TEMPLATE_KEYS[task]]}" if task in _TEMPLATE_KEYS else ""


def _problem(spec: Spec, item: Mapping[str, Any], *, problem_id: str, kind: str, cluster: str) -> Problem:
    answer = item["answer"]
    if not isinstance(answer, str) or not answer.strip():
        raise ProblemError(
            f"problem source {spec.text!r}: {problem_id} has no gold answer, as many answers are right. "
            "Take another task."
        )
    if kind == "number" and not _NUMBER.fullmatch(answer):
        raise ProblemError(
            f'problem source {spec.text!r}: the gold of {problem_id} is no number: {answer[:60]!r}. Use kind = "exact".'
        )
    return Problem(
        id=problem_id,
        question=item["question"],
        answer=answer,
        kind=kind,
        source=f"reasoning_gym/{spec.rest}",
        cluster=cluster,
    )
