"""Think: sample traces of problems, and let each be judged as it comes in.

A sampler says which problem gets the next sample and when to stop; ``collect`` drives an engine with it and writes
every trace and verdict to disk the moment it is there. Training data and evaluation both go through ``collect``.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tpt.engines import Completion, Engine, Request, RequestId, Sampling
from tpt.jsonl import append_record, open_append, read_records, replace_records
from tpt.records import Problem, Trace, Verdict
from tpt.verifiers import Judge


class Sampler(Protocol):
    """Which samples to take, and which of those taken belong to the result."""

    target: int
    """How many units of ``reached`` make the work complete, for progress."""

    def next_requests(self, room: int) -> list[RequestId]:
        """Return at most ``room`` samples to take next; each is returned once."""

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """Take in a sample asked for by ``next_requests``."""

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """Take in the samples of an interrupted attempt: keys with whether each is keepable, in any order."""

    def reached(self) -> int:
        """Return how far the work is towards ``target``."""

    def finished(self) -> bool:
        """Return whether every sample that the result needs has been recorded."""

    def belongs(self, key: RequestId) -> bool:
        """Return, once finished, whether a recorded sample is part of the result."""


class Fixed:
    """N samples of every problem."""

    def __init__(self, problem_ids: list[str], samples: int) -> None:
        self.target = len(problem_ids) * samples
        self._missing = {(problem_id, sample): None for problem_id in problem_ids for sample in range(samples)}
        self._asked: set[RequestId] = set()
        self._recorded = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen = list(itertools.islice(self._missing, room))
        for key in chosen:
            del self._missing[key]
        self._asked.update(chosen)
        return chosen

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """See Sampler; what is keepable makes no difference here."""
        self._asked.discard(key)
        self._recorded += 1

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """See Sampler."""
        for key, _ in keys:
            del self._missing[key]
            self._recorded += 1

    def reached(self) -> int:
        """See Sampler."""
        return self._recorded

    def finished(self) -> bool:
        """See Sampler."""
        return not self._missing and not self._asked

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        return True


class UntilFull:
    """Each problem until its first keepable trace or N tries, until the first M solved problems in order are known.

    "First" is by the given order, which must be random: never by which problem happened to finish first, since that
    would favour easy problems and short traces. The traces of one problem are independent draws, so its first
    keepable one is distributed as a random one of all its keepable ones, and the first M solved problems of a random
    order are a random M of all solved ones: the same training sets as sampling everything N times, for fewer tokens.
    """

    def __init__(self, order: list[str], *, samples: int, size: int | None) -> None:
        self.target = len(order) if size is None else min(size, len(order))
        self._size = len(order) if size is None else size
        self._order = order
        self._samples = samples
        self._position = {problem_id: position for position, problem_id in enumerate(order)}
        self._tries = [0] * len(order)
        self._solved = [False] * len(order)
        self._solved_count = 0
        self._opened = 0
        """Problems before this position have been asked at least once."""
        self._retries: list[int] = []
        """Heap of the positions that need another try and have none in flight."""
        self._settled = 0
        """Every problem before this position is solved or has used up its tries."""
        self._settled_solved = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen: list[RequestId] = []
        cutoff = self._cutoff()
        # The lowest positions first: they are sure to be needed.
        while len(chosen) < room and self._retries and self._retries[0] < cutoff:
            position = heapq.heappop(self._retries)
            chosen.append((self._order[position], self._tries[position]))
        while len(chosen) < room and self._opened < cutoff:
            if not self._tries[self._opened]:
                chosen.append((self._order[self._opened], 0))
            self._opened += 1
        return chosen

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """See Sampler."""
        position, tries = self._position[key[0]], key[1] + 1
        self._tries[position] = max(self._tries[position], tries)
        if keepable and not self._solved[position]:
            self._solved[position] = True
            self._solved_count += 1
        self._settle()
        if not self._is_settled(position):
            heapq.heappush(self._retries, position)

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """Take in the samples of an interrupted attempt: keys with whether each is keepable, in any order."""
        for key, keepable in keys:
            self.record(key, keepable=keepable)
        self._retries = [p for p, tries in enumerate(self._tries) if tries and not self._is_settled(p)]

    def reached(self) -> int:
        """See Sampler: solved problems, those included that may turn out to lie behind the first M."""
        return min(self._size, self._solved_count)

    def finished(self) -> bool:
        """See Sampler."""
        return self._settled_solved >= self._size or self._settled == len(self._order)

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        return self._position[key[0]] < self._settled

    def _is_settled(self, position: int) -> bool:
        return self._solved[position] or self._tries[position] >= self._samples

    def _settle(self) -> None:
        while (
            self._settled < len(self._order) and self._settled_solved < self._size and self._is_settled(self._settled)
        ):
            self._settled_solved += self._solved[self._settled]
            self._settled += 1

    def _cutoff(self) -> int:
        """Return the position behind the M-th solved problem known so far: none from there on can be needed."""
        if self._solved_count < self._size:
            return len(self._order)
        solved = (position for position, is_solved in enumerate(self._solved) if is_solved)
        return next(itertools.islice(solved, self._size - 1, None), len(self._order) - 1) + 1


@dataclass(slots=True)
class Progress:
    """Where ``collect`` stands; handed to its ``on_progress`` after every step of the engine."""

    target: int
    reached: int = 0
    traces: int = 0
    correct: int = 0
    tokens: int = 0
    """Completion tokens of this process, not those of traces found on disk."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What ``collect`` did, for the stage manifest."""

    traces: int
    completion_tokens: int
    resumed_traces: int
    """Traces found on disk from an earlier, interrupted attempt."""
    surplus_traces: int
    """Finished but not needed for the result; kept apart in surplus.jsonl."""
    surplus_tokens: int
    cancelled_requests: int
    cancelled_tokens: int
    sampling_s: float


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything ``collect`` works with, besides the sampler."""

    problems: Mapping[str, Problem]
    prompt_ids: Mapping[str, tuple[int, ...]]
    """Problem id to prompt tokens."""
    engine: Engine
    sampling: Sampling
    seed_of: Callable[[RequestId], int]
    judge: Judge
    keepable: Callable[[Trace, Verdict], bool]
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)


def collect(sampler: Sampler, desk: Desk, *, traces_path: Path, verdicts_path: Path, surplus_path: Path) -> Collected:
    """Sample until the sampler is finished; leave the result sorted by key in the two files.

    Interrupted at any moment and called again, it goes on from the records on disk, which stay verbatim.
    """
    found = _recover(sampler, desk, traces_path, verdicts_path)
    progress = Progress(target=sampler.target, reached=sampler.reached(), traces=found)
    started = time.monotonic()
    in_flight: set[RequestId] = set()
    with open_append(traces_path) as traces_file, open_append(verdicts_path) as verdicts_file:
        while not sampler.finished():
            for key in sampler.next_requests(max(0, desk.engine.slots - len(in_flight))):
                desk.engine.add(_request(key, desk))
                in_flight.add(key)
            traces = [_trace(completion, desk) for completion in desk.engine.step()]
            for trace in traces:
                append_record(traces_file, trace)
            for trace, verdict in zip(traces, desk.judge(traces, desk.problems), strict=True):
                append_record(verdicts_file, verdict)
                key = (trace.problem_id, trace.sample)
                in_flight.discard(key)
                sampler.record(key, keepable=desk.keepable(trace, verdict))
                progress.correct += verdict.outcome == "CORRECT"
                progress.tokens += trace.completion_tokens
            progress.traces += len(traces)
            progress.reached = sampler.reached()
            desk.on_progress(progress)
        cancelled_tokens = desk.engine.cancel(in_flight)
    sampling_s = time.monotonic() - started
    kept, surplus = _finish(sampler, traces_path, verdicts_path, surplus_path)
    return Collected(
        traces=len(kept),
        completion_tokens=sum(trace.completion_tokens for trace in kept),
        resumed_traces=found,
        surplus_traces=len(surplus),
        surplus_tokens=sum(trace.completion_tokens for trace in surplus),
        cancelled_requests=len(in_flight),
        cancelled_tokens=cancelled_tokens,
        sampling_s=round(sampling_s, 3),
    )


def _recover(sampler: Sampler, desk: Desk, traces_path: Path, verdicts_path: Path) -> int:
    """Feed the records on disk to the sampler, judging what was sampled but not judged; return how many."""
    if not traces_path.exists():
        verdicts_path.unlink(missing_ok=True)
        return 0
    traces = {(trace.problem_id, trace.sample): trace for trace in read_records(traces_path, Trace)}
    verdicts: dict[RequestId, Verdict] = {}
    if verdicts_path.exists():
        verdicts = {(verdict.problem_id, verdict.sample): verdict for verdict in read_records(verdicts_path, Verdict)}
    unjudged = [trace for key, trace in traces.items() if key not in verdicts]
    with open_append(verdicts_path) as file:
        for verdict in desk.judge(unjudged, desk.problems):
            append_record(file, verdict)
            verdicts[verdict.problem_id, verdict.sample] = verdict
    sampler.restore((key, desk.keepable(trace, verdicts[key])) for key, trace in traces.items())
    return len(traces)


def _request(key: RequestId, desk: Desk) -> Request:
    return Request(key, desk.prompt_ids[key[0]], desk.seed_of(key), desk.sampling)


def _trace(completion: Completion, desk: Desk) -> Trace:
    problem_id, sample = completion.id
    return Trace(
        problem_id=problem_id,
        sample=sample,
        completion=completion.text,
        finish_reason=completion.finish_reason,
        completion_tokens=len(completion.token_ids),
        seed=desk.seed_of(completion.id),
    )


def _finish(
    sampler: Sampler, traces_path: Path, verdicts_path: Path, surplus_path: Path
) -> tuple[list[Trace], list[Trace]]:
    """Sort both files by key, move what does not belong to the result to the surplus file, and return the two parts."""
    traces = sorted(read_records(traces_path, Trace), key=lambda trace: (trace.problem_id, trace.sample))
    verdicts = sorted(read_records(verdicts_path, Verdict), key=lambda verdict: (verdict.problem_id, verdict.sample))
    kept = [trace for trace in traces if sampler.belongs((trace.problem_id, trace.sample))]
    surplus = {(t.problem_id, t.sample): t for t in traces if not sampler.belongs((t.problem_id, t.sample))}
    if surplus_path.exists():
        surplus |= {(trace.problem_id, trace.sample): trace for trace in read_records(surplus_path, Trace)}
    if surplus:
        replace_records(surplus_path, surplus.values())
    replace_records(verdicts_path, [v for v in verdicts if sampler.belongs((v.problem_id, v.sample))])
    replace_records(traces_path, kept)
    return kept, list(surplus.values())
