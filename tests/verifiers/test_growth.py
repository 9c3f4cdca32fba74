"""Whatever reads model text in the driver takes time in proportion to its length, however it repeats itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

import pytest

from tpt.records import Problem, well_formed
from tpt.report.audit import _safe
from tpt.scoring.equations import equation_chain
from tpt.scoring.repetition import looped, words_of
from tpt.verifiers.boxes import boxes
from tpt.verifiers.code.extract import extract_program
from tpt.verifiers.completion import final_part, program_part, without_chatter
from tpt.verifiers.judge import OPENINGS
from tpt.verifiers.math.final_answer import final_answer
from tpt.verifiers.steps import check_steps

PROBLEMS = {
    kind: Problem("p", "Which?\n(A) oak\n(B) elm", "B" if kind == "choice" else "18", kind)
    for kind in OPENINGS
    if kind != "code"
}
READERS: dict[str, Callable[[str], object]] = {
    **{kind: partial(OPENINGS[kind], problem) for kind, problem in PROBLEMS.items()},
    "final part": final_part,
    "program part": program_part,
    "chatter": without_chatter,
    "final answer": final_answer,
    "boxes": boxes,
    "program": extract_program,
    "function": lambda text: extract_program(text, entry_point="f"),
    "equations": equation_chain,
    "steps": check_steps,
    "words": words_of,
    "loops": lambda text: looped([words_of(text)]),
    "page": _safe,
    "imported text": well_formed,
}
PIECES = [
    "`", "```", "~~~", " ", "\t", "\n", "```python\n", "```\n", "> ", '"', "'", "\\", '"""', "'''", "#", "####", "#### ",
    "\\boxed{", "{", "}", "$", "\\[", "\\(", "<answer>", "</answer>", "<think>", "</think>", "<", "</s>", "<|im_end|>", "[/INST]",
    "Question", "\nQuestion", "\nQ:", "\nQuestion ", "Answer:", "answer is ", "A", "(A)", "A) ", "1", "1,", "1.", "1 000 ", "-",
    "*", "**", "\\frac{", "\\text{", "\nI hope", "def f():\n", "    return 1\n", '{"answer": ', "[", "(",
    "=", ",", "\\approx ",
    "and ", "or ", "not ", "is ", "\ufeff", "١", "é", "\x00", "  \n", "0.", "'answer': '",
    "import a\n", "@a\n", "\\left(", "_", "^", "%",
    "/", ":", "\r", "<<1+", "x",
]  # fmt: skip
STARTS = ["", "```python\n", "\\boxed{", "#### ", "The answer is ", "\nQuestion", "```"]
ENDS = ["", "`", "x", "}", "\n```", "####", "$", "A"]
SHORT, TIMES = 20_000, 4
LONGEST_S = 1.0
"""Processor time of 80,000 characters."""
GROWTH = 9.0
"""Four times the text may take so many times as long: 4 where time grows with length, 16 with its square."""


def cpu_s(read: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    read(text)
    return time.process_time() - began


def grows_too_fast(read: Callable[[str], object], piece: str, start: str, end: str) -> str:
    count = max(1, SHORT // len(piece))
    texts = [start + piece * count + end, start + piece * (count * TIMES) + end]
    long = cpu_s(read, texts[1])
    if long < 0.05:  # too little to measure by, and little enough
        return ""
    short, long = min(cpu_s(read, texts[0]) for _ in range(2)), min(long, cpu_s(read, texts[1]))
    if long <= GROWTH * short and long < LONGEST_S:
        return ""
    return f"{start!r} + {piece!r} * n + {end!r}: {short:.3f} s, {long:.3f} s"


@pytest.mark.parametrize("name", READERS)
def test_repeated_pieces(name: str) -> None:
    rng = random.Random(1)
    found = [grows_too_fast(READERS[name], piece, rng.choice(STARTS), rng.choice(ENDS)) for piece in PIECES]
    assert [each for each in found if each] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_repeated_groups_of_pieces(name: str) -> None:
    rng = random.Random(2)
    groups = ["".join(rng.choices(PIECES, k=rng.choice([2, 3]))) for _ in range(400)]
    found = [grows_too_fast(READERS[name], group, rng.choice(STARTS), rng.choice(ENDS)) for group in groups]
    assert [each for each in found if each] == []


@pytest.mark.parametrize("blanks", [1_000, 100_000])
def test_blanks_between_ticks(blanks: int) -> None:
    assert cpu_s(extract_program, "```" + " " * blanks + "`") < 0.5
