"""A plan against what was measured, and the rest of it corrected by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tpt.plan.hardware import Gpu, known_gpu
from tpt.plan.history import Done, History
from tpt.plan.stages import StagePlan, kind_of


@dataclass(frozen=True, slots=True)
class Compared:
    """A finished stage: as planned before the run, and as measured."""

    round: int
    stage: str
    planned_tokens: int
    tokens: int
    tokens_ratio: float | None
    """Measured to planned."""
    planned_seconds: float | None
    seconds: float
    seconds_ratio: float | None


def compare_stages(planned: Sequence[StagePlan], history: History) -> list[Compared]:
    """Return the finished stages beside their plan."""
    return [
        Compared(
            stage.round,
            stage.stage,
            stage.tokens,
            done.tokens,
            _ratio(done.tokens, stage.tokens),
            stage.seconds,
            done.wall_s,
            _ratio(done.wall_s, stage.seconds),
        )
        for stage in planned
        if (done := history.find(stage.round, stage.stage)) is not None
    ]


def corrected(expected: Sequence[StagePlan], history: History, gpu: Gpu | None) -> list[StagePlan]:
    """Return the finished stages as measured, and the others at the pace of the finished ones.

    ``expected`` are all stages, planned with what the run has shown of tokens. What was done on something else than
    ``gpu`` says nothing of its pace.
    """
    paces = {kind: _pace(expected, history, kind, gpu) for kind in ("think", "train", "evaluate")}
    # Both sample; what comes besides differs little.
    paces["think"] = paces["think"] or paces["evaluate"]
    found = []
    for stage in expected:
        done = history.find(stage.round, stage.stage)
        if done is not None:
            share = done.tokens / max(1, stage.tokens)
            found.append(
                replace(
                    stage,
                    samples=done.samples,
                    tokens=done.tokens,
                    flops=stage.flops * share,
                    seconds=done.wall_s,
                    done=True,
                )
            )
        else:
            found.append(_at_pace(stage, paces[kind_of(stage.stage)]))
    return found


@dataclass(frozen=True, slots=True)
class _Pace:
    """How fast finished stages of a kind were."""

    token_s: float
    against_plan: float | None
    """Times as long as planned, for as many tokens."""


def _pace(expected: Sequence[StagePlan], history: History, kind: str, gpu: Gpu | None) -> _Pace | None:
    done = [each for each in history.done if each.stage == kind and each.tokens and _is_on(each, gpu)]
    if not done:
        return None
    token_s = sum(each.wall_s for each in done) / sum(each.tokens for each in done)
    rounds = {each.round for each in done}
    planned = [stage for stage in expected if stage.stage == kind and stage.round in rounds]
    seconds = [stage.seconds for stage in planned if stage.seconds is not None]
    tokens = sum(stage.tokens for stage in planned)
    if not tokens or len(seconds) < len(planned):
        return _Pace(token_s, None)
    return _Pace(token_s, token_s / (sum(seconds) / tokens))


def _at_pace(stage: StagePlan, pace: _Pace | None) -> StagePlan:
    if pace is None:
        return stage
    if pace.against_plan is not None and stage.seconds is not None:
        return replace(stage, seconds=stage.seconds * pace.against_plan)
    return replace(stage, seconds=stage.tokens * pace.token_s)


def _is_on(done: Done, gpu: Gpu | None) -> bool:
    """Return whether a stage ran on what is planned for; training on a GPU does not record which."""
    return done.device == "cpu" if gpu is None else known_gpu(done.device) == gpu or not done.device


def _ratio(measured: float, planned: float | None) -> float | None:
    return measured / planned if planned else None
