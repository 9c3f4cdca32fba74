"""The whole config, and the presets that set its defaults."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from tpt.config.alarm_section import AlarmConfig
from tpt.config.answer_format import REQUESTS
from tpt.config.engine_section import EngineConfig, check_weights
from tpt.config.notify_section import NotifyConfig
from tpt.config.problem_sections import ProblemsConfig, PromptConfig
from tpt.config.section import Section
from tpt.config.stage_sections import DataConfig, EvaluateConfig, PruneConfig, StopConfig, ThinkConfig, VerifyConfig
from tpt.config.train_section import TrainConfig

PRESETS: dict[str, dict[str, Any]] = {
    "tpt": {},
    "star": {"train": {"start_from": "base"}, "prune": {"size": "all"}},
    "rft": {
        "train": {"start_from": "base"},
        "think": {"sampler": "fixed"},
        "prune": {"per_problem": "all", "size": "all", "dedupe": "equations"},
    },
    "rest-em": {"train": {"start_from": "base"}, "prune": {"per_problem": 10, "size": "all"}},
    "raft": {"prune": {"size": "all"}},
    "accumulate": {"data": {"mode": "accumulate"}},
    "no-prune": {"prune": {"correct_only": False, "require_format": False}},
    "human": {"data": {"source": "human"}},
    "distilled": {"data": {"source": "file"}},
    "mixed": {"data": {"mix": 0.5}},
    "one-big-round": {"rounds": 1, "prune": {"per_problem": 4}},
    "format-only": {"prune": {"correct_only": False, "wrong_only": True}},
}
"""The literature's methods as points in the space of policies; an explicit key wins over the preset."""


class RunConfig(Section):
    """Everything a run needs; ``config.toml`` in the run directory is this, complete."""

    preset: str = Field("tpt", description="policy that sets the defaults below: " + ", ".join(PRESETS))
    model: str = Field(
        "embedded",
        min_length=1,
        description="embedded, a folder, a .gguf file, gguf:PACKAGE/FILE, or a Hub id with or without @revision",
    )
    seed: int = Field(0, ge=0, description="every random choice of the run follows from it")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the tensor library; 0: one a core")
    rounds: int = Field(
        4, ge=0, description="think, prune, train, evaluate: how many times, at most; 0: score the model and stop"
    )
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
    alarms: AlarmConfig = AlarmConfig()
    notify: NotifyConfig = NotifyConfig()

    @property
    def asked_prompt(self) -> PromptConfig:
        """The prompt as problems are put to the model: a template of only the question asks for the answer format too."""
        request = REQUESTS.get(self.verify.answer_format)
        if request is None or self.prompt.is_own:
            return self.prompt
        return self.prompt.model_copy(update={"template": f"{self.prompt.template}\n\n{request}"})

    @property
    def for_scoring(self) -> RunConfig:
        """The config with the engine that scores are sampled by."""
        return self.model_copy(update={"engine": self.engine.model_copy(update={"weights": self.evaluate.weights})})

    @model_validator(mode="after")
    def _engine_can_score(self) -> Self:
        check_weights(self.engine, self.evaluate.weights, "evaluate.weights")
        return self

    @model_validator(mode="after")
    def _sampler_feeds_the_policy(self) -> Self:
        samples = self.data.source_of(max(1, self.rounds)) == "self"
        if samples and self.think.sampler == "until_full" and self.prune.has_band:
            raise ValueError(
                'think.sampler = "until_full" stops at the first keepable traces of a problem, so that no solve rate is known, '
                f"but prune.min_solve_rate = {self.prune.min_solve_rate:g}, prune.max_solve_rate = "
                f'{self.prune.max_solve_rate:g}: set think.sampler = "fixed"'
            )
        by_chance = self.prune.pick in ("random", "first") and not self.prune.weigh
        first_suffice = self.prune.per_problem != "all" and by_chance
        if samples and self.think.sampler == "until_full" and not first_suffice:
            raise ValueError(
                'think.sampler = "until_full" stops at the first prune.per_problem keepable traces of a problem, but '
                f"prune.per_problem = {self.prune.per_problem!r} with prune.pick = {self.prune.pick!r} "
                f'{"and prune.weigh " if self.prune.weigh else ""}chooses among all of them: set think.sampler = "fixed"'
            )
        return self

    @model_validator(mode="after")
    def _scores_need_problems(self) -> Self:
        if not self.problems.heldout:
            raise ValueError("problems.heldout is empty, and every run is scored on it: name a source")
        return self

    @model_validator(mode="after")
    def _rounds_need_problems(self) -> Self:
        if self.rounds and not self.problems.train:
            raise ValueError(
                f"problems.train is empty, which only rounds = 0 does without, got rounds = {self.rounds}: name a source"
            )
        return self

    @model_validator(mode="after")
    def _mix_has_a_size(self) -> Self:
        if self.data.mix and (self.prune.size == "all" or self.prune.max_examples):
            raise ValueError(
                f"data.mix = {self.data.mix:g} is a share of prune.size problems: prune.size must be a number and "
                f"prune.max_examples 0, got {self.prune.size!r} and {self.prune.max_examples}"
            )
        return self
