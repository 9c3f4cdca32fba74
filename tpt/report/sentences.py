"""What comparisons say in words: every sentence that claims a difference rests on its paired test."""

from __future__ import annotations

from tpt.evidence import Claim, Comparison, Coverage, Difference, Evidence
from tpt.evidence.looks import LEDGER, Looks
from tpt.records import Estimate
from tpt.system.words import counted, points

_SMALLEST_P = 0.001


def gain_text(gain: Difference | None) -> str:
    """Return a difference and its interval in points."""
    return "" if gain is None else gain.in_points()


def part_text(part: Difference | None) -> str:
    """Return a difference in points, with its sign."""
    return "" if part is None else points(part.mean)


def finding_word(change: Difference | None) -> str:
    """Return what a difference is called, in a word."""
    return "" if change is None else change.finding.removeprefix("within ")


def parts_text(found: Comparison) -> str:
    """Return what a strict gain is made of; the parts add up to it."""
    if found.sharpening is None or found.skill is None:
        return (
            f"Of the strict change, {gain_text(found.format)} points are format and {gain_text(found.lenient)} more right "
            f"values; sharpening and skill are not told apart, as there are no greedy samples.{_most(found)}"
        )
    return (
        f"Of the strict change, {gain_text(found.format)} points are format, {gain_text(found.sharpening)} sharpening and "
        f"{gain_text(found.skill)} skill.{_most(found)}"
    )


_MOST = {
    "format": "the model writes right values as asked more often",
    "sharpening": "samples come nearer to the greedy answer, which decoding greedily gives without training",
    "skill": "the greedy answer itself is right more often",
}


def _most(found: Comparison) -> str:
    return f" Most of the gain is {found.most}: {_MOST[found.most]}." if found.most else ""


def coverage_text(found: Comparison) -> str:
    """Return which problems were won and lost, and how pass@k changed, at the same k for both models."""
    curve = ""
    if found.k > 1:
        curve = f"; pass@{found.k} {gain_text(found.pass_at_k)} points: {found.pass_at_k.finding}"
        if found.crossing_k:
            curve += f", lower from k = {found.crossing_k} on"
    return f"{won_and_lost(found.coverage)}{curve}"


def won_and_lost(coverage: Coverage) -> str:
    """Return how many problems are solved by k samples of one model alone."""
    tries = "greedily or by one sample" if coverage.k == 1 else f"by {coverage.k} samples of each"
    problems = "problem" if count(coverage.gained) == "1" else "problems"
    return (
        f"{count(coverage.gained)} {problems} gained and {count(coverage.lost)} lost, solved {tries} "
        f"({p_text(coverage.p_value)})"
    )


def looks_text(looks: Looks | None, *, level: float) -> list[str]:
    """Return what many looks at the same held-out problems leave of a gain; [] where this run's are the only ones."""
    if looks is None or not looks.other_runs:
        return []
    holds = "holds" if looks.p_any_time <= level else "does not hold"
    runs = "1 other run" if looks.other_runs == 1 else f"{looks.other_runs:,} other runs"
    return [
        f"The same held-out problems were looked at by {runs} too, {looks.models:,} trained models in all ({LEDGER}). Round "
        f"{looks.round} was look {looks.look}; its strict change on all of them has {p_text(looks.p_value)} by itself. For "
        f"whoever may have stopped at an earlier good look it is {p_text(looks.p_any_time)}: at {level:g} that {holds}."
    ]


def p_text(value: float) -> str:
    """Return a p-value for a sentence, not more exact than it is."""
    return f"p {p_cell(value)}" if value < _SMALLEST_P else f"p = {value:.3f}"


def p_cell(value: float) -> str:
    """Return a p-value for a table; none is ever 0."""
    return f"< {_SMALLEST_P:g}" if value < _SMALLEST_P else f"{value:.4f}"


def count(expected: float) -> str:
    """Return a number of problems, with a decimal where it is an expected one."""
    return f"{expected:,.0f}" if abs(expected - round(expected)) < 1e-6 else f"{expected:,.1f}"


def claim_text(claim: Claim) -> str:
    """Return what the best round is worth on the problems of the claim."""
    found = claim.comparison
    said = (
        f"strict pass@1 went from {percent(claim.strict_before)} to {percent(claim.strict_after)} "
        f"({gain_text(found.strict)} points: {found.strict.finding}), lenient from {percent(claim.lenient_before)} to "
        f"{percent(claim.lenient_after)} ({gain_text(found.lenient)} points: {found.lenient.finding})"
    )
    if claim.greedy_before and claim.greedy_after and found.skill:
        said += (
            f", greedy from {percent(claim.greedy_before)} to {percent(claim.greedy_after)} "
            f"({gain_text(found.skill)} points: {found.skill.finding})"
        )
    return f"{said}. {parts_text(found)}"


def power_text(evidence: Evidence) -> list[str]:
    """Return what the evaluation could have seen."""
    last = evidence.rounds[-1].to_base
    if last is None:
        return []
    unit = unit_text(evidence)
    said = (
        f"Tested by {unit_word(evidence)}, Holm over the rounds, level {evidence.level:g}; noise: a difference that is not "
        f"significant. {_seen_text(last.strict, evidence)}"
    )
    few = evidence.needed_for_star
    if evidence.choosing_units < few:
        said += f" With fewer than {few} choosing {unit} no round can become the best one, whatever its gain."
    if evidence.clusters is not None:
        said += f" The {evidence.rounds[0].problems:,} problems are {evidence.clusters:,} clusters, which count as the units."
    return [said]


def unit_text(evidence: Evidence) -> str:
    """Return what are drawn or flipped of the held-out problems."""
    return "problems" if evidence.clusters is None else "clusters of problems"


def unit_word(evidence: Evidence) -> str:
    """Return what counts as one where held-out problems are drawn or flipped."""
    return "problem" if evidence.clusters is None else "cluster"


def heldout_unit(evidence: Evidence) -> str:
    """Return what counts as one, said of the held-out problems."""
    return "held-out problem" if evidence.clusters is None else "cluster of held-out problems"


def is_unmoved(found: Difference) -> bool:
    """Tell whether no problem's score changed, which says nothing of how much scores vary."""
    return found.stderr == 0 and found.mean == 0


def _seen_text(strict: Difference, evidence: Evidence) -> str:
    if is_unmoved(strict):
        return "As no problem's score changed, it is not known how large a true gain would be detected."
    called, starred = _true_gain(strict.detectable), _true_gain(evidence.detectable_star)
    said = f"{called.capitalize()} would be detected 80 % of the time"
    picking = f"the {counted(evidence.choosing, 'problem')} that pick{'s' * (evidence.choosing == 1)}"
    if not evidence.tested:
        return f"{said}. The best round is the one with the highest score on {picking} it, noise or not (stop.rule)."
    return f"{said}; {starred} would make a round the best one as often, on {picking} it."


def _true_gain(smallest: float | None) -> str:
    return "no true gain" if smallest is None else f"a true gain of {100 * smallest:.1f} points"


def percent(estimate: Estimate) -> str:
    """Return a score in percent."""
    return f"{estimate.mean:.1%}"
