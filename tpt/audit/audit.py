"""A person checks the verifier: a random set of its verdicts, the person's marks, and what these say of all verdicts.

The verdicts are split into strata, by outcome and by what became of the trace, and as many are drawn of each as possible,
so that the rare ones are read too. The estimates undo that: with N_h verdicts in stratum h, of which n_h were marked,

- precision, of the accepted: p = sum(W_h * good_h / n_h), where W_h = N_h / sum(N_h) over the strata of accepted traces.
  Its interval is Wilson's at the effective number of marks 1 / sum(W_h^2 / n_h) (Kish), which is n for equal shares;
- recall = A / (A + R), with A = p * accepted traces and R = false_reject rate (weighted alike) * rejected traces. Its
  interval goes from lowest A with highest R to highest A with lowest R, each from a 97.5 % Wilson interval, so that it
  covers with at least 95 % (Bonferroni).

"Accepted" is the outcome CORRECT, whatever its format. Strata without a mark are left out, and named.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tpt.errors import ConfigError, RunError, did_you_mean
from tpt.records import Example, Mark, Outcome, Problem, Trace, Verdict
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import require_unchanged_run
from tpt.run.stage import problems_by_id
from tpt.scoring import wilson
from tpt.seeds import shuffled
from tpt.system.jsonl import append_record, open_append, read_records

MARKS = ("good", "false_accept", "false_reject", "skip")
FEW = 30
"""Marks below which an estimate is called rough."""

_EACH, _JOINT = 0.95, 0.975


@dataclass(frozen=True, slots=True)
class AuditItem:
    """A verdict to be read."""

    problem: Problem
    trace: Trace
    verdict: Verdict
    stratum: str
    """Such as ``correct, trained on``."""

    @property
    def accepted(self) -> bool:
        """Whether the verifier accepted the answer."""
        return self.verdict.outcome is Outcome.CORRECT

    @property
    def key(self) -> tuple[str, int]:
        """The trace's key within its round."""
        return self.trace.problem_id, self.trace.sample


@dataclass(frozen=True, slots=True)
class Stratum:
    """Verdicts of one sort, and the marks of those drawn from it."""

    name: str
    accepted: bool
    verdicts: int
    marked: int
    mistaken: int
    """Marked false_accept or false_reject."""
    skipped: int


@dataclass(frozen=True, slots=True)
class Rate:
    """An estimated share with its 95 % interval."""

    value: float
    low: float
    high: float
    marks: int
    """Verdicts that a person marked and that count here."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the marks say of the verifier."""

    round: int
    strata: list[Stratum]
    precision: Rate | None
    """Of the accepted traces, the share that is right; None without marks."""
    recall: Rate | None
    """Of the right traces, the share that was accepted; None unless accepted and rejected traces are marked."""
    notes: list[str]
    """What limits these numbers."""


class Audit:
    """The verdicts of a round, those drawn of them, and their marks."""

    def __init__(self, run: RunDir, *, n: int, round_index: int | None = None, seed: int = 0) -> None:
        """Draw n verdicts of a round; None for the last round that has verdicts.

        Raises:
            RunError: the round has no verdicts.
            ConfigError: n is less than 1.
        """
        self.run = run
        self.round, self.items = load_verdicts(run, round_index)
        self.drawn = draw(self.items, n, seed=seed, round_index=self.round)
        self._drawn_keys = {item.key for item in self.drawn}

    def marks(self) -> dict[tuple[str, int], Mark]:
        """Return the marks that are stored, by problem and sample."""
        return read_marks(self.run, self.round)

    def unread(self) -> list[AuditItem]:
        """Return the drawn verdicts that have no mark that holds."""
        marks = self.marks()
        return [item for item in self.drawn if not _holds(marks.get(item.key), item)]

    def store(self, item: AuditItem, mark: str) -> None:
        """Store a mark; ConfigError when it is none, or contradicts the verdict."""
        append_mark(self.run, mark_of(item, mark, round_index=self.round, drawn=item.key in self._drawn_keys))

    def find(self, problem_id: str, sample: int) -> AuditItem:
        """Return a verdict of the round, drawn or not; RunError when there is none."""
        by_key = {item.key: item for item in self.items}
        if (problem_id, sample) not in by_key:
            hint = did_you_mean(problem_id, {item.problem.id for item in self.items})
            raise RunError(
                f"{self.run.path}: round {self.round} has no verdict of {problem_id}, sample {sample}.{hint}"
            )
        return by_key[problem_id, sample]

    def report(self) -> AuditReport:
        """Estimate precision and recall from the marks so far."""
        return audit_report(self.items, self.marks(), self.round)


def load_verdicts(run: RunDir, round_index: int | None) -> tuple[int, list[AuditItem]]:
    """Return a round and all its verdicts: of its training traces, or in round 0 of the base model's score.

    ``round_index`` None: the last round that has verdicts.

    Raises:
        RunError: the round has no verdicts, or a file of a finished stage was changed.
    """
    run.require_problems()
    require_unchanged_run(run)
    round_dirs = {round_dir.index: round_dir for round_dir in run.rounds() if _files(round_dir)[1].exists()}
    index = max(round_dirs, default=None) if round_index is None else round_index
    if index is None or index not in round_dirs:
        there = ", ".join(map(str, round_dirs)) or "none"
        asked = "no round has" if index is None else f"round {index} has no"
        raise RunError(f"{run.path}: {asked} verdicts to audit; rounds that have: {there}")
    round_dir = round_dirs[index]
    traces_path, verdicts_path = _files(round_dir)
    problems = problems_by_id(run.problems if index else run.heldout)
    traces = {(each.problem_id, each.sample): each for each in read_records(traces_path, Trace)}
    examples = read_records(round_dir.examples, Example) if round_dir.examples.exists() else []
    trained = {(example.problem_id, example.sample) for example in examples}
    items = []
    for verdict in read_records(verdicts_path, Verdict):
        key = (verdict.problem_id, verdict.sample)
        if key not in traces or verdict.problem_id not in problems:
            raise RunError(f"{verdicts_path}: {key[0]}, sample {key[1]} has no trace or no problem in {run.path}")
        items.append(AuditItem(problems[key[0]], traces[key], verdict, _stratum(verdict, key in trained)))
    return index, items


def draw(items: Sequence[AuditItem], n: int, *, seed: int, round_index: int) -> list[AuditItem]:
    """Draw n verdicts at random, as equally from the strata as their sizes allow, in random order.

    A larger n adds to the same set, so marks made before stay of use.

    Raises:
        ConfigError: n is less than 1.
    """
    if n < 1:
        raise ConfigError(f"--n {n}: at least one trace must be drawn")
    by_name = {_name(item): item for item in items}
    members: dict[str, list[str]] = defaultdict(list)
    for name, item in by_name.items():
        members[item.stratum].append(name)
    queues = [shuffled(members[stratum], seed, "audit", round_index, stratum) for stratum in sorted(members)]
    longest = max(map(len, queues), default=0)
    drawn = [queue[turn] for turn in range(min(n, longest)) for queue in queues if turn < len(queue)][:n]
    return [by_name[name] for name in shuffled(drawn, seed, "audit order", round_index)]


def mark_of(item: AuditItem, mark: str, *, round_index: int, drawn: bool) -> Mark:
    """Return the mark of a verdict.

    Raises:
        ConfigError: there is no such mark, or it contradicts the verdict.
    """
    if mark not in MARKS:
        raise ConfigError(f"mark {mark!r} is unknown, allowed: {', '.join(MARKS)}.{did_you_mean(mark, MARKS)}")
    impossible = "false_reject" if item.accepted else "false_accept"
    if mark == impossible:
        raise ConfigError(
            f"{item.problem.id}, sample {item.trace.sample} was judged {item.verdict.outcome}, so it cannot be a "
            f"{mark}; allowed: {', '.join(each for each in MARKS if each != impossible)}"
        )
    return Mark(
        round=round_index,
        problem_id=item.problem.id,
        sample=item.trace.sample,
        mark=mark,  # type: ignore[arg-type]  # one of MARKS
        completion=_digest(item.trace),
        drawn=drawn,
    )


def marks_path(run: RunDir) -> Path:
    """Return where a run's marks lie."""
    return run.path / "audit.jsonl"


def append_mark(run: RunDir, mark: Mark) -> None:
    """Store a mark; it replaces an earlier one of the same trace."""
    with open_append(marks_path(run)) as file:
        append_record(file, mark)


def read_marks(run: RunDir, round_index: int) -> dict[tuple[str, int], Mark]:
    """Return the marks of a round, the last of each trace."""
    path = marks_path(run)
    marks = read_records(path, Mark) if path.exists() else []
    return {(mark.problem_id, mark.sample): mark for mark in marks if mark.round == round_index}


def audit_report(items: Sequence[AuditItem], marks: Mapping[tuple[str, int], Mark], round_index: int) -> AuditReport:
    """Estimate the verifier's precision and recall from the marks of verdicts that chance chose."""
    usable = {item.key: marks[item.key] for item in items if _holds(marks.get(item.key), item)}
    by_stratum: dict[str, list[AuditItem]] = defaultdict(list)
    for item in items:
        by_stratum[item.stratum].append(item)
    strata = [_tallied(name, members, usable) for name, members in sorted(by_stratum.items())]
    accepted = [stratum for stratum in strata if stratum.accepted]
    rejected = [stratum for stratum in strata if not stratum.accepted]
    right = [1 - mistaken for mistaken in _shares(accepted)]
    return AuditReport(
        round=round_index,
        strata=strata,
        precision=_rate(accepted, right, _EACH),
        recall=_recall(accepted, rejected),
        notes=_notes(strata, chosen=sum(not mark.drawn for mark in usable.values()), void=len(marks) - len(usable)),
    )


def _files(round_dir: RoundDir) -> tuple[Path, Path]:
    return (
        (round_dir.traces, round_dir.verdicts)
        if round_dir.index
        else (round_dir.evaluate_traces, round_dir.evaluate_verdicts)
    )


def _stratum(verdict: Verdict, trained_on: bool) -> str:
    if verdict.outcome is not Outcome.CORRECT:
        return verdict.outcome.value.lower().replace("_", " ")
    if trained_on:
        return "correct, trained on"
    return "correct, not trained on" if verdict.strict else "correct, format not kept"


def _name(item: AuditItem) -> str:
    """Return the key as text, zero-padded only so that it is unique and sorts."""
    return f"{item.trace.sample:09d}\0{item.trace.problem_id}"


def _digest(trace: Trace) -> str:
    return hashlib.sha256(trace.completion.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _holds(mark: Mark | None, item: AuditItem) -> bool:
    """Return whether there is a mark, and it is of this very completion."""
    return mark is not None and mark.completion == _digest(item.trace)


def _tallied(name: str, members: Sequence[AuditItem], marks: Mapping[tuple[str, int], Mark]) -> Stratum:
    found = [marks[item.key].mark for item in members if item.key in marks and marks[item.key].drawn]
    marked = [mark for mark in found if mark != "skip"]
    return Stratum(
        name=name,
        accepted=members[0].accepted,
        verdicts=len(members),
        marked=len(marked),
        mistaken=sum(mark != "good" for mark in marked),
        skipped=len(found) - len(marked),
    )


def _shares(strata: Iterable[Stratum]) -> list[float]:
    """Return the share of mistaken verdicts of each stratum that has marks."""
    return [stratum.mistaken / stratum.marked for stratum in strata if stratum.marked]


def _rate(strata: Sequence[Stratum], shares: Sequence[float], confidence: float) -> Rate | None:
    """Return the mean of the marked strata's shares, weighted by their sizes; None when none is marked."""
    marked = [stratum for stratum in strata if stratum.marked]
    if not marked:
        return None
    total = sum(stratum.verdicts for stratum in marked)
    weights = [stratum.verdicts / total for stratum in marked]
    value = min(1.0, sum(weight * share for weight, share in zip(weights, shares, strict=True)))
    effective = 1 / sum(weight**2 / stratum.marked for weight, stratum in zip(weights, marked, strict=True))
    return Rate(
        value, *wilson(value * effective, effective, confidence=confidence), sum(stratum.marked for stratum in marked)
    )


def _recall(accepted: Sequence[Stratum], rejected: Sequence[Stratum]) -> Rate | None:
    right = _rate(accepted, [1 - mistaken for mistaken in _shares(accepted)], _JOINT)
    wronged = _rate(rejected, _shares(rejected), _JOINT)
    rejections = sum(stratum.verdicts for stratum in rejected)
    if right is None or (wronged is None and rejections):
        return None
    wronged = wronged or Rate(0.0, 0.0, 0.0, 0)
    acceptances = sum(stratum.verdicts for stratum in accepted)

    def share(right_rate: float, wronged_rate: float) -> float:
        found, missed = right_rate * acceptances, wronged_rate * rejections
        return found / (found + missed) if found + missed else 0.0

    return Rate(
        value=share(right.value, wronged.value),
        low=share(right.low, wronged.high),
        high=share(right.high, wronged.low),
        marks=right.marks + wronged.marks,
    )


def _notes(strata: Sequence[Stratum], *, chosen: int, void: int) -> list[str]:
    marked = sum(stratum.marked for stratum in strata)
    unread = [stratum for stratum in strata if not stratum.marked]
    notes = []
    if 0 < marked < FEW:
        notes.append(f"only {marked} verdicts are marked: the intervals are wide, and mean more than the estimates")
    if marked and unread:
        named = ", ".join(f"{stratum.name} ({stratum.verdicts:,})" for stratum in unread)
        notes.append(f"nothing is marked of: {named}; the estimates leave these verdicts out")
    if chosen:
        notes.append(f"{chosen} marks are of traces that were not drawn at random; they are kept, but not counted here")
    if void:
        notes.append(f"{void} marks are of traces that were made again since; they are not counted")
    return notes
