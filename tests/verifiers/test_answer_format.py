r"""One setting, ``verify.answer_format``, for what the prompt asks and what strict means."""

from __future__ import annotations

import pytest

from tpt.config import PromptConfig, RunConfig, Shot, VerifyConfig, parse_config
from tpt.config.answer_format import AnswerFormat, format_warnings
from tpt.records import Outcome, Problem
from tpt.verifiers.judge import FORMATS, formats_of, judge_one

LINE = "A) 12\nB) 18\nC) 20"
GOLDS = {
    "number": Problem("p", "How many?", "18"),
    "math": Problem("p", "What is it?", r"\frac{1}{2}", "math"),
    "choice": Problem("p", f"Which?\n{LINE}", "B", "choice"),
    "exact": Problem("p", "Where?", "New York", "exact"),
}
BOXED = {"number": "18", "math": r"\frac{1}{2}", "choice": "B", "exact": "New York"}


def judged(kind: str, completion: str, answer_format: AnswerFormat) -> tuple[Outcome, bool]:
    found = judge_one(GOLDS[kind], completion, limits=VerifyConfig(answer_format=answer_format, workers=1))
    return found.outcome, found.strict


@pytest.mark.parametrize("kind", sorted(GOLDS))
@pytest.mark.parametrize("answer_format", ["auto", "hash", "boxed", "last"])
def test_the_asked_format_is_strict_and_any_right_value_is_right(kind: str, answer_format: AnswerFormat) -> None:
    own = "boxed" if kind == "math" else "hash"
    for written, text in (("hash", f"So it is\n#### {BOXED[kind]}"), ("boxed", f"So it is\n\\boxed{{{BOXED[kind]}}}")):
        wanted = answer_format in ("last", written) or (answer_format == "auto" and written == own)
        assert judged(kind, text, answer_format) == (Outcome.CORRECT, wanted), (written, text)


@pytest.mark.parametrize(
    ("kind", "completion", "answer_format", "outcome", "strict"),
    [
        ("number", r"\boxed{18}", "hash", Outcome.CORRECT, False),
        ("number", r"The answer is $\boxed{18}$ apples.", "boxed", Outcome.CORRECT, True),
        ("number", r"\boxed{\$18}", "boxed", Outcome.CORRECT, True),
        ("number", r"\boxed{18 \text{ apples}}", "boxed", Outcome.CORRECT, True),
        ("number", r"\boxed{1{,}800}", "boxed", Outcome.WRONG, False),
        ("number", r"\boxed{17}", "boxed", Outcome.WRONG, False),
        ("number", r"\boxed{12} or rather \boxed{18}", "boxed", Outcome.CORRECT, True),
        ("number", r"\boxed{12}. No, the answer is 18.", "boxed", Outcome.CORRECT, False),
        ("number", r"\boxed{18}. No, the answer is 12.", "boxed", Outcome.WRONG, False),
        ("number", r"It is \boxed{18", "boxed", Outcome.CORRECT, False),
        ("number", "**18**", "boxed", Outcome.CORRECT, False),
        ("number", "", "boxed", Outcome.NO_ANSWER, False),
        ("number", "**18**", "last", Outcome.CORRECT, True),
        ("number", "It is 17.", "last", Outcome.WRONG, False),
        ("math", "#### 0.5", "hash", Outcome.CORRECT, True),
        ("math", r"#### $\boxed{\frac{1}{2}}$", "hash", Outcome.CORRECT, True),
        ("math", r"\boxed{\frac{1}{2}}", "hash", Outcome.CORRECT, False),
        ("math", "\\boxed{3}\n#### \\frac{1}{2}", "hash", Outcome.CORRECT, True),
        ("math", "\\boxed{\\frac{1}{2}}\n#### 3", "hash", Outcome.WRONG, False),
        ("math", r"The answer is $\sin(\pi/6)$.", "last", Outcome.CORRECT, True),
        ("math", r"#### \sin(\pi/6)", "hash", Outcome.CORRECT, True),
        ("choice", r"\boxed{\text{B}}", "boxed", Outcome.CORRECT, True),
        ("choice", r"The answer is (B).", "boxed", Outcome.CORRECT, False),
        ("choice", r"\boxed{A}", "boxed", Outcome.WRONG, False),
    ],
)
def test_variants(kind: str, completion: str, answer_format: AnswerFormat, outcome: Outcome, strict: bool) -> None:
    assert judged(kind, completion, answer_format) == (outcome, strict)


def test_kinds_without_a_choice_keep_their_format() -> None:
    limits = VerifyConfig(answer_format="boxed", workers=1)
    assert judge_one(Problem("p", "", "a+b", "regex"), "#### aab", limits=limits).strict


def test_formats_of_a_manifest_change_only_where_strict_means_something_else() -> None:
    kinds = {"number", "math", "code"}
    assert formats_of(kinds) == {kind: FORMATS[kind] for kind in sorted(kinds)}
    boxed = formats_of(kinds, VerifyConfig(answer_format="boxed"))
    assert boxed["number"].startswith("number/2 boxed: '\\boxed{ANSWER}'")
    assert (boxed["math"], boxed["code"]) == (FORMATS["math"], FORMATS["code"])
    assert formats_of(kinds, VerifyConfig(answer_format="last"))["math"].startswith("math/2 last: none")


def asked(answer_format: str, **prompt: object) -> str:
    config: RunConfig = parse_config({"verify": {"answer_format": answer_format}, "prompt": prompt})
    return config.asked_prompt.user("How many?")


def test_the_prompt_asks_for_the_format_unless_it_is_the_users_own() -> None:
    assert asked("auto") == asked("last") == "How many?"
    assert asked("boxed").startswith("How many?\n\n") and asked("boxed").endswith(r"within \boxed{}.")
    assert asked("hash").endswith("#### ANSWER")
    assert asked("boxed", template="{question} Answer as #### N.") == "How many? Answer as #### N."


def test_a_prompt_that_asks_for_another_format_is_warned_of() -> None:
    hashes = PromptConfig(template="{question} Answer as #### N.").texts
    shown = PromptConfig(few_shot=[Shot(question="1 + 1?", answer=r"\boxed{2}")]).texts
    assert format_warnings(hashes, "auto", ["number"]) == []
    assert format_warnings(PromptConfig().texts, "auto", ["number", "math", "code"]) == []
    (said,) = format_warnings(shown, "auto", ["number", "math"])
    assert said.startswith(r"the prompt speaks of \boxed{ANSWER}, but for kind 'number' strict means #### ANSWER")
    (said,) = format_warnings(hashes, "boxed", ["number"])
    assert 'set verify.answer_format = "hash"' in said
    assert format_warnings(hashes, "last", ["number"]) == []
    (said,) = format_warnings(PromptConfig().texts, "boxed", ["number", "code"])
    assert "says nothing of problems of kind 'code'" in said
