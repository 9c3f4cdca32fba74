"""Steps as graphs, with a capture that needs no GPU: torch.fx takes the work down as a list of operations on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.step_graphs import StepGraphs, graphs_fault
from tpt.model.load import load_model

Work = Callable[[], None]


def taken_down(work: Work) -> Work:
    """Capture as CUDA does: once, with every number that is Python's and every tensor's place as they were."""
    graph = make_fx(work)()
    return lambda: graph()


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[FixedDecoder, FixedDecoder]:
    """Two decoders of the embedded model: one with graphs, one without."""
    cache: Path = tmp_path_factory.mktemp("cache")
    model = load_model("embedded", dtype="float32", device="cpu", cache=cache)
    model.train(False)
    graphed, plain = (FixedDecoder(model, slots=32, max_length=500, fixed=False) for _ in range(2))
    assert graphed.use_graphs(taken_down) == ""
    return graphed, plain


def test_completions_decoded_by_graphs_are_those_decoded_by_steps(decoders: tuple[FixedDecoder, FixedDecoder]) -> None:
    """Rows come and go, so that heights and windows change, and a slot beyond those in use is written to."""
    prompts = {slot: tuple(range(5, 9 + slot % 7)) for slot in range(20)}
    positions, tokens = torch.zeros(20, dtype=torch.long), torch.zeros(20, dtype=torch.long)
    for first, rows in ((0, 20), (20, 20), (20, 8), (20, 3), (3, 20), (20, 20)):
        new = {slot: prompts[slot] for slot in range(first, 20)}
        for decoder in decoders:
            decoder.prefill(new)
        for slot, prompt in new.items():
            tokens[slot], positions[slot] = slot + 3, len(prompt)
        graphed, plain = (each.step(tokens[:rows], positions[:rows], positions[:rows]) for each in decoders)
        assert graphed.shape == plain.shape == (rows, decoders[0].vocabulary)
        torch.testing.assert_close(graphed, plain)
        tokens[:rows], positions[:rows] = plain.argmax(-1), positions[:rows] + 1
    late = {21: tuple(3 + each % 100 for each in range(300))}
    for decoder in decoders:
        decoder.prefill(late)
    tokens, positions = torch.zeros(22, dtype=torch.long), torch.zeros(22, dtype=torch.long)
    tokens[21], positions[21] = 9, 300
    graphed, plain = (each.step(tokens, positions, positions)[21] for each in decoders)
    torch.testing.assert_close(graphed, plain)


def test_a_graph_is_captured_for_each_height_and_window_once() -> None:
    seen: list[tuple[int, int]] = []
    captured: list[Work] = []

    def counted(work: Work) -> Work:
        captured.append(work)
        return taken_down(work)

    def logits(tokens: torch.Tensor, positions: torch.Tensor, window: int) -> torch.Tensor:
        seen.append((len(tokens), window))
        return torch.eye(50)[tokens] * (1 + positions[:, None])

    graphs = StepGraphs(logits, counted, slots=48, max_length=700, vocabulary=50, device=torch.device("cpu"))
    asked = [(48, 3), (47, 256), (25, 1), (24, 257), (13, 600), (12, 600), (5, 699), (1, 5), (48, 3)]
    for rows, window in asked:
        tokens, positions = torch.randint(0, 50, (rows,)), torch.randint(0, 9, (rows,))
        expected = torch.eye(50)[tokens] * (1 + positions[:, None])
        assert torch.equal(graphs(tokens, positions, window), expected)
    assert set(seen) == {(48, 256), (24, 512), (24, 700), (12, 700), (12, 256)}
    assert len(captured) == len(set(seen))


def kept(logits: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A step with a number in it that is Python's: what it was when the graph was captured."""
    return lambda tokens, positions, window: logits(tokens, positions, window) * (1 + int(tokens[0]))


def test_a_step_that_cannot_be_captured_is_taken_step_by_step(decoders: tuple[FixedDecoder, FixedDecoder]) -> None:
    _, plain = decoders
    shape = {"max_length": 500, "vocabulary": plain.vocabulary}
    stale = StepGraphs(kept(plain.logits), lambda work: frozen(work), slots=32, device=plain.device, **shape)
    assert "logits off by" in graphs_fault(stale, kept(plain.logits), rows=32, **shape)

    def refuse(work: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert plain.use_graphs(refuse) == "RuntimeError: operation not permitted when stream is capturing"
    one = torch.ones(8, dtype=torch.long)
    assert plain.graphs is None and plain.step(one, one, one).isfinite().all()


def frozen(work: Work) -> Work:
    """A capture that plays back nothing: what it found stays what it was."""
    work()
    return lambda: None
