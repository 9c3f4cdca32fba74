"""Whom to tell how a run goes; no result depends on it."""

from __future__ import annotations

from pydantic import Field

from tpt.config.section import Section


class NotifyConfig(Section):
    """Commands of yours that are told how a run goes: JSON on their standard input. One that fails harms no run."""

    on_round: str = Field(
        "",
        description='run by the shell after every round, with its numbers, such as "jq .sentence | mail me"; "": none',
    )
    on_end: str = Field(
        "",
        description='run when the run ends, by whatever (finished, an error, Ctrl-C), with the last numbers; "": none',
    )
    timeout_s: float = Field(60.0, gt=0, description="a command that takes longer is ended")
