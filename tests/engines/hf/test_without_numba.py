"""The engine where numba is not installed: nothing fails, nothing greedy changes, and it is said once what is missed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENTRY, QUICKSTART, TINY, sets

ADVICE = 'pip install "think-prune-train[cpu]"'
GREEDY = """
import json
from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Request, Sampling, complete
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.problems.procedural.word_problems import word_problems

chat = Chat(load_tokenizer("embedded"), PromptConfig())
engine = open_hf("embedded", chat, EngineConfig(slots=16, device="cpu"), max_length=256, cache=None)
greedy = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=100)
problems = word_problems(split="train", size=12)
requests = (Request((problem.id, 0), chat.prompt_ids(problem), 0, greedy) for problem in problems)
done = {each.id[0]: each.token_ids for each in complete(engine, requests)}
print(json.dumps([done, engine.describe()]))
"""


@pytest.fixture
def without_numba(tmp_path: Path) -> dict[str, str]:
    """An environment in which no process can import numba."""
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text("import sys; sys.modules['numba'] = None\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(hiding), *filter(None, sys.path)])}


def run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_greedy_completions_are_the_compiled_ones(without_numba: dict[str, str]) -> None:
    compiled, plain = (run([sys.executable, "-c", GREEDY], env) for env in (None, without_numba))
    (wanted, usual), (found, described) = json.loads(compiled.stdout), json.loads(plain.stdout)
    assert found == wanted
    assert (usual["decoder"], usual["advice"]) == ("prefix", "")
    assert described["decoder"] == "fixed" and ADVICE in described["advice"]
    assert plain.stderr.count(ADVICE) == 1 and ADVICE not in compiled.stderr


def test_the_loop_runs(without_numba: dict[str, str], tmp_path: Path) -> None:
    """All stages, in their own processes."""
    changes = sets(*TINY, "engine.batch_invariant=false")
    done = run([*ENTRY, "run", str(QUICKSTART), "--out", str(tmp_path / "run"), *changes], without_numba)
    assert ADVICE in done.stderr
    manifest = json.loads((tmp_path / "run" / "round-1" / "think.json").read_text(encoding="utf-8"))
    assert ADVICE in manifest["counts"]["engine"]["advice"]


def test_the_engine_s_tests_pass(without_numba: dict[str, str]) -> None:
    """Those of the decoder that is left; those of the compiled one are not collected."""
    chosen = "seeded or mixture or cancel"
    command = [sys.executable, "-m", "pytest", "-q", "-k", chosen, str(Path(__file__).parent)]
    run(command, without_numba)
