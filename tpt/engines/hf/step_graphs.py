"""A decode step as a CUDA graph: its kernels start as one, where starting them one by one takes longer than they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes down what some work does to tensors, and returns what does it again, on the same memory and without its Python."""

_WINDOW_STEP = 256
_FEWEST_ROWS = 8
_LARGEST_ERROR = 0.02
"""Of the logits' spread; the kernels are the same as without a graph, so that there should be none."""


class Logits(Protocol):
    """A decoder's step, see ``FixedDecoder.logits``."""

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, window: int) -> torch.Tensor:
        """Feed one token to each of the first rows and return the logits after it."""


class StepGraphs:
    """Graphs of a decoder's step, one for each height and window, each captured when it is first needed.

    Heights are all slots, halved and halved again; a row beyond those in use is a free slot, whose next prompt
    overwrites what the step leaves there.
    """

    def __init__(
        self, logits: Logits, capture: Capture, *, slots: int, max_length: int, vocabulary: int, device: torch.device
    ) -> None:
        """Allocate what the graphs read and write, and capture none yet."""
        self.device = device
        self._logits = logits
        self._capture = capture
        self._slots = slots
        self._max_length = max_length
        self._tokens = torch.zeros(slots, dtype=torch.long, device=device)
        self._positions = torch.zeros(slots, dtype=torch.long, device=device)
        # One block for all graphs, so that what each allocates besides can be shared among them.
        self._found = torch.zeros((slots, vocabulary), device=device)
        self._replays: dict[tuple[int, int], Callable[[], None]] = {}

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, window: int) -> torch.Tensor:
        """Return the logits of a step, as ``logits`` does; they are overwritten by the next step."""
        rows = len(tokens)
        height = self._slots
        while height // 2 >= max(rows, _FEWEST_ROWS):
            height //= 2
        width = min(self._max_length, -(-window // _WINDOW_STEP) * _WINDOW_STEP)
        for fixed, given in ((self._tokens, tokens), (self._positions, positions)):
            fixed[:rows] = given
            fixed[rows:height] = 0
        if (height, width) not in self._replays:

            def work() -> None:
                found = self._logits(self._tokens[:height], self._positions[:height], width)
                self._found[:height].copy_(found)

            self._replays[height, width] = self._capture(work)
        self._replays[height, width]()
        return self._found[:rows]


@torch.inference_mode()
def graphs_fault(graphs: StepGraphs, logits: Logits, *, rows: int, max_length: int, vocabulary: int) -> str:
    """Return how graphs differ from the steps that they were taken of; empty where they do not. No slot may be in use.

    They are asked twice, for other tokens at other positions, so that nothing of the first time can have been kept.
    """
    for turn in range(2):
        index = torch.arange(rows, device=graphs.device)
        tokens, positions = (index * 7 + turn + 1) % vocabulary, (index + turn) % min(max_length, 5)
        try:
            found = graphs(tokens, positions, min(max_length, 5)).clone()
            expected = logits(tokens, positions, min(max_length, _WINDOW_STEP))
        except Exception as error:
            # Whatever a model does that cannot be captured, its steps can do without.
            return f"{type(error).__name__}: {str(error).strip():.200}"
        off, spread = float((found - expected).abs().max()), float(expected.std())
        if not off <= _LARGEST_ERROR * spread:
            return f"logits off by {off:.3g}, with a spread of {spread:.3g}"
    return ""


def cuda_capture() -> Capture:
    """Return what captures CUDA graphs that share their memory, as no two run at once."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        # Libraries set themselves up in their first calls, which must not be part of a graph.
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
            work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            work()
        return graph.replay

    return capture
