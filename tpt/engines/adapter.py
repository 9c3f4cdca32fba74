"""What vLLM needs to know of a LoRA checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpt import adapter_folder
from tpt.errors import EngineError, ModelError

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
        EngineError: its config does not name a base model and a rank, or vLLM does not know its kind.
    """
    try:
        found = adapter_folder.find_adapter(spec)
    except ModelError as error:
        raise EngineError(str(error)) from error
    if found is None:
        return None
    if found.is_dora:
        raise EngineError(
            f'{found.folder}: vLLM has no DoRA adapters; set train.adapter = "merge", or engine.name = "hf"'
        )
    return Adapter(found.folder, found.base, found.rank)
