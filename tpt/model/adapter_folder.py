"""What a folder with an adapter says of itself: the model that it belongs to, and its rank.

The base model is named by a spec of ``tpt.model.load``. One inside the same run is named relative to the adapter's folder,
so that a run can be moved.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tpt.errors import ModelError

CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A checkpoint that holds an adapter instead of a whole model."""

    folder: Path
    base: str
    """Model spec of the weights it belongs to; a relative path in the file is resolved here."""
    rank: int
    """The largest of its layers."""
    is_dora: bool


def find_adapter(spec: str) -> AdapterFolder | None:
    """Return the adapter in a folder, None when the spec is no such folder.

    Raises:
        ModelError: its config does not name a base model and a rank.
    """
    path = Path(spec).expanduser() / CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
        rank = max([config["r"], *config.get("rank_pattern", {}).values()])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        base, rank = None, None
    if not isinstance(base, str) or not base or not isinstance(rank, int):
        raise ModelError(f"{path}: not the config of a LoRA adapter: it must name base_model_name_or_path and r")
    if base.startswith(("./", "../")):
        base = str((path.parent / base).resolve())
    if Path(base).expanduser().resolve() == path.parent.resolve():
        raise ModelError(f"{path}: it names its own folder as base_model_name_or_path")
    return AdapterFolder(path.parent, base, rank, is_dora=bool(config.get("use_dora")))


def seen_by_all(spec: str) -> tuple[str, list[str]]:
    """Return a model's spec as it reads on another machine, and the paths that must exist there."""
    if spec == "embedded":
        return spec, []
    adapter = find_adapter(spec)
    paths = [str(Path(each).expanduser().resolve()) for each in (spec, adapter.base if adapter else "") if each]
    files = [path for path in paths if Path(path).exists()]
    return (files[0] if files and files[0] == paths[0] else spec), files


def base_to_name(base: str, folder: Path) -> str:
    """Return how an adapter that will lie in ``folder``, a round's checkpoint, is to name its base model."""
    path = Path(base).expanduser()
    if not path.exists():
        return base
    path, run = path.resolve(), folder.resolve().parent.parent
    if path.is_relative_to(run):
        return os.path.relpath(path, folder.resolve())
    return str(path)
