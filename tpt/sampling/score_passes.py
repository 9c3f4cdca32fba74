"""What is sampled to score a model: samples of every problem, and one greedy sample of each besides."""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from tpt.config import EvaluateConfig
from tpt.records import EvalReport
from tpt.run.directory import ScoredDir
from tpt.sampling.collect import Watch
from tpt.sampling.open import sampling_of
from tpt.sampling.sample import Pass
from tpt.sampling.samplers import Fixed
from tpt.scoring import IntArray
from tpt.scoring.score import read_counts


def score_passes(
    section: EvaluateConfig, problem_ids: list[str], at: ScoredDir, *, watch: Watch | None = None
) -> list[Pass]:
    """Return the samples, and one greedy sample of every problem unless they are greedy themselves."""
    sampling = sampling_of(section)
    passes = [Pass(Fixed(problem_ids, section.samples), sampling, at.path, watch)]
    if section.greedy_samples:
        greedy = dataclasses.replace(sampling, temperature=0.0, top_p=1.0, top_k=0)
        passes.append(Pass(Fixed(problem_ids, section.greedy_samples), greedy, at.greedy))
    return passes


def with_greedy(report: EvalReport, at: ScoredDir, clusters: IntArray | None, weights: str) -> EvalReport:
    """Return the report with the scores of the greedy samples that were taken, and the weights that all were taken with."""
    report = replace(report, weights=weights)
    if not at.greedy_verdicts.exists():
        return report
    greedy = read_counts(at.greedy_verdicts)._replace(clusters=clusters)
    return replace(report, greedy=greedy.pass_at_k(1, strict=True), greedy_lenient=greedy.pass_at_k(1, strict=False))


def score_line(report: EvalReport) -> str:
    """Return a model's scores in a line."""
    strict, lenient = report.pass_at_k[1], report.pass_at_k_lenient[1]
    said = "" if report.greedy_lenient is None else f", greedy {report.greedy_lenient.mean:.1%} lenient"
    return f"pass@1 {strict.mean:.1%} strict, {lenient.mean:.1%} lenient, ± {strict.stderr:.1%}{said}{beside_score(report)}"


def beside_score(report: EvalReport) -> str:
    """Return what stands beside a score not in full precision, or some of whose samples have no completion; else nothing."""
    failed, said = report.failed_requests, "" if report.weights == "full" else f", sampled in {report.weights}"
    return (
        f"{said}, {failed} of {report.problems * report.samples} samples failed and count as not right"
        if failed
        else said
    )
