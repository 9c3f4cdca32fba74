"""Trace and verdict files side by side: whatever is left of them is put right, and nothing is lost on the way."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tpt.engines import Sampling
from tpt.engines.scripted import ScriptedEngine, ids_of
from tpt.errors import RunError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.run.journal import Journal, checksum_of
from tpt.sampling.collect import Collected, SamplingJob, collect
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.seeds import seed_for, shuffled
from tpt.system import external_sort, jsonl
from tpt.system.external_sort import sorted_rows
from tpt.system.jsonl import read_records, replace_records, to_line
from tpt.verifiers.judge import judge

Key = tuple[str, int]


def trace(problem_id: str, sample: int) -> Trace:
    return Trace(problem_id, sample, f"{problem_id} {sample}", "stop", 3, 7)


def verdict(of: Trace) -> Verdict:
    return Verdict(of.problem_id, of.sample, Outcome.CORRECT, True, "1")


def judged_all(traces: Sequence[Trace]) -> list[Verdict]:
    return [verdict(each) for each in traces]


def written(folder: Path, traces: list[Trace], verdicts: list[Verdict]) -> Journal:
    journal = Journal(folder / "traces.jsonl", folder / "verdicts.jsonl")
    replace_records(journal.traces, traces)
    replace_records(journal.verdicts, verdicts)
    return journal


TRACES = [trace(problem_id, sample) for problem_id, sample in [("b", 1), ("a", 0), ("c", 2), ("a", 1), ("b", 0)]]


@pytest.mark.parametrize("known", range(6))
def test_traces_without_a_verdict_are_judged_and_added(known: int, tmp_path: Path) -> None:
    journal = written(tmp_path, TRACES, judged_all(TRACES[:known]))
    asked: list[Trace] = []

    def judge_rest(traces: list[Trace]) -> list[Verdict]:
        asked.extend(traces)
        return judged_all(traces)

    assert list(journal.recovered(judge_rest)) == [(each, verdict(each)) for each in TRACES]
    assert asked == TRACES[known:]
    assert list(journal) == [(each, verdict(each)) for each in TRACES]


def test_verdicts_in_another_order_are_put_to_their_traces(tmp_path: Path) -> None:
    for seed in range(30):
        source = random.Random(seed)
        some = source.sample(TRACES, source.randrange(len(TRACES) + 1))
        strangers = [verdict(trace("b", 7)), verdict(trace("a", -1))][: source.randrange(3)]
        journal = written(tmp_path, TRACES, source.sample([*judged_all(some), *strangers], len(some) + len(strangers)))
        assert sorted(journal.recovered(judged_all), key=str) == sorted([(t, verdict(t)) for t in TRACES], key=str)
        assert len(list(journal)) == len(TRACES)


def test_a_judge_that_leaves_one_out_is_an_error(tmp_path: Path) -> None:
    journal = written(tmp_path, TRACES, judged_all(TRACES[:2]))
    with pytest.raises(ValueError, match="shorter"):
        list(journal.recovered(lambda traces: judged_all(traces[:-1])))


def test_no_verdicts_yet_are_none(tmp_path: Path) -> None:
    journal = written(tmp_path, TRACES, [])
    journal.verdicts.unlink()
    assert list(journal.recovered(judged_all)) == [(each, verdict(each)) for each in TRACES]


def test_no_traces_means_no_verdicts(tmp_path: Path) -> None:
    journal = written(tmp_path, [], judged_all(TRACES))
    journal.traces.unlink()
    assert list(journal.recovered(judged_all)) == []
    assert not journal.verdicts.exists()


def test_finished_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    ordered = sorted(TRACES, key=lambda each: (each.problem_id, each.sample))
    with pytest.raises(RunError, match="problem 'c', sample 2: the trace has no verdict; judge it first"):
        list(written(tmp_path, ordered, judged_all(ordered[:-1])))
    with pytest.raises(RunError, match="problem 'a', sample 0: a verdict without its trace"):
        list(written(tmp_path, ordered[1:], judged_all(ordered)))
    with pytest.raises(RunError, match="not sorted: problem 'a' comes after 'b'"):
        list(written(tmp_path, TRACES, judged_all(TRACES)).problems())


def test_problems_come_one_by_one_with_their_pairs(tmp_path: Path) -> None:
    ordered = sorted(TRACES, key=lambda each: (each.problem_id, each.sample))
    groups = list(written(tmp_path, ordered, judged_all(ordered)).problems())
    assert [problem_id for problem_id, _ in groups] == ["a", "b", "c"]
    assert [pair for _, pairs in groups for pair in pairs] == [(each, verdict(each)) for each in ordered]


def test_finishing_sorts_and_keeps_lines_as_they_stand(tmp_path: Path) -> None:
    journal = written(tmp_path, [], judged_all(TRACES))
    spaced = [to_line(each).decode().replace('", "', '" ,  "') for each in TRACES]
    journal.traces.write_text("".join(spaced))
    done = journal.finish(lambda key: key[0] != "b", tmp_path / "surplus.jsonl")
    assert journal.traces.read_text() == spaced[1] + spaced[3] + spaced[2]
    assert [each.problem_id for each in read_records(journal.verdicts, Verdict)] == ["a", "a", "c"]
    assert read_records(tmp_path / "surplus.jsonl", Trace) == [trace("b", 0), trace("b", 1)]
    assert (done.traces, done.tokens, done.surplus_traces, done.surplus_tokens) == (3, 9, 2, 6)


PROBLEMS = {f"p{n:02}": Problem(id=f"p{n:02}", question=f"{n}?", answer=str(n)) for n in range(20)}


def sampled(folder: Path, sampler: Sampler, order_seed: int = 0) -> Collected:
    def write(request: Any) -> str:
        number = int(request.id[0][1:])
        return f"#### {number if random.Random(request.seed).random() < (number % 5) / 5 else number + 1}"

    job = SamplingJob(
        problems=PROBLEMS,
        prompt_ids={key: ids_of(problem.question) for key, problem in PROBLEMS.items()},
        engine=ScriptedEngine(write, slots=16, order_seed=order_seed),
        sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=50),
        seed_of=lambda key: seed_for(0, *key),
        judge=judge,
        keepable=lambda trace, verdict: verdict.outcome is Outcome.CORRECT,
    )
    names = ("traces", "verdicts", "surplus")
    return collect(sampler, job, **{f"{name}_path": folder / f"{name}.jsonl" for name in names})


def until_full() -> UntilFull:
    return UntilFull(shuffled(list(PROBLEMS), 5, "order"), samples=4, size=6, per_problem=1)


class Deadly:
    """Kills its process at the n-th of certain calls, before the call is made or after."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            self.strike()
            result = function(*args)
            self.strike()
            return result

        return called

    def strike(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_while_finishing(folder: Path, moment: int) -> bool:
    """Sample in a process that is killed at that moment of putting its files in order; False if it came through."""
    child = os.fork()
    if child == 0:
        deadly = Deadly(moment)
        for module, name in (
            (jsonl.os, "replace"),
            (jsonl.os, "fsync"),
            (external_sort.marshal, "dumps"),
        ):
            setattr(module, name, deadly(getattr(module, name)))
        external_sort.os.pread = deadly(os.pread)
        sampled(folder, until_full())
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_moment_of_finishing_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sorted_rows.__kwdefaults__, "part_bytes", 2500)
    sampled(tmp_path / "whole", until_full())
    names = ("traces.jsonl", "verdicts.jsonl")
    whole = [(tmp_path / "whole" / name).read_bytes() for name in names]
    every = {
        each for name in ("traces", "surplus") for each in read_records(tmp_path / "whole" / f"{name}.jsonl", Trace)
    }
    assert len(every) > len(whole[0].splitlines()), "there is a surplus"
    moment = 0
    while killed_while_finishing(folder := tmp_path / f"{moment}", moment):
        left = read_records(folder / "traces.jsonl", Trace)
        if moment % 3 == 0:
            # A second kill, while what the first one left is put right.
            killed_while_finishing(folder, 5 + moment % 7)
        done = sampled(folder, until_full(), order_seed=moment)
        assert [(folder / name).read_bytes() for name in names] == whole
        surplus = read_records(folder / "surplus.jsonl", Trace)
        assert every | set(left) <= {*read_records(folder / "traces.jsonl", Trace), *surplus}
        assert len({(each.problem_id, each.sample) for each in surplus}) == len(surplus) == done.surplus_traces
        assert sorted(each.name for each in folder.iterdir()) == ["surplus.jsonl", "traces.jsonl", "verdicts.jsonl"]
        moment += 1
    assert moment > 20


def test_until_full_asks_what_it_asked_when_the_cutoff_was_counted_anew(tmp_path: Path) -> None:
    class Counted(UntilFull):
        """Looks for the M-th solved problem from the start each time."""

        def next_requests(self, room: int) -> list[Key]:
            solved = [position for position, is_solved in enumerate(self._solved) if is_solved]
            self._cutoff = solved[self._size - 1] + 1 if len(solved) >= self._size else len(self._order)
            return super().next_requests(room)

    for seed in range(40):
        source = random.Random(seed)
        order = [f"p{number}" for number in range(30)]
        size = source.randrange(1, 31)
        samplers = [kind(order, samples=3, size=size, per_problem=1) for kind in (UntilFull, Counted)]
        in_flight: list[Key] = []
        while not samplers[0].finished():
            asked, expected = (each.next_requests(8 - len(in_flight)) for each in samplers)
            assert asked == expected
            in_flight += asked
            key = in_flight.pop(source.randrange(len(in_flight)))
            good = source.random() < 0.4
            for each in samplers:
                each.record(key, 0 if good else None)
        assert samplers[1].finished()


def test_fixed_goes_on_with_what_is_missing_and_refuses_what_it_did_not_ask_for() -> None:
    sampler = Fixed(["a", "b"], samples=3)
    sampler.restore([(("b", 1), None), (("a", 0), 0)])
    assert sampler.reached() == 2 and not sampler.finished()
    assert sampler.next_requests(3) == [("a", 1), ("a", 2), ("b", 0)]
    assert sampler.next_requests(3) == [("b", 2)]
    for key in [("a", 1), ("a", 2), ("b", 0), ("b", 2)]:
        sampler.record(key, None)
    assert sampler.finished()
    for key in [("a", 3), ("c", 0), ("a", -1), ("b", 1)]:
        with pytest.raises(RunError, match="not to be sampled, or is there twice"):
            sampler.restore([(key, None)])


EDITS = {
    "another outcome": ("verdicts.jsonl", '"WRONG"', '"CORRECT"'),
    "another answer": ("traces.jsonl", "#### ", "#### 9"),
    "another finish": ("traces.jsonl", '"stop"', '"length"'),
    "another number of tests": ("verdicts.jsonl", '"detail": ""', '"detail": "", "tests_passed": 3, "tests_total": 3'),
    "another checksum": ("verdicts.jsonl", '"checksum": "', '"checksum": "0'),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_verdict_that_is_not_its_trace_s_is_found_before_it_is_gone_on_with(edit: str, tmp_path: Path) -> None:
    """Of whichever kind: nothing is judged again to find it."""
    sampled(tmp_path, Fixed(list(PROBLEMS), samples=1))
    name, old, new = EDITS[edit]
    path = tmp_path / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(
        RunError, match=r"verdicts\.jsonl: problem 'p.*, sample 0: not the verdict of the trace in traces.jsonl"
    ):
        sampled(tmp_path, Fixed(list(PROBLEMS), samples=2))
    path.write_text(text)
    assert sampled(tmp_path, Fixed(list(PROBLEMS), samples=2)).resumed_traces == len(PROBLEMS)


@pytest.mark.parametrize("edit", ["another outcome", "another answer"])
def test_without_checksums_of_earlier_versions_what_is_judged_in_a_moment_is_judged_again(
    edit: str, tmp_path: Path
) -> None:
    sampled(tmp_path, Fixed(list(PROBLEMS), samples=1))
    verdicts = tmp_path / "verdicts.jsonl"
    replace_records(verdicts, [replace(each, checksum="") for each in read_records(verdicts, Verdict)])
    assert "checksum" not in verdicts.read_text()
    name, old, new = EDITS[edit]
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match="not the verdict of the trace"):
        sampled(tmp_path, Fixed(list(PROBLEMS), samples=2))
    (tmp_path / name).write_text(text)
    assert sampled(tmp_path, Fixed(list(PROBLEMS), samples=2)).resumed_traces == len(PROBLEMS)


@pytest.mark.parametrize(("old", "new"), [('"problem_id": "p', '"problem_id": "q'), ('"sample": 0', '"sample": 1')])
def test_a_trace_that_is_given_to_another_problem_or_sample_is_refused(old: str, new: str, tmp_path: Path) -> None:
    sampled(tmp_path, Fixed(list(PROBLEMS), samples=1))
    path = tmp_path / "traces.jsonl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunError, match=r"traces\.jsonl: problem '.*, sample .: not what this run sampled"):
        sampled(tmp_path, Fixed(list(PROBLEMS), samples=2))


@pytest.mark.parametrize("name", ["verdicts.jsonl", "traces.jsonl"])
@pytest.mark.parametrize("where", ["the first line", "the middle", "the end"])
def test_pages_that_were_not_written_when_the_power_failed_are_owed_again(
    name: str, where: str, tmp_path: Path
) -> None:
    sampled(tmp_path, Fixed(list(PROBLEMS), samples=2))
    path = tmp_path / name
    whole = path.read_bytes()
    at = {"the first line": 3, "the middle": len(whole) // 2, "the end": len(whole) - 40}[where]
    path.write_bytes(whole[:at] + bytes(90) + whole[at + 90 :])
    collected = sampled(tmp_path, Fixed(list(PROBLEMS), samples=2))
    assert collected.traces == 2 * len(PROBLEMS)
    assert path.read_bytes() == whole
    lost = 2 * len(PROBLEMS) - collected.resumed_traces
    assert (0 < lost < 4) if name == "traces.jsonl" else lost == 0


def test_the_checksum_of_a_verdict_is_the_same_for_ever() -> None:
    """A stage that an earlier version left half done is gone on with."""
    found = checksum_of(TRACES[0], verdict(TRACES[0]))
    assert found == checksum_of(TRACES[0], replace(verdict(TRACES[0]), checksum="0" * 8)) == "3c9357e3"


def test_verdicts_that_are_put_to_their_traces_are_not_judged_again(tmp_path: Path) -> None:
    journal = written(tmp_path, TRACES, judged_all(TRACES[::-1]))
    assert len(list(journal.recovered(lambda traces: pytest.fail(f"{traces} are judged again")))) == len(TRACES)


def test_problems_come_one_by_one_and_in_order_alone(tmp_path: Path) -> None:
    ordered = [trace("0", 0), trace("A", 0), trace("A", 1), trace("b", 0)]
    journal = written(tmp_path, ordered, judged_all(ordered))
    assert [(name, len(pairs)) for name, pairs in journal.problems()] == [("0", 1), ("A", 2), ("b", 1)]
    journal = written(tmp_path, TRACES, judged_all(TRACES))
    with pytest.raises(RunError, match="not sorted: problem 'a' comes after 'b'"):
        list(journal.problems())
