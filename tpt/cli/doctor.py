"""What this machine can do for a run, and what would mend what it cannot."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from tpt.errors import TPTError
from tpt.records import Outcome
from tpt.system.child_python import is_installed
from tpt.system.terminal import wrapped
from tpt.system.version import __version__

State = Literal["ok", "off", "broken"]
_GIB = 2**30
_SCARCE_GIB = 2.0
"""Of disk and of memory: below, not even a small model and its checkpoint have room."""
_LIBRARIES = ("torch", "transformers", "trl", "accelerate", "datasets", "safetensors")
_EXTRAS = {
    "cpu": ("numba", "faster decoding on processors"),
    "gym": ("reasoning_gym", "problems of reasoning-gym"),
    "lora": ("peft", 'train.method = "lora", "dora"'),
    "qlora": ("bitsandbytes", 'train.method = "qlora", 8-bit optimizers'),
    "vllm": ("vllm", "the vLLM engine"),
    "ray": ("ray", "engine, judging and training on a Ray cluster"),
}
_TELLING = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "bf16", "sve", "sve_bf16", "sme")
"""Instructions that decide how fast a model runs, and in which number format."""
_TRACKERS = ("trackio", "wandb", "tensorboard", "mlflow")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was looked at."""

    name: str
    state: State
    """off: something that only some runs need does not work; broken: no run can work."""
    said: str
    mend: str = ""
    """The command or the step that would mend it."""


def examined(folder: Path) -> list[Found]:
    """Look at versions, devices, sandbox, room, the Hub's token and the optional packages."""
    return [*_versions(), *_devices(), _sandbox(), _disk(folder), _memory(), _hub(), *_optional()]


def findings_text(findings: Sequence[Found], *, width: int | None = None) -> str:
    """Return what was found as lines to read, and last what it amounts to."""
    longest = max(len(each.name) for each in findings)
    lines = []
    for each in findings:
        lines.append(
            wrapped(f"{each.state:<6}  {each.name:<{longest}}  {each.said}", width, hanging=" " * (longest + 10))
        )
        if each.mend:
            lines.append(wrapped(f"{'':<{longest + 10}}mend: {each.mend}", width))
    broken = [each.name for each in findings if each.state == "broken"]
    last = f"No run can work before this is mended: {', '.join(broken)}." if broken else "Runs can work here."
    return "\n".join([*lines, wrapped(last, width)])


def _versions() -> list[Found]:
    found = [Found("tpt", "ok", f"{__version__}, Python {platform.python_version()} on {platform.platform()}")]
    missing = [name for name in _LIBRARIES if not is_installed(name)]
    there = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES if name not in missing)
    if missing:
        found.append(Found("libraries", "broken", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"))
    return [*found, Found("libraries", "ok", there)] if there else found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(version unknown)"


def _devices() -> list[Found]:
    if not is_installed("torch"):
        return []
    import torch

    from tpt.model.number_format import gains_by_bfloat16

    capabilities = torch.cpu.get_capabilities()
    flags = [name for name in _TELLING if capabilities.get(name) is True]
    large = gains_by_bfloat16(2**20)
    takes = "bfloat16, float32 for small models" if large else "float32: no instructions for bfloat16"
    said = f"{os.cpu_count()} threads, {platform.machine()}: {', '.join(flags) or 'no wide vector instructions'}; "
    found = [Found("processor", "ok", f"{said}number format auto takes {takes}"), _int8()]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            takes = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
            said = f"{device.name}, {device.total_memory / _GIB:.0f} GiB; number format auto takes {takes}"
            found.append(Found(f"GPU {index}", "ok", said))
    elif Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        said = f"a driver is here, but torch {torch.__version__} sees no GPU (its CUDA: {torch.version.cuda or 'none'})"
        found.append(
            Found("GPU", "off", said, "install the build of torch for this driver's CUDA; nvidia-smi names it")
        )
    else:
        found.append(Found("GPU", "ok", "none: models run on the processor"))
    return found


def _int8() -> Found:
    from tpt.engines.hf.int8 import weight_levels

    if not is_installed("numba"):
        return Found("int8", "off", "needs numba", 'pip install "think-prune-train[cpu]"')
    try:
        bits = weight_levels().bit_length() + 1
    except TPTError as error:
        return Found("int8", "off", str(error))
    return Found("int8", "ok", f'engine.weights = "int8" thinks with weights of {bits} bits on this processor')


def _sandbox() -> Found:
    from tpt.problems import load_problems
    from tpt.sandbox.bubblewrap import why_not
    from tpt.verifiers.gold import gold_completion
    from tpt.verifiers.judge import judge_one

    if reason := why_not():
        what, _, mend = reason.partition(": ")
        return Found("sandbox", "off", f"{what}: programs of a model cannot be judged", mend)
    problem = load_problems("tiny_programs?split=heldout&size=1")[0]
    try:
        judged = judge_one(problem, gold_completion(problem) or "")
    except (TPTError, OSError) as error:
        return Found("sandbox", "off", f"bubblewrap starts, but no program ran in it: {error}")
    if judged.outcome is not Outcome.CORRECT:
        return Found("sandbox", "off", f"a right program was judged {judged.outcome} in it: {judged.detail}")
    return Found("sandbox", "ok", "bubblewrap works: a program was judged in it")


def _disk(folder: Path) -> Found:
    there = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    free = shutil.disk_usage(there).free / _GIB
    said = f"{free:,.1f} GiB free at {there}"
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written to" if there.is_dir() else "is no folder"
        return Found("disk", "broken", f"{there} {why}", "tpt doctor DIR looks at another folder; --out names one")
    if free < _SCARCE_GIB:
        return Found(
            "disk", "broken", f"{said}: too little for checkpoints", "free some, or put runs elsewhere with --out"
        )
    return Found("disk", "ok", f"{said}; tpt plan CONFIG says how much a run takes")


def _memory() -> Found:
    import torch

    from tpt.system.memory import available_bytes

    free = available_bytes(torch.device("cpu"))
    if free is None:
        return Found("memory", "ok", "unknown on this system")
    said = f"{free / _GIB:,.1f} GiB available"
    if free < _SCARCE_GIB * _GIB:
        return Found(
            "memory", "off", f"{said}: enough for tiny models alone", "end other programs, or take a larger machine"
        )
    return Found("memory", "ok", f"{said}; tpt plan CONFIG says whether a run fits")


def _hub() -> Found:
    from huggingface_hub import constants, get_token

    offline = "; HF_HUB_OFFLINE is set: only models that are in the cache" if constants.HF_HUB_OFFLINE else ""
    if get_token():
        return Found("Hub token", "ok", f"present (not shown){offline}")
    return Found("Hub token", "off", f"none: gated models such as Gemma cannot be downloaded{offline}", "hf auth login")


def _optional() -> list[Found]:
    found = []
    for extra, (package, what) in _EXTRAS.items():
        if is_installed(package):
            found.append(Found(f"extra {extra}", "ok", what))
        else:
            found.append(
                Found(f"extra {extra}", "off", f"not installed: {what}", f"pip install 'think-prune-train[{extra}]'")
            )
    there = [name for name in _TRACKERS if is_installed(name)]
    said = f"installed: {', '.join(there) or 'none'} of {', '.join(_TRACKERS)} (train.report_to)"
    return [*found, Found("trackers", "ok", said)]
