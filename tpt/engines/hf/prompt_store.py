"""Keys and values of prompts that have been prefilled, for further samples of the same problem."""

from __future__ import annotations

from collections import OrderedDict

import torch

PromptKeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer the keys and values of one prompt, each ``[heads, length, head_dim]``."""


STORED_PROMPTS_PER_SLOT = 4


class PromptStore:
    """The most recently used prefilled prompts, up to a number of bytes and of prompts.

    A sampler comes back to a prompt soon or never, so keeping many more prompts than there are slots is memory wasted.
    """

    def __init__(self, *, max_bytes: int, max_prompts: int) -> None:
        """Start empty; a prompt larger than ``max_bytes`` is kept until the next one comes."""
        self._max_bytes = max_bytes
        self._max_prompts = max_prompts
        self._stored: OrderedDict[tuple[int, ...], PromptKeysValues] = OrderedDict()
        self.nbytes = 0

    def get(self, prompt_ids: tuple[int, ...]) -> PromptKeysValues | None:
        """Return a prompt's keys and values if they are still there."""
        if prompt_ids in self._stored:
            self._stored.move_to_end(prompt_ids)
        return self._stored.get(prompt_ids)

    def put(self, prompt_ids: tuple[int, ...], states: PromptKeysValues) -> None:
        """Keep a prompt's keys and values, which it has not yet, and drop the oldest beyond the limit."""
        self._stored[prompt_ids] = states
        self.nbytes += _nbytes(states)
        while len(self._stored) > 1 and (self.nbytes > self._max_bytes or len(self._stored) > self._max_prompts):
            _, dropped = self._stored.popitem(last=False)
            self.nbytes -= _nbytes(dropped)

    def clear(self) -> None:
        """Drop everything."""
        self._stored.clear()
        self.nbytes = 0


def _nbytes(prompt: PromptKeysValues) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in prompt)
