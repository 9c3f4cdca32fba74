"""What the numbers mean, in sentences."""

from __future__ import annotations

import re

from tpt.evidence import Comparison, Difference, Evidence, RoundCard
from tpt.report.html.page_data import round_name
from tpt.report.sentences import coverage_text, is_unmoved, p_text, parts_text
from tpt.report.text import is_compared, losses, unclaimed, unclaimed_gain, unstarred_gain, untested
from tpt.system.words import points


def short_headline(evidence: Evidence) -> str:
    """Return what the run achieved, in one sentence of plain words."""
    if not evidence.rounds:
        return "No round is finished yet."
    claim = evidence.claim
    if claim is None:
        if evidence.best != evidence.rounds[0].round:
            return untested(evidence)
        return _no_gain(evidence) if is_compared(evidence) else unclaimed(evidence)
    after, before = share_text(claim.strict_after.mean), share_text(claim.strict_before.mean)
    strict, most = claim.comparison.strict, claim.comparison.most
    if strict.finding == "within noise":
        return (
            f"Round {claim.round} looks best, but its gain may be chance: strict pass@1 was {before} and is {after}, "
            f"{signed_points(strict.mean)} points."
        )
    verb = "rose" if strict.finding == "gain" else "fell"
    said = f"Round {claim.round} is the best: strict pass@1 {verb} from {before} to {after}, {signed_points(strict.mean)} points"
    return f"{said}, most of it {most}." if most else f"{said}."


def _no_gain(evidence: Evidence) -> str:
    """Return that no round is the best one, and which ones are worse than the base model."""
    worse = [str(index) for index, _ in losses(evidence)]
    last = evidence.rounds[-1].round
    if (gained := unstarred_gain(evidence)) is not None:
        return (
            f"No round is the best one yet: round {gained[0]} is better than the base model on all "
            f"{evidence.rounds[0].problems:,} held-out problems, but not by more than chance on the {evidence.choosing:,} that "
            "pick the best round."
        )
    if worse:
        which = f"round {worse[0]} is" if len(worse) == 1 else f"rounds {', '.join(worse)} are"
        return f"Training did not help: {which} worse than the base model, and none is better."
    none = "round 1 is not" if last == 1 else f"none of {last} rounds is"
    return f"No gain was found: {none} better than the base model by more than chance."


def claim_note(evidence: Evidence) -> str:
    """Return what the headline rests on."""
    if evidence.claim is None and evidence.rounds and evidence.best != evidence.rounds[0].round:
        return ""
    if evidence.claim is None:
        said = unclaimed(evidence) if is_compared(evidence) else ""
        return f"{said} {unclaimed_gain(evidence)}".strip() if evidence.rounds else ""
    claim = evidence.claim
    strict = claim.comparison.strict
    said = (
        f"95 % interval {interval(strict)} points; adjusted {p_text(strict.p_holm)}. "
        f"{_with_minus(parts_text(claim.comparison))} Format: right values written as asked; "
        "sharpening: samples nearer to the greedy answer; skill: the greedy answer right. "
        f"Lenient pass@1 went from {share_text(claim.lenient_before.mean)} to {share_text(claim.lenient_after.mean)}. "
    )
    if claim.independent:
        return said + f"Measured on {claim.problems:,} held-out problems that had no part in picking this round."
    return said + f"Measured on the same {claim.problems:,} problems that picked the round, so it is biased upwards."


def verdict(card: RoundCard) -> str:
    """Return what the held-out problems say of a round."""
    if card.to_base is None:
        return "Where the run starts." if card.round == 0 else "Too few problems to compare with the base model."
    previous = card.to_previous
    said = [
        against(card.to_base),
        parts_text(card.to_base),
        f"{coverage_text(card.to_base)}.",
        against(previous) if previous and previous.other != card.to_base.other else "",
    ]
    return _with_minus(" ".join(part for part in said if part))


def against(comparison: Comparison) -> str:
    """Return a comparison's strict difference in words."""
    found = comparison.strict
    other = "the base model" if comparison.other == 0 else f"round {comparison.other}"
    if found.finding == "within noise":
        seen = f"adjusted {p_text(found.p_holm)}; {_detected(found)}"
        return f"Within noise of {other}: {signed_points(found.mean)} points {interval(found)}, {seen}."
    said = f"{found.finding.capitalize()} against {other}: {signed_points(found.mean)} points {interval(found)}"
    return f"{said}, adjusted {p_text(found.p_holm)}."


def _detected(found: Difference) -> str:
    if is_unmoved(found):
        return "as no problem's score changed, it is not known how large a true difference would be detected"
    if found.detectable is None:
        return "so few are compared that no difference would be detected 80 % of the time"
    return f"a true difference of {100 * found.detectable:.1f} points would be detected 80 % of the time"


def model_title(index: int) -> str:
    """Return a round's name to stand alone."""
    name = round_name(index)
    return name[0].upper() + name[1:]


def share_text(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f}%"


def signed_points(difference: float) -> str:
    """Return a difference of shares in points, with its sign."""
    return _with_minus(points(difference))


def interval(found: Difference) -> str:
    """Return a 95 % interval in points."""
    return f"[{signed_points(found.low)}, {signed_points(found.high)}]"


def _with_minus(text: str) -> str:
    """Return a text whose negative numbers have a minus sign, as those of a page's tables and axes have."""
    return re.sub(r"(?<![\w.])-(?=[0-9])", "−", text)
