"""Training sets that are part human solutions: drawn by the seed, checked, of constant size, through the real stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICKSTART, Tpt

from tpt.audit.run_problems import load_sources
from tpt.config import RunConfig, load_config, parse_config
from tpt.errors import ConfigError, RunError
from tpt.mix import HUMAN_SAMPLE, HumanPart, human_part, human_size, own_size, require_solutions
from tpt.prune import Pruning
from tpt.records import Example, Message, Outcome, Problem, Trace, Verdict
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.manifest import load_manifest
from tpt.run.problem_order import problem_order
from tpt.run.stage import problems_by_id
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_records, replace_records

SMALL = (
    *("problems.max_train=60", "problems.max_heldout=8", "think.samples=4", "prune.size=12", "evaluate.samples=2"),
    *("engine.slots=16", "threads=1", "engine.batch_invariant=true", "data.mix=0.25"),
)


def config_of(*overrides: str) -> RunConfig:
    return parse_config({"prune": {"size": 8}, "data": {"mix": 0.5}}, list(overrides))


def problems_of(count: int, **changed: Any) -> dict[str, Problem]:
    """Problems with solutions; ``changed``: solutions of some in other words."""
    return {
        f"p{n:02}": Problem(f"p{n:02}", f"{n}?", str(n), solution=changed.get(f"p{n:02}", f"So {n}.\n#### {n}"))
        for n in range(count)
    }


def pairs_of(problems: dict[str, Problem], samples: int = 2) -> list[tuple[str, list[tuple[Trace, Verdict]]]]:
    def pair(key: str, sample: int) -> tuple[Trace, Verdict]:
        return Trace(key, sample, f"{key} {sample}", "stop", 5, 0), Verdict(key, sample, Outcome.CORRECT, True, None)

    return [(key, [pair(key, sample) for sample in range(samples)]) for key in sorted(problems)]


def ask(problem: Problem) -> list[Message]:
    return [{"role": "user", "content": problem.question}]


def pruned(problems: dict[str, Problem], config: RunConfig, index: int = 1) -> list[Example]:
    part = human_part(problems, config, index)
    order = problem_order(list(problems), config.seed, index)
    pruning = Pruning(problems, config.prune, config.seed, index, order, part)
    groups = pairs_of(problems)
    found, chosen = pruning.survey(groups)
    examples = list(pruning.examples(groups, chosen, ask))
    assert (found.human_examples, found.problems_kept) == (len(part.solutions), len(examples))
    return examples


# --- what is drawn


@pytest.mark.parametrize(
    ("overrides", "index", "human", "own"),
    [
        (["data.mix=0"], 1, 0, 8),
        (["data.mix=0", "prune.size=all"], 1, 0, None),
        ([], 1, 4, 4),
        (["data.mix=0.3"], 1, 2, 6),
        (["prune.growth=2.0"], 3, 16, 16),
    ],
)
def test_the_size_stays_and_the_share_is_human(overrides: list[str], index: int, human: int, own: int | None) -> None:
    config = config_of(*overrides)
    assert (human_size(config, index), own_size(config, index)) == (human, own)


def test_the_draw_follows_from_seed_and_round_alone() -> None:
    problems = problems_of(40)
    draw = {
        (seed, index): frozenset(human_part(problems, config_of(f"seed={seed}"), index).solutions)
        for seed in (0, 1)
        for index in (1, 2)
    }
    assert len(set(draw.values())) == 4 and all(len(each) == 4 for each in draw.values())
    backwards = dict(reversed(problems.items()))
    assert frozenset(human_part(backwards, config_of(), 1).solutions) == draw[0, 1]


def test_only_solutions_that_pass_their_verifier_are_drawn() -> None:
    wrong = {f"p{n:02}": f"So.\n#### {n + 1}" for n in range(10)}
    loose = {f"p{n:02}": f"So it is {n}" for n in range(10, 20)}
    none = dict.fromkeys((f"p{n:02}" for n in range(20, 30)), None)
    problems = problems_of(38, **wrong, **loose, **none)
    assert set(human_part(problems, config_of("prune.size=16"), 1).solutions) == {f"p{n:02}" for n in range(30, 38)}
    lenient = human_part(problems, config_of("prune.size=36", "prune.require_format=false"), 1)
    assert set(lenient.solutions) == {f"p{n:02}" for n in (*range(10, 20), *range(30, 38))}


def test_false_steps_count_against_people_too() -> None:
    problems = problems_of(9, p00="2 + 2 = 5\n#### 0")
    config = config_of("prune.size=16", "prune.require_true_steps=true")
    assert "p00" not in human_part(problems, config, 1).solutions


def test_no_mix_draws_nothing() -> None:
    assert human_part(problems_of(4), config_of("data.mix=0"), 1) == HumanPart()


# --- what is pruned


def test_apart_no_problem_comes_twice_and_the_rows_are_in_order() -> None:
    examples = pruned(problems_of(30), config_of())
    keys = [(each.problem_id, each.sample) for each in examples]
    assert len({problem_id for problem_id, _ in keys}) == len(keys) == 8 and keys == sorted(keys)
    human = [each for each in examples if each.sample == HUMAN_SAMPLE]
    assert len(human) == 4
    for each in human:
        number = int(each.problem_id[1:])
        assert each.messages == [
            {"role": "user", "content": f"{number}?"},
            {"role": "assistant", "content": f"So {number}.\n#### {number}"},
        ]


def test_shared_a_problem_may_come_with_both() -> None:
    examples = pruned(problems_of(8), config_of("data.mix_problems=shared", "prune.size=12", "data.mix=0.4"))
    assert len(examples) == 12 and len({each.problem_id for each in examples}) < 12
    assert len({(each.problem_id, each.sample) for each in examples}) == 12


def test_the_own_part_takes_several_traces_of_a_problem_where_asked() -> None:
    config = config_of("prune.per_problem=2", "think.sampler=fixed")
    problems = problems_of(30)
    part = human_part(problems, config, 1)
    pruning = Pruning(problems, config.prune, 0, 1, list(problems), part)
    found, chosen = pruning.survey(pairs_of(problems))
    assert (len(chosen), found.problems_kept, found.size_wanted) == (4, 8, 8)
    assert len(list(pruning.examples(pairs_of(problems), chosen, ask))) == 4 + 2 * 4


# --- what is refused


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.source=human"], 'mix = 0.5 and source = "human": all is human already'),
        (["data.mode=accumulate"], 'mode = "accumulate" would bring a human solution again and again'),
        (["prune.size=all"], "prune.size must be a number and prune.max_examples 0, got 'all' and 0"),
        (["prune.max_examples=5"], "prune.size must be a number and prune.max_examples 0, got 8 and 5"),
        (["data.mix=1.0"], "data.mix = 1.0: should be less than 1"),
        (["data.mix=-0.1"], "data.mix = -0.1: should be greater than or equal to 0"),
        (["data.mix_problems=both"], "data.mix_problems = 'both': should be 'apart' or 'shared'"),
    ],
)
def test_what_a_mix_cannot_go_with(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(*overrides)
    assert message in str(caught.value)


def test_too_few_solutions_are_counted() -> None:
    with pytest.raises(ConfigError) as caught:
        require_solutions(problems_of(5, p00=None, p01="#### 7"), config_of("problems.train=mine.jsonl"))
    assert "round 1 is to train on 4 human solutions, but of 5 training problems (mine.jsonl) 4 have one, and 3" in str(
        caught.value
    )
    with pytest.raises(ConfigError, match="round 4 is to train on 32 human solutions"):
        require_solutions(problems_of(20), config_of("prune.growth=2.0"))


def test_a_source_without_solutions_is_refused_before_anything_is_sampled(
    fails: Callable[..., str], tmp_path: Path, problem_file: Callable[..., Path]
) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(8)]
    where = [
        f"problems.{side}={problem_file(f'{side}.jsonl', part)}"
        for side, part in (("train", rows[:5]), ("heldout", rows[5:]))
    ]
    for key, wanted in (("data.source=human", "no training problem"), ("data.mix=0.5", "0 have one, and 0 of these")):
        sets = [part for each in (*where, "prune.size=4", key) for part in ("--set", each)]
        said = fails("run", QUICKSTART, "--out", tmp_path / "run", *sets, code=2)
        assert wanted in said and "train.jsonl" in said and "problems.columns.solution" in said
        assert not (tmp_path / "run" / "round-0").exists()


# --- through the real stages


@pytest.mark.parametrize(("sampler", "where"), [("until_full", "apart"), ("fixed", "apart"), ("until_full", "shared")])
def test_the_stages_sample_and_prune_a_mix(tmp_path: Path, one_thread: None, sampler: str, where: str) -> None:
    config = load_config(QUICKSTART, [*SMALL, f"think.sampler={sampler}", f"data.mix_problems={where}"])
    Run(tmp_path / "run", config).prepare()
    run = RunDir(tmp_path / "run")
    for stage in ("think", "prune"):
        do_stage(run.path, stage, 1)
    round_dir = run.round(1)
    problems = problems_by_id(run.problems)
    examples = read_records(round_dir.examples, Example)
    human = {each.problem_id for each in examples if each.sample == HUMAN_SAMPLE}
    own = [(each.problem_id, each.sample) for each in examples if each.sample != HUMAN_SAMPLE]
    assert human == set(human_part(problems, config, 1).solutions) and len(human) == 3
    assert all(
        each.messages[-1]["content"] == problems[each.problem_id].solution
        for each in examples
        if each.problem_id in human and each.sample == HUMAN_SAMPLE
    )
    sampled = {trace.problem_id for trace in read_records(round_dir.traces, Trace)}
    verdicts = {(v.problem_id, v.sample): v for v in read_records(round_dir.verdicts, Verdict)}
    assert len(own) == 9 and all(verdicts[key].strict for key in own)
    assert where == "shared" or not sampled & human
    if (sampler, where) == ("fixed", "apart"):
        assert sampled == problems.keys() - human
    counts = load_manifest(round_dir.manifest("prune"))["counts"]
    assert (counts["examples"], counts["human_examples"], counts["size_wanted"]) == (12, 3, 12)
    before = round_dir.examples.read_bytes()
    round_dir.manifest("prune").unlink()
    do_stage(run.path, "prune", 1)
    assert round_dir.examples.read_bytes() == before


@pytest.mark.parametrize(
    ("right", "said"), [(0, "Nothing is left to train on"), (5, 'prune.if_short = "stop" ends the run')]
)
def test_human_solutions_do_not_fill_in_for_traces_of_a_file(tmp_path: Path, right: int, said: str) -> None:
    traces = tmp_path / "traces.jsonl"
    config = load_config(QUICKSTART, [*SMALL, "data.source=file", f"data.file={traces}", "prune.if_short=stop"])
    problems = {each.id: each for each in load_sources(config)[0]}
    others = sorted(problems.keys() - human_part(problems, config, 1).solutions.keys())
    given = [
        Trace(problem.id, 0, f"#### {problem.answer}" if problem.id in others[:right] else "#### 0.5", "stop", 9, 0)
        for problem in problems.values()
    ]
    replace_records(traces, given)
    Run(tmp_path / "run", config).prepare()
    run = RunDir(tmp_path / "run")
    do_stage(run.path, "think", 1)
    with pytest.raises(RunError) as caught:
        do_stage(run.path, "prune", 1)
    wanted = f"{right} problems have a keepable trace, 9 were wanted (prune.size less the share data.mix)"
    assert wanted in str(caught.value) and said in str(caught.value)


def test_a_plan_knows_the_mix(tpt: Tpt, tmp_path: Path) -> None:
    sets = [part for each in (*SMALL, "rounds=1") for part in ("--set", each)]
    planned = json.loads(tpt("plan", QUICKSTART, "--out", tmp_path / "run", *sets, "--format", "json").out)
    train = next(each for each in planned["stages"] if each["stage"] == "train")
    assert train["samples"] == 12
