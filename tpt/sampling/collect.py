"""Drive an engine with a sampler, and write every trace and verdict to disk the moment it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from tpt.engines import Completion, Engine, Request, RequestId, Sampling
from tpt.errors import RunError
from tpt.model.chat import Chat
from tpt.model.sampled import Sampled, sampled_of
from tpt.records import Problem, Trace, Verdict, well_formed
from tpt.run.journal import JUDGED_AT_ONCE, Journal, Pair, checksum_of
from tpt.sampling.hints import Hints
from tpt.sampling.judging import Judging
from tpt.sampling.samplers import Sampler
from tpt.system.jsonl import append_records, open_append
from tpt.verifiers import AT_ONCE, Judge


class Watch(Protocol):
    """Looks on while samples come in, and may end the sampling by raising; it never changes which are taken."""

    def take(self, trace: Trace, verdict: Verdict) -> None:
        """Take in a sample, those of an interrupted attempt first."""

    def decide(self) -> None:
        """Called when those are in, and after every step of the engine, the samples being on disk."""


@dataclass(slots=True)
class Progress:
    """Where ``collect`` stands; handed to its ``on_progress`` after every step of the engine."""

    target: int
    reached: int = 0
    traces: int = 0
    correct: int = 0
    failed: int = 0
    tokens: int = 0
    """Completion tokens of this process, not those of traces found on disk."""
    undecided: int = 0
    """Problems still to be tried though the target is reached; see ``Sampler.undecided``."""
    under_way: int = 0
    """Tokens sampled so far for requests in flight, as far as the engine knows."""
    longest_s: float = 0.0
    """How long the oldest request in flight has been under way."""
    prompt_tokens: int = 0
    """See ``Collected``."""


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
    prompt_tokens: int
    """Of all samples asked for, surplus and cancelled ones too: a prompt counts for each of its samples, though an engine
    may compute it once for several."""
    failed_requests: int
    """Of this process: samples whose requests failed again and again, which are errors now."""
    sampling_s: float


@dataclass(frozen=True, slots=True)
class SamplingJob:
    """Everything ``collect`` works with, besides the sampler."""

    problems: Mapping[str, Problem]
    prompt_ids: Mapping[str, tuple[int, ...]]
    """Problem id to prompt tokens; where there are hints, ``Hints.prompt_key`` to them."""
    engine: Engine
    sampling: Sampling
    seed_of: Callable[[RequestId], int]
    judge: Judge
    keepable: Callable[[Trace, Verdict], bool]
    mark: Callable[[Trace], int] = field(default=lambda trace: trace.sample)
    """Equal for the traces of a problem that count as one."""
    on_progress: Callable[[Progress], None] = field(default=lambda progress: None)
    watch: Watch | None = None
    chat: Chat | None = None
    """On the model's tokenizer, for what is kept of the sampled tokens; None: nothing is."""
    hints: Hints | None = None
    judges_apart: bool = False
    """Judge in a thread, while the engine goes on: for verifiers that take their time."""

    def prompt_of(self, key: RequestId) -> tuple[int, ...]:
        """Return the prompt of a sample."""
        return self.prompt_ids[self.hints.prompt_key(key) if self.hints else key[0]]

    def judged(self, traces: Sequence[Trace]) -> list[Verdict]:
        """Return the verdicts of traces, each with its checksum."""
        verdicts = self.judge(traces, self.problems)
        pairs = zip(traces, verdicts, strict=True)
        return [replace(verdict, checksum=checksum_of(trace, verdict)) for trace, verdict in pairs]


_InFlight = dict[RequestId, tuple[int, float]]
"""Seed and time of the asking; the oldest comes first."""


def collect(
    sampler: Sampler, job: SamplingJob, *, traces_path: Path, verdicts_path: Path, surplus_path: Path
) -> Collected:
    """Sample until the sampler is finished; leave the result sorted by key in the two files.

    Interrupted at any moment and called again, it goes on from the records on disk, which stay verbatim.
    """
    journal = Journal(traces_path, verdicts_path)
    progress = Progress(target=sampler.target)
    sampler.restore(_recovered(journal, job, progress))
    found = progress.traces
    progress.reached = sampler.reached()
    if job.watch:
        job.watch.decide()
    started = time.monotonic()
    in_flight: _InFlight = {}
    cancelled = cancelled_tokens = 0
    with open_append(traces_path) as traces_file, open_append(verdicts_path) as verdicts_file:
        judging = Judging(job.judged, apart=job.judges_apart)

        def record(*, wait: bool) -> bool:
            """Write the verdicts that are there and tell the sampler; return whether there were any."""
            pairs = judging.take(wait=wait)
            append_records(verdicts_file, [verdict for _, verdict in pairs])
            _record(pairs, sampler, job, progress)
            return bool(pairs)

        while not sampler.finished():
            _ask(sampler.next_requests(max(0, job.engine.slots - len(in_flight))), in_flight, job, progress)
            done = job.engine.step() if in_flight else []
            traces = [trace_of(each, in_flight.pop(each.id)[0], job.chat, job.hints) for each in done]
            append_records(traces_file, traces)
            judging.add(traces)
            record(wait=not in_flight or len(judging) >= job.engine.slots)
            progress.under_way = job.engine.under_way()
            progress.longest_s = time.monotonic() - next(iter(in_flight.values()))[1] if in_flight else 0.0
            job.on_progress(progress)
            if needless := set(in_flight) if sampler.finished() else sampler.needless() & in_flight.keys():
                cancelled += len(needless)
                cancelled_tokens += job.engine.cancel(needless)
                in_flight = {key: seed for key, seed in in_flight.items() if key not in needless}
        while record(wait=True):
            pass
    sampling_s = time.monotonic() - started
    finished = journal.finish(sampler.belongs, surplus_path)
    return Collected(
        traces=finished.traces,
        completion_tokens=finished.tokens,
        resumed_traces=found,
        surplus_traces=finished.surplus_traces,
        surplus_tokens=finished.surplus_tokens,
        cancelled_requests=cancelled,
        cancelled_tokens=cancelled_tokens,
        prompt_tokens=progress.prompt_tokens,
        failed_requests=progress.failed,
        sampling_s=round(sampling_s, 3),
    )


def _ask(keys: Iterable[RequestId], in_flight: _InFlight, job: SamplingJob, progress: Progress) -> None:
    for key in keys:
        in_flight[key] = job.seed_of(key), time.monotonic()
        prompt = job.prompt_of(key)
        progress.prompt_tokens += len(prompt)
        job.engine.add(Request(key, prompt, in_flight[key][0], job.sampling))


def _recovered(journal: Journal, job: SamplingJob, progress: Progress) -> Iterator[tuple[RequestId, int | None]]:
    """Yield what is on disk as the sampler wants it, and count it.

    Raises:
        RunError: a trace, or a verdict that is not its trace's, was changed.
    """

    def judged(traces: list[Trace]) -> list[Verdict]:
        _check_unjudged(traces, journal, job)
        return job.judged(traces)

    pairs = journal.recovered(judged)
    while batch := list(islice(pairs, JUDGED_AT_ONCE)):
        _check_verdicts(batch, journal, job)
        for trace, verdict in batch:
            progress.traces += 1
            progress.prompt_tokens += len(job.prompt_of((trace.problem_id, trace.sample)))
            if job.watch:
                job.watch.take(trace, verdict)
            yield (trace.problem_id, trace.sample), _mark(trace, verdict, job)


def _check_unjudged(traces: Sequence[Trace], journal: Journal, job: SamplingJob) -> None:
    """Hold traces without a verdict, and so without a checksum, against what was asked for."""
    for trace in traces:
        key = trace.problem_id, trace.sample
        if trace.problem_id not in job.problems or trace.seed != job.seed_of(key):
            raise RunError(
                f"{journal.traces}: problem {trace.problem_id!r}, sample {trace.sample}: not what this run sampled: the line was "
                "changed since. Put the file back as it was, or take the line out to have it sampled again"
            )


def _check_verdicts(pairs: Sequence[Pair], journal: Journal, job: SamplingJob) -> None:
    """Hold verdicts against their traces: no digest tells yet of a stage under way whether its files were changed.

    Earlier versions left no checksums; there, what is judged in a moment is judged again.
    """
    wrong = [trace for trace, verdict in pairs if verdict.checksum not in ("", checksum_of(trace, verdict))]
    quick = [
        (trace, replace(verdict, detail=""))
        for trace, verdict in pairs
        if not verdict.checksum and trace.problem_id in job.problems and job.problems[trace.problem_id].kind in AT_ONCE
    ]
    again = job.judge([trace for trace, _ in quick], job.problems)
    wrong += [pair[0] for pair, now in zip(quick, again, strict=True) if pair[1] != replace(now, detail="")]
    if wrong:
        raise RunError(
            f"{journal.verdicts}: problem {wrong[0].problem_id!r}, sample {wrong[0].sample}: not the verdict of the trace in "
            f"{journal.traces.name}: one of the two was changed since. Put the file back as it was, or delete "
            f"{journal.verdicts} to have all judged again"
        )


def _record(pairs: Iterable[Pair], sampler: Sampler, job: SamplingJob, progress: Progress) -> None:
    """Tell the sampler of the traces that came in, and count them."""
    for trace, verdict in pairs:
        sampler.record((trace.problem_id, trace.sample), _mark(trace, verdict, job))
        progress.traces += 1
        progress.correct += verdict.outcome == "CORRECT"
        progress.failed += trace.finish_reason == "error"
        progress.tokens += trace.completion_tokens
        if job.watch:
            job.watch.take(trace, verdict)
    progress.reached, progress.undecided = sampler.reached(), sampler.undecided()
    if job.watch:
        job.watch.decide()


def _mark(trace: Trace, verdict: Verdict, job: SamplingJob) -> int | None:
    return job.mark(trace) if job.keepable(trace, verdict) else None


def trace_of(completion: Completion, seed: int, chat: Chat | None = None, hints: Hints | None = None) -> Trace:
    """Return a completion as a trace, with the seed that it was sampled with and what is kept of its tokens."""
    problem_id, sample = completion.id
    kept = Sampled(None, None, "")
    if chat is not None:
        finished = completion.finish_reason == "stop"
        kept = sampled_of(chat, completion.token_ids, completion.text, finished=finished, exact=completion.exact)
    return Trace(
        problem_id=problem_id,
        sample=sample,
        completion=well_formed(completion.text),
        finish_reason=completion.finish_reason,
        completion_tokens=len(completion.token_ids),
        seed=seed,
        error=well_formed(completion.error),
        answer=None if kept.answer is None else well_formed(kept.answer),
        token_ids=kept.token_ids,
        token_digest=kept.token_digest,
        hint=hints.of(completion.id) if hints else "",
    )
