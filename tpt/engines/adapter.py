"""What a LoRA checkpoint says of itself: its base model and its rank."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tpt.errors import EngineError

_CONFIG = "adapter_config.json"
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder with an adapter instead of a whole model."""

    folder: Path
    base: str
    """Model spec of the weights it belongs to."""
    rank: int

    @property
    def vllm_rank(self) -> int:
        """The smallest of the ranks that vLLM makes room for which holds this adapter's."""
        return next((rank for rank in _VLLM_RANKS if rank >= self.rank), _VLLM_RANKS[-1])


def find_adapter(spec: str) -> Adapter | None:
    """Return the adapter in a folder, None when the spec is no such folder.

    Raises:
        EngineError: its config does not name a base model and a rank.
    """
    path = Path(spec).expanduser() / _CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
        rank = max([config["r"], *config.get("rank_pattern", {}).values()])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        base, rank = None, None
    if not isinstance(base, str) or not base or not isinstance(rank, int):
        raise EngineError(f"{path}: not the config of a LoRA adapter: it must name base_model_name_or_path and r")
    return Adapter(path.parent, base, rank)
