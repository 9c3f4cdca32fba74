"""The gate inside ``tpt run``: it stops what can keep nothing, early, and leaves every other run as it was."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import scripted_models as models
from command_line import QUICKSTART, Tpt
from scripted_models import Configure, Script
from server_stub import Stub

from tpt.config import load_config
from tpt.engines import Request
from tpt.engines.scripted import ScriptedEngine, ids_of
from tpt.errors import GateError
from tpt.gate import watch_evaluation, watch_thinking
from tpt.records import Problem, Trace
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.problem_order import problem_order
from tpt.run.stage import StageContext, problems_by_id
from tpt.sampling.collect import SamplingJob, Watch, collect
from tpt.sampling.open import sampling_of
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.seeds import seed_for
from tpt.system.jsonl import read_records
from tpt.verifiers.judge import judge


def test_a_run_that_can_keep_nothing_stops_within_the_score_of_the_base_model(
    configure: Configure, tpt: Tpt, stub: Stub, tmp_path: Path
) -> None:
    config, out = configure(models.boxed, "think.samples = 2", "evaluate.probe = 0", train=40), tmp_path / "run"
    stopped = tpt("run", config, "--out", out)
    assert stopped.code == 2 and not stopped.out
    assert "error: the run can keep nothing: of 200 samples of 40 held-out problems none" in stopped.err
    assert 'verify.answer_format = "boxed"' in stopped.err and 'stop.gate = "warn"' in stopped.err
    assert max(map(len, stopped.err[stopped.err.index("error: ") :].splitlines())) <= 88
    sampled = (out / "round-0/evaluate/traces.jsonl").read_bytes()
    assert 200 <= sampled.count(b"\n") < 300
    assert not (out / "round-0/evaluate.json").exists() and not (out / "round-1").exists()
    asked = len(stub.bodies)
    again = tpt("evaluate", out, "--round", "0")
    assert (again.code, again.err.splitlines()[-6:]) == (2, stopped.err.splitlines()[-6:])
    assert len(stub.bodies) == asked + 3, "only the engine's own probe"
    assert (out / "round-0/evaluate/traces.jsonl").read_bytes() == sampled
    # A run may go on with another value of this key.
    Run(out, load_config(config, ["stop.gate=warn"])).prepare()
    warned = tpt("evaluate", out, "--round", "0")
    assert warned.code == 0 and "Gate: wrong format" in warned.err
    assert (out / "round-0/evaluate.json").exists()


def opened(path: Path, *overrides: str, train: int = 60, heldout: int = 60) -> StageContext:
    """A run on the embedded config's problems, whose samples a scripted engine will give."""
    sets = [f"problems.max_train={train}", f"problems.max_heldout={heldout}", "evaluate.samples=5", *overrides]
    run = Run(path, load_config(QUICKSTART, sets))
    run.prepare()
    return StageContext(RunDir(path), RunDir(path).round(0), run.config, False)


def sampled(
    context: StageContext,
    script: Script,
    sampler: Sampler,
    problems: dict[str, Problem],
    watch: Watch | None,
    *,
    slots: int = 8,
    steps: int = 10**9,
) -> list[Trace]:
    """Sample with a watch, dying after so many steps of the engine."""

    class Dying(ScriptedEngine):
        left = steps

        def step(self) -> list:  # type: ignore[type-arg]
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().step()

    def write(request: Request) -> str:
        text, reason = script(int(problems[request.id[0]].answer), random.Random(request.seed))
        return text if reason == "stop" else text + " and so on" * 100

    engine = Dying(write, slots=slots, order_seed=slots)
    folder = context.round_dir.evaluate
    folder.mkdir(parents=True, exist_ok=True)
    paths = {f"{name}_path": folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}
    job = SamplingJob(
        problems=problems,
        prompt_ids={key: ids_of(problem.question) for key, problem in problems.items()},
        engine=engine,
        sampling=sampling_of(context.config.evaluate),
        seed_of=lambda key: seed_for(0, *key),
        judge=judge,
        keepable=lambda trace, verdict: verdict.strict,
        watch=watch,
    )
    collect(sampler, job, **paths)
    return read_records(paths["traces_path"], Trace)


def evaluated(context: StageContext, script: Script, *, watched: bool = True, **engine: int) -> list[Trace]:
    problems = problems_by_id(context.run.heldout)
    sampler = Fixed(sorted(problems), context.config.evaluate.samples)
    watch = watch_evaluation(context, problems) if watched else None
    return sampled(context, script, sampler, problems, watch, **engine)


@pytest.mark.parametrize("script", [models.good, models.easy, models.saturated], ids=["good", "easy", "saturated"])
def test_a_run_that_passes_keeps_its_bytes(tmp_path: Path, script: Script) -> None:
    found = []
    for watched in (True, False):
        context = opened(tmp_path / str(watched))
        evaluated(context, script, watched=watched)
        found.append([path.read_bytes() for path in sorted(context.round_dir.evaluate.iterdir())])
    assert found[0] == found[1]


@pytest.mark.parametrize("steps", [3, 40, 120])
def test_an_interrupted_run_decides_what_the_undisturbed_one_does(tmp_path: Path, steps: int) -> None:
    said = []
    for name, interruptions in (("undisturbed", 0), ("killed", 2)):
        context = opened(tmp_path / name)
        for slots in range(3, 3 + interruptions):
            with pytest.raises(KeyboardInterrupt):
                evaluated(context, models.boxed, steps=steps // 2, slots=slots)
        with pytest.raises(GateError) as stopped:
            evaluated(context, models.boxed, slots=16)
        said.append(str(stopped.value))
        with pytest.raises(GateError) as again:
            evaluated(context, models.boxed, steps=0)
        said.append(str(again.value))
    assert len(set(said)) == 1
    assert "Verdict: wrong format" in " ".join(said[0].split())


def test_too_little_to_judge_by_stops_nothing(tmp_path: Path) -> None:
    context = opened(tmp_path / "run", heldout=30)
    assert len(evaluated(context, models.hard)) == 150


@pytest.mark.parametrize(
    "override",
    ["stop.gate=off", "stop.gate=warn", "data.source=human", "prune.correct_only=false", "think.max_tokens=99"],
)
def test_what_does_not_stop(tmp_path: Path, override: str) -> None:
    """Off and warnings; traces from elsewhere; a policy that keeps wrong ones; more room for what was cut off."""
    script = models.cut if override.startswith("think") else models.hard
    context = opened(tmp_path / "run", override)
    assert len(evaluated(context, script)) == 300


@pytest.mark.parametrize("sampler", ["until_full", "fixed"])
def test_thinking_stops_too(tmp_path: Path, sampler: str) -> None:
    """After 40 problems, in the order that they are sampled in; one trace to keep, and the look is over."""

    def think(name: str, script: Script, **engine: int) -> list[Trace]:
        context = opened(tmp_path / name, f'think.sampler="{sampler}"')
        problems, samples = problems_by_id(context.run.problems), context.config.think.samples
        order = problem_order(list(problems), 0, 1) if sampler == "until_full" else sorted(problems)
        watch = watch_thinking(context, problems, order)
        assert watch is not None
        made: Sampler = (
            UntilFull(order, samples=samples, size=None, per_problem=1, first=watch.first)
            if sampler == "until_full"
            else Fixed(order, samples, first=watch.first)
        )
        return sampled(context, script, made, problems, watch, **engine)

    with pytest.raises(KeyboardInterrupt):
        think("hopeless", models.hard, steps=20)
    with pytest.raises(GateError, match=r"of 160 samples of 40 training problems none"):
        think("hopeless", models.hard)
    taken = read_records(tmp_path / "hopeless/round-0/evaluate/traces.jsonl", Trace)
    assert 160 <= len(taken) < 200
    lucky = itertools.chain([True], itertools.repeat(False))

    def one_is_right(answer: int, source: random.Random) -> tuple[str, str]:
        return f"#### {answer if next(lucky) else answer + 1}", "stop"

    assert len(think("lucky", one_is_right)) == (237 if sampler == "until_full" else 240)


def test_the_event_log_tells_what_the_gate_saw(tmp_path: Path) -> None:
    context = opened(tmp_path / "run")
    evaluated(context, models.good)
    line = (context.run.logs / "events.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert '"event": "gate"' in line and '"verdict": "good"' in line and '"stops": false' in line
