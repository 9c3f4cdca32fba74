r"""Strictness in another format than the kind's own: ``verify.answer_format`` = hash, boxed or last.

Whether the value is right stays what the kind's verifier says, but for a mathematical answer asked for behind ``####``,
which is read there. Strict is then a right value whose asked place, read alone, is right too: the last closed
``\boxed{...}``, or the line behind the last ``####``. With ``last`` no format is asked, so right is strict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tpt.config.answer_format import OWN_FORMAT, AnswerFormat
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.completion import final_part
from tpt.verifiers.math.final_answer import final_answer
from tpt.verifiers.math.verify import verify_math_behind_hashes
from tpt.verifiers.pool.call import PoolCall

Opening = Callable[[Problem, str], Judgement | PoolCall]

DESCRIBED = {
    "hash": "'#### ANSWER', the last '####' of the completion, ANSWER the whole final answer, to the end of its line.",
    "boxed": "'\\boxed{ANSWER}', the last \\boxed of the completion, its braces closed; read alone, it is the right answer.",
    "last": "none: the last answer that can be read counts, and a right value is strict.",
}
"""What strict means where the format is not the kind's own; each such description begins with ``KIND/2 FORMAT: ``."""


def in_format(opening: Opening, kind: str, answer_format: AnswerFormat) -> Opening:
    """Return the verifier of a kind with the strictness of a format; kinds without a choice keep their own."""
    if answer_format == "auto" or OWN_FORMAT.get(kind, answer_format) == answer_format:
        return opening
    if answer_format == "last":
        return partial(_last, opening)
    return partial(_boxed, opening) if answer_format == "boxed" else verify_math_behind_hashes


def _last(opening: Opening, problem: Problem, completion: str) -> Judgement | PoolCall:
    found = opening(problem, completion)
    if isinstance(found, PoolCall):
        later = found.to_judgement
        return replace(found, to_judgement=lambda result: _right_is_strict(later(result)))
    return _right_is_strict(found)


def _right_is_strict(judgement: Judgement) -> Judgement:
    return replace(judgement, strict=judgement.outcome is Outcome.CORRECT)


def _boxed(opening: Opening, problem: Problem, completion: str) -> Judgement | PoolCall:
    """Judge by a verifier that decides at once, and ask of its right answers that the last box alone is right too."""
    found = opening(problem, completion)
    assert isinstance(found, Judgement)
    if found.outcome is not Outcome.CORRECT:
        return found
    last = final_answer(final_part(completion))
    if last is None or last.how != "boxed":
        return replace(found, strict=False)
    alone = opening(problem, f"\\boxed{{{last.text}}}")
    assert isinstance(alone, Judgement)
    return replace(found, strict=alone.outcome is Outcome.CORRECT)
