"""When a change against the base model is worth an alarm in the reports; no stage depends on it."""

from __future__ import annotations

from pydantic import Field

from tpt.config.section import Section


class AlarmConfig(Section):
    """How large a change against the base model must be for an alarm; no result depends on these."""

    stderrs: float = Field(3.0, gt=0, description="and larger than so many of its standard errors over problems, each")
    variety_drop: float = Field(
        0.25, ge=0, le=1, description="mode collapse: share of the distinct equation chains lost while pass@1 rises"
    )
    human_nll_rise: float = Field(
        0.05, ge=0, description="model collapse: human solutions less likely by this share, while pass@k falls"
    )
    kl: float = Field(1.0, ge=0, description="KL from the base model on its own traces, nats a token")
    format_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="format-only gain: lenient pass@1 rises by less than this share of the strict gain",
    )
    skill_share: float = Field(
        0.25,
        ge=0,
        le=1,
        description="sharpening only: the greedy score rises by less than this share of lenient pass@1's gain",
    )
    length_factor: float = Field(1.5, ge=1, description="length drift: traces so many times as long, or as short")
    truncated_rise: float = Field(0.05, ge=0, le=1, description="truncation drift: more traces cut off, as a share")
    looped_rise: float = Field(0.02, ge=0, le=1, description="repetition: more traces caught in a loop, as a share")
