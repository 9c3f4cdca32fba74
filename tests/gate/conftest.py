"""A config whose model is a server that a script answers for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_models import Configure, Script
from server_stub import Answer, Handler, Stub, choice, complete, reply


def row(first: int) -> dict[str, Any]:
    return {"question": f"Tom has {first} apples and buys 7 more. How many?", "answer": str(first + 7)}


@pytest.fixture
def configure(stub: Stub, tmp_path: Path, problem_file: Callable[..., Path]) -> Configure:
    def write(script: Script, *overrides: str, train: int = 60, heldout: int = 60) -> Path:
        def answer(handler: Handler) -> Answer:
            asked = re.findall(r"has (\d+) apples", str(handler.body["prompt"]))
            if not asked:
                complete_answer = complete(handler)
                assert complete_answer is not None
                return complete_answer
            text, reason = script(int(asked[-1]) + 7, random.Random(f"{asked[-1]} {handler.body['seed']}"))
            return reply(choice(text, reason))

        stub.usual = answer
        paths = {
            "train": problem_file("train.jsonl", [row(1000 + 2 * n) for n in range(train)]),
            "heldout": problem_file("heldout.jsonl", [row(3001 + 2 * n) for n in range(heldout)]),
        }
        engine = f'name = "server"\nurl = "{stub.url}"\nprompt = "text"\nconcurrency = 16\n'
        problems = "".join(f'{name} = "{path}"\n' for name, path in paths.items())
        path = tmp_path / "run.toml"
        path.write_text(
            f"rounds = 1\nthreads = 1\n[problems]\n{problems}[engine]\n{engine}"
            + "".join(f"[{each.partition('.')[0]}]\n{each.partition('.')[2]}\n" for each in overrides),
            encoding="utf-8",
        )
        return path

    return write
