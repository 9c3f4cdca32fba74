"""Further problems that a model is scored on beside the held-out ones, so that a run sees what it makes a model forget."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from tpt.config.prompt_templates import template_text
from tpt.config.section import Section


class AlsoSource(Section):
    """One further source of problems; a source's name alone may stand for it."""

    source: str = Field(description="source of the problems; none of them may be trained on")
    name: str = Field("", description='what reports call it; "": the name of the source')
    max: int = Field(0, ge=0, description="use only the first so many; 0: all")
    samples: int = Field(0, ge=0, description="samples of every problem; 0: evaluate.samples")
    max_tokens: int = Field(0, ge=0, description="longest completion in tokens; 0: evaluate.max_tokens")
    template: str = Field(
        "",
        description="the user's message, as prompt.template; \"\": the run's prompt where answers are asked for alike, else one "
        "that asks for these problems' answer format",
    )

    @field_validator("source")
    @classmethod
    def _names_something(cls, source: str) -> str:
        if not source.strip():
            raise ValueError('is empty: name a source of problems, such as "svamp" or "mine.jsonl"')
        return source

    @field_validator("template")
    @classmethod
    def _named_or_with_question(cls, template: str) -> str:
        return template and template_text(template)

    @property
    def label(self) -> str:
        """What reports call it."""
        named = re.match(r"(\w+)(?=[:?]|$)", self.source)
        return self.name or (named[1] if named else Path(self.source.partition("?")[0]).stem)

    @property
    def stage(self) -> str:
        """The name of the stage that scores it, and of its files: other settings have another, so none goes stale."""
        settings = json.dumps(self.model_dump(exclude={"name"}), sort_keys=True)
        readable = re.sub(r"[^A-Za-z0-9_.]+", "_", self.label)[:40]
        return f"{ALSO}{readable}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


ALSO = "also-"
"""What the names of stages that score further problems begin with."""


def with_sources(entries: Any) -> Any:
    """Return the entries of ``evaluate.also`` with each plain name as the source that it names."""
    if not isinstance(entries, list):
        return entries
    return [{"source": each} if isinstance(each, str) else each for each in entries]
