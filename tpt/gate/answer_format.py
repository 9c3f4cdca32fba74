r"""Format: how much of what is right is written as asked, and how the right answers are written instead."""

from __future__ import annotations

import re
from collections import Counter

from tpt.config.answer_format import OWN_FORMAT, WRITTEN, AnswerFormat, format_of
from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding, is_cut_off
from tpt.gate.shares import Share, clustered_share
from tpt.records import Outcome, judged_text
from tpt.run.journal import Pair
from tpt.scoring.score import is_correct
from tpt.verifiers.judge import judge

Groups = list[list[Pair]]
"""Samples, those of one problem together."""

_TAIL = 1000
"""Characters from the end of a completion in which its answer's mark is looked for."""
_PLAIN_MARKS = {"\\boxed": re.compile(r"\\(?:boxed|fbox)"), "####": re.compile(r"####(.*)")}
"""Of several of these the last one counts."""
_OTHER_MARKS = {
    "an <answer> tag": re.compile(r"<answer>", re.IGNORECASE),
    "JSON": re.compile(r"\{[^{}]*\"[\w ]*answer\"\s*:", re.IGNORECASE),
    "The answer is": re.compile(r"answer[\"'*_`)]{0,4}\s?(?:is|:|=)", re.IGNORECASE),
    "bold": re.compile(r"\*\*[^*\n]{1,80}\*\*"),
}
"""How an answer may be marked besides, the plainest first."""
_FENCE = "```"
_ASKED = {
    **WRITTEN,
    "code": "one fenced program",
    "regex": "#### ANSWER",
    "paper": "the first #### N",
}


def format_finding(seen: EarlySamples) -> Finding:
    """Return how much is written as asked, how right answers are written, and what to set."""
    right = [[pair for pair in group if is_correct(pair[1])] for group in seen.groups()]
    ended = [[pair for pair in group if pair[0].finish_reason == "stop"] for group in right]
    by_kind = {kind: _of_kind(seen, ended, kind) for kind in sorted(_kinds(seen, ended))}
    kept = _kept(ended)
    marks = Counter(_mark_of(seen, pair) for group in ended for pair in group)
    own = [[pair for pair in group if _kind(seen, pair) in OWN_FORMAT] for group in ended]
    written = {name: _kept_as(seen, own, name) for name in ("hash", "boxed") if any(own)}
    shares = {
        "strict": seen.share(lambda _, verdict: is_correct(verdict) and verdict.strict),
        "lenient": seen.share(lambda _, verdict: is_correct(verdict)),
        "cut off": seen.share(is_cut_off),
        "without an answer": seen.share(lambda _, verdict: verdict.outcome is Outcome.NO_ANSWER),
    }
    verdicts = {kind: _verdict(seen, _kept(groups)) for kind, groups in by_kind.items()}
    verdict = _verdict(seen, kept)
    if verdict == "kept" and "not kept" in verdicts.values():
        verdict = "partly kept"
    said = (
        f"{shares['strict']} of samples are right in the asked format, {shares['lenient']} in any, "
        f"{shares['cut off']} are cut off, {shares['without an answer']} have no answer. "
    )
    said += " ".join(_kept_text(seen, kind, groups, apart=len(by_kind) > 1) for kind, groups in by_kind.items())
    if not kept.of:
        said += (
            "All right answers stand in completions that are cut off, so nothing is known of how one that ends is written."
            if any(right)
            else "Without a right answer nothing is known of the format."
        )
    figures = {**shares, "kept": kept, "written": dict(marks), "kept as": written, "kind": ", ".join(by_kind)}
    return Finding("format", verdict, said, _keys(seen, by_kind, own, written), figures)


def answer_mark(completion: str, answer: str = "") -> str:
    """Return how a completion marks its answer: a key of the known marks, or "none".

    ``answer`` is what was read: a "####" in whose line it does not stand is a heading.
    """
    tail = completion[-_TAIL:]
    places = [
        (match.start(), name)
        for name, pattern in _PLAIN_MARKS.items()
        for match in pattern.finditer(tail)
        if name != "####" or answer in match[1]
    ]
    if places:
        return max(places)[1]
    return next((name for name, pattern in _OTHER_MARKS.items() if pattern.search(tail)), "none")


def _kind(seen: EarlySamples, pair: Pair) -> str:
    return seen.problems[pair[0].problem_id].kind


def _kinds(seen: EarlySamples, groups: Groups) -> set[str]:
    return {_kind(seen, pair) for group in groups for pair in group}


def _of_kind(seen: EarlySamples, groups: Groups, kind: str) -> Groups:
    return [[pair for pair in group if _kind(seen, pair) == kind] for group in groups]


def _kept(groups: Groups) -> Share:
    return clustered_share([[verdict.strict for _, verdict in group] for group in groups])


def _kept_as(seen: EarlySamples, right: Groups, name: AnswerFormat) -> Share:
    """Return how many right answers would be strict if this format were asked."""
    limits = seen.config.verify.model_copy(update={"answer_format": name})
    traces = [trace for group in right for trace, _ in group]
    verdicts = iter(judge(traces, seen.problems, limits=limits))
    return clustered_share([[next(verdicts).strict for _ in group] for group in right])


def _mark_of(seen: EarlySamples, pair: Pair) -> str:
    text = judged_text(pair[0])
    if _kind(seen, pair) == "code":
        return "a fence" if _FENCE in text else "none"
    return answer_mark(text, pair[1].extracted or "")


def _kept_text(seen: EarlySamples, kind: str, groups: Groups, *, apart: bool) -> str:
    """Return how many right answers to problems of a kind are written as asked, and how they are written."""
    kept, asked = _kept(groups), format_of(kind, seen.config.verify.answer_format)
    marks = Counter(_mark_of(seen, pair) for group in groups for pair in group)
    most = ", ".join(f"{count} {_named(mark)}" for mark, count in marks.most_common())
    whose = f" to problems of kind {kind}" if apart else ""
    if asked == "last":
        return f"No format is asked for; {kept.of} right answers{whose} are written: {most}."
    wanted = _ASKED.get(asked, _ASKED.get(kind, "your own function's"))
    return (
        f"The asked format ({wanted}) is kept by {kept.hits} of {kept.of} right answers{whose} {_interval(kept)}; they are "
        f"written: {most}."
    )


def _verdict(seen: EarlySamples, kept: Share) -> str:
    policy, is_kept = seen.config.prune, kept.low >= 0.5
    if not (policy.correct_only and policy.require_format and seen.config.data.source == "self") or policy.keep:
        return "kept" if is_kept else "not needed"
    if is_kept:
        return "kept"
    if kept.high < 0.5:
        return "not kept"
    return "partly kept" if kept.high - kept.low < 0.5 else UNKNOWN


def _is_amiss(seen: EarlySamples, groups: Groups) -> bool:
    """Return whether there is something to set: even a few right answers, none of them as asked, are worth a hint."""
    kept = _kept(groups)
    verdict = _verdict(seen, kept)
    return verdict in ("not kept", "partly kept") or (verdict == UNKNOWN and kept.of > 0 and kept.hits == 0)


def _keys(seen: EarlySamples, by_kind: dict[str, Groups], own: Groups, written: dict[str, Share]) -> list[str]:
    """Return what to set: the format that most right answers have; where none has, an example, or no format."""
    amiss = {kind for kind, groups in by_kind.items() if _is_amiss(seen, groups)}
    best = max(written, key=lambda name: written[name].low, default="")
    keys = []
    others = written[best] if best and amiss & OWN_FORMAT.keys() else None
    if others and others.hits > others.of / 2 and others.low > (_kept(own).value or 0.0):
        keys.append(f'verify.answer_format = "{best}"')
        keys += [f"prompt.template: ask for {WRITTEN[best]}"] if seen.config.prompt.is_own else []
        amiss -= OWN_FORMAT.keys()
    if amiss:
        keys.append("prompt.few_shot: a worked example that ends as asked")
        keys += ['verify.answer_format = "last"'] if amiss & OWN_FORMAT.keys() else []
        keys.append("prune.require_format = false")
    return keys


def _named(mark: str) -> str:
    return {"none": "without a mark", "bold": "in bold", "JSON": "in JSON", "a fence": "in a fence"}.get(
        mark, f"with {mark}"
    )


def _interval(share: Share) -> str:
    return f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
