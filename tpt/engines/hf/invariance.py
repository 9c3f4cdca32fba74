"""A start-up check that a row's logits do not depend on its slot or its neighbours, bit for bit."""

from __future__ import annotations

import torch

from tpt.engines.hf.decoder import RowDecoder

_PROMPT_LENGTH = 12
_SHIFTS = (1, 7)
_STEPS = 2


@torch.inference_mode()
def find_variance(decoder: RowDecoder, *, max_length: int) -> str | None:
    """Return what made logits differ, or None when every probe row kept its bits. No slot may be in use.

    As many different rows as there are slots are decoded in several arrangements: each in other slots, beside other
    neighbours, and with most slots empty.
    """
    slots = decoder.slots
    home = torch.arange(slots, device=decoder.device)
    reference = _arranged(decoder, home, home, max_length)
    for shift in (*_SHIFTS, slots // 2):
        if not torch.equal(_arranged(decoder, home, (home + shift) % slots, max_length), reference):
            return f"the same rows moved by {shift} of {slots} slots gave other logits"
    middle = home[slots // 2 :][:1]
    if not torch.equal(_arranged(decoder, middle, middle, max_length), reference[:, middle]):
        return "a row between empty slots gave other logits than between full ones"
    return None


def _arranged(decoder: RowDecoder, rows: torch.Tensor, there: torch.Tensor, max_length: int) -> torch.Tensor:
    """Return logits of probe rows, ``[steps, rows, vocabulary]``, with row ``rows[i]`` in slot ``there[i]``.

    They differ in their prompts' lengths and in what they are fed, as far as the numbers allow.
    """
    steps = min(_STEPS, max_length)
    longest = min(_PROMPT_LENGTH, max_length - steps)
    lengths = rows % (longest + 1)
    prompts = [tuple(token % decoder.vocabulary for token in range(3, 3 + length)) for length in lengths.tolist()]
    decoder.prefill(dict(zip(there.tolist(), prompts, strict=True)))
    found = []
    try:
        for count in range(steps):
            state = torch.zeros((3, decoder.slots), dtype=torch.long, device=decoder.device)
            state[0, there] = (rows * 7 + 5 * count + 1) % decoder.vocabulary
            state[1, there] = lengths + count
            state[2, there] = count
            found.append(decoder.step(state[0], state[1], state[2])[there].clone())
    finally:
        for slot in there.tolist():
            decoder.release(slot)
    return torch.stack(found)
