"""The config as a JSON Schema, by which editors complete keys, show what they mean, and mark what is not allowed."""

from __future__ import annotations

from typing import Any

from tpt.config.run_config import PRESETS, RunConfig


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file; what depends on several keys at once, only loading checks."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "tpt run config"
    schema["properties"]["preset"]["enum"] = list(PRESETS)
    also = schema["$defs"]["EvaluateConfig"]["properties"]["also"]
    # A source's name alone may stand for its table.
    also["items"] = {"anyOf": [{"type": "string"}, also["items"]]}
    return schema
