"""Linear layers in int8 against those in full precision, and what may not depend on what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import QUICKSTART, Tpt, sets
from tiny_engine import CONFIGS, GREEDY, PROMPTS, RANDOM, finish, grouped, requests_for, tiny_chat, tiny_model
from torch import nn
from transformers import GPT2Config
from transformers.models.auto import AutoModelForCausalLM

from tpt.config import EngineConfig
from tpt.engines.hf.cpu_kernel.quantise import quantised_rows
from tpt.engines.hf.engine import HFEngine
from tpt.engines.hf.int8 import Int8Linear, use_int8, weight_levels
from tpt.engines.hf.opening import open_hf
from tpt.errors import EngineError
from tpt.model.load import load_model

WIDE = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
"""Wide enough for every layer to be taken."""
needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.onednn, "qlinear_pointwise"), reason="this build of torch has no oneDNN"
)
pytestmark = needs_onednn


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [33, 64, 300])
def test_rows_come_back_within_half_a_step(dtype: torch.dtype, width: int) -> None:
    rows = (torch.randn(17, width) * torch.logspace(-6, 6, 17)[:, None]).to(dtype)
    numbers, scales = quantised_rows(rows)
    found = (numbers.float() - 128) * scales.float()
    assert scales.dtype == dtype
    assert bool(((found - rows.float()).abs() <= 0.502 * scales.float()).all())
    assert bool((scales.float() <= rows.float().abs().amax(1, keepdim=True) / 125).all()), "no level is wasted"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 1), (torch.float32, 40), (torch.bfloat16, 7)])
def test_a_layer_is_near_the_one_it_stands_for(dtype: torch.dtype, rows: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer = nn.Linear(96, 160, bias=bias).to(dtype)
    given = torch.randn(2, rows, 96).to(dtype)
    with torch.inference_mode():
        # Where sums in 16 bits are cut off, weights are rounded as the coarse ones are.
        found, expected = Int8Linear(layer, weight_levels())(given), layer(given)
        coarse = Int8Linear(layer, 63)(given)
    assert found.shape == expected.shape and found.dtype == dtype
    spread = float(expected.float().std())
    assert float((found.float() - expected.float()).std()) < (0.02 if weight_levels() == 127 else 0.03) * spread
    assert float((coarse.float() - expected.float()).std()) < 0.03 * spread


def test_a_row_never_depends_on_its_neighbours() -> None:
    """One that is a million times larger, or no number at all, least of all."""
    torch.manual_seed(2)
    layer = Int8Linear(nn.Linear(64, 80), weight_levels())
    rows = torch.randn(9, 64)
    with torch.inference_mode():
        alone = torch.cat([layer(row[None]) for row in rows])
        wild = rows.clone()
        wild[0] *= 1e6
        wild[4, 3] = torch.inf
        wild[5, 3] = torch.nan
        wild[6] = torch.frombuffer(bytearray(b"\xff" * 256), dtype=torch.float32)
        wild[8] = 0
        found = layer(wild)
    assert torch.equal(layer(rows), alone)
    assert torch.equal(found[[1, 2, 3, 7]], alone[[1, 2, 3, 7]])
    assert bool(found[[4, 5, 6]].isnan().all()), "damaged numbers must not go unseen"
    assert torch.equal(found[8], layer._bias)


def test_embeddings_that_share_the_output_projection_stay_as_they_are() -> None:
    model = load_model("embedded", dtype="float32", device="cpu")
    before = model.get_input_embeddings().weight.clone()
    said = use_int8(model)
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert isinstance(model.get_output_embeddings(), Int8Linear)
    assert 0.5 < said.share < 1 and said.levels == weight_levels() and said.logit_error < 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_decodes_what_its_own_forward_pass_says(name: str) -> None:
    """The engine's start-up check holds the decoder against the model; both are in int8 here."""
    model = grouped(tiny_model(name, **WIDE))
    assert use_int8(model).logit_error < 0.2
    for batch_invariant in (True, False):
        settings = EngineConfig(slots=3, batch_invariant=batch_invariant)
        engine = HFEngine(model, tiny_chat(), settings, max_length=64, prompt_store_mb=1)
        assert len(finish(engine, requests_for(PROMPTS, GREEDY))) == len(PROMPTS)


def test_batch_invariance_holds() -> None:
    settings = [EngineConfig(slots=slots, device="cpu", weights="int8", batch_invariant=True) for slots in (2, 5)]
    model = grouped(tiny_model("llama" if "llama" in CONFIGS else next(iter(CONFIGS)), **WIDE))
    use_int8(model)
    requests = requests_for(PROMPTS, RANDOM, samples=3)
    few, many = (finish(HFEngine(model, tiny_chat(), each, max_length=64), requests) for each in settings)
    assert {key: each.token_ids for key, each in few.items()} == {key: each.token_ids for key, each in many.items()}


def test_what_cannot_be_done_is_said() -> None:
    config = GPT2Config(vocab_size=48, n_embd=64, n_layer=1, n_head=2, n_positions=64, tie_word_embeddings=False)
    narrow = tiny_model("phi3", **dict.fromkeys(("hidden_size", "intermediate_size"), 16), head_dim=4)
    with pytest.raises(EngineError, match=r"no linear layers of torch: set weights = \"full\""):
        use_int8(narrow)
    assert use_int8(AutoModelForCausalLM.from_config(config).eval()).share < 0.5, "its own layers stay in full"
    broken = tiny_model("phi3", **WIDE)
    with torch.no_grad():
        broken.model.norm.weight[0] = 1e6  # one number that all others drown beside, and that nothing heeds
        broken.lm_head.weight[:, 0] = 0
    with pytest.raises(EngineError, match="logits are off by"):
        use_int8(broken)


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx2"), reason="of x86 processors without VNNI")
def test_products_are_exact_on_processors_without_vnni() -> None:
    """Where two products are added in 16 bits, weights have fewer levels instead of wrong sums."""
    script = "from tpt.engines.hf.int8 import weight_levels; print(weight_levels())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "63", done.stderr


def test_a_run_thinks_in_int8_and_scores_in_full(tmp_path: Path, tpt: Tpt) -> None:
    small = ("rounds=1", "problems.max_train=24", "problems.max_heldout=6", "prune.size=6", "think.samples=2")
    small += ("evaluate.samples=2", "evaluate.probe=2", "engine.slots=16", "stop.gate=off")
    ran = tpt("run", QUICKSTART, "--out", tmp_path, *sets(*small, "engine.weights=int8"))
    assert ran.code == 0, ran.err
    assert "thinks in int8" in ran.err
    think, evaluate = (
        json.loads((tmp_path / "round-1" / f"{stage}.json").read_text()) for stage in ("think", "evaluate")
    )
    made = think["counts"]["engine"]
    assert made["weights"] == "int8" and made["int8"]["levels"] == weight_levels()
    assert evaluate["settings"]["engine"]["weights"] == "full" and "int8" not in evaluate["settings"]["engine"]
    scored = tmp_path / "scored"
    ran = tpt("run", QUICKSTART, "--out", scored, *sets(*small, "rounds=0", "evaluate.weights=int8"))
    assert ran.code == 0, ran.err
    manifest = json.loads((scored / "round-0" / "evaluate.json").read_text())
    assert manifest["settings"]["engine"]["weights"] == "int8" == manifest["counts"]["report"]["weights"]
    assert "sampled in int8" in ran.err and "in int8" in tpt("report", scored).out


def test_the_server_of_a_gpu_is_not_asked_for_it() -> None:
    with pytest.raises(EngineError, match="is for CPUs"):
        use_int8(load_model("embedded", dtype="float32", device="cpu").to("meta"))


def test_open_hf_says_it(tmp_path: Path) -> None:
    from tpt.config import PromptConfig
    from tpt.model.chat import Chat
    from tpt.model.load import load_tokenizer

    settings = EngineConfig(slots=8, device="cpu", weights="int8")
    engine = open_hf("embedded", Chat(load_tokenizer("embedded"), PromptConfig()), settings, max_length=64, cache=None)
    assert engine.describe()["weights"] == "int8"
    engine.close()
