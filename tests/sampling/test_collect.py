"""Collecting samples: the same files, byte for byte, whatever the engine does and however often it is killed."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from tpt.engines import Completion, Request, Sampling
from tpt.engines.scripted import ScriptedEngine, ids_of
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.sampling.collect import SamplingJob, collect
from tpt.sampling.samplers import Fixed
from tpt.sampling.until_full import UntilFull
from tpt.scoring.solve_rates import Rates
from tpt.seeds import seed_for, shuffled
from tpt.system.jsonl import read_records
from tpt.verifiers.judge import judge

SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=50)
PROBLEMS = {
    f"p{number:02}": Problem(id=f"p{number:02}", question=f"{number}?", answer=str(number)) for number in range(20)
}


def write_answer(request: Request) -> str:
    """Right with a chance that depends on the problem; from the request's own seed alone."""
    number = int(request.id[0][1:])
    right = random.Random(request.seed).random() < (number % 5) / 5
    return f"#### {number if right else number + 1}"


def job(engine: ScriptedEngine) -> SamplingJob:
    return SamplingJob(
        problems=PROBLEMS,
        prompt_ids={key: ids_of(problem.question) for key, problem in PROBLEMS.items()},
        engine=engine,
        sampling=SAMPLING,
        seed_of=lambda key: seed_for(0, *key),
        judge=judge,
        keepable=lambda trace, verdict: verdict.outcome is Outcome.CORRECT,
    )


def sampled_bytes(folder: Path, *, order_seed: int, slots: int) -> tuple[bytes, bytes]:
    paths = (folder / "traces.jsonl", folder / "verdicts.jsonl")
    sampler = UntilFull(shuffled(list(PROBLEMS), 5, "order"), samples=4, size=8, per_problem=1)
    engine = ScriptedEngine(write_answer, slots=slots, order_seed=order_seed)
    collect(sampler, job(engine), traces_path=paths[0], verdicts_path=paths[1], surplus_path=folder / "surplus.jsonl")
    return paths[0].read_bytes(), paths[1].read_bytes()


def test_record_files_are_the_same_bytes_whatever_the_engine_does(tmp_path: Path) -> None:
    results = {sampled_bytes(tmp_path / f"{n}", order_seed=n, slots=1 + 3 * n**2) for n in range(6)}
    assert len(results) == 1


def test_what_is_not_needed_any_more_is_cancelled_and_counted_and_progress_tells_what_is_left(tmp_path: Path) -> None:
    """No problem but the first two can be solved: the set of one is full, while the first in order goes on being tried."""
    seen: list[tuple[int, int]] = []
    script = {("p00", 3): "#### 0", ("p01", 0): "#### 1"}
    engine = ScriptedEngine(lambda request: script.get(request.id, "." * 20), slots=40, tokens_a_step=1)
    cancelled: list[tuple[str, int]] = []

    def cancel(ids: set[tuple[str, int]]) -> int:
        cancelled.extend(ids)
        return ScriptedEngine.cancel(engine, ids)

    engine.cancel = cancel  # type: ignore[method-assign]
    done = collect(
        UntilFull(sorted(PROBLEMS), samples=10, size=1, per_problem=1, expected=Rates.of_mean(0.1)),
        dataclasses.replace(job(engine), on_progress=lambda now: seen.append((now.reached, now.undecided))),
        **{f"{name}_path": tmp_path / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")},
    )
    assert [(each.problem_id, each.sample) for each in read_records(tmp_path / "traces.jsonl", Trace)] == [
        ("p00", sample) for sample in range(4)
    ]
    assert (0, 0) in seen and (1, 1) in seen and seen[-1] == (1, 0)
    assert done.cancelled_requests == len(set(cancelled)) == len(cancelled) > 5
    assert done.cancelled_tokens == 7 * len(cancelled), "when the two short ones came in"


def test_half_a_surrogate_pair_from_an_engine_is_a_replacement_character(tmp_path: Path) -> None:
    class Halving(ScriptedEngine):
        def step(self) -> list[Completion]:
            return [dataclasses.replace(each, text=f"\ud83d{each.text}\U0001f600") for each in super().step()]

    paths = {f"{name}_path": tmp_path / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}
    collect(Fixed(["p00"], samples=1), job(Halving(lambda request: "漢")), **paths)
    assert [each.completion for each in read_records(paths["traces_path"], Trace)] == ["\ufffd漢\U0001f600"]
    assert "\ufffd漢\U0001f600" in paths["traces_path"].read_text(encoding="utf-8")


class Killed(Exception):
    pass


@pytest.mark.parametrize("steps", range(1, 24, 4))
def test_interrupted_sampling_goes_on_to_the_same_bytes(tmp_path: Path, steps: int) -> None:
    undisturbed = sampled_bytes(tmp_path / "undisturbed", order_seed=0, slots=5)

    class Dying(ScriptedEngine):
        taken = 0

        def step(self) -> list:  # type: ignore[type-arg]
            self.taken += 1
            if self.taken > steps:
                raise Killed
            return super().step()

    folder = tmp_path / "disturbed"
    sampler = UntilFull(shuffled(list(PROBLEMS), 5, "order"), samples=4, size=8, per_problem=1)
    paths = {"traces_path": folder / "traces.jsonl", "verdicts_path": folder / "verdicts.jsonl"}
    with pytest.raises(Killed):
        collect(sampler, job(Dying(write_answer, slots=5)), **paths, surplus_path=folder / "surplus.jsonl")
    left = read_records(folder / "traces.jsonl", Trace)
    # A verdict lost and a line torn in the middle are what a killed process can leave.
    lines = (folder / "verdicts.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "verdicts.jsonl").write_bytes(b"".join(lines[:-1]))
    with (folder / "traces.jsonl").open("ab") as file:
        file.write(b'{"problem_id": "p0')
    assert sampled_bytes(folder, order_seed=steps, slots=3) == undisturbed
    surplus = read_records(folder / "surplus.jsonl", Trace) if (folder / "surplus.jsonl").exists() else []
    kept = {replace(trace) for trace in [*read_records(folder / "traces.jsonl", Trace), *surplus]}
    assert set(left) <= kept
    keys = [(v.problem_id, v.sample) for v in read_records(folder / "verdicts.jsonl", Verdict)]
    assert len(keys) == len(set(keys))
