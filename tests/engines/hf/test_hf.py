"""HFEngine against transformers' own generate and forward, and against its own promises."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_engine import (
    CONFIGS,
    GREEDY,
    PROMPTS,
    RANDOM,
    SHAPE,
    STOP,
    finish,
    grouped,
    open_engine,
    requests_for,
    tiny_chat,
    tiny_model,
)
from transformers import Phi3Config
from transformers.models.auto import AutoModelForCausalLM

from tpt.config import EngineConfig
from tpt.engines import Request, Sampling
from tpt.engines.hf.engine import HFEngine, auto_slots
from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.sampling import SlotSampler, invert_cdf, invert_cdf_by_blocks, kept_tokens, uniforms
from tpt.errors import EngineError


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_is_generate(name: str, batch_invariant: bool) -> None:
    """Token for token, with prompts of different lengths side by side, slots reused, windows crossed."""
    reference, model = tiny_model(name), grouped(tiny_model(name))
    done = finish(open_engine(model, slots=3, batch_invariant=batch_invariant), requests_for(PROMPTS, GREEDY))
    for index, prompt in enumerate(PROMPTS):
        expected = reference.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=16, eos_token_id=STOP, pad_token_id=0
        )
        assert done[str(index), 0].token_ids == tuple(expected[0, len(prompt) :].tolist())


@pytest.mark.parametrize("own_attention", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_beside_others_are_those_of_a_plain_forward_pass(name: str, own_attention: bool) -> None:
    """Rows of different lengths do not see each other, their padding, or what a slot held before."""
    reference = tiny_model(name)
    model = grouped(tiny_model(name)) if own_attention else reference
    decoder = FixedDecoder(model, slots=len(PROMPTS), max_length=64)
    texts = [(*prompt, *(3 + (7 * step + len(prompt)) % 40 for step in range(20))) for prompt in PROMPTS]
    for slot, prompt in enumerate(PROMPTS):
        decoder.cache.load(slot, decoder.prompt_states(tuple(range(3, 40))))
        decoder.cache.load(
            slot, [(k[:, : len(prompt) - 1], v[:, : len(prompt) - 1]) for k, v in decoder.prompt_states(prompt)]
        )
    with torch.inference_mode():
        plain = [torch.log_softmax(reference(torch.tensor([text])).logits[0], -1) for text in texts]
    for step in range(20):
        positions = torch.tensor([len(prompt) - 1 + step for prompt in PROMPTS])
        tokens = torch.tensor([text[position] for text, position in zip(texts, positions, strict=True)])
        logits = torch.log_softmax(decoder.logits(tokens, positions, 64), -1)
        for slot, position in enumerate(positions.tolist()):
            torch.testing.assert_close(logits[slot], plain[slot][position], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "llama-gqa", "gemma2", "gemma3"])
def test_batch_invariance(name: str) -> None:
    """A completion depends on its request alone: order, neighbours, reused slots and lost prompts change no token."""
    model = grouped(tiny_model(name))
    mixed = [
        replace(request, sampling=replace(RANDOM, top_k=request.id[1] % 3 * 4, max_tokens=8 + request.id[1]))
        for request in requests_for(PROMPTS, RANDOM, samples=4)
    ]
    reference = finish(open_engine(model, slots=8), mixed)
    backwards = finish(open_engine(model, slots=8, store_mb=0), mixed[::-1])
    assert backwards == reference
    engine = open_engine(model, slots=8)
    for request in mixed[::3]:
        assert finish(engine, [request])[request.id] == reference[request.id]
    assert len({completion.token_ids for completion in reference.values()}) > len(PROMPTS)


def test_seeded_mode_draws_from_the_same_streams() -> None:
    """Shrinking batches and windows move rows about; streams move with them."""
    model = tiny_model("llama")
    lengths = [2, 3, 4, 5, 6, 40, 45, 50]
    requests = [
        replace(request, sampling=replace(RANDOM, max_tokens=lengths[index % 8]))
        for index, request in enumerate(requests_for(PROMPTS, RANDOM, samples=8))
    ]
    seeded = finish(open_engine(model, slots=16, batch_invariant=False), requests)
    assert seeded == finish(open_engine(model, slots=16), requests)


def test_sampling_is_independent_of_other_requests_in_a_padded_mixture() -> None:
    """The classic fault, attention to another prompt's padding, would show here."""
    model = tiny_model("qwen2")
    requests = requests_for(PROMPTS, RANDOM, samples=3)
    together = finish(open_engine(model, slots=15, batch_invariant=False), requests)
    for request in requests:
        alone = finish(open_engine(model, slots=1, batch_invariant=False), [request])
        assert alone[request.id] == together[request.id]


def test_stop_strings_end_a_completion_early_and_others_not_at_all() -> None:
    model = tiny_model("llama")
    free = requests_for(PROMPTS, RANDOM, samples=4)
    before = finish(open_engine(model, slots=8, batch_invariant=False), free)
    stop = max((each.text for each in before.values()), key=len)[4:9]
    stopping = [replace(each, sampling=replace(RANDOM, stop_strings=(stop,))) for each in free]
    after = finish(open_engine(model, slots=8, batch_invariant=False), stopping)
    cut = [key for key, each in before.items() if stop in each.text]
    assert cut
    for key, each in before.items():
        if key not in cut:
            assert after[key] == each
            continue
        assert (after[key].text, after[key].finish_reason) == (each.text[: each.text.index(stop)], "stop")
        assert after[key].token_ids == each.token_ids[: len(after[key].token_ids)]


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.7), (6, 0.8)])
def test_sampled_frequencies(top_k: int, top_p: float) -> None:
    """Chi-square against probabilities computed another way; a filtered token never comes."""
    temperature, rows = 0.8, 20_000
    logits = np.random.default_rng(3).normal(size=24) * 0.4
    weights = np.exp(logits / temperature)
    ranked = np.argsort(-weights, kind="stable")[: top_k or None]
    share = weights[ranked] / weights[ranked].sum()
    kept = ranked[np.concatenate([[0.0], share.cumsum()[:-1]]) < top_p]
    expected = np.zeros(24)
    expected[kept] = weights[kept] / weights[kept].sum()

    sampler = SlotSampler(slots=rows, max_length=2, device=torch.device("cpu"))
    settings = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=2)
    for slot in range(rows):
        sampler.assign(slot, Request(("p", slot), (1,), slot, settings))
    table = torch.tensor(logits, dtype=torch.float32).expand(rows, -1)
    counts = np.zeros(24)
    for token in range(2):
        picked = sampler.pick(table, torch.full((rows,), token)).numpy()
        counts += np.bincount(picked, minlength=24)
    assert counts[expected == 0].sum() == 0
    seen = expected > 0
    assert seen.sum() >= 4
    assert stats.chisquare(counts[seen], 2 * rows * expected[seen]).pvalue > 1e-3


def test_cdf_edges() -> None:
    """Draws of 0 and of almost 1 never land on a token of weight 0; ties and filters rank by id."""
    weights = torch.tensor([[0.0, 1.0, 2.0, 0.0]])
    for draw, token in [(0.0, 1), (0.33, 1), (0.34, 2), (1 - 2**-53, 2)]:
        assert invert_cdf(weights, torch.tensor([[draw]], dtype=torch.float64))[0].item() == token
    kept = kept_tokens(torch.tensor([[1.0, 3.0, 3.0, 3.0]] * 2), torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]))
    assert kept.tolist() == [[0, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("vocabulary", [5000, 512, 300, 7])
def test_blocks_choose_as_the_whole_does(vocabulary: int) -> None:
    """Whether the vocabulary ends with a block or within one; stretches of weight 0 are stepped over."""
    generator = torch.Generator().manual_seed(4)
    weights = torch.rand(500, vocabulary, generator=generator) ** 20
    weights[::2, : vocabulary // 2] = 0
    draws = torch.rand(500, 1, generator=generator, dtype=torch.float64)
    draws[:3, 0] = torch.tensor([0.0, 1 - 2**-53, 1 - 2**-30], dtype=torch.float64)
    expected, total = invert_cdf(weights, draws)
    tokens, total_by_blocks = invert_cdf_by_blocks(weights, draws)
    assert torch.equal(tokens[3:], expected[3:])
    assert ((tokens - expected).abs() <= 2).all(), "rounding may tip a draw of almost 1 onto a neighbour"
    assert (weights.gather(1, tokens[:, None]) > 0).all()
    torch.testing.assert_close(total_by_blocks, total, rtol=1e-6, atol=0)


def test_frequencies_over_a_large_vocabulary() -> None:
    """The way by blocks against the exact softmax: chi-square over sets of tokens of like probability."""
    vocabulary, rows = 6000, 4000
    logits = torch.tensor(np.random.default_rng(5).normal(size=vocabulary) * 2, dtype=torch.float32)
    probabilities = torch.softmax(logits.double() / 0.8, -1).numpy()
    sampler = SlotSampler(slots=rows, max_length=1, device=torch.device("cpu"))
    settings = Sampling(temperature=0.8, top_p=1.0, top_k=0, max_tokens=1)
    for slot in range(rows):
        sampler.assign(slot, Request(("p", slot), (1,), slot, settings))
    picked = sampler.pick(logits.expand(rows, -1), torch.zeros(rows, dtype=torch.long)).numpy()
    order = np.argsort(-probabilities)
    group = np.empty(vocabulary, dtype=np.int64)
    group[order] = np.minimum(19, (probabilities[order].cumsum() * 20).astype(np.int64))
    counts, expected = np.bincount(group[picked], minlength=20), np.bincount(group, weights=probabilities, minlength=20)
    seen = expected > 0
    assert counts[~seen].sum() == 0
    assert stats.chisquare(counts[seen], rows * expected[seen]).pvalue > 1e-3


def test_streams_are_per_seed() -> None:
    """A stream is a function of the seed; a longer one begins like a shorter one."""
    assert uniforms(5, 4).tolist() == uniforms(5, 9)[:4].tolist()
    assert uniforms(5, 4).tolist() != uniforms(6, 4).tolist()
    assert uniforms(2**63 - 1, 1).shape == (1,)


def test_finish_reasons_and_text() -> None:
    """A completion ends by its stop token or at max_tokens; the text has no stop token."""
    done = finish(open_engine(tiny_model("llama"), slots=16), requests_for(PROMPTS, RANDOM, samples=20))
    reasons = {completion.finish_reason for completion in done.values()}
    assert reasons == {"stop", "length"}
    for completion in done.values():
        stopped = completion.finish_reason == "stop"
        assert (completion.token_ids[-1] == STOP) is stopped
        assert STOP not in completion.token_ids[:-1]
        assert stopped or len(completion.token_ids) == RANDOM.max_tokens
        kept = completion.token_ids[:-1] if stopped else completion.token_ids
        assert completion.text == " ".join(f"w{token}" if token else "<pad>" for token in kept)


def test_cancel_frees_slots() -> None:
    """Cancelled requests never finish, their tokens are counted, and their slots serve others."""
    engine = open_engine(tiny_model("llama"), slots=2)
    long = replace(GREEDY, max_tokens=40)
    free_running = replace(long, temperature=50.0)
    waiting = [Request((str(index), 0), (2, 3), index, free_running) for index in range(4)]
    for request in waiting:
        engine.add(request)
    before = [completion for _ in range(3) for completion in engine.step()]
    sampled = engine.cancel({request.id for request in waiting})
    assert sampled + sum(len(completion.token_ids) for completion in before) == 6
    assert engine.step() == []
    assert engine.cancel({("0", 0)}) == 0
    again = finish(engine, waiting)
    assert again == finish(open_engine(tiny_model("llama"), slots=2), waiting)


def test_requests_that_can_never_be_served() -> None:
    """Each is refused when it is added, with the numbers and the key to change."""
    engine = open_engine(tiny_model("llama"))
    good = Request(("gsm8k/7", 0), (2, 3), 0, GREEDY)
    with pytest.raises(EngineError, match=r"'gsm8k/7'.*60 tokens.*16 need 76.*engine.max_length = 64.*to 76 or more"):
        engine.add(replace(good, prompt_ids=(2,) * 60))
    with pytest.raises(EngineError, match="empty prompt"):
        engine.add(replace(good, prompt_ids=()))
    with pytest.raises(EngineError, match=r"token ids from 2 to 48.*48 tokens"):
        engine.add(replace(good, prompt_ids=(2, 48)))
    for change in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}, {"max_tokens": 0}):
        with pytest.raises(EngineError, match="out of range"):
            engine.add(replace(good, sampling=replace(GREEDY, **change)))
    engine.add(good)
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(good)


def test_models_that_cannot_be_decoded() -> None:
    """Lengths and architectures the decoder would get wrong are refused at the start."""
    with pytest.raises(EngineError, match=r"need 64 positions, and this .* model has 32"):
        open_engine(tiny_model("llama", max_position_embeddings=32))
    shape = {**SHAPE, "num_hidden_layers": 1, "num_key_value_heads": 4, "original_max_position_embeddings": 32}
    scaling = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    scaling |= {"original_max_position_embeddings": 32}
    phi = AutoModelForCausalLM.from_config(Phi3Config(**shape, rope_parameters=scaling))
    with pytest.raises(EngineError, match="beyond 32 positions"):
        open_engine(phi)
    with pytest.raises(EngineError, match=r"engine.max_length must be 2 or more, got 1"):
        HFEngine(tiny_model("llama"), tiny_chat(), EngineConfig(), max_length=1)


def test_a_model_whose_rows_depend_on_each_other_fails_the_probe() -> None:
    """The start-up check sees a neighbour's influence of a single rounding error."""
    model = tiny_model("llama")
    layer = model.get_submodule("model.layers.0")
    layer.register_forward_hook(lambda module, inputs, output: output + 1e-5 * output.mean(0, keepdim=True))
    with pytest.raises(EngineError, match=r"engine.batch_invariant = false"):
        open_engine(model)
    open_engine(model, batch_invariant=False).close()


def test_damaged_weights_are_an_error_not_a_token() -> None:
    """NaN logits name the request."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_parameter("model.norm.weight").fill_(float("nan"))
    with pytest.raises(EngineError, match=r"'0', sample 0.*not finite"):
        finish(open_engine(model, batch_invariant=False), requests_for(PROMPTS[:1], RANDOM))


def test_description_is_json_and_complete() -> None:
    """What the manifest records."""
    engine = open_engine(tiny_model("gemma2"), slots=8)
    described = json.loads(json.dumps(engine.describe()))
    assert described["guarantee"] == engine.guarantee == "batch-invariant"
    assert described["stop_ids"] == [STOP]
    assert described["attention"] == "eager"
    token_bytes = 3 * 2 * 2 * 8 * 4
    assert described["kv_cache_bytes"] == (8 * 64 + 30) * token_bytes, "and the start-up checks' prompts"
    assert described["slots"] == engine.slots == 8
    assert described["peak_memory_bytes"] > 0
    assert open_engine(tiny_model("llama"), batch_invariant=False).guarantee == "seeded"


def test_automatic_slots() -> None:
    """By the memory they take."""
    assert auto_slots(tiny_model("llama"), 64) == 256
    assert auto_slots(tiny_model("llama"), 10**8) == 16


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_tokens_under_way_are_counted(batch_invariant: bool) -> None:
    engine = open_engine(grouped(tiny_model("phi3")), slots=3, batch_invariant=batch_invariant)
    requests = requests_for(PROMPTS, replace(RANDOM, max_tokens=30))
    for request in requests:
        engine.add(request)
    assert engine.under_way() == 0
    for steps in range(1, 31):
        if engine.step():
            break
        assert engine.under_way() == 3 * steps
    else:
        raise AssertionError("nothing has finished")
    engine.cancel({request.id for request in requests})
    assert engine.under_way() == 0
