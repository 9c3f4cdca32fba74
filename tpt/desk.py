"""What a stage works with, opened from the config: prompt, tokenizer, engine.

The libraries behind these take seconds to import, so they are imported here only when something is opened.
"""

from __future__ import annotations

from pathlib import Path

from tpt.chat import Chat, PromptTemplate
from tpt.config import EvaluateConfig, RunConfig, ThinkConfig
from tpt.engines import Engine, Sampling
from tpt.run_dir import digest_of, fingerprint
from tpt.verifiers.pool import Limits

_LENGTH_STEP = 16


def prompt_template(config: RunConfig) -> PromptTemplate:
    """Return what the model is asked, as chat.py wants it."""
    shots = tuple((shot.question, shot.answer) for shot in config.prompt.few_shot)
    return PromptTemplate(system=config.prompt.system or None, template=config.prompt.template, few_shot=shots)


def open_chat(config: RunConfig, model: str, cache: Path) -> Chat:
    """Load a model's tokenizer and put the config's prompt to it."""
    from tpt.models import load_tokenizer

    return Chat(load_tokenizer(model, cache=cache), prompt_template(config))


def open_engine(config: RunConfig, model: str, *, cache: Path, longest: int) -> Engine:
    """Load a model into the config's engine; ``longest`` is the longest prompt + completion in tokens."""
    from tpt.engines.hf import HFSettings, open_hf

    settings = config.engine
    needed = -(-longest // _LENGTH_STEP) * _LENGTH_STEP
    return open_hf(
        model,
        prompt_template(config),
        HFSettings(
            max_length=settings.max_length or needed,
            slots=settings.slots,
            batch_invariant=settings.batch_invariant,
            device=settings.device,
            dtype=settings.dtype,
            cache=cache,
        ),
    )


def limits_of(config: RunConfig) -> Limits:
    """Return the limits of verifiers that can hang or blow up."""
    return Limits(config.verify.timeout_s, config.verify.memory_mb, config.verify.workers)


def use_threads(config: RunConfig) -> None:
    """Have the tensor library work with the config's number of CPU threads."""
    from tpt.models import use_threads

    use_threads(config.threads)


def sampling_of(section: ThinkConfig | EvaluateConfig) -> Sampling:
    """Return a section's sampling fields."""
    return Sampling(
        temperature=section.temperature,
        top_p=section.top_p,
        top_k=section.top_k,
        max_tokens=section.max_tokens,
    )


def model_digest(model: str) -> str:
    """Return a digest of a base model's files; of its name alone for a Hub id, whose files the Hub keeps."""
    from tpt.models import resolve

    source = resolve(model)
    if source.kind == "hub":
        return digest_of(source.location)
    return fingerprint(source.gguf_path if source.kind == "gguf" else Path(source.location))
