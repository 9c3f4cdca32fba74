r"""The answer format, said once: what the prompt asks for, what counts as kept (strict), what a prompt's text speaks of.

Each kind of problem has a format of its own (``####`` for a number, ``\boxed{}`` for mathematics). ``verify.answer_format``
replaces it, for the prompt and for the verifier together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

AnswerFormat = Literal["auto", "hash", "boxed", "last"]

OWN_FORMAT: dict[str, AnswerFormat] = {"number": "hash", "math": "boxed", "choice": "hash", "exact": "hash"}
"""Kind of problem to the format that ``auto`` means; other kinds have only the format of their verifier."""
WRITTEN = {"hash": "#### ANSWER", "boxed": r"\boxed{ANSWER}"}
"""How an answer is written in each format that a prompt can ask for."""
REQUESTS = {
    "hash": "Reason step by step, and end with a line that holds the final answer alone, like this: #### ANSWER",
    "boxed": r"Please reason step by step, and put your final answer within \boxed{}.",
}
"""What is put after the question where the prompt's template is only the question."""
PROGRAM_REQUEST = "First say in one line what the result is, then write one fenced Python program."
"""What is put after the question where programs are asked for beside problems of other kinds."""
_SPOKEN = {"hash": re.compile(r"####"), "boxed": re.compile(r"boxed", re.IGNORECASE)}


def format_of(kind: str, answer_format: AnswerFormat) -> AnswerFormat:
    """Return the format that answers of a kind are asked in; ``auto``: its verifier's own, which has no other name."""
    own = OWN_FORMAT.get(kind, "auto")
    return own if answer_format == "auto" or kind not in OWN_FORMAT else answer_format


def spoken_of(texts: Iterable[str]) -> list[str]:
    """Return the formats that some texts speak of, such as a prompt and its worked examples."""
    joined = "\n".join(texts)
    return [name for name, pattern in _SPOKEN.items() if pattern.search(joined)]


def format_warnings(texts: Sequence[str], answer_format: AnswerFormat, kinds: Iterable[str]) -> list[str]:
    """Return what does not go together: a prompt that asks for one format, and a verifier that counts another.

    ``texts`` are those of the user's own prompt: system text, template, answers of the worked examples.
    """
    kinds, spoken = sorted(set(kinds)), spoken_of(texts)
    said = []
    for kind in kinds:
        counted = format_of(kind, answer_format)
        if counted in WRITTEN and spoken and counted not in spoken:
            said.append(
                f"the prompt speaks of {WRITTEN[spoken[0]]}, but for kind {kind!r} strict means {WRITTEN[counted]}: set "
                f'verify.answer_format = "{spoken[0]}", or change prompt.template'
            )
    if answer_format != "auto" and (other := [kind for kind in kinds if kind not in OWN_FORMAT]):
        said.append(
            f'verify.answer_format = "{answer_format}" says nothing of problems of kind {", ".join(map(repr, other))}, '
            "whose verifiers have their own format"
        )
    return said
