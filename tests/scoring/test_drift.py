"""The probe against token-by-token computation on the embedded model, and in a real run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Finished
from msgspec.structs import replace
from transformers import PreTrainedModel

from tpt.config import PromptConfig, load_config
from tpt.errors import StaleStageError
from tpt.evaluate import probe_round
from tpt.model.chat import Chat
from tpt.model.load import load_model, load_tokenizer
from tpt.records import FinishReason, Message, Outcome, ProblemDiversity, Trace, Verdict
from tpt.run.directory import RunDir
from tpt.run.stage import problems_by_id
from tpt.scoring.drift import FEWEST, LONGEST, probe, probe_room, probe_traces
from tpt.stage_process import do_stage
from tpt.start_model import sampled_model_of
from tpt.system.jsonl import read_json, read_records, replace_records

pytestmark = pytest.mark.usefixtures("one_thread")


def asked(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


Texts = list[tuple[list[int], list[int]]]


@pytest.fixture(scope="module")
def own(chat: Chat) -> Texts:
    return [chat.training_ids(text) for text in OWN]


@pytest.fixture(scope="module")
def human(chat: Chat) -> Texts:
    return [chat.training_ids(text) for text in HUMAN]


OWN = [
    asked("Jack has 5 marbles. Jack finds 4 more. How many?", "5 + 4 = 9\n#### 9"),
    asked("Finn has 21 pencils. Finn gives away 17.", "First 21 - 17 = 4\nSo 4 * 1 = 4\n#### 4"),
    asked("Ann has 8 books and buys 7 more. She shares them among 3 friends.", "8 + 7 = 15\n15 / 3 = 5\n#### 5"),
]
HUMAN = [asked("Bob has 2 cats.", "#### 2"), asked("Bob has 2 cats and finds 3.", "2 + 3 = 5\n#### 5")]


@pytest.fixture(scope="module")
def base() -> PreTrainedModel:
    return load_model("embedded", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def moved() -> PreTrainedModel:
    """The embedded model a little off."""
    model = load_model("embedded", dtype="float32", device="cpu")
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=noise)
    return model


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("embedded"), PromptConfig())


def by_hand(model: PreTrainedModel, base: PreTrainedModel, texts: Texts) -> dict[str, float]:
    """Text by text, token by token, in double precision."""
    totals = dict.fromkeys(("tokens", "entropy", "base_entropy", "kl_base_round", "kl_round_base", "nll"), 0.0)
    for ids, labels in texts:
        with torch.no_grad():
            ours, theirs = (each(input_ids=torch.tensor([ids])).logits[0].double() for each in (model, base))
        for place in range(1, len(ids)):
            if labels[place] == -100:
                continue
            p, q = ours[place - 1].softmax(-1), theirs[place - 1].softmax(-1)
            totals["tokens"] += 1
            totals["entropy"] -= float((p * p.log()).sum())
            totals["base_entropy"] -= float((q * q.log()).sum())
            totals["kl_base_round"] += float((q * (q / p).log()).sum())
            totals["kl_round_base"] += float((p * (p / q).log()).sum())
            totals["nll"] -= float(p[ids[place]].log())
    return {name: total / totals["tokens"] if name != "tokens" else total for name, total in totals.items()}


def test_the_numbers_are_those_of_every_token(
    base: PreTrainedModel, moved: PreTrainedModel, own: Texts, human: Texts
) -> None:
    found = probe(moved, base, traces=own, solutions=human)
    of_own, of_human = by_hand(moved, base, own), by_hand(moved, base, human)
    assert (found["texts"], found["tokens"], found["human_texts"], found["human_tokens"]) == (
        3, of_own["tokens"], 2, of_human["tokens"],
    )  # fmt: skip
    for name in ("entropy", "kl_base_round", "kl_round_base"):
        assert found[name] == pytest.approx(of_own[name], rel=1e-4)
    assert found["entropy_change"] == pytest.approx(of_own["entropy"] - of_own["base_entropy"], rel=1e-3)
    assert found["human_nll"] == pytest.approx(of_human["nll"], rel=1e-4)
    before = by_hand(base, base, human)["nll"]
    assert found["human_nll_change"] == pytest.approx(of_human["nll"] - before, rel=1e-3, abs=1e-5)
    assert found["kl_base_round"] > 0.001 and found["kl_round_base"] > 0.001


def test_a_model_does_not_differ_from_itself(base: PreTrainedModel, own: Texts, human: Texts) -> None:
    found = probe(base, base, traces=own, solutions=human)
    changes = [found[name] for name in found if "kl_" in name or "change" in name]
    assert len(changes) == 8 and not any(changes)
    assert found["entropy"] > 0 and found["human_nll"] > 0
    assert probe(base, load_model("embedded", dtype="auto", device="cpu"), traces=own, solutions=human) == found


def test_the_batches_make_no_difference(
    base: PreTrainedModel, moved: PreTrainedModel, own: Texts, human: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = probe(moved, base, traces=own, solutions=human)
    assert probe(moved, base, traces=own, solutions=human) == together
    monkeypatch.setattr("tpt.scoring.drift._TOKENS", 1)
    alone = probe(moved, base, traces=own, solutions=human)
    assert alone == pytest.approx(together, rel=1e-4, abs=1e-6)


def test_the_error_is_over_texts(base: PreTrainedModel, moved: PreTrainedModel, own: Texts) -> None:
    """The same texts three times: the same means, and the error shrinks by the square root of 3, but for n - 1."""
    once = probe(moved, base, traces=own, solutions=[])
    thrice = probe(moved, base, traces=own * 3, solutions=[])
    assert thrice["entropy"] == pytest.approx(once["entropy"], rel=1e-5)
    expected = once["entropy_stderr"] / 3**0.5 * ((9 / 8) / (3 / 2)) ** 0.5
    assert thrice["entropy_stderr"] == pytest.approx(expected, rel=1e-4) and expected > 0


def test_too_few_texts_say_nothing(base: PreTrainedModel, own: Texts, human: Texts) -> None:
    assert probe(base, base, traces=own[:1], solutions=[]) == {}
    assert "entropy" not in probe(base, base, traces=[], solutions=human)


def test_as_many_texts_are_read_as_there_is_room_for(base: PreTrainedModel, own: Texts) -> None:
    length = len(own[0][0])
    told: list[str] = []
    for room, count in ((math.inf, 12), (6.5 * length, 7), (0, FEWEST)):
        found = probe(base, base, traces=[own[0]] * 12, solutions=[], room=room, show=told.append)
        assert found["texts"] == count
    assert told[0] == f"probe, own texts: 0 of {12 * length:,} tokens read"
    # Two models read two kinds of texts.
    assert 2 * 2 * probe_room(1000) == pytest.approx(100)


def test_long_texts_are_cut(base: PreTrainedModel, chat: Chat) -> None:
    limit = int(base.config.max_position_embeddings)
    long = asked("Bob has 2 cats.", "2 + 3 = 5\n" * 400)
    endless = asked("Bob has 2 cats. " * 400, "#### 2")
    prompt = len(chat.training_ids(asked("Bob has 2 cats.", ""))[0]) - 1
    texts = [chat.training_ids(each) for each in (long, long, endless)]
    found = probe(base, base, traces=texts, solutions=[])
    assert found["texts"] == 2 and found["tokens"] == 2 * min(LONGEST, limit - prompt)


def test_the_probe_is_the_first_finished_correct_trace_of_each_problem() -> None:
    rows: list[tuple[str, int, bool, FinishReason]] = [
        ("b", 1, True, "stop"), ("b", 0, False, "stop"), ("b", 2, True, "stop"),
        ("a", 0, True, "length"), ("a", 3, True, "stop"), ("c", 0, False, "stop"), ("d", 0, True, "stop"),
    ]  # fmt: skip
    traces = [Trace(key, sample, "", reason, 1, 0) for key, sample, _, reason in rows]
    verdicts = [Verdict(key, n, Outcome.CORRECT if right else Outcome.WRONG, right, None) for key, n, right, _ in rows]
    assert [(t.problem_id, t.sample) for t in probe_traces(traces, verdicts, 2)] == [("a", 3), ("b", 1)]
    assert len(probe_traces(traces, verdicts, 9)) == 3


def test_the_probe_reads_the_tokens_that_were_sampled(finished_copy: Path, chat: Chat) -> None:
    """As training does: another split of the same text is another text to a model."""
    run = RunDir(finished_copy)
    config, problems = load_config(run.config), problems_by_id(run.heldout)
    first = run.round(0)
    before = probe_round(run, config, sampled_model_of(run, run.round(1), config), problems, lambda said: None)

    def split(trace: Trace) -> Trace:
        letters = [chat.completion_ids(letter)[0] for letter in trace.completion]
        return replace(trace, token_ids=[*letters, chat.end_of_turn_id], token_digest="")

    traces = [split(trace) for trace in read_records(first.evaluate_traces, Trace)]
    replace_records(first.evaluate_traces, traces)
    found = probe_round(run, config, sampled_model_of(run, run.round(1), config), problems, lambda said: None)
    chosen = probe_traces(traces, read_records(first.evaluate_verdicts, Verdict), config.evaluate.probe)
    # Longer texts, so fewer of them have room.
    assert found["tokens"] == sum(len(trace.token_ids or ()) for trace in chosen[: int(found["texts"])])
    assert found["tokens"] / found["texts"] > before["tokens"] / before["texts"]
    assert found["human_nll"] == before["human_nll"]


def evaluation(run: Path, index: int) -> dict[str, Any]:
    manifest: dict[str, Any] = read_json(run / f"round-{index}" / "evaluate.json")
    return manifest


def test_a_run_has_the_probe_of_every_round(finished: Finished) -> None:
    counts = [evaluation(finished.path, index)["counts"] for index in (0, 1)]
    assert [each["probe"] == each["report"]["probe"] for each in counts] == [True, True]
    assert counts[0]["probe"]["kl_base_round"] == 0.0 < counts[1]["probe"]["kl_base_round"]
    assert counts[0]["probe"]["human_texts"] == 4 == counts[1]["probe"]["human_texts"], (
        "a tenth of so few samples is less"
    )
    rows = read_records(finished.path / "round-1" / "evaluate" / "diversity.jsonl", ProblemDiversity)
    assert len(rows) == 10 and "looped" in counts[1]["report"]["lengths"]
    assert "looped" in read_json(finished.path / "round-1" / "think.json")["counts"]["variety"]


def test_done_again_after_a_kill_the_probe_says_the_same(finished_copy: Path) -> None:
    before = evaluation(finished_copy, 1)
    (finished_copy / "round-1" / "evaluate.json").unlink()
    (finished_copy / "round-1" / "evaluate" / "diversity.jsonl").unlink()
    again = do_stage(finished_copy, "evaluate", 1)
    assert again["outputs"] == before["outputs"] and again["counts"]["resumed_traces"] == 20
    assert json.loads(json.dumps(again["counts"]["probe"])) == before["counts"]["probe"]


def test_without_a_probe_the_base_traces_are_not_asked_for(finished_copy: Path) -> None:
    config = finished_copy / "config.toml"
    config.write_text(config.read_text().replace("\nprobe = 64\n", "\nprobe = 0\n"))
    (finished_copy / "round-1" / "evaluate.json").unlink()
    manifest = do_stage(finished_copy, "evaluate", 1)
    assert manifest["counts"]["probe"] == {} == manifest["counts"]["report"]["probe"]
    assert set(manifest["inputs"]) == {"heldout problems", "model", "settings"}


def test_other_base_traces_make_a_later_round_stale(finished_copy: Path) -> None:
    (finished_copy / "round-0" / "evaluate.json").unlink()
    traces = finished_copy / "round-0" / "evaluate" / "traces.jsonl"
    traces.write_text(traces.read_text().replace("####", "###"))
    (finished_copy / "round-0" / "evaluate" / "verdicts.jsonl").unlink()
    do_stage(finished_copy, "evaluate", 0)
    with pytest.raises(StaleStageError, match="evaluate was made from another base model's traces"):
        do_stage(finished_copy, "evaluate", 1)
