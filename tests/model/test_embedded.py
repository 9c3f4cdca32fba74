"""The shipped model: it loads in plain transformers, is what its script builds, and scores what its record says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.embedded_model.build import STAGES, build, build_model, stage_rng, train_stage
from tools.embedded_model.corpus import draw_documents
from tools.embedded_model.score import score
from tools.embedded_model.tokenizer import build_tokenizer
from tpt.model.embedded import FOLDER
from tpt.problems.procedural.word_problems import word_problems

RECORD = json.loads((FOLDER / "build.json").read_text())


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER)


def test_weights_are_those_of_the_record(model: Any) -> None:
    weights = FOLDER / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == RECORD["sha256"]
    assert model.num_parameters() == RECORD["parameters"]
    assert model.dtype == torch.float32
    assert weights.stat().st_size < 5_000_000


def test_tokenizer_is_lossless_on_the_corpus(tokenizer: Any) -> None:
    for stage in STAGES:
        for document in draw_documents(Random(5), stage.mixture, 300):
            text = document.question + "\n" + document.completion
            assert tokenizer.decode(tokenizer.encode(text)) == text
            assert tokenizer.unk_token_id not in tokenizer.encode(text)


def test_tokenizer_is_lossless_on_both_splits(tokenizer: Any) -> None:
    for problem in word_problems(split="train", size=500) + word_problems(split="heldout", size=500):
        text = f"{problem.question}\n{problem.solution}"
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_unknown_text_becomes_unk_and_nothing_else_changes(tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer.encode("Ada has 3 µ\u4e2d apples.")) == "Ada has 3 <unk><unk> apples."


def test_special_tokens_are_four_different_ones(tokenizer: Any, model: Any) -> None:
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert ids == [0, 1, 2, 3]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_chat_template(tokenizer: Any) -> None:
    user, assistant = {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "#### 3"}
    system = {"role": "system", "content": "Answer."}

    def render(messages: list[dict[str, str]], prompt: bool) -> str:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        assert isinstance(text, str)
        return text

    assert render([user], True) == "<s>How many?\n"
    assert render([user, assistant], False) == "<s>How many?\n#### 3</s>"
    assert render([system, user], True) == "<s>Answer.\nHow many?\n"
    assert tokenizer.encode("<s>1</s>")[0] == tokenizer.bos_token_id


def test_generate_stops_by_itself(tokenizer: Any, model: Any) -> None:
    for problem in word_problems(split="heldout", size=5):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.question}], add_generation_prompt=True, return_tensors="pt"
        )
        output = model.generate(**prompt, do_sample=False)[0]
        assert output[-1] == tokenizer.eos_token_id
        assert output.tolist().count(tokenizer.eos_token_id) == 1


def test_scores_agree_with_the_record(tokenizer: Any, model: Any) -> None:
    problems = word_problems(split="heldout", size=50)
    measured = score(model, tokenizer, problems, samples=4, temperature=0.8, seed=7)
    recorded = next(s for s in RECORD["scores"] if s["temperature"] == 0.8)
    # 50 problems of unequal difficulty: four standard errors of the mean are about 0.15
    assert measured.strict_pass_at_1 == pytest.approx(recorded["strict_pass_at_1"], abs=0.15)
    assert measured.lenient_pass_at_1 == pytest.approx(recorded["lenient_pass_at_1"], abs=0.15)
    assert measured.lenient_pass_at_1 > measured.strict_pass_at_1


@pytest.mark.usefixtures("one_thread")
def test_rebuild_starts_with_the_recorded_losses() -> None:
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, RECORD["seed"])
    log = train_stage(model, tokenizer, STAGES[0], stage_rng(RECORD["seed"], 0), last_step=20)
    assert log.losses == pytest.approx(RECORD["first_losses"][:20], rel=1e-3)


def test_corpus_keeps_off_both_splits() -> None:
    questions = {d.question for stage in STAGES for d in draw_documents(Random(3), stage.mixture, 3000)}
    problems = word_problems(split="train", size=2000) + word_problems(split="heldout", size=2000)
    assert not questions & {p.question for p in problems}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_full_rebuild_scores_the_same(tmp_path: Path) -> None:
    rebuilt = build(tmp_path, seed=RECORD["seed"])
    assert rebuilt["final_losses"] == pytest.approx(RECORD["final_losses"], abs=0.03)
    for new, old in zip(rebuilt["scores"], RECORD["scores"], strict=True):
        assert new["strict_pass_at_1"] == pytest.approx(old["strict_pass_at_1"], abs=0.06)
        assert new["lenient_pass_at_1"] == pytest.approx(old["lenient_pass_at_1"], abs=0.06)
