"""A text model within a multimodal one, as Gemma 3 of 4B and more: its text part is sampled, trained, saved and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from tpt import Run
from tpt.config import parse_config
from tpt.model.embedded import FOLDER

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
TOKENS = {"vocab_size": 160, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def wrapped(tmp_path: Path) -> Path:
    """Return the folder of a tiny random model with an image tower beside its text part."""
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config={**TEXT, **TOKENS, "num_key_value_heads": 2, "max_position_embeddings": 256, "sliding_window": 16},
        vision_config={**IMAGE, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        boi_token_index=150,
        eoi_token_index=151,
        image_token_index=149,
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "wrapped")
    AutoTokenizer.from_pretrained(FOLDER).save_pretrained(tmp_path / "wrapped", save_jinja_files=False)
    return tmp_path / "wrapped"


def test_the_text_part_goes_through_two_rounds(wrapped: Path, tmp_path: Path) -> None:
    table = {
        "model": str(wrapped),
        "rounds": 2,
        "threads": 1,
        "problems": {"max_train": 20, "max_heldout": 6},
        "think": {"max_tokens": 12},
        "prune": {"correct_only": False, "require_format": False, "size": 6},
        "train": {"learning_rate": 1e-2, "batch_size": 2, "micro_batch_size": 2},
        "evaluate": {"samples": 1, "max_tokens": 12},
        "stop": {"gate": "off"},
    }
    run = Run(tmp_path / "run", parse_config(table))
    assert [record.index for record in run.rounds()] == [0, 1, 2]
    before = load_file(wrapped / "model.safetensors")
    after = load_file(run.dir.round(2).checkpoint / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert any("language_model" in name for name in changed)
    assert not any("vision_tower" in name or "multi_modal" in name for name in changed)
