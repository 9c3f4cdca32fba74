"""The rule that the paper's published code scores by, so that its numbers can be printed beside ours.

Right is a completion whose first ``####`` with a number behind it has, letter for letter, the gold answer there. It misses
right answers: ``#### $18``, ``#### **18**``, ``#### 18.``, ``#### 18.00`` and ``#### 1,800`` for 1800. And it can take one for
right that the completion itself gives up later, as nothing after the first ``####`` counts. So it is for comparison with the
paper alone; ``number`` is what to score and to prune by.
"""

from __future__ import annotations

import re

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement

PAPER_FORMAT = (
    "paper/1: '#### N', the first '####' of the completion that has, after white space alone, digits, points and commas, a '-' "
    "before them if any; all of them are the answer and must be the gold answer letter for letter. '[Answer]' left over from "
    "the prompt is taken out first. There is no lenient reading."
)
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""

_ANSWER = re.compile(r"####\s*(-?[\d.,]+)")
_PLACEHOLDER = "[Answer]"


def verify_paper(problem: Problem, completion: str) -> Judgement:
    """Judge a completion as the paper's published code does; its format is kept where it is right, and nowhere else."""
    found = _ANSWER.search(without_placeholder(completion))
    if found is None:
        return Judgement(Outcome.NO_ANSWER, False, None)
    right = found[1] == problem.answer
    return Judgement(Outcome.CORRECT if right else Outcome.WRONG, right, found[1][:EXTRACTED])


def without_placeholder(completion: str) -> str:
    """Return a completion without the prompt's ``[Answer]``, as the published code rewrites what it samples.

    With each goes the white space before it, one ``**`` or ``####`` before that, and one colon behind; of
    ``#### [Answer]`` the mark stays.
    """
    first, *others = completion.replace(f"#### {_PLACEHOLDER}", "####").split(_PLACEHOLDER)
    parts = [first, *(part.removeprefix(":") for part in others)]
    return "".join([*map(_before_placeholder, parts[:-1]), parts[-1]])


def _before_placeholder(text: str) -> str:
    text = text.rstrip()
    return text.removesuffix("**") if text.endswith("**") else text.removesuffix("####")
