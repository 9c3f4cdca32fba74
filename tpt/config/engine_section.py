"""How completions are sampled: by what, on what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tpt.config.section import Section


class EngineConfig(Section):
    """What turns prompts into completions."""

    name: Literal["hf"] = Field("hf", description="hf: in-process decoder on transformers models, CPU or one GPU")
    slots: int = Field(0, ge=0, description="completions decoded at once; 0: as many as suit the machine")
    max_length: int = Field(0, ge=0, description="longest prompt + completion in tokens; 0: what the problems need")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: float32 on cpu, bfloat16 on cuda")
    batch_invariant: bool = Field(
        False, description="fixed decode shapes: a completion depends on its own request alone, bit for bit"
    )
