"""Checkpoints whose weights are quantised: which are dequantised on loading, and why the others cannot be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import GgufConfig, PreTrainedConfig
from transformers.quantizers.auto import AutoQuantizationConfig

from tpt.errors import ModelError
from tpt.model.spec import ModelSource

DEQUANTISED = ("fp8", "mxfp4", "compressed-tensors")
"""Methods that transformers turns back into ordinary weights on loading, on any device."""
_ADVICE = {
    "bitsandbytes": 'take the original checkpoint; with train.method = "qlora" its weights are put into 4 bits here',
}
_CODES = ("F8", "F4", "F6_", "I", "U")
"""How the names of stored types begin that are no ordinary weights'."""
_PACKED = (
    "its weights are packed for inference and cannot be turned back into weights to train: take the checkpoint it was "
    "quantised from"
)


def dequantisation(source: ModelSource, config: PreTrainedConfig | None) -> Any:
    """Return what has ``from_pretrained`` give ordinary weights; None: they are ordinary already.

    ``config`` None: a GGUF file's.

    Raises:
        ModelError: the weights are quantised by a method that cannot be undone here.
    """
    if source.kind == "gguf":
        # Without dequantize a GGUF model may keep its weights packed, and could then neither be trained nor saved.
        return GgufConfig(dequantize=True)
    settings = _settings(config)
    if settings is None:
        return None
    method = str(settings.get("quant_method") or _unnamed(settings))
    if method in DEQUANTISED:
        return AutoQuantizationConfig.from_dict({**settings, "quant_method": method, "dequantize": True})
    raise ModelError(
        f"model = {source.spec!r} is quantised by {method}: {_ADVICE.get(method, _PACKED)}. Dequantised on loading: "
        f"GGUF, {', '.join(DEQUANTISED)}"
    )


def check_stored_types(source: ModelSource, folder: Path, buffers: tuple[str, ...]) -> None:
    """Refuse weights that are stored as codes while the config names no quantisation: cast to floats they are noise.

    The names of tensors that are no weights end in one of ``buffers``.

    Raises:
        ModelError: there are some.
    """
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (no dict)
                stored = str(file.get_slice(name).get_dtype())
                if stored.startswith(_CODES) and not name.endswith(buffers):
                    raise ModelError(
                        f"model = {source.spec!r}: {path.name} stores {name!r} as {stored}, and its config names no "
                        "quantization_config to turn that back into weights. Take the checkpoint it was quantised from"
                    )


def forget_quantisation(model: Any) -> None:
    """Make a dequantised model an ordinary one, so that save_pretrained writes what from_pretrained reads."""
    for config in (model.config, model.config.get_text_config()):
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer
    # Else saving would undo how the weights were loaded, and write codes and scales again.
    model._weight_conversions = None


def _settings(config: PreTrainedConfig | None) -> dict[str, Any] | None:
    """Return the quantisation settings of a config, or those of its text part; compressed-tensors has a name of its own."""
    if config is None:
        return None
    for part in (config, config.get_text_config()):
        for name in ("quantization_config", "compression_config"):
            found = getattr(part, name, None)
            if found:
                return dict(found) if isinstance(found, dict) else dict(found.to_dict())
    return None


def _unnamed(settings: dict[str, Any]) -> str:
    return "bitsandbytes" if settings.get("load_in_4bit") or settings.get("load_in_8bit") else "an unnamed method"
