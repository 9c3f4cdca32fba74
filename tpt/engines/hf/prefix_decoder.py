"""Decoding by the compiled attention: rows share prompts, which are prefilled together or, where bits count, each alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from transformers import DynamicCache, PreTrainedModel

from tpt.engines.hf.cpu_kernel.attention import RowProgress, RowTable
from tpt.engines.hf.cpu_kernel.step import DTYPES, PrefixStep, row_table
from tpt.engines.hf.cpu_kernel.threads import ThreadTeam
from tpt.engines.hf.decoder import LayerMasks, check_supported, states_of
from tpt.engines.hf.prefix_cache import PrefixCache, common_length
from tpt.engines.hf.prompt_store import STORED_PROMPTS_PER_SLOT, PromptKeysValues, PromptStore

_PREFILL_TOKENS = 1024
_PREFILLED_AHEAD = 16
_SHORTEST_PREFIX = 8


class PrefixDecoder:
    """A RowDecoder whose rows share prompts; memory grows with what is decoded.

    The model must attend by ``grouped_attention`` and hand keyword arguments on to it: see ``reaches_attention``.
    Raises ForeignModelError on construction when the model's architecture cannot be decoded at all.
    """

    def __init__(
        self, model: PreTrainedModel, *, slots: int, max_length: int, prompt_store_mb: int, alone: bool = False
    ) -> None:
        """Check the architecture; ``alone``: each prompt is computed in a shape that depends on it alone.

        A row's attention is summed up in the order of its own prompt and decode block whatever is beside it, but for the
        prefix, which depends on the other prompts: alone there is none.
        """
        self._alone = alone
        self.model = model
        self.device = model.device
        self.slots = slots
        config = model.config.get_text_config()
        check_supported(config, max_length)
        self.vocabulary = int(config.vocab_size)
        self._masks = LayerMasks(model, torch.float32)
        self._store = PromptStore(max_bytes=prompt_store_mb * 2**20, max_prompts=STORED_PROMPTS_PER_SLOT * slots)
        self.cache = PrefixCache(prompt_states(model, [(0,)], [])[0], slots=slots)
        self._table: RowTable | None = None
        self._team = ThreadTeam(torch.get_num_threads() - 1)

    @property
    def nbytes(self) -> int:
        """See RowDecoder."""
        return self.cache.nbytes + self._store.nbytes

    @torch.inference_mode()
    def reaches_attention(self) -> bool:
        """Return whether a step's description comes through the model to the attention of every layer."""
        if self.model.dtype not in DTYPES:
            return False
        nought = torch.zeros(1, dtype=torch.long, device=self.device)
        # With an empty prompt there is nothing to share, and a model that drops the step can still go on.
        self.prefill({0: ()})
        calls = self._forward(nought, nought, nought)[1].calls
        self.release(0)
        return calls == len(self.cache.kv_layers)

    @torch.inference_mode()
    def prefill(self, prompts: dict[int, tuple[int, ...]], upcoming: Iterable[tuple[int, ...]] = ()) -> None:
        """See RowDecoder."""
        if not self._alone:
            self._agree_on_prefix(list(prompts.values()))
        suffixes = {slot: prompt[len(self.cache.prefix) :] for slot, prompt in prompts.items()}
        missing = {suffix for suffix in suffixes.values() if not self.cache.holds(suffix)}
        found = {suffix: self._store.get(suffix) for suffix in missing}
        wanted = [suffix for suffix, states in found.items() if states is None]
        if wanted and not self._alone:
            wanted += self._ahead(upcoming, wanted)
        batches = ([each] for each in wanted) if self._alone else _batches(wanted, len(self.cache.prefix))
        for batch in batches:
            for suffix, states in zip(batch, self._states(batch), strict=True):
                found[suffix] = states
                self._store.put(suffix, states)
        for slot, suffix in suffixes.items():
            self.cache.assign(slot, suffix, found.get(suffix))
        self._table = None

    def release(self, slot: int) -> None:
        """See RowDecoder."""
        self.cache.release(slot)
        self._table = None

    def move(self, source: int, target: int) -> None:
        """See RowDecoder."""
        self.cache.move(source, target)
        self._table = None

    def compact(self) -> None:
        """See RowDecoder."""
        self.cache.compact_prompt_blocks()
        self._table = None

    @torch.inference_mode()
    def step(self, tokens: torch.Tensor, positions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """See RowDecoder."""
        return self._forward(tokens, positions, counts)[0]

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, PrefixStep]:
        self.cache.fit_decode_blocks(int(counts.max()) + 1)
        if self._table is None or len(self._table.prompt_blocks) != len(tokens):
            self._table = row_table(self.cache, counts, threads=1 + self._team.count)
        progress = RowProgress((positions - counts).numpy(), counts.numpy())
        step = PrefixStep(self.cache, self._table, progress, self._team)
        output = self.model(
            input_ids=tokens[:, None],
            attention_mask=self._masks.first_seen(positions),
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
            prefix_step=step,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits, step

    def _agree_on_prefix(self, prompts: list[tuple[int, ...]]) -> None:
        """Have a prefix with which all of these prompts begin, as those of the running rows do."""
        there = self.cache.prefix
        common = common_length([there, *prompts])
        if common == len(there) and (there or not self.cache.is_empty):
            return
        self._store.clear()
        if not self.cache.is_empty:
            self.cache.shorten_prefix(common if common >= _SHORTEST_PREFIX else 0)
            return
        # What a single prompt begins with is likely to be more than the next one will begin with.
        common = common_length(prompts) if len(set(prompts)) > 1 else 0
        self.cache.set_prefix((), self.cache.no_states())
        if common >= _SHORTEST_PREFIX:
            prefix = prompts[0][:common]
            self.cache.set_prefix(prefix, self._states([prefix])[0])

    def _ahead(self, upcoming: Iterable[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return prompts that will be wanted soon, as many as fill the batch: a few alone would cost nearly as much."""
        length = len(self.cache.prefix)
        room = _PREFILL_TOKENS - sum(map(len, wanted))
        chosen: dict[tuple[int, ...], None] = {}
        for prompt in upcoming:
            suffix = prompt[length:]
            if len(chosen) == _PREFILLED_AHEAD or prompt[:length] != self.cache.prefix:
                break
            if suffix in wanted or self.cache.holds(suffix) or self._store.get(suffix) is not None:
                continue
            room -= len(suffix) + length // 4
            if room < 0:
                break
            chosen[suffix] = None
        return list(chosen)

    def _states(self, suffixes: list[tuple[int, ...]]) -> list[PromptKeysValues]:
        if not any(suffixes):
            return [self.cache.no_states() for _ in suffixes]
        return prompt_states(self.model, suffixes, [layer.prefix for layer in self.cache.kv_layers])


@torch.inference_mode()
def prompt_states(
    model: PreTrainedModel, suffixes: list[tuple[int, ...]], prefix: list[torch.Tensor]
) -> list[PromptKeysValues]:
    """Return the keys and values of prompts after a prefix that they share, computed side by side.

    The longest suffix has a token at least. The prefix is per layer ``[2, 1, heads, length, head_dim]``; nothing for no
    prefix.
    """
    cache = DynamicCache()  # without a config, so that sliding layers keep all positions
    start = prefix[0].shape[3] if prefix else 0
    for index, block in enumerate(prefix if start else ()):
        keys, values = block.expand(-1, len(suffixes), -1, -1, -1)
        cache.update(keys, values, index)
    # Filled up on the right, where nothing that counts can see it.
    widest = max(map(len, suffixes))
    ids = torch.tensor([[*suffix, *[0] * (widest - len(suffix))] for suffix in suffixes], device=model.device)
    positions = torch.arange(start, start + widest, device=model.device)[None]
    model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    states = [states_of(layer) for layer in cache.layers]
    ends = [start + len(suffix) for suffix in suffixes]
    return [
        [(keys[row, :, start:end].clone(), values[row, :, start:end].clone()) for keys, values in states]
        for row, end in enumerate(ends)
    ]


def _batches(suffixes: list[tuple[int, ...]], prefix_length: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield prompts of like length together, as many as are worth computing at once."""
    batch: list[tuple[int, ...]] = []
    for suffix in sorted(suffixes, key=len):
        if batch and (len(batch) + 1) * (len(suffix) + prefix_length // 4) > _PREFILL_TOKENS:
            yield batch
            batch = []
        batch.append(suffix)
    if batch:
        yield batch
