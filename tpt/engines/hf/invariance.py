"""A start-up check that a row's logits do not depend on its slot or its neighbours, bit for bit."""

from __future__ import annotations

import torch

from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.prompt_store import PromptKeysValues

_PROMPT_LENGTH = 12
_SHIFTS = (1, 7)


@torch.inference_mode()
def find_variance(decoder: FixedDecoder) -> str | None:
    """Return what made logits differ, or None when every probe row kept its bits.

    As many different rows as there are slots are decoded in several arrangements: each in other slots, beside other
    neighbours, and with most slots empty. The decoder's cache is left zeroed.
    """
    slots = decoder.slots
    tokens, positions = _probe_rows(decoder)
    prompts = _probe_prompts(decoder, positions)
    home = torch.arange(slots, device=decoder.device)
    reference = _arranged(decoder, prompts, tokens, positions, home)
    variance = None
    for shift in (*_SHIFTS, slots // 2):
        there = (home + shift) % slots
        if not torch.equal(_arranged(decoder, prompts, tokens, positions, there), reference):
            variance = f"the same rows moved by {shift} of {slots} slots gave other logits"
    middle = slots // 2
    empty = [(keys[:, :0], values[:, :0]) for keys, values in prompts[0]]
    lonely = [prompts[middle] if slot == middle else empty for slot in range(slots)]
    alone = (home == middle).long()
    if not torch.equal(_arranged(decoder, lonely, tokens * alone, positions * alone, home)[middle], reference[middle]):
        variance = "a row between empty slots gave other logits than between full ones"
    for slot in range(slots):
        decoder.cache.load(slot, empty)
    return variance


def _arranged(
    decoder: FixedDecoder,
    prompts: list[PromptKeysValues],
    tokens: torch.Tensor,
    positions: torch.Tensor,
    there: torch.Tensor,
) -> torch.Tensor:
    """Return every probe row's logits, ``[slots, vocabulary]`` in probe order, with row ``i`` in slot ``there[i]``."""
    for prompt, slot in zip(prompts, there.tolist(), strict=True):
        decoder.cache.load(slot, prompt)
    order = torch.argsort(there)
    return decoder.logits(tokens[order], positions[order], decoder.max_length)[there]


def _probe_rows(decoder: FixedDecoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a token and a position for every probe row, all different as far as the numbers allow."""
    index = torch.arange(decoder.slots, device=decoder.device)
    longest = min(_PROMPT_LENGTH, decoder.max_length - 1)
    return (index * 7 + 1) % decoder.vocabulary, index % (longest + 1)


def _probe_prompts(decoder: FixedDecoder, positions: torch.Tensor) -> list[PromptKeysValues]:
    """Return a prompt for every probe row: one prefilled prompt, scaled a little differently for each row."""
    longest = max(1, min(_PROMPT_LENGTH, decoder.max_length - 1))
    prompt = decoder.prompt_states(tuple(token % decoder.vocabulary for token in range(3, 3 + longest)))
    scaled = []
    for row, length in enumerate(positions.tolist()):
        factor = 1 + row / decoder.slots
        scaled.append([(keys[:, :length] * factor, values[:, :length] * factor) for keys, values in prompt])
    return scaled
