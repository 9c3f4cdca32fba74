"""What is sampled to score a model: samples of every problem, and one greedy sample of each besides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tpt.config import EvaluateConfig, RunConfig
from tpt.config.engine_section import sampling_settings
from tpt.config.stage_sections import ALSO_KEYS
from tpt.records import EvalReport, Problem, Trace, Verdict
from tpt.run.directory import ScoredDir
from tpt.run.stage import verification_settings
from tpt.sampling.collect import Watch
from tpt.sampling.open import sampling_of
from tpt.sampling.sample import Pass
from tpt.sampling.samplers import Fixed
from tpt.scoring.score import Scored, clusters_of, read_counts, score
from tpt.system.jsonl import read_records
from tpt.system.words import score_text


def score_passes(
    section: EvaluateConfig,
    problem_ids: list[str],
    at: ScoredDir,
    *,
    watch: Watch | None = None,
    first: tuple[int, int] = (0, 0),
) -> list[Pass]:
    """Return the samples, and one greedy sample of every problem unless they are greedy themselves.

    ``first``: see ``Fixed``.
    """
    sampling = sampling_of(section)
    passes = [Pass(Fixed(problem_ids, section.samples, first=first), sampling, at.path, watch)]
    if section.greedy_samples:
        greedy = dataclasses.replace(sampling, temperature=0.0, top_p=1.0, top_k=0)
        passes.append(Pass(Fixed(problem_ids, section.greedy_samples), greedy, at.greedy))
    return passes


def scoring_settings(config: RunConfig, problems: Path, *, unused: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings that a model's scores on some problems depend on; ``unused`` keys of evaluate are none of them."""
    # Which problems choose the best round does not change how any is scored; nor does what is sampled besides.
    left_out = {"choose_share", "greedy", "weights", *ALSO_KEYS, *unused}
    return {
        "seed": config.seed,
        "prompt": config.asked_prompt.model_dump(),
        "engine": sampling_settings(config.engine, config.evaluate.weights),
        "evaluate": config.evaluate.model_dump(exclude=left_out),
        **verification_settings(config, problems),
    }


def score_at(at: ScoredDir, problems: Iterable[Problem], *, ks: Sequence[int], seed: int, weights: str) -> Scored:
    """Return the scores of what was sampled and judged, with those of the greedy samples that were taken.

    ``weights``: those that all were taken with.
    """
    verdicts = read_records(at.verdicts, Verdict)
    clusters = clusters_of(problems, sorted({verdict.problem_id for verdict in verdicts}))
    scored = score(read_records(at.traces, Trace), verdicts, ks=ks, seed=seed, clusters=clusters)
    report = replace(scored.report, weights=weights)
    if at.greedy_verdicts.exists():
        greedy = read_counts(at.greedy_verdicts)._replace(clusters=clusters)
        strict, lenient = (greedy.pass_at_k(1, strict=each) for each in (True, False))
        report = replace(report, greedy=strict, greedy_lenient=lenient)
    return scored._replace(report=report)


def score_line(report: EvalReport) -> str:
    """Return a model's scores in a line."""
    strict, lenient = score_text(report.pass_at_k[1]), report.pass_at_k_lenient[1]
    said = "" if report.greedy_lenient is None else f", greedy {report.greedy_lenient.mean:.1%} lenient"
    return f"pass@1 {strict} % strict, {lenient.mean:.1%} lenient{said}{beside_score(report)}"


def beside_score(report: EvalReport) -> str:
    """Return what stands beside a score not in full precision, or some of whose samples have no completion; else nothing."""
    failed, said = report.failed_requests, "" if report.weights == "full" else f", sampled in {report.weights}"
    return (
        f"{said}, {failed} of {report.problems * report.samples} samples failed and count as not right"
        if failed
        else said
    )
