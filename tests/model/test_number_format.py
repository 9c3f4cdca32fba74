"""Which number format a processor is fast in: one without bfloat16 is tried for real, by holding this one to AVX2."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tpt.model.load import load_architecture
from tpt.model.number_format import bfloat16_factor, emulation_text, gains_by_bfloat16, has_bfloat16, product_flops

SCRIPT = """
import torch
from transformers import LlamaConfig
from tpt.model.number_format import emulation_text
torch.set_num_threads(1)
print(emulation_text(LlamaConfig(hidden_size=576, intermediate_size=1536), ["engine.dtype", "train.precision"]))
"""


def test_the_factor_is_that_of_two_products() -> None:
    assert product_flops("float32", 64, 128) > 1e6
    assert 0.001 < bfloat16_factor(64, 128) < 1000
    assert bfloat16_factor(0, 0) > 0, "a config may not say its widths"


def test_nothing_is_said_where_nothing_was_forced() -> None:
    assert emulation_text(load_architecture("embedded"), []) == ""


def test_small_models_stay_in_float32() -> None:
    assert not gains_by_bfloat16(128)
    assert gains_by_bfloat16(4096) == has_bfloat16()


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx2"), reason="of x86 processors")
def test_an_emulated_format_is_told_with_its_factor() -> None:
    """oneDNN and torch held to AVX2, which has no bfloat16."""
    held = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    environment = {**os.environ, **held, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    said = done.stdout.strip()
    assert said.startswith('engine.dtype and train.precision = "bfloat16", which this processor emulates'), done.stderr
    factor = float(said.split(" times as long")[0].split()[-1])
    assert factor > 1.5 and 'Set engine.dtype and train.precision to "auto"' in said
