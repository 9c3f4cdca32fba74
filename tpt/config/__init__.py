"""RunConfig: one small section per stage; TOML in and out; every default lives here and nowhere else."""

from __future__ import annotations

from tpt.config.alarm_section import AlarmConfig
from tpt.config.engine_section import EngineConfig
from tpt.config.notify_section import NotifyConfig
from tpt.config.problem_sections import ProblemsConfig, PromptConfig, Shot
from tpt.config.run_config import PRESETS, RunConfig
from tpt.config.schema import config_schema
from tpt.config.section import Section
from tpt.config.stage_sections import DataConfig, EvaluateConfig, PruneConfig, StopConfig, ThinkConfig, VerifyConfig
from tpt.config.toml import load_config, parse_config, render_toml
from tpt.config.train_section import TrainConfig

__all__ = [
    "PRESETS",
    "AlarmConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluateConfig",
    "NotifyConfig",
    "ProblemsConfig",
    "PromptConfig",
    "PruneConfig",
    "RunConfig",
    "Section",
    "Shot",
    "StopConfig",
    "ThinkConfig",
    "TrainConfig",
    "VerifyConfig",
    "config_schema",
    "load_config",
    "parse_config",
    "render_toml",
]
