"""The decoder whose rows share prompts, and the engine's way back from running out of memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_engine import CONFIGS, GREEDY, RANDOM, STOP, finish, grouped, open_engine, requests_for, tiny_model

from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.prefix_cache import common_length
from tpt.engines.hf.prefix_decoder import PrefixDecoder
from tpt.errors import EngineError

HEAD = tuple(3 + 5 * index % 40 for index in range(14))
SHOTS = [(*HEAD, 7, 9), (*HEAD, 7, 9, 11, 30, 31, 32), (*HEAD, 8), HEAD, (*HEAD, *HEAD, 20)]
"""Prompts with a beginning in common, longer than the sliding windows."""
STRANGERS = [*SHOTS, (2, 5, 9), (7,), (*HEAD[:9], 40, 41, 42)]


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_with_a_shared_beginning_is_generate(name: str) -> None:
    """Prefix, prompt blocks and decode blocks together are the plain model, window and soft caps included."""
    reference = tiny_model(name)
    engine = open_engine(grouped(tiny_model(name)), slots=3, batch_invariant=False)
    done = finish(engine, requests_for(STRANGERS, GREEDY, samples=2))
    for index, prompt in enumerate(STRANGERS):
        expected = reference.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=16, eos_token_id=STOP, pad_token_id=0
        )
        for sample in range(2):
            assert done[str(index), sample].token_ids == tuple(expected[0, len(prompt) :].tolist())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_hands_the_step_on(name: str) -> None:
    """Otherwise the engine would fall back, correctly but slowly."""
    assert PrefixDecoder(grouped(tiny_model(name)), slots=2, max_length=64, prompt_store_mb=1).reaches_attention()


def test_a_model_that_keeps_the_step_to_itself_is_decoded_row_by_row() -> None:
    """No family may be decoded wrong because it drops keyword arguments."""
    model = grouped(tiny_model("llama"))
    layer = model.get_submodule("model.layers.0")
    forward = layer.forward
    layer.forward = lambda *args, prefix_step=None, **rest: forward(*args, **rest)
    assert not PrefixDecoder(model, slots=2, max_length=64, prompt_store_mb=1).reaches_attention()
    done = finish(open_engine(model, batch_invariant=False), requests_for(SHOTS, GREEDY))
    assert done == finish(open_engine(grouped(tiny_model("llama"))), requests_for(SHOTS, GREEDY))


def test_other_numbers_and_attention_are_decoded_row_by_row() -> None:
    """The kernel reads float32 and bfloat16, and stands behind this package's attention alone."""
    for model in (grouped(tiny_model("llama").half()), tiny_model("llama")):
        engine = open_engine(model, batch_invariant=False)
        assert isinstance(engine._decoder, FixedDecoder)
        done = finish(engine, requests_for(SHOTS, GREEDY))
        assert all(completion.token_ids for completion in done.values())


def test_log_probabilities_in_bfloat16() -> None:
    """As near to the float32 model as a plain forward pass in bfloat16 is."""
    exact, plain, model = (tiny_model("llama-gqa") for _ in range(3))
    plain.bfloat16()
    decoder = PrefixDecoder(grouped(model.bfloat16()), slots=len(SHOTS), max_length=64, prompt_store_mb=1)
    decoder.prefill({slot: prompt[:-1] for slot, prompt in enumerate(SHOTS)})
    texts = [(*prompt, *(3 + 7 * step % 40 for step in range(20))) for prompt in SHOTS]
    starts = torch.tensor([len(prompt) - 1 for prompt in SHOTS])
    found = []
    for count in range(20):
        fed = torch.tensor([text[start + count] for text, start in zip(texts, starts.tolist(), strict=True)])
        logits = decoder.step(fed, starts + count, torch.full((len(SHOTS),), count))
        found.append(torch.log_softmax(logits.float(), -1))
    errors, usual = [], []
    for slot, (text, start) in enumerate(zip(texts, starts.tolist(), strict=True)):
        with torch.inference_mode():
            truth = torch.log_softmax(exact(torch.tensor([text])).logits[0, start:-1], -1)
            rough = torch.log_softmax(plain(torch.tensor([text])).logits[0, start:-1].float(), -1)
        errors.append(torch.stack([step[slot] for step in found]) - truth)
        usual.append(rough - truth)
    assert torch.cat(errors).abs().mean() < 1.5 * torch.cat(usual).abs().mean()
    assert torch.cat(errors).abs().max() < 3 * torch.cat(usual).abs().max()


def test_samples_are_those_of_the_fixed_decoder() -> None:
    """Rows that come and go, prompt blocks that are freed, a prefix that shrinks: the same streams, the same tokens."""
    model = grouped(tiny_model("qwen2"))
    requests = [
        replace(request, sampling=replace(RANDOM, max_tokens=4 + 7 * index % 30))
        for index, request in enumerate(requests_for([*SHOTS, *STRANGERS], RANDOM, samples=4))
    ]
    prefixed = open_engine(model, slots=6, batch_invariant=False, store_mb=0)
    assert finish(prefixed, requests) == finish(open_engine(model, slots=8), requests)
    assert prefixed.describe()["kv_cache_bytes"] > 0


def test_prompts_that_wait_are_prefilled_with_those_at_once() -> None:
    """So that a slot that gets free every other step does not cost a forward pass each time."""
    prompts = [(*HEAD, 10 + index, 7) for index in range(30)]
    engine = open_engine(grouped(tiny_model("llama")), slots=8, batch_invariant=False)
    assert engine.slots == 9
    whole, batches = engine._decoder._states, []  # type: ignore[attr-defined]

    def states(suffixes: list[tuple[int, ...]]) -> Any:
        batches.append(len(suffixes))
        return whole(suffixes)

    engine._decoder._states = states  # type: ignore[attr-defined]
    done = finish(engine, requests_for(prompts, RANDOM, samples=2))
    assert batches == [1, 4 + 16, 10]  # the prefix, what the eight slots need and sixteen more, the rest
    assert done == finish(open_engine(grouped(tiny_model("llama")), slots=8), requests_for(prompts, RANDOM, samples=2))


def test_rows_that_ended_are_not_decoded_for_long() -> None:
    """The highest rows move into the slots of those that ended, and go on as if nothing had happened."""
    requests = [
        replace(request, sampling=replace(GREEDY, max_tokens=2 if index < 8 else 20))
        for index, request in enumerate(requests_for([HEAD[:3], HEAD[3:7]], GREEDY, samples=16))
    ]
    engine = open_engine(grouped(tiny_model("llama")), slots=32, batch_invariant=False)
    whole, heights = engine._decoder.step, []

    def step(tokens: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        heights.append(len(tokens))
        return whole(tokens, *others)

    engine._decoder.step = step  # type: ignore[method-assign]
    assert finish(engine, requests) == finish(open_engine(grouped(tiny_model("llama")), slots=8), requests)
    assert heights[:3] == [32, 32, 24]


def test_common_beginnings() -> None:
    """How long they are, up to a whole prompt."""
    assert common_length(SHOTS) == len(HEAD)
    assert common_length([(1, 2, 3), (1, 2)]) == 2
    assert common_length([(1,), (2,)]) == 0
    assert common_length([(), (2,)]) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama-gqa", "gemma2"])
def test_alone_a_row_keeps_its_bits_whatever_is_beside_it(name: str, dtype: torch.dtype) -> None:
    """Neighbours with the same prompt, with longer ones, further on, of another beginning, or none; one thread, or two."""
    model = grouped(tiny_model(name)).to(dtype)
    prompt, slots = SHOTS[0], 16
    beside: list[dict[int, tuple[int, ...]]] = [
        {},
        dict.fromkeys(range(1, slots), prompt),
        {slot: tuple(2 + (slot + each) % 40 for each in range(3 * slot)) for slot in range(1, slots)},
        {slot: SHOTS[slot % len(SHOTS)] for slot in range(1, slots)},
    ]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for others in beside:
            decoder = PrefixDecoder(model, slots=slots, max_length=64, prompt_store_mb=1, alone=True)
            decoder.prefill({7: prompt, **{slot: other for slot, other in others.items() if slot != 7}})
            lengths = [len(prompt if slot == 7 else others.get(slot, ())) for slot in range(slots)]
            logits = []
            for count in range(7):
                # The others are as far on as they can be, so that the decode blocks are wider than the row needs.
                ahead = [count if slot == 7 else min(60, 9 * count) if slot in others else 0 for slot in range(slots)]
                counts = torch.tensor(ahead)
                tokens = 2 + (counts + torch.arange(slots)) % 40
                logits.append(decoder.step(tokens, torch.tensor(lengths) + counts, counts)[7].clone())
            found.append(torch.stack(logits))
    torch.set_num_threads(1)
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_batch_invariant_completions_are_the_same_in_any_number_of_slots_by_any_number_of_threads(name: str) -> None:
    model = grouped(tiny_model(name))
    requests = requests_for(SHOTS, RANDOM, samples=5)
    found = []
    for slots, threads in ((16, 1), (16, 2), (32, 1), (48, 2)):
        torch.set_num_threads(threads)
        engine = open_engine(model, slots=slots)
        assert isinstance(engine._decoder, PrefixDecoder)
        found.append(finish(engine, requests[::-1] if slots == 32 else requests))
    torch.set_num_threads(1)
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_out_of_memory_halves_the_slots(batch_invariant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was running starts over and ends as it would have; with one slot left, the error says what to do."""
    model = tiny_model("llama") if batch_invariant else grouped(tiny_model("llama"))
    requests = requests_for(SHOTS, RANDOM, samples=4)
    expected = finish(open_engine(model, slots=8, batch_invariant=batch_invariant), requests)
    decoder = FixedDecoder if batch_invariant else PrefixDecoder
    whole = decoder.step
    largest = 16

    def step(self: Any, tokens: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if self.slots > largest:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return whole(self, tokens, *others)

    monkeypatch.setattr(decoder, "step", step)
    engine = open_engine(model, slots=64, batch_invariant=batch_invariant)
    assert finish(engine, requests) == expected
    assert engine.describe()["slots"] == 16
    assert engine.describe()["out_of_memory_halvings"] == 2
    largest = 0
    with pytest.raises(EngineError, match="memory ran out with a single completion"):
        finish(engine, requests)
