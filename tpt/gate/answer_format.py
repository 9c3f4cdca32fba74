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

_TAIL = 1000
"""Characters from the end of a completion in which its answer's mark is looked for."""
_MARKS = {
    "\\boxed": re.compile(r"\\(?:boxed|fbox)"),
    "####": re.compile(r"####"),
    "The answer is": re.compile(r"answer[\"'*_`)]{0,4}\s?(?:is|:|=)", re.IGNORECASE),
    "bold": re.compile(r"\*\*[^*\n]{1,80}\*\*"),
}
"""How an answer may be marked, the plainest first."""


def format_finding(seen: EarlySamples) -> Finding:
    """Return how much is written as asked, how right answers are written, and what to set."""
    kind, _ = Counter(seen.problems[trace.problem_id].kind for trace, _ in seen.pairs).most_common(1)[0]
    right = [[pair for pair in group if _is_right(pair)] for group in seen.groups()]
    kept = clustered_share([[verdict.strict for _, verdict in group] for group in right])
    marks = Counter(answer_mark(judged_text(trace)) for group in right for trace, _ in group)
    written = {name: _kept_as(seen, right, name) for name in ("hash", "boxed") if kind in OWN_FORMAT}
    shares = {
        "strict": seen.share(lambda _, verdict: is_correct(verdict) and verdict.strict),
        "lenient": seen.share(lambda _, verdict: is_correct(verdict)),
        "cut off": seen.share(is_cut_off),
        "without an answer": seen.share(lambda _, verdict: verdict.outcome is Outcome.NO_ANSWER),
    }
    asked = format_of(kind, seen.config.verify.answer_format)
    verdict = _verdict(seen, kept)
    # Even a few right answers, none of them as asked, are worth a hint.
    amiss = verdict in ("not kept", "partly kept") or (verdict == UNKNOWN and kept.of > 0 and kept.hits == 0)
    keys = _keys(seen, kind, kept, written) if amiss else []
    said = (
        f"{shares['strict']} of samples are right in the asked format, {shares['lenient']} in any, "
        f"{shares['cut off']} are cut off, {shares['without an answer']} have no answer. "
    )
    if kept.of:
        wanted = WRITTEN.get(asked, "of its kind")
        most = ", ".join(f"{count} {_named(mark)}" for mark, count in marks.most_common())
        said += f"The asked format ({wanted}) is kept by {kept.hits} of {kept.of} right answers {_interval(kept)}; "
        said += f"they are written: {most}."
    else:
        said += "Without a right answer nothing is known of the format."
    figures = {**shares, "kept": kept, "written": dict(marks), "kept as": written, "kind": kind}
    return Finding("format", verdict, said, keys, figures)


def answer_mark(completion: str) -> str:
    """Return how a completion marks its answer: a key of the known marks, or "none"."""
    tail = completion[-_TAIL:]
    return next((name for name, pattern in _MARKS.items() if pattern.search(tail)), "none")


def _is_right(pair: Pair) -> bool:
    trace, verdict = pair
    return is_correct(verdict) and trace.finish_reason == "stop"


def _kept_as(seen: EarlySamples, right: list[list[Pair]], name: AnswerFormat) -> Share:
    """Return how many right answers would be strict if this format were asked."""
    limits = seen.config.verify.model_copy(update={"answer_format": name})
    traces = [trace for group in right for trace, _ in group]
    verdicts = iter(judge(traces, seen.problems, limits=limits))
    return clustered_share([[next(verdicts).strict for _ in group] for group in right])


def _verdict(seen: EarlySamples, kept: Share) -> str:
    policy = seen.config.prune
    if not kept.of:
        return UNKNOWN
    if kept.low >= 0.5:
        return "kept"
    if not (policy.correct_only and policy.require_format):
        return "not needed"
    if kept.high < 0.5:
        return "not kept"
    return "partly kept" if kept.high - kept.low < 0.5 else UNKNOWN


def _keys(seen: EarlySamples, kind: str, kept: Share, written: dict[str, Share]) -> list[str]:
    """Return what to set: the format that most right answers have; where none has, an example, or no format."""
    best = max(written, key=lambda name: written[name].low, default="")
    if best and written[best].hits > written[best].of / 2 and written[best].low > (kept.value or 0.0):
        keys = [f'verify.answer_format = "{best}"']
        if seen.config.prompt.is_own:
            keys.append(f"prompt.template: ask for {WRITTEN[best]}")
        return keys
    keys = ["prompt.few_shot: a worked example that ends as asked"]
    if kind in OWN_FORMAT:
        keys.append('verify.answer_format = "last"')
    return [*keys, "prune.require_format = false"]


def _named(mark: str) -> str:
    return {"none": "without a mark", "bold": "in bold"}.get(mark, f"with {mark}")


def _interval(share: Share) -> str:
    return f"[{100 * share.low:.0f}, {100 * share.high:.0f}] %"
