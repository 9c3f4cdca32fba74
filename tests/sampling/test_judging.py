"""Judging in a thread: the same files as judging at once, and an engine that goes on meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tpt.engines import Request, Sampling
from tpt.engines.scripted import ScriptedEngine, ids_of
from tpt.errors import VerifierError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.sampling.collect import SamplingJob, collect
from tpt.sampling.judging import Judging
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.seeds import seed_for, shuffled
from tpt.system.jsonl import read_records
from tpt.verifiers import Judge
from tpt.verifiers.judge import judge

PROBLEMS = {f"p{number:02}": Problem(f"p{number:02}", f"{number}?", str(number)) for number in range(20)}


def write_answer(request: Request) -> str:
    number = int(request.id[0][1:])
    return f"#### {number + (random.Random(request.seed).random() < 0.6)}"


def files(
    folder: Path,
    sampler: Sampler,
    judge: Judge,
    *,
    slots: int,
    apart: bool = True,
    write: Callable[[Request], str] = write_answer,
) -> tuple[bytes, bytes]:
    job = SamplingJob(
        problems=PROBLEMS,
        prompt_ids={key: ids_of(problem.question) for key, problem in PROBLEMS.items()},
        engine=ScriptedEngine(write, slots=slots),
        sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=50),
        seed_of=lambda key: seed_for(0, *key),
        judge=judge,
        keepable=lambda trace, verdict: verdict.outcome is Outcome.CORRECT,
        judges_apart=apart,
    )
    paths = {f"{name}_path": folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}
    collect(sampler, job, **paths)
    return paths["traces_path"].read_bytes(), paths["verdicts_path"].read_bytes()


def slow(seed: int) -> Judge:
    pauses = random.Random(seed)

    def judge_late(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        time.sleep(0.003 * pauses.random())
        return judge(traces, problems)

    return judge_late


def samplers() -> list[Sampler]:
    order = shuffled(list(PROBLEMS), 5, "order")
    return [Fixed(sorted(PROBLEMS), samples=3), UntilFull(order, samples=4, size=8, per_problem=1)]


@pytest.mark.parametrize("which", [0, 1])
def test_late_verdicts_change_no_byte(tmp_path: Path, which: int) -> None:
    at_once = files(tmp_path / "at once", samplers()[which], judge, slots=7, apart=False)
    for seed, slots in enumerate((1, 3, 7, 50)):
        assert files(tmp_path / str(seed), samplers()[which], slow(seed), slots=slots) == at_once


def test_the_engine_goes_on_while_traces_are_judged(tmp_path: Path) -> None:
    """The first batch is judged only once twelve more requests have been answered."""
    answered = 0
    enough = threading.Event()

    def count(request: Request) -> str:
        nonlocal answered
        answered += 1
        if answered >= 16:
            enough.set()
        return "#### 1"

    def judge_last(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        assert enough.wait(30)
        return judge(traces, problems)

    files(tmp_path, Fixed(sorted(PROBLEMS), samples=2), judge_last, slots=16, write=count)
    assert len(read_records(tmp_path / "verdicts.jsonl", Verdict)) == 40


def test_no_more_wait_for_a_verdict_than_the_engine_has_slots(tmp_path: Path) -> None:
    longest = 0

    def judge_late(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        nonlocal longest
        longest = max(longest, len(traces))
        time.sleep(0.01)
        return judge(traces, problems)

    files(tmp_path, Fixed(sorted(PROBLEMS), samples=10), judge_late, slots=4)
    assert 1 < longest <= 2 * 4


def test_what_the_judge_raises_ends_the_sampling_and_the_samples_stay(tmp_path: Path) -> None:
    def broken(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        raise VerifierError("no sandbox")

    sampler = samplers()[0]
    with pytest.raises(VerifierError, match="no sandbox"):
        files(tmp_path, sampler, broken, slots=5)
    assert read_records(tmp_path / "traces.jsonl", Trace)
    at_once = files(tmp_path / "at once", samplers()[0], judge, slots=5, apart=False)
    assert files(tmp_path, samplers()[0], judge, slots=5) == at_once


def test_verdicts_come_in_the_order_of_their_traces_and_len_counts_what_is_owed() -> None:
    go = threading.Event()
    traces = [
        Trace(problem_id="p00", sample=sample, completion="#### 0", finish_reason="stop", completion_tokens=1, seed=0)
        for sample in range(3)
    ]

    def wait(given: Sequence[Trace]) -> list[Verdict]:
        go.wait(30)
        return judge(given, PROBLEMS)

    judging = Judging(wait, apart=True)
    assert judging.take(wait=True) == []
    judging.add(traces[:1])
    judging.add(traces[1:])
    assert (len(judging), judging.take(wait=False)) == (3, [])
    go.set()
    taken = [judging.take(wait=True) for _ in range(3)]
    assert [[(trace.sample, verdict.sample) for trace, verdict in each] for each in taken] == [
        [(0, 0)],
        [(1, 1), (2, 2)],
        [],
    ]
