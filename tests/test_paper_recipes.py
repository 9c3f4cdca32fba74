"""The recipes of the paper's own runs: the values that it gives, its prompts, its GPUs and its ablations."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import NamedTuple

import pytest
from command_line import Tpt
from paper_recipes import ARMS, FOLDER, RECIPES, family, is_code, recipe
from transformers import Gemma2Config, LlamaConfig

from tpt.compare import load_arms
from tpt.config import parse_config
from tpt.sft.memory import GIB, Plan, estimate, shape_of

OTHER_PROMPTS = ("self-code-prompt-2k", "self-own-words-2k")


class Paper(NamedTuple):
    model: str
    rounds: int
    size: int
    learning_rate: float
    samples: int
    devices: int
    gigabytes: int
    """Memory of a GPU that the recipe says it needs."""


PAPER = {
    "gemma-2-2b-it": Paper("google/gemma-2-2b-it", 4, 2000, 1e-6, 20, 1, 80),
    "gemma-2-9b-it": Paper("google/gemma-2-9b-it", 3, 2000, 1e-6, 20, 8, 80),
    "llama-3.2-1b-instruct": Paper("meta-llama/Llama-3.2-1B-Instruct", 1, 2000, 1e-5, 20, 1, 40),
    "llama-3.3-70b-instruct": Paper("meta-llama/Llama-3.3-70B-Instruct", 1, 6000, 1e-5, 20, 8, 192),
    "codecontests-gemma-2-2b-it": Paper("google/gemma-2-2b-it", 4, 1000, 1e-6, 50, 1, 80),
    "codecontests-gemma-2-9b-it": Paper("google/gemma-2-9b-it", 3, 1000, 1e-6, 50, 8, 80),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_papers_values(name: str) -> None:
    config, paper = recipe(name), PAPER[name]
    assert (config.preset, config.model, config.rounds) == ("tpt", paper.model, paper.rounds)
    assert (config.think.samples, config.think.temperature) == (10, 0.8)
    assert (config.prune.size, config.prune.per_problem, config.prune.growth) == (paper.size, 1, 1)
    assert config.prune.correct_only and config.prune.require_format
    assert (config.data.mode, config.data.source, config.train.start_from) == ("replace", "self", "last")
    train = config.train
    assert (train.learning_rate, train.epochs, train.warmup_ratio) == (paper.learning_rate, 1, 0.1)
    assert (train.method, train.batch_size, train.schedule, train.loss) == ("full", 8, "cosine", "cross_entropy")
    assert max(1, train.devices) == paper.devices
    assert (config.evaluate.samples, config.evaluate.ks) == (paper.samples, [1, paper.samples])
    assert (config.evaluate.temperature, config.stop.patience) == (0.7, 0)
    assert config.problems.max_heldout == (0 if is_code(name) else 500)
    source = "code_contests" if is_code(name) else "gsm8k"
    assert config.problems.train.startswith(f"{source}?split=train")
    assert config.problems.heldout == f"{source}?split=test"


APPENDIX_B4 = """You are an expert mathematician.
You are provided with a math problem. Your task is to solve the problem step-by-step, clearly showing all relevant \
calculations and reasoning.
Problem: "{question}"
Requirements:
1. Provide a complete and correct solution in a markdown block.
2. Explain each step of the solution in detail.
3. Conclude with the final numerical answer on a new line in the format `#### [Answer]`, replacing `[Answer]` with the \
actual answer.
Solution:"""


@pytest.mark.parametrize("name", [name for name in RECIPES if not is_code(name)])
def test_a_recipe_asks_in_the_words_of_appendix_b4(name: str) -> None:
    assert recipe(name).prompt.template == APPENDIX_B4


def test_the_published_code_asks_the_same_with_headings_and_margins() -> None:
    sent = parse_config({"prompt": {"template": "paper-code"}}).prompt.template
    lines = [line.strip() for line in sent.splitlines() if line.strip()]
    assert lines[3:5] == ["# PROBLEM:", "{question}"] and lines[-1] == "# SOLUTION:"
    assert " ".join([*lines[:3], *lines[5:-1]]) == " ".join(
        [*APPENDIX_B4.splitlines()[:2], *APPENDIX_B4.splitlines()[3:-1]]
    )
    assert sent.startswith("\n" + 20 * " ") and sent.endswith("\n" + 20 * " ")


@pytest.mark.parametrize("name", RECIPES)
def test_tpt_init_prints_a_recipe(name: str, tpt: Tpt) -> None:
    printed = tpt("init", f"paper/{name}")
    assert parse_config(tomllib.loads(printed.out)) == recipe(name)


def test_tpt_init_lists_the_recipes_and_nothing_else_of_the_folder(fails: Callable[..., str]) -> None:
    said = fails("init", "gemma-2-2b-it", code=2)
    listed = {word.strip(",.") for word in said.split() if word.startswith("paper/")}
    assert listed == {f"paper/{name}" for name in PAPER}
    assert "Did you mean 'paper/gemma-2-2b-it'?" in said


@pytest.mark.parametrize("name", RECIPES)
def test_every_line_that_the_paper_leaves_open_is_marked(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    own = ["template"] if is_code(name) else []
    for key in (*own, "max_heldout", "weight_decay", "micro_batch_size", "tensor_parallel_size", "probe"):
        for line in text.split("\n" + key + " = ")[:-1]:
            assert line.splitlines()[-1].startswith("# own: "), key


GEMMA_2B = {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8}
GEMMA_9B = {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16}


GEMMA = {"vocab_size": 256_000, "head_dim": 256}
LLAMA_1B = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
LLAMA_70B = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}


LLAMA = {"vocab_size": 128_256, "num_key_value_heads": 8}


ARCHITECTURES = {
    "google/gemma-2-2b-it": lambda: Gemma2Config(**GEMMA, **GEMMA_2B, num_key_value_heads=4),
    "google/gemma-2-9b-it": lambda: Gemma2Config(**GEMMA, **GEMMA_9B, num_key_value_heads=8),
    "meta-llama/Llama-3.2-1B-Instruct": lambda: LlamaConfig(**LLAMA, **LLAMA_1B, tie_word_embeddings=True),
    "meta-llama/Llama-3.3-70B-Instruct": lambda: LlamaConfig(**LLAMA, **LLAMA_70B),
}


@pytest.mark.parametrize("name", RECIPES)
def test_training_fits_the_gpus_that_the_recipe_asks_for(name: str) -> None:
    config, paper = recipe(name).train, PAPER[name]
    plan = Plan(
        config.micro_batch_size,
        config.max_length,
        gradient_checkpointing=config.gradient_checkpointing,
        devices=max(1, config.devices),
        eager_attention=family(name) == "gemma2",
    )
    assert config.devices <= 1 or config.strategy == "fsdp2"
    assert estimate(shape_of(ARCHITECTURES[paper.model]()), plan).total < 0.9 * 0.98 * paper.gigabytes * GIB
    number = {1: "a GPU", 8: "eight GPUs"}[paper.devices]
    assert f"Needs {number} of {paper.gigabytes} GB" in (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ARMS)
def test_the_ablations_are_arms_of_one_round_of_the_recipe(name: str) -> None:
    plan, base = load_arms(FOLDER / "arms" / f"{name}.toml"), recipe(name.removeprefix("gsm8k-"))
    source = {"self": "self", "human": "human", "from": "file", "no": "self", "one": "self", "mixed": "self"}
    for arm in plan.arms:
        config = arm.config(plan.seeds[0])
        assert config.rounds == 1
        assert f"{config.prune.size // 1000}k" == arm.name.rpartition("-")[2]  # type: ignore[operator]
        assert config.prune.correct_only != ("no-prune" in arm.name)
        assert config.data.source == ("file" if "from-9b" in arm.name else source[arm.name.partition("-")[0]])
        assert config.data.mix == (0.5 if arm.name.startswith("mixed") else 0)
        assert bool(config.prune.min_tests_passed) == ("passed" in arm.name)
        kept = {"rounds", "seed", "preset", "prune", "data", "train"}
        other_prompt = {"prompt"} if arm.name in OTHER_PROMPTS else set()
        assert (config.prompt != base.prompt) == bool(other_prompt)
        kept |= other_prompt
        assert config.model_dump(exclude=kept) == base.model_dump(exclude=kept)
        assert config.train == base.train
