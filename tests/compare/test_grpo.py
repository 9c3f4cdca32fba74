"""Reinforcement learning as an arm: the same verifier as reward, the same prompts, about as many tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import QUICKSTART

from tpt.compare import run_comparison
from tpt.compare.arms import load_arms
from tpt.compare.budget import Limit, limit_of
from tpt.compare.grpo import GENERATIONS, PROBLEMS, Reward
from tpt.compare.running import arm_run_of
from tpt.config import load_config
from tpt.errors import ConfigError
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.records import Problem
from tpt.system.jsonl import read_json

ARMS = """
seeds = [0]
budget = {budget}
[base]
model = "embedded"
rounds = 1
threads = 1
problems = {{max_train = 40, max_heldout = 8}}
engine = {{slots = 16}}
think = {{samples = 2, max_tokens = 60}}
prune = {{size = 8}}
train = {{learning_rate = 1e-4}}
evaluate = {{samples = 2, max_tokens = 60, probe = 0}}
[[arm]]
name = "{first}"
[[arm]]
name = "grpo"
"""


def arms_file(folder: Path, *, budget: str = '"examples"', first: str = "tpt") -> Path:
    path = folder / "arms.toml"
    path.write_text(ARMS.format(budget=budget, first=first))
    return path


def test_the_reward_is_the_strict_verdict_of_a_completion_that_ended() -> None:
    config = load_config(QUICKSTART)
    chat = Chat(load_tokenizer("embedded"), config.prompt)
    reward = Reward({"p": Problem("p", "How many?", "18")}, chat, config)
    texts = ["9 * 2 = 18\n#### 18", "#### 17", "The answer is 18", "#### 18"]
    ids = [[*chat.tokenizer(text, add_special_tokens=False).input_ids, chat.end_of_turn_id] for text in texts]
    ids[3].pop()  # cut off
    assert reward(problem_id=["p"] * 4, completion_ids=ids, prompts=[], completions=[]) == [1.0, 0.0, 0.0, 0.0]
    assert (reward.tokens, reward.completions, reward.rewards) == (sum(map(len, ids)), 4, [0.25])
    assert reward.prompt_tokens == 4 * len(chat.prompt_ids(reward.problems["p"]))


def test_it_goes_by_the_tokens_of_the_reference_arm_or_the_number_given(tmp_path: Path) -> None:
    plan = load_arms(arms_file(tmp_path, budget="700"))
    assert limit_of(plan.arms[1], plan, reference=[]) == Limit(1, 1, 700.0)
    with pytest.raises(ConfigError, match="go by what the reference arm samples, but 'human' samples nothing"):
        load_arms(arms_file(tmp_path, first="human"))
    path = arms_file(tmp_path)
    path.write_text('reference = "grpo"\n' + path.read_text())
    with pytest.raises(ConfigError, match=r"must have rounds: 'grpo' is grpo\. Set reference"):
        load_arms(path)


@pytest.mark.slow
def test_an_arm_of_reinforcement_learning_is_scored_like_the_others(tmp_path: Path) -> None:
    plan = load_arms(arms_file(tmp_path))
    found = run_comparison(plan, tmp_path / "out", jobs=1)
    tpt, grpo = found.arms
    task = arm_run_of(tmp_path / "out", plan.arms[1], 0)
    assert [record.index for record in task.records()] == [0, 1]
    counts = read_json(task.run.round(1).manifest("train"))["counts"]
    steps, one = counts["steps"], GENERATIONS * PROBLEMS
    assert counts["examples"] == steps * one
    # The step that spends the last of the tokens is the last.
    assert tpt.cost.tokens_sampled.mean <= grpo.cost.tokens_sampled.mean <= tpt.cost.tokens_sampled.mean + one * 60
    # Every token sampled or read is trained on, and nothing else.
    assert (
        counts["total_tokens"]
        == counts["target_tokens"] + read_json(task.run.round(1).manifest("think"))["counts"]["prompt_tokens"]
    )
    assert grpo.cost.flops is not None and grpo.cost.flops.mean == 8 * counts["parameters"] * counts["total_tokens"]
    weights = [arm_run_of(tmp_path / "out", arm, 0).run.round(1).checkpoint / "model.safetensors" for arm in plan.arms]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    assert set(grpo.curve) == {0, 1} and grpo.last.strict_gain is not None
    before = (tmp_path / "out" / "compare.json").read_bytes()
    run_comparison(plan, tmp_path / "out", jobs=1)
    assert (tmp_path / "out" / "compare.json").read_bytes() == before
