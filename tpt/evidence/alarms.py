"""Alarms: what a table of scores hides, said in words. Every round is held against the base model.

A change raises an alarm when it is larger than its threshold and larger than ``alarms.stderrs`` standard errors, both.
The changes are paired by problem (by text for what the probe measures), so that problems that are merely hard or long
cancel out. docs/collapse.md says what each number means and what the thresholds were tried on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tpt.config import AlarmConfig
from tpt.evidence.scored import diversity_rows, scored_counts
from tpt.records import ProblemDiversity, RoundRecord
from tpt.run.directory import RunDir
from tpt.scoring import FloatArray, IntArray, pass_at_k_values, stderr_over
from tpt.scoring.score import Counts
from tpt.system.words import points

FEWEST = 10
"""Problems, or clusters of them: the spread of fewer says little about noise, so they raise no alarm."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should look at before believing a round's score."""

    round: int
    name: str
    seen: str
    """What was seen, with its numbers."""
    threshold: str
    """When it is an alarm, by the config's keys."""
    advice: str
    """What to do."""


class Observed(NamedTuple):
    """What alarms look at in one round's evaluation."""

    round: int
    k: int
    """The largest k of pass@k."""
    counts: Counts
    diversity: dict[str, ProblemDiversity]
    """By problem id."""
    probe: dict[str, float]


class _Change(NamedTuple):
    """A mean over problems before and after, and the standard error of the change, paired by problem."""

    before: float
    after: float
    stderr: float
    relative_stderr: float
    """Of after / before."""

    @property
    def rise(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def ratio(self) -> float:
        """After over before; 1 where there was nothing before."""
        return self.after / self.before if self.before else 1.0


def alarms_of(run: RunDir, records: Sequence[RoundRecord], config: AlarmConfig) -> list[Alarm]:
    """Return the alarms of a run's finished rounds, in order; the base model comes first and has none.

    Raises:
        RunError: a round's verdicts are missing or damaged.
    """
    counts = scored_counts(run, [record.index for record in records])
    observed = [_observed(run, record, each) for record, each in zip(records, counts, strict=True)]
    return [alarm for each in observed[1:] for alarm in alarms_between(observed[0], each, config)]


def alarms_between(base: Observed, now: Observed, config: AlarmConfig) -> list[Alarm]:
    """Return the alarms of one round against the base model."""
    if _units(base, np.arange(len(base.counts.problem_ids))) < FEWEST:
        return []
    raised = (watch(base, now, config) for watch in _WATCHES)
    return [alarm for alarm in raised if alarm is not None]


def in_words(alarm: Alarm, *, subject: str = "") -> str:
    """Return an alarm as one line; the subject is the alarm's round unless another is given."""
    subject = subject or f"Round {alarm.round}"
    return f"{subject}, {alarm.name}: {alarm.seen} (alarm: {alarm.threshold}). {alarm.advice}"


def _mode_collapse(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    diversity, score = _diversity(base, now, "chains"), _score(base, now, 1, strict=True)
    if (
        diversity is None
        or not _falls(diversity, config.variety_drop, config)
        or score.rise <= config.stderrs * score.stderr
    ):
        return None
    k = min(base.k, now.k)
    covered = _score(base, now, k, strict=True)
    fallen = covered.rise < -config.stderrs * covered.stderr
    return Alarm(
        now.round,
        "mode collapse",
        f"pass@1 rose from {score.before:.1%} to {score.after:.1%} while a problem's 4 correct traces went from "
        f"{diversity.before:.2f} to {diversity.after:.2f} different equation chains ({diversity.ratio - 1:+.0%}); pass@{k} "
        f"{'fell' if fallen else 'has not fallen'} ({covered.before:.1%}, now {covered.after:.1%})",
        f"alarms.variety_drop = {config.variety_drop:g}",
        "Sample at a higher think.temperature, keep several different traces of a problem (prune.per_problem, "
        'prune.pick = "diverse"), or take an earlier round.',
    )


def _model_collapse(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    if "human_nll" not in now.probe:
        return None
    after, rise = now.probe["human_nll"], now.probe["human_nll_change"]
    before = after - rise
    if rise <= config.human_nll_rise * before or rise <= config.stderrs * now.probe["human_nll_change_stderr"]:
        return None
    scores = {k: _score(base, now, k, strict=False) for k in sorted({1, min(base.k, now.k)})}
    fallen = {k: score for k, score in scores.items() if score.rise < -config.stderrs * score.stderr}
    if not fallen:
        return None
    told = ", ".join(f"lenient pass@{k} fell from {each.before:.1%} to {each.after:.1%}" for k, each in fallen.items())
    return Alarm(
        now.round,
        "model collapse",
        f"{told}, and the source's own solutions became less likely: {before:.3f} to {after:.3f} nats a token "
        f"({rise / before:+.0%})"
        if before
        else told,
        f"alarms.human_nll_rise = {config.human_nll_rise:g}",
        "The model forgets what it could. Prune wrong traces (prune.correct_only = true), add to the data instead of "
        'replacing it (data.mode = "accumulate"), start from the base model (train.start_from = "base"), or lower '
        "train.learning_rate.",
    )


def _format_only(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    strict, lenient = (_score(base, now, 1, strict=each) for each in (True, False))
    before, after = base.counts.shares, _after(base, now).shares
    most = _most(base, (after - before)[:, 0], (after - before)[:, 1])
    if not (_rises(strict, config) and _rises(most, config) and lenient.rise < config.format_share * strict.rise):
        return None
    return Alarm(
        now.round,
        "format-only gain",
        f"strict pass@1 rose by {100 * strict.rise:.1f} points, from {strict.before:.1%} to {strict.after:.1%}, but "
        f"lenient pass@1 by {points(lenient.rise)} (standard error {100 * lenient.stderr:.1f}), from {lenient.before:.1%} to "
        f"{lenient.after:.1%}: most of the gain is format, how answers are written, not how they are found",
        f"alarms.format_share = {config.format_share:g}",
        "Compare lenient scores, or give the base model the format with prompt.few_shot.",
    )


def _sharpening_only(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    after = _after(base, now)
    if base.counts.greedy is None or after.greedy is None:
        return None
    lenient, greedy = (
        _score(base, now, 1, strict=False),
        _change(base, base.counts.greedy[:, 1], after.greedy[:, 1]),
    )
    most = _most(base, (after.shares - base.counts.shares)[:, 1], (after.greedy - base.counts.greedy)[:, 1])
    if not (_rises(lenient, config) and _rises(most, config) and greedy.rise < config.skill_share * lenient.rise):
        return None
    return Alarm(
        now.round,
        "sharpening only",
        f"lenient pass@1 at the sampling temperature rose by {100 * lenient.rise:.1f} points, from {lenient.before:.1%} to "
        f"{lenient.after:.1%}, but greedily by {points(greedy.rise)} (standard error {100 * greedy.stderr:.1f}), from "
        f"{greedy.before:.1%} to {greedy.after:.1%}: samples come nearer to what the base model says greedily",
        f"alarms.skill_share = {config.skill_share:g}",
        "Decode the base model greedily or by majority vote before believing the gain; harder training problems, or more "
        "samples of each (think.samples), leave more to learn.",
    )


def _far_from_base(_base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    kl = now.probe.get("kl_base_round", 0.0)
    if kl <= config.kl or kl <= config.stderrs * now.probe["kl_base_round_stderr"]:
        return None
    return Alarm(
        now.round,
        "far from the base model",
        f"on correct traces of the base model, the KL divergence from it is {kl:.2f} nats a token",
        f"alarms.kl = {config.kl:g}",
        "What the model could besides these problems may be gone: try it on something else, or lower "
        'train.learning_rate or train.epochs, or set train.start_from = "base".',
    )


def _length_drift(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    length = _diversity(base, now, "tokens")
    if length is None or 1 / config.length_factor <= length.ratio <= config.length_factor:
        return None
    if abs(length.ratio - 1) <= config.stderrs * length.relative_stderr:
        return None
    return Alarm(
        now.round,
        "length drift",
        f"the mean trace went from {length.before:.0f} to {length.after:.0f} tokens ({length.ratio:.2f} times)",
        f"alarms.length_factor = {config.length_factor:g}",
        "Read some traces: are steps padded or left out? prune.pick decides which lengths are trained on.",
    )


def _truncation(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    return _more_often(
        ("truncated", "truncation drift", "the share of traces cut off before their end"),
        (base, now),
        ("truncated_rise", config.truncated_rise),
        config,
        "Traces that never end are scored as wrong: look for loops, and raise evaluate.max_tokens if they are real work.",
    )


def _repetition(base: Observed, now: Observed, config: AlarmConfig) -> Alarm | None:
    return _more_often(
        ("looped", "repetition", "the share of traces in which some words come again and again"),
        (base, now),
        ("looped_rise", config.looped_rise),
        config,
        "The model falls into loops: lower train.learning_rate or train.epochs, or take an earlier round.",
    )


def _more_often(
    what: tuple[str, str, str],
    pair: tuple[Observed, Observed],
    threshold: tuple[str, float],
    config: AlarmConfig,
    advice: str,
) -> Alarm | None:
    (field, name, said), (key, limit) = what, threshold
    share = _diversity(*pair, field)
    if share is None or share.rise <= limit or share.rise <= config.stderrs * share.stderr:
        return None
    seen = f"{said} went from {share.before:.1%} to {share.after:.1%}"
    return Alarm(pair[1].round, name, seen, f"alarms.{key} = {limit:g}", advice)


_WATCHES: tuple[Callable[[Observed, Observed, AlarmConfig], Alarm | None], ...] = (
    _model_collapse,
    _mode_collapse,
    _format_only,
    _sharpening_only,
    _far_from_base,
    _length_drift,
    _truncation,
    _repetition,
)


def _falls(change: _Change, share: float, config: AlarmConfig) -> bool:
    drop = 1 - change.ratio
    return drop > share and drop > config.stderrs * change.relative_stderr


def _rises(change: _Change, config: AlarmConfig) -> bool:
    return change.rise > config.stderrs * change.stderr


def _most(base: Observed, gain: FloatArray, rest: FloatArray) -> _Change:
    """Return by how much what is not the rest of a gain is more than half of it."""
    return _change(base, rest, gain / 2)


def _score(base: Observed, now: Observed, k: int, *, strict: bool) -> _Change:
    values = (
        pass_at_k_values(each.strict if strict else each.lenient, each.samples, k)
        for each in (base.counts, _after(base, now))
    )
    return _change(base, *values)


def _after(base: Observed, now: Observed) -> Counts:
    """Return the later scores in the order of the earlier ones' problems."""
    return now.counts.of(base.counts.problem_ids)


def _diversity(base: Observed, now: Observed, field: str) -> _Change | None:
    """Return the change of a field over the problems where it is defined in both rounds; None if they are too few."""
    shared = [
        (place, base.diversity[key], now.diversity[key])
        for place, key in enumerate(base.counts.problem_ids)
        if key in base.diversity and key in now.diversity
    ]
    rows = [(place, getattr(before, field), getattr(after, field)) for place, before, after in shared]
    known = np.array([row for row in rows if None not in row], dtype=np.float64).reshape(-1, 3)
    places = known[:, 0].astype(np.int64)
    if _units(base, places) < FEWEST:
        return None
    return _change(base, known[:, 1], known[:, 2], places=places)


def _units(base: Observed, places: IntArray) -> int:
    """Return how many of the problems at some places, or clusters of them, stand for themselves."""
    clusters = base.counts.clusters
    return len(places if clusters is None else np.unique(clusters[places]))


def _change(base: Observed, before: FloatArray, after: FloatArray, *, places: IntArray | None = None) -> _Change:
    """Return a change over the base's problems, or over those at some places."""
    clusters = base.counts.clusters
    if clusters is not None and places is not None:
        clusters = clusters[places]
    first, last = float(before.mean()), float(after.mean())
    ratio = last / first if first else 1.0
    relative = stderr_over(after - ratio * before, clusters) / first if first else math.inf
    return _Change(first, last, stderr_over(after - before, clusters), relative)


def observed_of(
    index: int, counts: Counts, diversity: Sequence[ProblemDiversity], probe: dict[str, float] | None = None
) -> Observed:
    """Return what alarms look at, of any samples that are judged."""
    return Observed(index, int(counts.samples.min()), counts, {row.problem_id: row for row in diversity}, probe or {})


def _observed(run: RunDir, record: RoundRecord, counts: Counts) -> Observed:
    found = observed_of(record.index, counts, diversity_rows(run, record.index), record.evaluate.probe)
    return found._replace(k=max(record.evaluate.pass_at_k))
