"""Linear layers whose weights are packed are the same layers."""

from __future__ import annotations

import pytest
import torch
from tiny_engine import GREEDY, PROMPTS, finish, requests_for, tiny_chat, tiny_model
from torch import nn

from tpt.config import EngineConfig
from tpt.engines.hf import packed
from tpt.engines.hf.engine import HFEngine
from tpt.engines.hf.packed import PackedLinear, pack_weights

needs_onednn = pytest.mark.skipif(not packed._is_right(torch.float32), reason="this build of torch has no oneDNN")
ROWS = [1, 5, 64]


def layer(width: int, out: int, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(width + out)
    return nn.Linear(width, out, bias=bias, dtype=dtype).requires_grad_(False)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("width", "out"), [(512, 512), (576, 1536), (513, 777)])
def test_a_layer_gives_what_it_gave_in_any_shape_of_input(width: int, out: int, bias: bool) -> None:
    plain = layer(width, out, bias=bias)
    given = PackedLinear(plain)
    for shape in [(3,), (2, 1), (1, 7)]:
        rows = torch.randn(*shape, width)
        torch.testing.assert_close(given(rows), plain(rows), rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("rows", ROWS)
def test_a_rows_bits_depend_neither_on_its_neighbours_nor_on_threads(rows: int) -> None:
    given, numbers = PackedLinear(layer(576, 1536)), torch.randn(max(ROWS), 576)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found += [given(numbers)[:rows], given(numbers[:rows].clone())]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found)


@needs_onednn
def test_wide_layers_are_packed_and_the_engine_says_the_same() -> None:
    def made(*, is_packed: bool) -> list[tuple[int, ...]]:
        model = tiny_model("qwen3", hidden_size=512, intermediate_size=640, head_dim=128, initializer_range=0.05)
        assert (
            not is_packed or pack_weights(model) == 3 * 5
        )  # of seven layers, all but keys and values, which are narrow
        engine = HFEngine(model, tiny_chat(), EngineConfig(slots=4, device="cpu"), max_length=64)
        return [each.token_ids for each in finish(engine, requests_for(PROMPTS, GREEDY)).values()]

    assert made(is_packed=True) == made(is_packed=False)


def test_what_torch_cannot_pack_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        """The operators of a build of torch that has none of these."""

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    packed._is_right.cache_clear()
    model = nn.Sequential(layer(512, 512))
    model.device, model.dtype = torch.device("cpu"), torch.float32  # type: ignore[assignment]
    assert pack_weights(model) == 0 and type(model[0]) is nn.Linear  # type: ignore[arg-type]
    packed._is_right.cache_clear()
