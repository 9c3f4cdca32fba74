"""GPUs by their makers' data sheets, and how long decoding and training take on one: a roofline.

A step of decoding reads all weights and every row's keys and values once, and computes with them; it takes as long as
the slower of the two (Williams, Waterman, Patterson, 2009). Real programs reach a share of a data sheet's numbers; the
shares assumed here are stated in every plan.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from tpt.errors import ConfigError, did_you_mean
from tpt.plan.flops import Cost

GIB = 2**30
MFU = 0.35
"""Share of the data sheet's arithmetic that training reaches."""
DECODING_SHARE = 0.4
"""Share of the arithmetic that prompts and large batches reach."""
BANDWIDTH_SHARE = 0.6
"""Share of the memory's speed that decoding reaches."""
PARALLEL_SHARE = 0.85
"""What is left of each further GPU's speed when several hold a model together."""
STEP_S = {"vllm": 0.005, "hf": 0.002, "server": 0.005}
"""What a step takes besides: scheduling, and drawing the tokens."""
_LAUNCH_S = 0.0005
"""A layer's kernels, launched one by one, where no graph of them is kept (hf)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a data sheet says of a GPU."""

    name: str
    called: str
    """As its driver names it, a regular expression."""
    tflops: float
    """bfloat16 with float32 sums, dense."""
    bandwidth: float
    """GB/s."""
    memory: float
    """GB."""
    source: str


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("a100-40", r"A100.*40GB", 312, 1555, 40, "NVIDIA A100 data sheet, SXM 40 GB"),
        Gpu("a100", r"A100.*80GB", 312, 2039, 80, "NVIDIA A100 data sheet, SXM 80 GB"),
        Gpu("h100", r"H100.*HBM3", 989, 3350, 80, "NVIDIA H100 data sheet, SXM"),
        Gpu("h200", r"H200", 989, 4800, 141, "NVIDIA H200 data sheet, SXM"),
        Gpu("b200", r"B200", 2250, 8000, 180, "NVIDIA DGX B200 data sheet, an eighth"),
        Gpu("l4", r"L4\b", 121, 300, 24, "NVIDIA L4 data sheet"),
        Gpu("l40s", r"L40S", 362, 864, 48, "NVIDIA L40S data sheet"),
        Gpu("a10g", r"A10G", 70, 600, 24, "NVIDIA A10G data sheet"),
        Gpu("rtx4090", r"RTX 4090", 165, 1008, 24, "NVIDIA Ada architecture white paper, appendix A"),
        Gpu("3090", r"RTX 3090$", 71, 936, 24, "NVIDIA GA102 architecture white paper, appendix A"),
        Gpu("mi300x", r"MI300X", 1307, 5300, 192, "AMD Instinct MI300X data sheet"),
    )
}
"""Known GPUs by name. Arithmetic is without sparsity, which doubles what some data sheets print large."""

Engine = Literal["hf", "vllm", "server"]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a run is planned for."""

    gpu: Gpu | None
    """None: this machine's CPU."""
    devices: int
    mfu: float = MFU


class Speed(Protocol):
    """How long the parts of a stage take, in seconds."""

    def step_s(self, rows: int, context: float) -> float:
        """Decode one token of each row, with so many tokens before it."""

    def prefill_s(self, prompts: int, tokens: float) -> float:
        """Read so many prompts of so many tokens each."""

    def train_s(self, rows: int, length: float, steps: int) -> float:
        """Train on rows of a mean length in so many steps."""


@dataclass(frozen=True, slots=True)
class GpuSpeed:
    """A Speed by the roofline."""

    gpu: Gpu
    cost: Cost
    engine: Engine
    sampling_devices: int
    training_devices: int
    mfu: float

    def step_s(self, rows: int, context: float) -> float:
        """See Speed."""
        width = _together(self.sampling_devices)
        read = (self.cost.weight_bytes + rows * context * self.cost.kv_bytes) / (self.gpu.bandwidth * 1e9)
        compute = rows * self.cost.forward(context) / (self.gpu.tflops * 1e12)
        launched = _LAUNCH_S * self.cost.layers if self.engine == "hf" else 0.0
        return max(read / BANDWIDTH_SHARE, compute / DECODING_SHARE) / width + STEP_S[self.engine] + launched

    def prefill_s(self, prompts: int, tokens: float) -> float:
        """See Speed."""
        flops = prompts * tokens * self.cost.forward(tokens / 2)
        return flops / (self.gpu.tflops * 1e12 * DECODING_SHARE) / _together(self.sampling_devices)

    def train_s(self, rows: int, length: float, steps: int) -> float:
        """See Speed."""
        flops = rows * length * self.cost.training(length / 2)
        # An update reads and writes weights, gradients and two moments, float32 each.
        update = steps * 28 * self.cost.trained_weights / (self.gpu.bandwidth * 1e9 * BANDWIDTH_SHARE)
        return (flops / (self.gpu.tflops * 1e12 * self.mfu) + update) / _together(self.training_devices)


def _together(devices: int) -> float:
    return 1 + (devices - 1) * PARALLEL_SHARE


def parse_gpu(text: str) -> tuple[Gpu, int]:
    """Read ``h100`` or ``h100:8``.

    Raises:
        ConfigError: no such GPU is known, or the number is not one.
    """
    name, colon, count = text.strip().lower().partition(":")
    known = ", ".join(GPUS)
    if name not in GPUS:
        raise ConfigError(f"--gpu {text}: no GPU {name!r} is known, there are: {known}.{did_you_mean(name, GPUS)}")
    if colon and not (count.isascii() and count.isdigit() and int(count[:6]) > 0 and len(count) < 6):
        raise ConfigError(f"--gpu {text}: expected NAME or NAME:COUNT with a whole count from 1 on, such as {name}:8")
    return GPUS[name], int(count or 1)


def known_gpu(name: str) -> Gpu | None:
    """Return the GPU that a driver's name means, None for one without a data sheet here."""
    return next((gpu for gpu in GPUS.values() if re.search(gpu.called, name)), None)
