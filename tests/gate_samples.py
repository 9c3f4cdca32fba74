"""Samples that are made up, as the gate sees them."""

from __future__ import annotations

from typing import Any

from tpt.config import parse_config
from tpt.gate import EarlySamples
from tpt.prune import is_keepable
from tpt.records import Problem, Trace
from tpt.verifiers.judge import judge


def seen(
    rows: dict[str, list[str]],
    problems: dict[str, Problem] | None = None,
    *,
    cut: str = "…",
    train: int = 600,
    claiming: int = 100,
    **config: Any,
) -> EarlySamples:
    """Samples of problems whose answer is 18, unless others are given; those that end in the mark are cut off."""
    settings = parse_config({"evaluate": {"samples": len(next(iter(rows.values())))}, **config})
    known = problems or {key: Problem(key, f"{key}?", "18") for key in rows}
    traces = [
        Trace(key, number, text, "length" if text.endswith(cut) else "stop", 10 + len(text), 0)
        for key in sorted(rows)
        for number, text in enumerate(rows[key])
    ]
    verdicts = judge(traces, known, limits=settings.verify)
    policy, limits = settings.prune, settings.verify
    return EarlySamples(
        config=settings,
        pairs=list(zip(traces, verdicts, strict=True)),
        problems=known,
        keepable=lambda trace, verdict: is_keepable(trace, verdict, known[trace.problem_id], policy, limits),
        max_tokens=512,
        temperature=settings.evaluate.temperature,
        train_problems=train,
        claiming=claiming,
        claiming_units=claiming,
        clustered=False,
        seconds_per_sample=0.5,
    )


def of(texts: list[str], problems: int = 40) -> dict[str, list[str]]:
    return {f"p{number:02}": texts for number in range(problems)}
