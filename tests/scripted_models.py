"""Models whose completions a function writes: what the gate is tried on, behind a server or without one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Script = Callable[[int, random.Random], tuple[str, str]]
"""Takes the right answer, which names the problem too, and a random source; gives a completion and how it ended."""
Configure = Callable[..., Path]
"""Takes a script, overrides of the config and numbers of problems; gives the config's file."""


def solves(answer: int, source: random.Random, *, mean: float) -> int:
    """The right answer or a wrong one; problems differ in how often."""
    chance = min(1.0, max(0.0, mean + 0.3 * random.Random(answer).uniform(-1, 1)))
    return answer if source.random() < chance else answer + source.randint(1, 9)


def good(answer: int, source: random.Random) -> tuple[str, str]:
    return f"One plus the other.\n#### {solves(answer, source, mean=0.5)}", "stop"


def boxed(answer: int, source: random.Random) -> tuple[str, str]:
    """As Qwen2.5-Coder-0.5B-Instruct answered a prompt that asks for ####: all in boxes, many cut off."""
    if source.random() < 0.3:
        return "Let me think about this step by step, ", "length"
    return f"So there are $\\boxed{{{solves(answer, source, mean=0.25)}}}$ apples.", "stop"


def hard(answer: int, source: random.Random) -> tuple[str, str]:
    return f"#### {answer + source.randint(1, 9)}", "stop"


def easy(answer: int, source: random.Random) -> tuple[str, str]:
    return f"#### {answer if source.random() < 0.995 else 1}", "stop"


def cut(answer: int, source: random.Random) -> tuple[str, str]:
    return "First I think of " + ", ".join(str(source.randint(10, 99)) for _ in range(12)), "length"


def saturated(answer: int, source: random.Random) -> tuple[str, str]:
    """Every problem is solved always or never."""
    return f"#### {answer if answer % 4 < 2 else answer + 1}", "stop"
