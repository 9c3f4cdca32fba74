"""RunConfig: one small section per stage; TOML in and out; every default lives here and nowhere else."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from tpt.errors import ConfigError, did_you_mean

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]

_BRANCHES = ("constrained-int", "literal[")


class Section(BaseModel):
    """Settings that are checked where they are read and never change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ProblemsConfig(Section):
    """Where the problems come from."""

    train: str = Field("word_problems?split=train&size=800", description="source of the problems to learn from")
    heldout: str = Field(
        "word_problems?split=heldout&size=200", description="source of the problems to score on; never trained on"
    )
    max_train: int = Field(0, ge=0, description="use only the first so many training problems; 0: all")
    max_heldout: int = Field(0, ge=0, description="use only the first so many held-out problems; 0: all")
    kind: str = Field(
        "",
        description='verifier for problems that name none: "number", "math", "choice", "exact", "regex", "code", or your own '
        'as "FILE.py:FUNCTION"; "": by the source',
    )
    drop_bad: bool = Field(
        False, description="leave out training problems whose known answer or solution fails its own verifier"
    )
    drop_bad_heldout: bool = Field(
        False, description="leave out such held-out problems too; false: with drop_bad, they stay and count as unsolved"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="your own files: our field = your column, for id, question, answer, solution"
    )


class Shot(Section):
    """One worked example shown before the question."""

    question: str
    answer: str


class PromptConfig(Section):
    """What the model is asked; the same for training, sampling and evaluation."""

    system: str = Field("", description='system message; "": none')
    template: str = Field("{question}", description="the user's message; {question} stands for the problem")
    few_shot: list[Shot] = Field(default_factory=list, description="worked examples, as earlier turns of the chat")

    @model_validator(mode="after")
    def _template_has_question(self) -> Self:
        if "{question}" not in self.template:
            raise ValueError(f"template must contain {{question}}, got {self.template!r}")
        return self


class EngineConfig(Section):
    """What turns prompts into completions."""

    name: Literal["hf"] = Field("hf", description="hf: in-process decoder on transformers models, CPU or one GPU")
    slots: int = Field(0, ge=0, description="completions decoded at once; 0: as many as suit the machine")
    max_length: int = Field(0, ge=0, description="longest prompt + completion in tokens; 0: what the problems need")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: float32 on cpu, bfloat16 on cuda")
    batch_invariant: bool = Field(
        False, description="fixed decode shapes: a completion depends on its own request alone, bit for bit"
    )


class ThinkConfig(Section):
    """How traces are sampled for training."""

    sampler: Literal["until_full", "fixed"] = Field(
        "until_full",
        description="until_full: each problem until its first keepable trace, until prune.size problems have one; "
        "fixed: think.samples of every problem",
    )
    samples: Count = Field(10, description="samples of one problem, at most (until_full) or exactly (fixed)")
    temperature: float = Field(0.8, ge=0, description="sampling temperature; 0: greedy")
    top_p: Fraction = Field(1.0, description="nucleus mass; 1: off")
    top_k: int = Field(0, ge=0, description="most likely tokens to sample from; 0: off")
    max_tokens: Count = Field(512, description="longest completion in tokens")


class VerifyConfig(Section):
    """Limits for verifiers that can hang or blow up; one that exceeds them is killed."""

    timeout_s: float = Field(2.0, gt=0, description="wall clock of one answer; beyond: TIMEOUT")
    memory_mb: int = Field(2048, ge=256, description="address space of a verifier's process; beyond: ERROR")
    workers: int = Field(0, ge=0, description="answers verified at once; 0: one a core")


class PruneConfig(Section):
    """Which traces become training examples."""

    correct_only: bool = Field(True, description="keep only traces whose answer is right; false: no pruning")
    require_format: bool = Field(
        True, description="with correct_only: and only those that kept the asked answer format"
    )
    require_true_steps: bool = Field(
        False, description="drop traces whose written arithmetic (a op b = c) is false: right answer, wrong reasoning"
    )
    min_tests_passed: float = Field(
        0.0,
        ge=0,
        le=1,
        description="for diagnosis: keep wrong programs too that passed at least this share of their tests; 0: never",
    )
    per_problem: Count | Literal["all"] = Field(1, description='traces kept of one problem, or "all"')
    size: Count | Literal["all"] = Field(
        2000, description='problems in the training set, the same each round, or "all"'
    )
    growth: float = Field(1.0, gt=0, description="size is multiplied by this each round")
    pick: Literal["random", "first", "shortest", "longest", "diverse"] = Field(
        "random", description="which of a problem's keepable traces are taken"
    )
    dedupe: Literal["exact", "equations", "none"] = Field(
        "exact", description="what makes two traces of a problem the same: text, or chain of equations"
    )
    if_short: Literal["continue", "stop"] = Field(
        "continue", description="when fewer than size problems have a keepable trace: go on with them, or stop"
    )


class DataConfig(Section):
    """What a round trains on."""

    mode: Literal["replace", "accumulate"] = Field(
        "replace", description="this round's examples, or all rounds' so far"
    )
    source: Literal["self", "human", "file"] = Field(
        "self", description="the model's own traces, the source's human solutions, or another model's traces"
    )
    file: str = Field("", description='traces.jsonl of another model, for source = "file"')

    @model_validator(mode="after")
    def _file_goes_with_source(self) -> Self:
        if (self.source == "file") != bool(self.file):
            raise ValueError(
                f'file and source = "file" go together, got source = "{self.source}", file = "{self.file}": '
                "set data.file to another model's traces.jsonl, or leave it empty and take another data.source"
            )
        return self


class TrainConfig(Section):
    """Supervised fine-tuning on the kept traces."""

    start_from: Literal["last", "base"] = Field("last", description="weights a round starts from")
    learning_rate: float = Field(1e-6, gt=0, description="peak learning rate")
    epochs: Count = Field(1, description="passes over the examples")
    batch_size: Count = Field(8, description="examples per optimizer step")
    micro_batch_size: Count = Field(2, description="examples per forward pass; divides batch_size")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps spent warming up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: Count = Field(2048, description="longest example in tokens; longer ones are dropped and counted")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="compute precision; master weights are float32 always"
    )

    @model_validator(mode="after")
    def _micro_batches_fill_a_batch(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of micro_batch_size = {self.micro_batch_size}"
            )
        return self


class EvaluateConfig(Section):
    """How a model is scored on the held-out problems."""

    samples: Count = Field(5, description="samples of every held-out problem")
    ks: list[Count] = Field(default_factory=list, description="k of pass@k, at most samples; []: 1, 2, 4, … samples")
    temperature: float = Field(0.7, ge=0, description="sampling temperature; 0: greedy")
    top_p: Fraction = Field(1.0, description="nucleus mass; 1: off")
    top_k: int = Field(0, ge=0, description="most likely tokens to sample from; 0: off")
    max_tokens: Count = Field(512, description="longest completion in tokens")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        too_large = [k for k in self.ks if k > self.samples]
        if too_large:
            raise ValueError(
                f"pass@{max(too_large)} needs at least {max(too_large)} samples of every problem, "
                f"got samples = {self.samples}: raise evaluate.samples or lower evaluate.ks"
            )
        return self


class StopConfig(Section):
    """When to stop before the last round."""

    patience: int = Field(2, ge=0, description="stop after so many rounds without a held-out gain; 0: never")


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "tpt": {},
    "star": {"train": {"start_from": "base"}, "prune": {"size": "all"}},
    "rft": {
        "train": {"start_from": "base"},
        "think": {"sampler": "fixed"},
        "prune": {"per_problem": "all", "size": "all", "dedupe": "equations"},
    },
    "rest-em": {
        "train": {"start_from": "base"},
        "think": {"sampler": "fixed"},
        "prune": {"per_problem": 10, "size": "all"},
    },
    "raft": {"prune": {"size": "all"}},
    "accumulate": {"data": {"mode": "accumulate"}},
    "no-prune": {"prune": {"correct_only": False, "require_format": False}},
    "human": {"data": {"source": "human"}},
    "distilled": {"data": {"source": "file"}},
}
"""The literature's methods as points in the space of policies; an explicit key wins over the preset."""


class RunConfig(Section):
    """Everything a run needs; ``config.toml`` in the run directory is this, complete."""

    preset: str = Field("tpt", description="policy that sets the defaults below: " + ", ".join(PRESETS))
    model: str = Field("embedded", description="embedded, a folder, a .gguf file, gguf:PACKAGE/FILE, or a Hub id")
    seed: int = Field(0, ge=0, description="every random choice of the run follows from it")
    threads: int = Field(0, ge=0, description="CPU threads of the tensor library; 0: one a core")
    rounds: Count = Field(4, description="think, prune, train, evaluate: how many times, at most")
    problems: ProblemsConfig = ProblemsConfig()
    prompt: PromptConfig = PromptConfig()
    engine: EngineConfig = EngineConfig()
    think: ThinkConfig = ThinkConfig()
    verify: VerifyConfig = VerifyConfig()
    prune: PruneConfig = PruneConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    stop: StopConfig = StopConfig()

    @model_validator(mode="after")
    def _sampler_feeds_the_policy(self) -> Self:
        one_suffices = self.prune.per_problem == 1 and self.prune.pick in ("random", "first")
        if self.data.source == "self" and self.think.sampler == "until_full" and not one_suffices:
            raise ValueError(
                'think.sampler = "until_full" draws one keepable trace of a problem, but '
                f"prune.per_problem = {self.prune.per_problem!r} with prune.pick = {self.prune.pick!r} chooses among "
                'several: set think.sampler = "fixed"'
            )
        return self


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a TOML file, apply ``--set`` overrides such as ``"think.samples=20"``, and check every value.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is not allowed.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file. Make one with: tpt init > run.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return parse_config(table, overrides, where=str(path))


def parse_config(table: dict[str, Any], overrides: list[str] | None = None, *, where: str = "config") -> RunConfig:
    """Check a table of settings; ``where`` names it in errors."""
    table = copy.deepcopy(table)
    for override in overrides or []:
        _apply_override(table, override)
    preset = table.get("preset", "tpt")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(
            f"{where}: preset = {preset!r} is not known, allowed: {', '.join(PRESETS)}."
            + did_you_mean(str(preset), PRESETS)
        )
    try:
        return RunConfig.model_validate(_merged(PRESETS[preset], table))
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from None


def render_toml(config: RunConfig) -> str:
    """Write a config as TOML with every key, each under a comment that says what it means."""
    lines: list[str] = []
    sections: list[str] = []
    for name, field in RunConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            sections += ["", f"[{name}]  # {type(value).__doc__}", *_render_keys(value)]
        else:
            lines += [f"# {field.description}", _render_value(name, value)]
    return "\n".join(lines + sections) + "\n"


def _render_keys(section: Section) -> list[str]:
    lines: list[str] = []
    for key, field in type(section).model_fields.items():
        value = section.model_dump()[key]
        lines += [f"# {field.description}", _render_value(key, value)]
    return lines


def _render_value(key: str, value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(_render_value(name, item) for name, item in value.items())
        return f"{_toml_key(key)} = {{{inner}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rows = ",\n".join("  " + _render_value("", item).partition("= ")[2] for item in value)
        return f"{_toml_key(key)} = [\n{rows},\n]"
    return tomli_w.dumps({key: value}).strip()


def _toml_key(key: str) -> str:
    return tomli_w.dumps({key: 0}).partition(" = ")[0]


def _apply_override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set think.samples=20")
    target = table
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section!r} is a value, not a section")
    try:
        target[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        target[last] = text


def _merged(defaults: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for name, section in defaults.items():
        given = table.get(name, {})
        merged[name] = {**section, **given} if isinstance(given, dict) else given
    return merged


def _explain(error: ValidationError, where: str) -> str:
    lines: dict[str, str] = {}
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        # A union adds the name of each of its branches to the path; the key itself is what the user wrote.
        if path and path[-1].startswith(_BRANCHES) and path[:-1] != ["problems", "columns"]:
            path.pop()
        key = ".".join(path)
        if item["type"] == "extra_forbidden":
            lines[key] = f"{where}: unknown key {key!r}.{did_you_mean(path[-1], _known_keys(path[:-1]))}"
        elif item["type"] == "value_error":
            lines[key] = f"{where}: {key + ': ' if key else ''}{item['ctx']['error']}"
        elif item["type"] == "missing":
            lines[key] = f"{where}: {key} is missing"
        elif key in lines:
            lines[key] += f", or {_said(item)}"
        else:
            lines[key] = f"{where}: {key} = {item['input']!r:.200}: {_said(item)}"
    return "\n".join(lines.values())


def _said(item: ErrorDetails) -> str:
    if item["type"] == "model_type":
        return "should be a section of keys"
    return item["msg"].removeprefix("Input ").strip()


def _known_keys(path: list[str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    if path[:2] == ["prompt", "few_shot"]:
        return list(Shot.model_fields)
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
