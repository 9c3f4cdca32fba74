"""How fast this machine decodes and trains a model: a few of its layers, with random weights, timed for a moment.

Two depths are timed, and what a layer more takes is carried on to the model's own depth. What is timed is the engine's
own decoder and sampler and a forward and backward pass, at the batch and lengths that the run will have. A matrix
product's speed alone says less: on small models most of the time goes into everything else. But it says how long the
timing would take, and where that is too long, fewer rows, prompts and tokens are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from tpt.engines import Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

    from tpt.engines.hf.decoder import RowDecoder

_SHALLOW, _DEEP = 1, 4
"""Layers timed; a model of at most the second number is timed whole."""
_FEW_ROWS = 8
_PROMPTS = 48
_SHORTER = 4
"""Times as short: a second micro batch, where the one timed is smaller than the run's."""
_LEAST_REPEATS, _ENOUGH_S, _LONG_S = 3, 0.5, 1.5
_MOST_TRAINED = 256
"""Tokens of the micro batch that is timed; one that is larger is scaled."""
_MOST_S = 12.0
"""Of products, as far as they can be foreseen; all else and a busy machine may double it."""
_LEAST_ROWS, _LEAST_PROMPTS, _LEAST_LENGTH, _LEAST_TRAINED = 16, 8, 32, 32


@dataclass(frozen=True, slots=True)
class Load:
    """What is put to the machine."""

    rows: int
    """Completions decoded at once."""
    prompt: int
    """Tokens of a prompt."""
    prefix: int
    """Of these, the ones that all prompts begin with."""
    completion: int
    """Tokens of a completion."""
    max_length: int
    fixed: bool
    """Batch-invariant decoding: all slots over the whole length at every step."""
    vocabulary_cut: bool
    """Sampling with top_k or top_p, which has to sort."""
    dtype: str
    micro_batch_size: int
    row_tokens: int
    """Of a training example."""
    target_tokens: int
    """Of these, the ones that are trained on."""
    precision: str
    weights: str
    """Full, or int8 while sampling."""
    head_weights: int
    """Of the output projection."""
    layer_weights: int
    """Of a layer's matrices."""
    prompts: int = _PROMPTS
    """Timed."""
    trained: int = _MOST_TRAINED
    """Tokens of the micro batch that is timed; 0: training is not timed."""

    def flops(self, layers: int) -> float:
        """Return the operations of a token's way through so many layers."""
        return 2.0 * (self.head_weights + layers * self.layer_weights)

    def seconds(self, depths: Sequence[int], sampling: float, training: float) -> float:
        """Return how long the products of a timing take at so many operations a second."""
        found = 0.0
        for layers in depths:
            a_token = self.flops(layers)
            # Only the last token of a prompt is projected to the vocabulary.
            found += self.prompts * (self.prompt - self.prefix) * 2.0 * layers * self.layer_weights / sampling
            found += _with_repeats(self.rows * a_token / sampling) + _with_repeats(_FEW_ROWS * a_token / sampling)
            if self.trained:
                found += sum(
                    _with_repeats(3 * n * a_token / training) for n in (self.trained, self.trained // _SHORTER)
                )
        return found


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds that this machine takes."""

    step_s: float
    """To decode one token of every row."""
    few_s: float
    """To decode one token of a few rows."""
    few_rows: int
    prefill_s: float
    """For a prompt, among others."""
    micro_batch_s: float
    """Forward and backward."""
    update_s: float
    """For the optimizer's step on all weights."""


def depths_of(config: PreTrainedConfig) -> list[int]:
    """Return how many layers are timed: all of a shallow model's, else two numbers of them."""
    layers = int(config.get_text_config().num_hidden_layers)
    return [layers] if layers <= _DEEP else [_SHALLOW, _DEEP]


def affordable(config: PreTrainedConfig, load: Load) -> tuple[Load, float]:
    """Return as much of a load as this CPU gets through in a short time, and the seconds that its products take.

    Half a second of one product in either number format says how fast it is.
    """
    from tpt.model.number_format import product_flops
    from tpt.model.shape import inner_width_of, width_of

    depths, shape = depths_of(config), (width_of(config), inner_width_of(config))
    sampling, training = product_flops(load.dtype, *shape), product_flops(load.precision, *shape)
    foreseen = load.seconds(depths, sampling, training)
    if foreseen > _MOST_S:
        share, own = _MOST_S / foreseen, load.prompt - load.prefix
        prompts = max(_LEAST_PROMPTS, round(load.prompts * share))
        length = min(own, max(_LEAST_LENGTH, round(own * share * load.prompts / prompts)))
        load = replace(
            load,
            rows=min(load.rows, max(_LEAST_ROWS, round(load.rows * share) // _FEW_ROWS * _FEW_ROWS)),
            prompts=prompts,
            prompt=load.prefix + length,
            completion=min(load.completion, max(_LEAST_LENGTH, round(load.completion * share))),
            trained=load.trained and max(_LEAST_TRAINED, round(load.trained * share)),
        )
    return load, load.seconds(depths, sampling, training)


def time_model(config: PreTrainedConfig, load: Load) -> Trial:
    """Time a model's layers on this machine's CPU; a few seconds for a small model.

    The deeper of two depths is left out where the machine turns out so slow or busy that it would take too long.

    Raises:
        ForeignModelError: our own decoder does not know this architecture.
    """
    layers, depths = int(config.get_text_config().num_hidden_layers), depths_of(config)
    started = time.monotonic()
    shallow = _at_depth(config, load, depths[0])
    if len(depths) == 1:
        return shallow
    found = {}
    if (time.monotonic() - started) * load.flops(_DEEP) / load.flops(_SHALLOW) > _MOST_S:
        more = load.flops(layers) / load.flops(_SHALLOW)
        return Trial(
            **{**{field.name: getattr(shallow, field.name) * more for field in fields(Trial)}, "few_rows": _FEW_ROWS}
        )
    deep = _at_depth(config, load, _DEEP)
    for field in fields(Trial):
        low, high = getattr(shallow, field.name), getattr(deep, field.name)
        found[field.name] = low + max(0.0, high - low) * (layers - _SHALLOW) / (_DEEP - _SHALLOW)
    return Trial(**{**found, "few_rows": _FEW_ROWS})


def _at_depth(config: PreTrainedConfig, load: Load, layers: int) -> Trial:
    import torch

    from tpt.model.tiny import random_model, with_layers

    cut = with_layers(config, layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = random_model(cut)
        trained = _training(model, load) if load.trained else (0.0, 0.0)
        decoded = _decoding(model.to(getattr(torch, load.dtype)), load)
    return Trial(*decoded[:2], _FEW_ROWS, decoded[2], *trained)


def _decoding(model: PreTrainedModel, load: Load) -> tuple[float, float, float]:
    """Return the seconds of a step of all rows, of a few rows, and of a prompt's prefill."""
    import torch

    from tpt.engines.hf.engine import row_decoder
    from tpt.engines.hf.int8 import use_int8
    from tpt.engines.hf.opening import with_known_attention
    from tpt.engines.hf.packed import pack_weights
    from tpt.engines.hf.sampling import SlotSampler

    model.train(False).requires_grad_(False)
    if load.weights == "int8":
        use_int8(model)
    else:
        pack_weights(model)
    decoder = with_known_attention(
        model,
        lambda: row_decoder(model, slots=load.rows, max_length=load.max_length, prompt_store_mb=64, fixed=load.fixed),
    )
    shared = torch.randint(2, decoder.vocabulary, (load.prefix,)).tolist()
    own = torch.randint(2, decoder.vocabulary, (load.prompts, max(1, load.prompt - load.prefix))).tolist()
    prompts = [(*shared, *rest) for rest in own]
    width = len(prompts[0])
    together = min(load.prompts // (_LEAST_REPEATS + 1), load.rows)
    groups = iter([prompts[at : at + together] for at in range(0, load.prompts, together)])
    decoder.prefill(dict(enumerate(next(groups))))
    prefill_s = min(_prefilling(decoder, next(groups)) for _ in range(_LEAST_REPEATS)) / together
    decoder.prefill({row: prompts[row % load.prompts] for row in range(together, load.rows)})
    sampler = SlotSampler(slots=load.rows, max_length=load.max_length, device=model.device)
    settings = Sampling(
        temperature=0.8, top_p=0.95 if load.vocabulary_cut else 1.0, top_k=0, max_tokens=load.completion
    )
    for row in range(load.rows):
        sampler.assign(row, Request(("", row), prompts[0], row, settings))
    counts = torch.full((load.rows,), load.completion // 2)
    tokens = torch.ones(load.rows, dtype=torch.long)

    def step(rows: int) -> Tensor:
        logits = decoder.step(tokens[:rows], counts[:rows] + width, counts[:rows])
        return sampler.pick(logits, counts[:rows])

    with torch.inference_mode():
        step_s = _seconds(lambda: step(load.rows))
        for row in range(_FEW_ROWS, load.rows):
            decoder.release(row)
        decoder.compact()
        few_s = step_s if load.fixed else _seconds(lambda: step(min(_FEW_ROWS, load.rows)))
    return step_s, few_s, prefill_s


def _prefilling(decoder: RowDecoder, prompts: list[tuple[int, ...]]) -> float:
    """Return the seconds it takes to give the first rows other prompts."""
    for row in range(len(prompts)):
        decoder.release(row)
    return _timed(lambda: decoder.prefill(dict(enumerate(prompts))))


def _training(model: PreTrainedModel, load: Load) -> tuple[float, float]:
    """Return the seconds of a micro batch, forward and backward, and of the optimizer's step."""
    import torch

    from tpt.sft.losses import cross_entropy
    from tpt.sft.target_loss import attach_target_loss, detach_target_loss

    wanted = load.micro_batch_size * load.row_tokens
    rows = max(1, min(load.micro_batch_size, load.trained // load.row_tokens))
    length = min(load.row_tokens, load.trained)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=0.0)
    attach_target_loss(model, cross_entropy)
    # What does not grow with the tokens, such as writing all gradients, must not be multiplied with them.
    short = max(1, length // _SHORTER)
    short_s = _seconds(lambda: _micro_batch(model, load, 1, short))
    long_s = _seconds(lambda: _micro_batch(model, load, rows, length))
    micro_batch_s = long_s + max(0.0, long_s - short_s) * (wanted - rows * length) / (rows * length - short)
    update_s = _seconds(lambda: optimizer.step())
    optimizer.zero_grad()
    detach_target_loss(model)
    return micro_batch_s, update_s


def _micro_batch(model: PreTrainedModel, load: Load, rows: int, length: int) -> None:
    """Go forward and backward through so many rows, as large a share of them targets as in the run's."""
    import torch

    from tpt.model.chat import IGNORED_LABEL

    ids = torch.randint(2, int(model.config.get_text_config().vocab_size), (rows, length))
    labels = ids.clone()
    labels[:, length * load.target_tokens // load.row_tokens :] = IGNORED_LABEL
    with torch.autocast("cpu", torch.bfloat16, enabled=load.precision == "bfloat16"):
        loss = model(input_ids=ids, labels=labels, use_cache=False, target_loss=True)
    loss.backward()


def _with_repeats(once: float) -> float:
    """Return how long ``_seconds`` takes with a piece of work of so many seconds."""
    return once if once > _LONG_S else once + min(_LEAST_REPEATS * once, _LONG_S)


def _seconds(work: Callable[[], object]) -> float:
    """Return the shortest time of a piece of work, a short one's after a first go: what comes between only makes it longer."""
    first = _timed(work)
    if first > _LONG_S:
        return first
    times: list[float] = []
    while not times or (sum(times) < _LONG_S and (len(times) < _LEAST_REPEATS or sum(times) < _ENOUGH_S)):
        times.append(_timed(work))
    return min(times)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class TrialSpeed:
    """A Speed by what was timed."""

    trial: Trial
    load: Load
    slots: int
    """Completions decoded at once in the run, of which fewer may have been timed."""
    training: float
    """Times the work of training all weights: less for an adapter, more with gradient checkpointing."""

    def step_s(self, rows: int, context: float) -> float:
        """See tpt.plan.hardware.Speed; the context is that of the trial."""
        low, high, trial = self.trial.few_rows, self.load.rows, self.trial
        if self.load.fixed:
            return trial.step_s * max(1.0, self.slots / high)
        if high <= low:
            return trial.step_s
        a_row = max(0.0, trial.step_s - trial.few_s) / (high - low)
        return trial.few_s + a_row * max(0, rows - low)

    def prefill_s(self, prompts: int, tokens: float) -> float:
        """See tpt.plan.hardware.Speed."""
        timed = self.load.prompt if self.load.fixed else self.load.prompt - self.load.prefix
        return prompts * self.trial.prefill_s * tokens / max(1, timed)

    def train_s(self, rows: int, length: float, steps: int) -> float:
        """See tpt.plan.hardware.Speed."""
        micro_batches = rows / self.load.micro_batch_size * length / self.load.row_tokens
        return self.training * micro_batches * self.trial.micro_batch_s + steps * self.trial.update_s
