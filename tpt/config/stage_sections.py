"""How traces are sampled, judged and chosen, and how a model is scored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tpt.config.also_section import AlsoSource, with_sources
from tpt.config.answer_format import AnswerFormat
from tpt.config.section import Count, Fraction, NoOwnCode, OwnCode, Section

StopString = Annotated[str, Field(min_length=1)]


class ThinkConfig(Section):
    """How traces are sampled for training."""

    sampler: Literal["until_full", "fixed"] = Field(
        "until_full",
        description="until_full: each problem until it has prune.per_problem keepable traces, until prune.size problems "
        "have any; "
        "fixed: think.samples of every problem",
    )
    samples: Count = Field(10, description="samples of one problem, at most (until_full) or exactly (fixed)")
    temperature: float = Field(0.8, ge=0, description="sampling temperature; 0: greedy")
    top_p: Fraction = Field(1.0, description="nucleus mass; 1: off")
    top_k: int = Field(0, ge=0, description="most likely tokens to sample from; 0: off")
    max_tokens: Count = Field(512, description="longest completion in tokens")
    stop: list[StopString] = Field(
        default_factory=list,
        description='a completion ends before the first of these, such as "\\nQuestion:"; []: at its end-of-turn token alone',
    )
    order: NoOwnCode = Field(
        "", description="your own function for the order in which problems are sampled; empty: at random"
    )
    hint_by: NoOwnCode = Field(
        "",
        description="your own function for a text that is added to a question when it is sampled and not when it is trained "
        "on; empty: none",
    )


VERIFY_OPERATIONAL = ("workers", "where", "node_cpus")
"""Keys that say where and how fast answers are judged, not how: no finished stage depends on them."""


class VerifyConfig(Section):
    """The answer format that counts as kept, and limits for verifiers that can hang or blow up: beyond, one is killed."""

    answer_format: AnswerFormat = Field(
        "auto",
        description='how answers are written, for the prompt (unless prompt.template is your own) and for "strict": hash '
        "(#### N), boxed (\\boxed{N}), last (any way: the last answer counts); auto: by kind, number hash, math boxed",
    )
    timeout_s: float = Field(2.0, gt=0, description="processor time of one answer; beyond: TIMEOUT")
    memory_mb: int = Field(2048, ge=256, description="address space of a verifier's process; beyond: ERROR")
    workers: int = Field(
        0, ge=0, description='answers verified at once, by each node where = "ray" judges on; 0: one a core'
    )
    where: Literal["here", "ray"] = Field(
        "here",
        description="here: on the machine of the run; ray: on every node of the Ray cluster at engine.ray_address",
    )
    node_cpus: int = Field(
        0,
        ge=0,
        description="ray: CPUs set aside for it on every node, and its workers where workers = 0; 0: none set aside, one "
        "worker for each of the node's",
    )
    sandbox: Literal["bubblewrap", "rlimits"] = Field(
        "bubblewrap",
        description="how a model's programs are confined; rlimits: by resource limits alone, so that they can read every "
        "file of yours",
    )


class PruneConfig(Section):
    """Which traces become training examples."""

    correct_only: bool = Field(True, description="keep only traces whose answer is right; false: no pruning")
    require_format: bool = Field(
        True, description="with correct_only: and only those that kept the asked answer format"
    )
    wrong_only: bool = Field(
        False,
        description="for diagnosis, with correct_only = false: keep only traces whose answer is wrong though written as asked",
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
    min_solve_rate: float = Field(
        0.0,
        ge=0,
        le=1,
        description="leave out problems of which a smaller share of samples is right; see max_solve_rate",
    )
    max_solve_rate: float = Field(
        1.0,
        ge=0,
        le=1,
        description="leave out problems of which a larger share of samples is right: 0.99 leaves out those that every sample "
        'solves. Below 1, or with min_solve_rate, every problem needs all its samples: think.sampler = "fixed", or a file',
    )
    per_problem: Count | Literal["all"] = Field(1, description='traces kept of one problem, or "all"')
    size: Count | Literal["all"] = Field(
        2000, description='problems in the training set, the same each round, or "all"'
    )
    growth: float = Field(1.0, gt=0, description="size is multiplied by this each round")
    max_examples: int = Field(
        0, ge=0, description="examples a round adds, at most: further problems are left out whole; 0: no limit"
    )
    pick: Literal["random", "first", "shortest", "longest", "diverse"] | OwnCode = Field(
        "random", description="which of a problem's keepable traces are taken; or your own function"
    )
    keep: NoOwnCode = Field(
        "", description="your own function for whether a trace is keepable, instead of the keys above; empty: those"
    )
    weigh: NoOwnCode = Field(
        "", description="your own function for the weights of a problem's keepable traces; empty: all 1"
    )
    dedupe: Literal["exact", "equations", "none"] = Field(
        "exact", description="what makes two traces of a problem the same: text, or chain of equations"
    )
    if_short: Literal["continue", "stop"] = Field(
        "continue", description="when fewer than size problems have a keepable trace: go on with them, or stop"
    )

    @model_validator(mode="after")
    def _right_or_wrong(self) -> Self:
        if self.wrong_only and self.correct_only:
            raise ValueError(
                "wrong_only = true and correct_only = true leave nothing to keep: set correct_only = false"
            )
        return self

    @model_validator(mode="after")
    def _a_band(self) -> Self:
        if self.min_solve_rate > self.max_solve_rate:
            raise ValueError(
                f"min_solve_rate = {self.min_solve_rate:g} and max_solve_rate = {self.max_solve_rate:g} leave no problem"
            )
        return self

    @property
    def has_band(self) -> bool:
        """Whether problems are left out by their solve rate."""
        return self.min_solve_rate > 0 or self.max_solve_rate < 1


class DataConfig(Section):
    """What a round trains on."""

    mode: Literal["replace", "accumulate"] = Field(
        "replace", description="this round's examples, or all rounds' so far"
    )
    source: Literal["self", "human", "file"] = Field(
        "self", description="the model's own traces, the source's human solutions, or another model's traces"
    )
    file: str = Field(
        "", description='for source = "file": a folder made by tpt import, or traces.jsonl of another model or run'
    )
    file_rounds: int = Field(
        0, ge=0, description="how many rounds take the file's traces, before the model samples its own; 0: all"
    )
    mix: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a round's prune.size problems that are human solutions instead of traces, drawn anew every "
        "round; 0: none",
    )
    mix_problems: Literal["apart", "shared"] = Field(
        "apart",
        description="with mix: traces are of other problems than the human solutions, or of any, so that a problem may come "
        "with both",
    )

    @model_validator(mode="after")
    def _file_goes_with_source(self) -> Self:
        if (self.source == "file") != bool(self.file):
            raise ValueError(
                f'file and source = "file" go together, got source = "{self.source}", file = "{self.file}": '
                "set data.file to another model's traces.jsonl, or leave it empty and take another data.source"
            )
        return self

    @model_validator(mode="after")
    def _file_rounds_need_a_file(self) -> Self:
        if self.file_rounds and self.source != "file":
            raise ValueError(f'file_rounds = {self.file_rounds} is of source = "file", got source = "{self.source}"')
        return self

    def source_of(self, round_index: int) -> str:
        """Return where a round's traces come from: a file's may be for the first rounds alone."""
        return "self" if self.file_rounds and round_index > self.file_rounds else self.source

    @model_validator(mode="after")
    def _mix_has_two_parts(self) -> Self:
        if self.mix and self.source == "human":
            raise ValueError(
                f'mix = {self.mix:g} and source = "human": all is human already; take source = "self" or "file"'
            )
        if self.mix and self.mode == "accumulate":
            raise ValueError(
                f'mix = {self.mix:g} and mode = "accumulate" would bring a human solution again and again: set mode = "replace"'
            )
        return self


def pruning_needed_to_think(prune: PruneConfig, think: ThinkConfig) -> dict[str, Any]:
    """Return what of ``prune`` says which traces are keepable and how many are wanted: thinking stops by it."""
    keys = {"correct_only", "wrong_only", "require_format", "require_true_steps", "min_tests_passed", "size", "growth"}
    if prune.keep:
        keys.add("keep")
    if think.sampler == "until_full" and prune.per_problem != 1:
        keys |= {"per_problem", "dedupe"}
    return prune.model_dump(include=keys)


def data_needed_to_think(data: DataConfig, round_index: int) -> dict[str, Any]:
    """Return what of ``data`` says which traces a round takes, and of which problems."""
    keys = {"source", "file", "mix", "mix_problems"} if data.mix else {"source", "file"}
    found = data.model_dump(include=keys) | {"source": data.source_of(round_index)}
    return found if found["source"] == "file" else found | {"file": ""}


class EvaluateConfig(Section):
    """How a model is scored on the held-out problems."""

    samples: Count = Field(5, description="samples of every held-out problem")
    ks: list[Count] = Field(default_factory=list, description="k of pass@k, at most samples; []: 1, 2, 4, … samples")
    temperature: float = Field(0.7, ge=0, description="sampling temperature; 0: greedy")
    top_p: Fraction = Field(1.0, description="nucleus mass; 1: off")
    top_k: int = Field(0, ge=0, description="most likely tokens to sample from; 0: off")
    max_tokens: Count = Field(512, description="longest completion in tokens")
    stop: list[StopString] = Field(
        default_factory=list,
        description='a completion ends before the first of these, such as "\\nQuestion:"; []: at its end-of-turn token alone',
    )
    greedy: bool = Field(
        True,
        description="score one greedy sample of every held-out problem too: it tells skill from sharpening, "
        "see docs/evidence.md",
    )
    weights: Literal["full", "int8"] = Field(
        "full",
        description="hf on a cpu: int8: score with linear layers in 8 bits, which every manifest and score then names",
    )
    probe: int = Field(
        64,
        ge=0,
        description="the base model's right traces, and the human solutions, that every round's model is held against "
        "the base model on (KL, entropy, likelihood); 0: none",
    )
    choose_share: Fraction = Field(
        0.5,
        description="share of the held-out problems that the best round is chosen by; the others bear the claim of how much "
        "better it is. 1: no split, and the claim is biased upwards",
    )

    also: list[AlsoSource] = Field(
        default_factory=list,
        description='further sources to score on, to see what is forgotten, such as ["svamp", "mbpp:PATH"]; or tables of '
        "source, name, max, samples, max_tokens, template. See docs/evidence.md",
    )
    also_rounds: Literal["best", "all"] = Field(
        "best",
        description="which models are scored on those, beside the base model: at the end the best round's (where none is better "
        "than the base, the last one's), or every round's",
    )

    @property
    def greedy_samples(self) -> int:
        """Greedy samples of a problem beside the others: one, unless they are not asked for or all are greedy."""
        return int(self.greedy and self.temperature > 0)

    @field_validator("also", mode="before")
    @classmethod
    def _plain_sources(cls, entries: Any) -> Any:
        return with_sources(entries)

    @field_validator("also")
    @classmethod
    def _told_apart(cls, also: list[AlsoSource]) -> list[AlsoSource]:
        labels = [each.label for each in also]
        doubled = sorted({label for label in labels if labels.count(label) > 1})
        if doubled:
            raise ValueError(
                f"{labels.count(doubled[0])} sources are called {doubled[0]!r}: give each a name of its own, such as "
                f'{{source = "{also[labels.index(doubled[0])].source}", name = "{doubled[0]} 2"}}'
            )
        return also

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        too_large = [k for k in self.ks if k > self.samples]
        if too_large:
            raise ValueError(
                f"pass@{max(too_large)} needs at least {max(too_large)} samples of every problem, "
                f"got samples = {self.samples}: raise evaluate.samples or lower evaluate.ks"
            )
        return self


ALSO_KEYS = ("also", "also_rounds")
"""Keys of ``evaluate`` that the held-out problems' scores don't depend on."""


class StopConfig(Section):
    """Which round is the best, when to stop before the last one, and where to go on from after a loss."""

    gate: Literal["stop", "warn", "off"] = Field(
        "stop",
        description="when the first few hundred samples show that nothing can be kept to train on: stop the run and say why, "
        "or warn and go on; off: don't look",
    )

    rule: Literal["significance", "maximum"] = Field(
        "significance",
        description="the best round is the one with the highest score among those significantly better than the base model, "
        "or (maximum) among all, noise or not",
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="level of the tests, adjusted for the rounds compared (Holm)")
    patience: int = Field(
        2, ge=0, description="stop after so many rounds without a new best or a new highest score; 0: never"
    )
    rollback: bool = Field(
        False, description="after a significant loss against the best round, go on from that one instead of the last"
    )
