"""The files of an exported model: copied, rounded, merged or saved anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tpt.config import RunConfig
from tpt.errors import RunError, StaleStageError
from tpt.model.adapter_folder import CONFIG as ADAPTER_CONFIG
from tpt.model.chat import open_chat
from tpt.run.directory import RoundDir, RunDir
from tpt.start_model import base_digest_now, base_model
from tpt.system.jsonl import read_json, write_json

_KEPT = (".safetensors", ".json", ".jinja", ".model", ".txt")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz")


def is_adapter(checkpoint: Path) -> bool:
    """Return whether a checkpoint holds an adapter, and not a whole model."""
    return (checkpoint / ADAPTER_CONFIG).is_file()


def write_copy(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint's weights, tokenizer, chat template and configs.

    Raises:
        RunError: it holds a file that could run code when it is loaded, or no weights.
    """
    pickled = sorted(path.name for path in checkpoint.rglob("*") if path.suffix in _PICKLED)
    if pickled:
        raise RunError(
            f"{checkpoint}: holds {pickled[0]}, a pickle file, which can run code when it is read; only safetensors are "
            "exported. Take it out, or save the model again with save_pretrained"
        )
    kept = [path for path in sorted(checkpoint.iterdir()) if path.suffix in _KEPT and path.is_file()]
    if not any(path.suffix == ".safetensors" for path in kept):
        raise RunError(f"{checkpoint}: holds no weights (*.safetensors). Make the round again")
    if is_adapter(checkpoint) and str(read_json(checkpoint / ADAPTER_CONFIG).get("base_model_name_or_path")).startswith(
        "."
    ):
        raise RunError(
            f"{checkpoint}: an adapter on a model inside of this run, which a copy would not find: add --merge"
        )
    folder.mkdir(parents=True)
    for path in kept:
        shutil.copyfile(path, folder / path.name)


def write_base(run: RunDir, config: RunConfig, folder: Path) -> None:
    """Save the base model, wherever it comes from, in float32 with the tokens it stops at.

    Raises:
        StaleStageError: its files are others than those the run was made with.
    """
    recorded = base_model(run, config).digest
    found = base_digest_now(run, config)
    if found != recorded:
        raise StaleStageError(
            f"model = {config.model!r}: its files changed since {run.base} was written ({recorded[:12]} then, "
            f"{found[:12]} now), so it is not the model that was scored. Put them back"
        )
    _save(config.model, run, config, folder)


def write_merged(run: RunDir, round_dir: RoundDir, config: RunConfig, folder: Path) -> None:
    """Add an adapter to its base model's weights, and save the whole in float32.

    Raises:
        ModelError: peft is missing, or the adapter does not fit its base model.
    """
    _save(str(round_dir.checkpoint), run, config, folder)


def _save(spec: str, run: RunDir, config: RunConfig, folder: Path) -> None:
    from tpt.model.load import load_model
    from tpt.sft import save_checkpoint

    cache = run.path / "cache"
    model = load_model(spec, dtype="float32", device="cpu", cache=cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(model, open_chat(config.asked_prompt, spec, cache), folder)


def cast(folder: Path, dtype: str) -> None:
    """Rewrite a folder's floating-point weights in another precision, one file of weights after the other."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    wanted = getattr(torch, dtype)
    size = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no mapping)
            metadata = opened.metadata()
        tensors = {name: each.to(wanted) if each.is_floating_point() else each for name, each in tensors.items()}
        size += sum(each.nbytes for each in tensors.values())
        path.unlink()
        save_file(tensors, path, metadata=metadata)
        path.chmod(0o644)
    for path in folder.glob("*.safetensors.index.json"):
        index = read_json(path)
        index["metadata"] = {**index.get("metadata", {}), "total_size": size}
        write_json(path, index)
    config = folder / "config.json"
    if config.is_file():
        write_json(config, {**read_json(config), "dtype": dtype})


def saved_dtype(folder: Path) -> str:
    """Return the precision of a folder's largest group of weights, read from the files' headers."""
    sizes: dict[str, int] = {}
    for path in folder.glob("*.safetensors"):
        for name, entry in _header(path).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + last - first
    largest = max(sizes, key=lambda name: sizes[name])
    return {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}.get(largest, largest)


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
        return header
