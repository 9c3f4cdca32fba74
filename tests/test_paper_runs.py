"""Every recipe of the paper from end to end, on a small model of the same family.

The small models have two layers and random weights that were taught one answer, in the recipe's own prompt. So they solve the
problems that have this answer and no others, and there is something to keep, something to prune and something to train on.
What they learn means nothing; that every setting of a recipe is taken by every stage is what is shown.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli_w
from chat_families import tokenizer_of
from command_line import Tpt, sets
from paper_recipes import ARMS, FOLDER, RECIPES, family, is_code, recipe
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedConfig

from tpt.config import TrainConfig, load_config
from tpt.mix import HUMAN_SAMPLE
from tpt.model.chat import Chat
from tpt.problems import load_problems
from tpt.records import Example, Problem, RoundRecord, Trace, Verdict
from tpt.rounds import Run, round_record
from tpt.run.directory import STAGES, RunDir
from tpt.sandbox.bubblewrap import why_not
from tpt.sft import encode, fit, save_checkpoint
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_json, read_records

SMALL = [
    "threads=1",
    "problems.max_heldout=0",
    "think.max_tokens=32",
    "evaluate.max_tokens=32",
    "prune.size=4",
    "engine.name=hf",
    "engine.slots=24",
    "engine.tensor_parallel_size=1",
    "train.devices=0",
    "train.strategy=ddp",
]


OVERRIDDEN = {*(each.partition("=")[0] for each in SMALL), "model", "problems.train", "problems.heldout"}


GOLD, OTHER = 4, 7


ANSWER = f"#### {GOLD}"


PROGRAM = f"```python\nprint({GOLD})\n```"


def word_problem(index: int, gold: int) -> dict[str, Any]:
    return {
        "question": f"Ann has {index} pens and {gold} cups. How many cups?",
        "answer": f"She has {gold}.\n#### {gold}",
    }


def contest(index: int, gold: int) -> dict[str, Any]:
    tests = {"input": [f"{index}\n"], "output": [f"{gold}\n"]}
    return {
        "name": f"{index}_A. Print",
        "description": f"Whatever the integer in the input is, {index} say, print {gold}.",
        "public_tests": tests,
        "solutions": {"language": [3], "solution": [f"print({gold})"]},
        "time_limit": {"seconds": 2, "nanos": 0},
        "memory_limit_bytes": 256 << 20,
    }


@pytest.fixture(scope="module")
def problem_folder(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A handful of problems in the layouts of GSM8K and of CodeContests, by whether they want programs."""
    found = {}
    for code, make in ((False, word_problem), (True, contest)):
        folder = found[code] = tmp_path_factory.mktemp("problems")
        for split, golds in (("train", [GOLD] * 6 + [OTHER] * 2), ("test", [GOLD, GOLD, OTHER])):
            # Prompts of many lengths, so that no model learns by heart where an answer stands.
            rows = [make(10**index * (1 + (split == "test")), gold) for index, gold in enumerate(golds)]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return found


def sources(name: str, folder: Path) -> dict[str, str]:
    kind = "code_contests" if is_code(name) else "gsm8k"
    return {"train": f"{kind}:{folder}?split=train", "heldout": f"{kind}:{folder}?split=test"}


def small_model(name: str, tokenizer: Any) -> Any:
    import torch

    torch.manual_seed(0)
    kind: type[PreTrainedConfig] = {"gemma2": Gemma2Config, "llama3": LlamaConfig}[family(name)]
    config = kind(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        tie_word_embeddings="70b" not in name,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


def teach(name: str, problems: list[Problem], out: Path) -> None:
    """Write a small model that gives one answer to the recipe's prompt, mostly."""
    tokenizer = tokenizer_of(family(name))
    model, chat = small_model(name, tokenizer), Chat(tokenizer, recipe(name).prompt)
    said = {"role": "assistant", "content": PROGRAM if is_code(name) else ANSWER}
    examples = [Example(problem.id, 0, [*chat.messages(problem), said]) for problem in problems]
    rows = encode(examples, {problem.id: problem for problem in problems}, chat, max_length=4096).rows
    epochs = 70 if is_code(name) else 30
    config = TrainConfig(learning_rate=2e-2, batch_size=2, micro_batch_size=2, epochs=epochs, schedule="linear")
    fit(model, tokenizer, rows, config=config, seed=0)
    save_checkpoint(model, chat, out)


class SmallRun(NamedTuple):
    run: RunDir
    records: list[RoundRecord]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models lie here once they are taught; recipes of one family and prompt share theirs."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def run_small(
    tpt: Tpt, tmp_path: Path, models: Path, problem_folder: dict[bool, Path], one_thread: None
) -> Callable[..., SmallRun]:
    """Runs a recipe on a small model and a handful of problems; with the command all its rounds, else one, stage by stage."""

    def run(name: str, *overrides: str, by_command: bool) -> SmallRun:
        if is_code(name) and (missing := why_not()):
            pytest.skip(f"no sandbox for programs: {missing}")
        where = sources(name, problem_folder[is_code(name)])
        model = models / name.removesuffix("-2b-it").removesuffix("-9b-it")
        if not model.exists():
            teach(name, load_problems(where["train"])[:4], model)
        own = [f"model={model}", *(f"problems.{side}={source}" for side, source in where.items())]
        out, overrides = tmp_path / "run", (*SMALL, *own, *overrides)
        if by_command:
            done = tpt("run", FOLDER / f"{name}.toml", "--out", out, *sets(*overrides))
            assert done.code == 0, done.err
        else:
            opened = Run(out, load_config(FOLDER / f"{name}.toml", list(overrides)))
            opened.prepare()
            for stage, index in [("evaluate", 0), *((stage, 1) for stage in STAGES)]:
                do_stage(out, stage, index)
        return SmallRun(RunDir(out), [round_record(RunDir(out), round_dir) for round_dir in RunDir(out).rounds()])

    return run


def changed_keys(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in one.items():
        if isinstance(value, dict):
            found |= changed_keys(value, other[key], f"{prefix}{key}.")
        elif value != other[key]:
            found.add(prefix + key)
    return found


def check_small_run(name: str, done: SmallRun, *, rounds: int) -> None:
    config, run = recipe(name), done.run
    assert changed_keys(config.model_dump(), load_config(run.config).model_dump()) <= OVERRIDDEN
    assert [record.index for record in done.records] == list(range(rounds + 1))
    right = {p.id for p in read_records(run.problems, Problem) if str(GOLD) in (p.answer or p.question)}
    for record in done.records:
        assert sorted(record.evaluate.pass_at_k) == [1, config.evaluate.samples]
        # Two of three held-out problems have the answer that the model knows.
        assert 0.3 < record.evaluate.pass_at_k[1].mean <= record.evaluate.pass_at_k_lenient[1].mean < 0.7
        assert record.evaluate.pass_at_k[config.evaluate.samples].mean == pytest.approx(2 / 3)
        assert ("kl_round_base" in record.evaluate.probe) == bool(config.evaluate.probe)
    for round_dir in run.rounds()[1:]:
        examples = read_records(round_dir.examples, Example)
        kept = [example.problem_id for example in examples]
        assert len(kept) == len(set(kept)) == 4
        assert set(kept) <= right
        verdicts = {(v.problem_id, v.sample): v for v in read_records(round_dir.verdicts, Verdict)}
        assert all(verdicts[example.problem_id, example.sample].strict for example in examples)
        assert max(trace.sample for trace in read_records(round_dir.traces, Trace)) < config.think.samples
        asked = config.prompt.template.partition("{question}")
        assert all(asked[0] in example.messages[0]["content"] for example in examples)
        counts = read_json(round_dir.manifest("train"))["counts"]
        assert counts["examples"] == 4
        assert counts["start_round"] == round_dir.index - 1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_end_to_end(name: str, run_small: Callable[..., SmallRun]) -> None:
    # What a later round does otherwise than the first, and what starts the stages, is the same for every recipe.
    by_command = name == "gemma-2-2b-it"
    done = run_small(name, by_command=by_command)
    check_small_run(name, done, rounds=recipe(name).rounds if by_command else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_command_does_all_rounds_of_a_recipe(name: str, run_small: Callable[..., SmallRun]) -> None:
    check_small_run(name, run_small(name, by_command=True), rounds=recipe(name).rounds)


@pytest.mark.slow
def test_the_largest_recipe_trains_sharded_over_processes(run_small: Callable[..., SmallRun]) -> None:
    name = "llama-3.3-70b-instruct"
    done = run_small(name, "train.devices=2", "train.strategy=fsdp2", by_command=True)
    check_small_run(name, done, rounds=1)
    counts = read_json(done.run.round(1).manifest("train"))["counts"]
    assert (counts["devices"], counts["method"]) == (2, "full")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARMS if "2b" in name])
def test_every_kind_of_arm_runs(name: str, run_small: Callable[..., SmallRun], tpt: Tpt, tmp_path: Path) -> None:
    """The first arm of each kind, at the size of the small runs; the file of another model's traces is the small run's."""
    other = run_small(name.removeprefix("gsm8k-"), by_command=False).run
    table = tomllib.loads((FOLDER / "arms" / f"{name}.toml").read_text(encoding="utf-8"))
    kinds = {arm["name"].rpartition("-")[0]: arm for arm in reversed(table["arm"])}
    for kind, arm in kinds.items():
        arm |= {"name": kind, "set": {**arm["set"], "prune.size": 4}}
        if "data.file" in arm["set"]:
            arm["set"]["data.file"] = str(other.round(1).traces)
    small = load_config(other.config).model_dump()
    arms = {"seeds": [0], "reference": "self", "base": small, "arm": list(kinds.values())}
    (tmp_path / "arms.toml").write_text(tomli_w.dumps(arms), encoding="utf-8")
    done = tpt("compare", tmp_path / "arms.toml", "--out", tmp_path / "arms", "--jobs", 1)
    assert done.code == 0, done.err
    for kind in kinds:
        round_dir = RunDir(tmp_path / "arms" / "arms" / kind / "seed-0").round(1)
        examples = read_records(round_dir.examples, Example)
        assert len({example.problem_id for example in examples}) == len(examples) == 4
        judged = {(v.problem_id, v.sample): v.strict for v in read_records(round_dir.verdicts, Verdict)}
        human = [example for example in examples if example.sample == HUMAN_SAMPLE]
        assert len(human) == (2 if kind == "mixed" else 0)
        judged |= {(example.problem_id, HUMAN_SAMPLE): True for example in human}
        # Without pruning, a right one may still be what was drawn.
        assert "no-prune" in kind or all(judged[example.problem_id, example.sample] for example in examples)
