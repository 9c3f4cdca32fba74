"""Logs of the field's tools as samples: each layout knows its rows, and says of each what is question, gold and completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.cells import cell_at, last_question, reply, turns_of
from tpt.problems.rows import Row, WrittenNumber
from tpt.problems.table import answer_in
from tpt.records import FinishReason

Cells = dict[str, Any]
QUESTIONS = ("question", "problem", "prompt", "instruction", "input", "query")
GOLDS = ("answer", "expected_answer", "ground_truth", "gold", "gt", "target", "final_answer", "reference_answer")
FAILED = "failed"
"""Key of a sample that is none, as its request failed."""
_CUT = ("length", "max_tokens", "model_length", "max_output_tokens", "incomplete")
"""How tools call the end of a completion at its token limit."""


class Layout(NamedTuple):
    """How one tool writes samples."""

    knows: Callable[[Mapping[str, Any]], bool]
    """Whether a row's columns are the tool's."""
    samples: Callable[[Mapping[str, Any]], Iterator[Cells]]
    """A row's samples; their keys are fields of a sample."""
    needs: str
    """What a row must have, for messages."""


def layout_of(row: Row, named: str) -> str:
    """Return the name of the layout that a file's first row is in, "rows" where it is plain columns.

    ``named`` is the layout that the user says it is; "": find out.

    Raises:
        ProblemError: the user's is unknown, or the row is not in it.
    """
    if named and named not in (PLAIN, *LAYOUTS):
        allowed = [PLAIN, *LAYOUTS]
        raise ProblemError(f"--from {named}: unknown.{did_you_mean(named, allowed)} Allowed: {', '.join(allowed)}.")
    if named in LAYOUTS and not LAYOUTS[named].knows(row.cells):
        raise ProblemError(
            f"{row.where}: no row of {named}, which has {LAYOUTS[named].needs}. Columns there: {', '.join(row.cells)}"
        )
    if not named and {"problem_id", "completion"} <= row.cells.keys():
        return PLAIN  # the names that samples have here, whatever other columns there are
    return named or next((name for name, layout in LAYOUTS.items() if layout.knows(row.cells)), PLAIN)


def samples_of(name: str, rows: Iterable[Row]) -> Iterator[tuple[Row, Cells]]:
    """Yield the samples of a file in a layout, each with its row.

    Raises:
        ProblemError: a row is not in the layout.
    """
    layout, kept = LAYOUTS[name], None
    for row in rows:
        if not layout.knows(row.cells):
            raise ProblemError(f"{row.where}: no row of {name}, as those before it: expected {layout.needs}")
        # lm-evaluation-harness writes a row again for each filter that it reads answers by.
        kept = kept or row.cells.get("filter")
        if row.cells.get("filter") == kept:
            try:
                yield from ((row, cells) for cells in layout.samples(row.cells))
            except _NoSamplesError as error:
                raise ProblemError(f"{row.where}: {error}") from None


class _NoSamplesError(ValueError):
    """Raised when a row is a tool's, but holds nothing that a model wrote."""


def _lm_eval(cells: Mapping[str, Any]) -> Iterator[Cells]:
    # What a task of another output type scores is a continuation, in the place of a request's settings.
    if any(_is_text(cell_at(cells, path)) for path in ("arguments.gen_args_0.arg_1", "arguments[0][1]")):
        raise _NoSamplesError(
            "log-likelihoods, and no text of a model's; only tasks of output type generate_until have it"
        )
    doc = cells["doc"] if isinstance(cells["doc"], dict) else {}
    asked = cell_at(cells, "arguments.gen_args_0.arg_0") or cell_at(cells, "arguments[0][0]")
    told = {
        "problem_id": cells.get("doc_id"),
        "question": _first(doc, QUESTIONS) or asked,
        **_gold(cells["target"]),
    }
    for completion in list(_flat(cells["resps"])) or [None]:
        yield {**told, "completion": completion, FAILED: completion is None}


def _inspect(cells: Mapping[str, Any]) -> Iterator[Cells]:
    kept = cells.get("attachments")
    attached = kept if isinstance(kept, dict) else {}
    choice = cell_at(cells, "output.choices[0]")
    text = cell_at(cells, "output.completion") or (_message(choice) if choice else "")
    asked = cells.get("input")
    question = last_question(turns_of(asked)) if isinstance(asked, list) else asked
    target = cells["target"]
    scores = cells.get("scores")
    yield {
        "problem_id": cells.get("id"),
        "question": _with_choices(_attached(question, attached), cells.get("choices")),
        **_gold(target[0] if isinstance(target, list) and target else target),
        "completion": _attached(text, attached),
        "sample": _before(cells.get("epoch")),
        "finish_reason": cell_at(cells, "output.choices[0].stop_reason"),
        "completion_tokens": cell_at(cells, "output.usage.output_tokens"),
        "correct": _whether(_first_value(scores)) if isinstance(scores, dict) else None,
        FAILED: bool(cells.get("error")) or not choice,
    }


def _with_choices(question: Any, choices: Any) -> Any:
    """Return a question with its options under it, as verifiers of kind ``choice`` read them."""
    if not _is_text(question) or not isinstance(choices, list):
        return question
    return "\n".join([question, *(f"{letter}) {text}" for letter, text in zip(ascii_uppercase, choices, strict=False))])


def _nemo_skills(cells: Mapping[str, Any]) -> Iterator[Cells]:
    yield {
        "problem_id": cells.get("id", cells.get("problem_id")),
        "question": _first(cells, ("problem", "question")),
        "answer": cells.get("expected_answer"),
        "solution": cells.get("reference_solution"),
        "completion": cells["generation"],
        "finish_reason": cells.get("finish_reason"),
        "completion_tokens": cells.get("num_generated_tokens"),
        "correct": _whether(cells.get("symbolic_correct", cells.get("is_correct"))),
        "extracted": cells.get("predicted_answer"),
    }


def _batch(cells: Mapping[str, Any]) -> Iterator[Cells]:
    told, body = {"problem_id": cells["custom_id"]}, cell_at(cells, "response.body")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        text = "".join(_output_texts(body)) if isinstance(body, dict) else ""
        ended = cell_at(body, "incomplete_details.reason") if isinstance(body, dict) else None
        yield {**told, "completion": text, "finish_reason": ended, FAILED: not text}
        return
    tokens = cell_at(body, "usage.completion_tokens") if len(choices) == 1 else None
    for choice in choices or [None]:
        said = _message(choice)
        ended = choice.get("finish_reason") if isinstance(choice, dict) else None
        yield {**told, "completion": said, "finish_reason": ended, "completion_tokens": tokens, FAILED: said is None}


def _output_texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a body of the Responses API."""
    output = body.get("output")
    for item in output if isinstance(output, list) else []:
        yield from (turn.text for turn in turns_of([item]))


def _verifiers(cells: Mapping[str, Any]) -> Iterator[Cells]:
    if "prompt" in cells:
        yield _rollout(cells)
        return
    traces = cells.get("traces", [cells])
    for trace in traces if isinstance(traces, list) else []:
        nodes = trace.get("nodes") if isinstance(trace, dict) else None
        turns = turns_of([each.get("message") for each in nodes if isinstance(each, dict)] if nodes else None)
        data = cell_at(trace, "task.data") if nodes else None
        data = data if isinstance(data, dict) else {}
        rewards = trace.get("rewards") if nodes else None
        yield {
            "problem_id": data.get("name") or data.get("idx"),
            "question": _first(data, QUESTIONS) or last_question(turns),
            **_gold(_first(data, GOLDS)),
            "completion": reply(turns),
            "finish_reason": cell_at(trace, "calls[-1].finish_reason") if nodes else None,
            "completion_tokens": cell_at(trace, "calls[-1].usage.completion_tokens") if nodes else None,
            "correct": _whether(_first_value(rewards)) if isinstance(rewards, dict) else None,
            FAILED: reply(turns) is None,
        }


def _rollout(cells: Mapping[str, Any]) -> Cells:
    """Return a rollout as verifiers before 0.3 and prime-rl wrote it: prompt and completion are chats or texts."""
    asked, said = turns_of(cells["prompt"]), turns_of(cells.get("completion"))
    completion = reply(said) if said else cells.get("completion") or None
    return {
        "problem_id": cells.get("example_id", cells.get("id")),
        "question": last_question(asked) if asked else cells["prompt"],
        **_gold(cells.get("answer")),
        "completion": completion,
        "correct": _whether(cells.get("reward")),
        "finish_reason": "length" if cells.get("is_truncated") is True else None,
        FAILED: not completion or bool(cells.get("error")),
    }


def _prompt_completion(cells: Mapping[str, Any]) -> Iterator[Cells]:
    said = reply(turns_of(cells["completion"]))
    yield {
        "problem_id": cells.get("id"),
        "question": last_question(turns_of(cells["prompt"])) or cells["prompt"],
        **_gold(_first(cells, GOLDS)),
        "completion": said,
        FAILED: not said,
    }


def _chat(cells: Mapping[str, Any]) -> Iterator[Cells]:
    turns = next(filter(None, (turns_of(cells.get(name)) for name in _CHATS)))
    told = cells.get("is_correct", cells.get("correct", cells.get("reward", cells.get("result"))))
    first = next((turn.text for turn in turns if turn.role == "user"), None)
    yield {
        "problem_id": cells.get("task", cells.get("id")) if _is_text(cells.get("task", cells.get("id"))) else None,
        "question": cells.get("question") or first,
        **_gold(_first(cells, GOLDS)),
        "completion": reply(turns),
        "correct": _whether(told, otherwise=False),
        FAILED: reply(turns) is None,
    }


def _episodes(cells: Mapping[str, Any]) -> Iterator[Cells]:
    task = cells.get("task") if isinstance(cells.get("task"), dict) else {}
    for trajectory in cells["trajectories"] or [{}]:
        turns = turns_of(cell_at(trajectory, "steps[-1].chat_completions")) if isinstance(trajectory, dict) else []
        own = trajectory.get("task") if isinstance(trajectory, dict) else None
        about = own if isinstance(own, dict) else task or {}
        completion = reply(turns) or cell_at(
            trajectory if isinstance(trajectory, dict) else {}, "steps[-1].model_response"
        )
        yield {
            "problem_id": about.get("id"),
            "question": _first(about, QUESTIONS) or last_question(turns),
            **_gold(_first(about, GOLDS)),
            "completion": completion,
            "correct": _whether(cells.get("is_correct")),
            FAILED: not completion,
        }


_CHATS = ("conversations_sharegpt", "conversations", "messages")
PLAIN = "rows"
LAYOUTS = {
    "lm-eval": Layout(lambda cells: {"doc", "resps", "target"} <= cells.keys(), _lm_eval, "doc, target and resps"),
    "inspect": Layout(
        lambda cells: {"epoch", "target", "output"} <= cells.keys(), _inspect, "id, epoch, input, target and output"
    ),
    "batch": Layout(lambda cells: {"custom_id", "response"} <= cells.keys(), _batch, "custom_id and response"),
    "nemo-skills": Layout(
        lambda cells: "generation" in cells and bool({"expected_answer", "problem"} & cells.keys()),
        _nemo_skills,
        "problem, expected_answer and generation",
    ),
    "verifiers": Layout(
        lambda cells: (
            {"env", "traces"} <= cells.keys()
            or {"task", "nodes"} <= cells.keys()
            or ({"prompt", "completion"} <= cells.keys() and bool({"example_id", "reward"} & cells.keys()))
        ),
        _verifiers,
        "traces (or prompt, completion and reward)",
    ),
    "trl": Layout(
        lambda cells: "prompt" in cells and bool(turns_of(cells.get("completion"))),
        _prompt_completion,
        "prompt, and a chat in completion",
    ),
    "rllm": Layout(
        lambda cells: isinstance(cells.get("trajectories"), list) and "is_correct" in cells,
        _episodes,
        "task, trajectories and is_correct",
    ),
    "sharegpt": Layout(
        lambda cells: any(turns_of(cells.get(name)) for name in _CHATS),
        _chat,
        "a chat in conversations_sharegpt, conversations or messages",
    ),
}


def finish_reason(told: Any) -> FinishReason:
    """Return ``length`` for a completion that was cut off at its token limit, in whichever tool's words, else ``stop``."""
    return "length" if told in _CUT else "stop"


def _gold(target: Any) -> Cells:
    """Return the gold answer of a target, which may be a whole solution."""
    text = str(target) if _is_text(target) else None
    answer = answer_in(text) if text and type(target) is str else None
    return {"answer": target} if answer in (None, text) else {"answer": answer, "solution": text}


def _first(cells: Mapping[str, Any], names: Iterable[str]) -> Any:
    found = (cells.get(name) for name in names)
    turned = (last_question(turns_of(each)) if turns_of(each) else each for each in found)
    return next((each for each in turned if _is_text(each) and each), None)


def _first_value(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values()), None)


def _flat(value: Any) -> Iterator[Any]:
    """Yield what lists of lists hold in the end."""
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _message(choice: Any) -> str | None:
    """Return the text of a completion's choice, in a chat or alone."""
    if not isinstance(choice, dict):
        return None
    turns = turns_of([choice.get("message")])
    text = turns[0].text if turns else choice.get("text")
    return text if _is_text(text) else None


def _attached(text: Any, attachments: Mapping[str, Any]) -> Any:
    name = str(text).removeprefix("attachment://") if _is_text(text) else ""
    return attachments.get(name, text) if _is_text(text) and text.startswith("attachment://") else text


def _before(epoch: Any) -> Any:
    """Return an epoch, counted from 1, as a sample."""
    return WrittenNumber(int(epoch) - 1) if _is_text(epoch) and epoch.isascii() and epoch.isdigit() else None


def _whether(told: Any, *, otherwise: bool | None = None) -> bool | None:
    """Return what a tool's own score says, where it is one of right and wrong."""
    value = told.get("value", told.get("score")) if isinstance(told, dict) else told
    if value is None or isinstance(value, bool):
        return value
    known = {"c": True, "i": False, "1": True, "1.0": True, "0": False, "0.0": False}
    return known.get(str(value).lower(), otherwise)
