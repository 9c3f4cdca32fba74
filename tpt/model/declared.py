"""What a model's folder declares of its text besides the tokenizer: tokens that end a completion, a chat template apart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from transformers import GenerationConfig, PreTrainedConfig
from transformers.utils.hub import cached_file

from tpt.errors import ModelError
from tpt.model.spec import ModelSource

TEMPLATE_FILE = "chat_template.json"
"""Where processors of multimodal models keep the chat template; tokenizers do not read it."""


def declared_stop_ids(source: ModelSource, config: PreTrainedConfig) -> frozenset[int]:
    """Return the ids that ``generation_config.json`` and ``config.json`` declare to end a completion.

    Some templates write no end of turn, and then these alone say where one ends.

    Raises:
        ModelError: one of them is no token of the model.
    """
    text = config.get_text_config()
    declared = [("config.json", config), ("config.json", text), ("generation_config.json", _generation_config(source))]
    found: set[int] = set()
    vocabulary = int(getattr(text, "vocab_size", 0) or 0)
    for file, each in declared:
        for token in _ids(getattr(each, "eos_token_id", None), f"model = {source.spec!r}: {file}"):
            if vocabulary and not 0 <= token < vocabulary:
                raise ModelError(
                    f"model = {source.spec!r}: {file} declares eos_token_id {token}, but the model has {vocabulary:,} tokens, "
                    f"0 to {vocabulary - 1}; correct eos_token_id there"
                )
            found.add(token)
    return frozenset(found)


def declared_template(source: ModelSource) -> str | None:
    """Return the chat template that stands in a file of its own; None: there is no such file.

    Raises:
        ModelError: the file is damaged.
    """
    path = _file(source, TEMPLATE_FILE)
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            template = json.load(file)["chat_template"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"model = {source.spec!r}: {TEMPLATE_FILE} holds no chat_template: {error}") from error
    if not isinstance(template, str):
        raise ModelError(f"model = {source.spec!r}: {TEMPLATE_FILE}: chat_template must be text, got {template!r:.80}")
    return template


def _generation_config(source: ModelSource) -> GenerationConfig | None:
    if source.kind == "gguf" or _file(source, "generation_config.json") is None:
        return None
    try:
        found: GenerationConfig = GenerationConfig.from_pretrained(source.location, revision=source.hub_revision)
    except Exception as error:  # whatever a damaged file makes the library raise
        raise ModelError(f"model = {source.spec!r}: generation_config.json cannot be read: {error}") from error
    return found


def _file(source: ModelSource, name: str) -> str | None:
    if source.kind == "gguf":
        return None
    found: str | None = cached_file(
        source.location, name, revision=source.hub_revision, _raise_exceptions_for_missing_entries=False
    )
    return found


def _ids(value: Any, where: str) -> Iterable[int]:
    """Return a declared id, or a list of ids, as a list; ``where`` names the file."""
    if value is None:
        return []
    ids = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, int) or (isinstance(each, float) and each.is_integer()) for each in ids):
        raise ModelError(f"{where} declares eos_token_id {value!r:.80}; it must be a token id or a list of them")
    return [int(each) for each in ids]
