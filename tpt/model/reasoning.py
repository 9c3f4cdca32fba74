"""Where the reasoning of a completion ends, as the model's own chat template marks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_QUESTION = "Probe of the question."
_REASONING = "Probe of the reasoning."
_ANSWER = "Probe of the answer."
_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""What templates call a turn's reasoning."""


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """What a template writes around an assistant's reasoning; both empty where it knows none."""

    opening: str
    """Before it; empty where that is part of the prompt."""
    end: str
    """Between it and the answer."""

    def answer_begin(self, text: str) -> int:
        """Return where the answer begins in a completion: 0 without reasoning, its length where that never ends."""
        if not self.end:
            return 0
        at = text.rfind(self.end)
        if at >= 0:
            return at + len(self.end)
        return len(text) if self.opening and self.opening in text else 0


def reasoning_marks(render: Callable[..., str]) -> ReasoningMarks:
    """Ask a template how it marks reasoning.

    ``render`` returns a template's text for turns; with ``add_generation_prompt=True`` up to where a completion begins.
    """
    user = {"role": "user", "content": _QUESTION}
    thought = {"role": "assistant", "content": _ANSWER, **dict.fromkeys(_FIELDS, _REASONING)}
    plain = {"role": "assistant", "content": _ANSWER}
    try:
        asked: str = render([user], add_generation_prompt=True)
        reasoned, answered = render([user, thought]), render([user, plain])
    except Exception:  # a template refuses by whatever its Jinja code raises, and then knows no reasoning
        return ReasoningMarks("", "")
    begin, end = reasoned.find(_REASONING), reasoned.rfind(_ANSWER)
    if not 0 <= begin < end:
        return ReasoningMarks("", "")
    between = reasoned[begin + len(_REASONING) : end]
    before = answered[: max(0, answered.rfind(_ANSWER))]
    # Some templates write the same header before an answer without reasoning, which may then be all that there is.
    shared = _shared(between[::-1], before[_shared(asked, before) :][::-1])
    header = between[len(between) - shared :]
    opening = reasoned[_shared(asked, reasoned) : begin]
    return ReasoningMarks(opening.strip(), header.strip() or between.strip())


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def without_specials(tokenizer: Any, token_ids: list[int]) -> str:
    """Return the text of ids, special tokens left out."""
    return str(tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
