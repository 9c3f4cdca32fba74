"""What a config asks for, before anything is sampled: problems, prompts in tokens, the model's shape, slots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tpt.audit.run_problems import load_also_sources, load_sources
from tpt.config import RunConfig
from tpt.config.also_section import AlsoSource
from tpt.errors import ModelError
from tpt.model.chat import Chat, open_chat
from tpt.plan.flops import Cost, cost_of
from tpt.plan.hardware import Engine
from tpt.records import Problem
from tpt.run.directory import RunDir
from tpt.sampling.lengths import Asked, check_lengths
from tpt.sampling.open import rounded_length
from tpt.system.jsonl import read_records

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from tpt.sft.memory import Shape

_CHARACTERS_A_TOKEN = 4
_VLLM_SLOTS = 256
LOGIT_BYTES = 12
"""Of a row and a word of the vocabulary: float32 tensors alive at once while tokens are drawn."""
_LENGTH_SHARE = 0.3
"""Of max_tokens: the mean completion where nothing tells it."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """A set of problems in tokens."""

    count: int
    mean: float
    longest: int
    longest_id: str
    """The problem that has the longest; empty where tokens are guessed."""
    prefix: int
    """Tokens that all prompts begin with; engines read them once."""


@dataclass(frozen=True, slots=True)
class Further:
    """A further set of problems that is scored (``evaluate.also``)."""

    stage: str
    """The name of the stage that scores it."""
    prompts: Prompts
    samples: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Work:
    """Everything of a run that can be known before it starts."""

    config: RunConfig
    train: Prompts
    heldout: Prompts
    also: list[Further]
    """The further sets that are scored, in the config's order."""
    solutions: int
    """Training problems with a human solution."""
    completion: float
    """Guessed tokens of a completion."""
    completion_source: str
    counted_by: str
    """How the prompts were counted."""
    architecture: PreTrainedConfig
    shape: Shape
    engine: Engine

    def cost(self, width: int) -> Cost:
        """Return what a token costs; ``width``: bytes of a weight while sampling."""
        return cost_of(self.shape, self.config.train, width=width)

    def length(self, stage: str) -> int:
        """Return the longest prompt + completion that a stage's engine makes room for; further sets count as evaluation."""
        sets = [(self.train, self.config.think.max_tokens)]
        if stage == "evaluate":
            sets = [(self.heldout, self.config.evaluate.max_tokens)]
            sets += [(each.prompts, each.max_tokens) for each in self.also]
        longest = max(prompts.longest + most for prompts, most in sets)
        return rounded_length(self.config.engine, longest)

    def slots(self, stage: str, *, free: float, width: int) -> int:
        """Return how many completions are in flight where ``free`` bytes are left beside the weights."""
        settings = self.config.engine
        if self.engine == "server":
            return settings.concurrency
        a_slot = self.cost(width).kv_bytes * self.length(stage)
        if self.engine == "vllm":
            # vLLM holds back what its memory does not take.
            a_slot += LOGIT_BYTES * self.shape.vocabulary
            return max(1, min(settings.slots or _VLLM_SLOTS, int(free // a_slot)))
        from tpt.engines.hf.engine import fitting_slots

        return settings.slots or fitting_slots(int(free), a_slot)


def open_work(config: RunConfig, out: Path, *, engine: Engine, completion_tokens: float | None) -> Work:
    """Read problems, tokenizer and the model's config; a run that is there says which problems.

    Raises:
        ConfigError: prompts and completions do not fit model and engine.
        ModelError: the model's config is neither here nor on the Hub.
        ProblemError: the problems cannot be read.
    """
    run = RunDir(out)
    if run.problems.exists() and run.heldout.exists():
        train, heldout = read_records(run.problems, Problem), read_records(run.heldout, Problem)
    else:
        train, heldout = load_sources(config)
    architecture = read_architecture(config.model)
    missing = [each for each in config.evaluate.also if not run.also(each.stage).exists()]
    loaded = load_also_sources(config, train, missing)
    # Without a cache: a plan writes nothing.
    chat = open_chat(config.asked_prompt, config.model) if is_here(config.model) else None
    counted_by = "the model's tokenizer" if chat else f"guessing {_CHARACTERS_A_TOKEN} characters a token"
    completion, source = _guess_completion(config, train, chat, completion_tokens)
    from tpt.sft.memory import shape_of

    work = Work(
        config=config,
        train=_count(config, train, chat),
        heldout=_count(config, heldout, chat),
        also=[_further(config, each, loaded.get(each.stage), run, chat) for each in config.evaluate.also],
        solutions=sum(problem.solution is not None for problem in train),
        completion=completion,
        completion_source=source,
        counted_by=counted_by,
        architecture=architecture,
        shape=shape_of(architecture),
        engine=engine,
    )
    if chat is not None:
        check_lengths(config, _asked(work), architecture)
    return work


def _asked(work: Work) -> list[Asked]:
    """Return what a run puts to the model, with the keys that say how long completions may be."""
    config = work.config
    sets = [("evaluate.max_tokens", work.heldout, config.evaluate.max_tokens)]
    if config.rounds and config.data.source_of(config.rounds) == "self":
        sets.append(("think.max_tokens", work.train, config.think.max_tokens))
    for source, each in zip(config.evaluate.also, work.also, strict=True):
        key = f"evaluate.also: max_tokens of {source.label}" if source.max_tokens else "evaluate.max_tokens"
        sets.append((key, each.prompts, each.max_tokens))
    return [Asked(key, most, prompts.longest, prompts.longest_id) for key, prompts, most in sets]


def read_architecture(model: str) -> PreTrainedConfig:
    """Return a model's config; a folder with nothing but a config.json will do.

    Raises:
        ModelError: it is neither here nor on the Hub.
    """
    folder = Path(model).expanduser()
    try:
        if (folder / "config.json").is_file():
            from transformers import AutoConfig

            architecture: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            return architecture
        from tpt.model.load import load_architecture

        return load_architecture(model)
    except Exception as error:  # whatever a damaged file makes the library raise
        raise ModelError(
            f"{error}\nTo plan, the model's config.json is enough: put it into a folder and give that, "
            "--set model=FOLDER"
        ) from error


def is_here(model: str) -> bool:
    """Return whether a model's tokenizer can be read without the network."""
    from huggingface_hub import try_to_load_from_cache

    from tpt.model.spec import resolve

    folder = Path(model).expanduser()
    if folder.is_dir():
        return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    source = resolve(model)
    if source.kind != "hub":
        return True
    kept = try_to_load_from_cache(source.location, "tokenizer_config.json", revision=source.hub_revision)
    return isinstance(kept, str)


def _count(config: RunConfig, problems: list[Problem], chat: Chat | None) -> Prompts:
    if chat is not None:
        from tpt.engines.hf.prefix_cache import common_length

        rows = [chat.prompt_ids(problem) for problem in problems]
        prefix = common_length(rows) if len(rows) > 1 else 0
        lengths = [len(row) for row in rows]
        longest, longest_id = max(zip(lengths, (problem.id for problem in problems), strict=True))
        return Prompts(len(rows), fmean(lengths), longest, longest_id, prefix)
    prompt = config.asked_prompt
    shots = sum(len(prompt.user(shot.question)) + len(shot.answer) for shot in prompt.few_shot)
    before = (shots + len(prompt.system)) / _CHARACTERS_A_TOKEN
    lengths = [round(before + len(prompt.user(problem.question)) / _CHARACTERS_A_TOKEN) for problem in problems]
    return Prompts(len(lengths), fmean(lengths), max(lengths), "", round(before))


def _further(
    config: RunConfig, source: AlsoSource, problems: list[Problem] | None, run: RunDir, chat: Chat | None
) -> Further:
    """Return a further set, counted with the run's own prompt, of whose length its own is about."""
    there = read_records(run.also(source.stage), Problem) if problems is None else problems
    samples, most = config.evaluate.samples, config.evaluate.max_tokens
    return Further(source.stage, _count(config, there, chat), source.samples or samples, source.max_tokens or most)


def _guess_completion(
    config: RunConfig, problems: list[Problem], chat: Chat | None, given: float | None
) -> tuple[float, str]:
    most = config.think.max_tokens
    if given is not None:
        return min(given, most), "what you gave" + (", cut off at think.max_tokens" if given > most else "")
    texts, source = [problem.solution for problem in problems if problem.solution], "the problems' own solutions"
    if not texts:
        texts, source = [shot.answer for shot in config.prompt.few_shot], "the prompt's worked examples"
    if not texts:
        return _LENGTH_SHARE * most, f"guessing {_LENGTH_SHARE:.0%} of think.max_tokens"
    tokens = [
        len(chat.tokenizer(text, add_special_tokens=False).input_ids) + 1 if chat else len(text) / _CHARACTERS_A_TOKEN
        for text in texts[:200]
    ]
    return min(fmean(tokens), most), source
