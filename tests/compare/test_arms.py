"""Arms files: what every preset becomes under every budget, and what is said of files that cannot be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import QUICKSTART
from msgspec.structs import replace as changed

from tpt.compare.arms import ARM_KINDS, StudyPlan, load_arms
from tpt.compare.budget import Limit, flops, limit_of, sampled_completions, spent, spent_flops
from tpt.compare.running import run_arms
from tpt.config.own_code_keys import own_code_of
from tpt.errors import ConfigError, TPTError
from tpt.records import Estimate, EvalReport, RoundRecord, think_tokens
from tpt.system.own_code import load_own_code

Write = Callable[..., Path]
BASE = """
[base]
model = "embedded"
rounds = 3
prune.size = 40
think.samples = 5
think.sampler = "until_full"
problems.max_train = 60
"""
REPORT = EvalReport(2, 2, {}, {1: Estimate(0.5, 0.1)}, {1: Estimate(0.5, 0.1)}, {}, {}, {})
BASE_ROUND = RoundRecord(0, "m", REPORT)


@pytest.fixture
def arms_file(tmp_path: Path) -> Write:
    def write(*arms: str, top: str = "", base: str = BASE) -> Path:
        path = tmp_path / "arms.toml"
        sections = "".join(f"[[arm]]\n{arm}\n" for arm in arms)
        path.write_text(f"{top}\n{base}\n{sections}", encoding="utf-8")
        return path

    return write


def plan_of(path: Path) -> StudyPlan:
    return load_arms(path)


def test_every_preset_learns_from_as_many_examples(arms_file: Write) -> None:
    names = [kind for kind in ARM_KINDS if kind != "distilled"]
    plan = plan_of(arms_file(*(f'name = "{name}"' for name in names)))
    arms = {arm.name: arm.config(7) for arm in plan.arms}
    assert {config.seed for config in arms.values()} == {7}
    assert {config.stop.patience for config in arms.values()} == {0}
    for name in ("tpt", "no-prune", "human", "accumulate", "star", "raft", "format-only"):
        assert (arms[name].rounds, arms[name].prune.size, arms[name].prune.max_examples) == (3, 40, 0), name
    for name in ("rft", "rest-em"):
        assert (arms[name].rounds, arms[name].prune.size, arms[name].prune.max_examples) == (3, "all", 40), name
    big = arms["one-big-round"]
    assert (big.rounds, big.prune.per_problem, big.prune.max_examples, big.think.samples) == (1, 3, 120, 15)


def test_the_preset_wins_over_the_base_and_an_arms_own_keys_over_both(arms_file: Write) -> None:
    plan = plan_of(
        arms_file(
            'name = "star"',
            'name = "large"\npreset = "star"\nset = {"prune.size" = 50, train = {start_from = "last"}, rounds = 2}',
            'name = "rft"',
        )
    )
    star, large, rft = (arm.config(0) for arm in plan.arms)
    assert (star.train.start_from, large.train.start_from) == ("base", "last")
    assert (large.prune.size, large.rounds, large.preset) == (50, 2, "star")
    assert rft.think.sampler == "fixed"  # though the base asks for until_full


def test_under_a_budget_of_tokens_a_preset_keeps_its_own_sizes(arms_file: Write) -> None:
    plan = plan_of(arms_file('name = "tpt"', 'name = "star"', 'name = "rest-em"', top='budget = "tokens"'))
    assert [arm.config(0).prune.size for arm in plan.arms] == [40, "all", "all"]


def test_the_reference_arm_comes_first(arms_file: Write) -> None:
    path = arms_file('name = "human"', 'name = "tpt"', 'name = "star"', top='reference = "tpt"\nseeds = [3]')
    plan = plan_of(path)
    assert [arm.name for arm in plan.arms] == ["tpt", "human", "star"]
    assert (plan.reference.name, plan.seeds) == ("tpt", [3])


def test_the_shipped_example_is_an_arms_file() -> None:
    assert len(plan_of(QUICKSTART.parent / "compare" / "arms.toml").arms) == 9
    assert plan_of(QUICKSTART.parent / "compare" / "recipes.toml").reference.name == "tpt"
    noise = plan_of(QUICKSTART.parent / "compare" / "noise.toml")
    assert [arm.name for arm in noise.arms[1:]] == [
        f"{kind}-{rate}" for kind in ("fp", "fn") for rate in (1, 3, 10, 30)
    ]


def test_the_league_s_methods_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    league = plan_of(QUICKSTART.parent / "compare" / "league.toml")
    functions = [name for arm in league.arms for name in own_code_of(arm.config(0)).values()]
    assert len(league.arms) >= 20 and len(functions) > 20
    assert len(league.seeds) >= 5 and league.search is not None and {arm.rounds for arm in league.arms} == {4}
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    assert f"has {len(league.arms)} arms, the plain loop among them" in page
    assert all(callable(load_own_code(name)) for name in functions)


@pytest.mark.parametrize(
    ("arms", "top", "said"),
    [
        (['name = "no-prun"'], "", "no-prun' is no preset, allowed: tpt, star"),
        (['name = "no-prun"'], "", "Did you mean 'no-prune'?"),
        (['name = "a"\npreset = "rest-en"'], "", "Did you mean 'rest-em'?"),
        (['name = "tpt"', 'name = "tpt"'], "", "two arms are named 'tpt'"),
        (['name = "../x"\npreset = "tpt"'], "", "allowed are letters"),
        (['name = "tpt"'], 'reference = "tpd"', "Did you mean 'tpt'?"),
        (['name = "tpt"'], "seeds = []", "seeds"),
        (['name = "tpt"'], "seeds = [1, 1]", "each seed once"),
        (['name = "tpt"'], 'budget = "time"', "budget"),
        (['name = "tpt"'], "budget = 0", "budget"),
        (['name = "tpt"\nest = {}'], "", "unknown key. Did you mean 'set'?"),
        (['name = "tpt"'], "seed = [1]", "unknown key. Did you mean 'seeds'?"),
        (['name = "distilled"'], "", "arm 'distilled': data: file and source"),
        (['name = "tpt"\nset = {"prune.sise" = 3}'], "", "Did you mean 'prune.size'?"),
        (['name = "tpt"\nset = {"seed" = 3}'], "", "seed and preset are not to be set"),
        (['name = "majority-vote"'], "", "the reference arm must have rounds"),
        (['name = "human"', 'name = "tpt"'], 'budget = "tokens"', "'human' samples nothing"),
        (['name = "tpt"'], 'config = "run.toml"', "no such file"),
    ],
)
def test_a_file_that_cannot_be_run_is_explained(arms_file: Write, arms: list[str], top: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_of(arms_file(*arms, top=top))
    assert said in str(error.value)


def test_equal_examples_need_a_number_of_them(arms_file: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'base.prune.size = "all"'):
        plan_of(arms_file('name = "tpt"', base='[base]\nprune.size = "all"'))
    plan = plan_of(arms_file('name = "tpt"', base="[base]\nprune.size = 61\nproblems.max_train = 60"))
    with pytest.raises(ConfigError, match="there are 60 training problems"):
        run_arms(plan, tmp_path / "out", jobs=1)


def test_a_human_arm_without_solutions_is_an_error_before_anything_is_run(
    arms_file: Write, tmp_path: Path, problem_file: Callable[..., Path]
) -> None:
    rows = [{"question": f"What is {place} + 1?", "answer": str(place + 1)} for place in range(8)]
    train, heldout = problem_file("train.jsonl", rows[:4]), problem_file("heldout.jsonl", rows[4:])
    base = f'[base]\nprune.size = 2\nproblems = {{train = "{train}", heldout = "{heldout}"}}'
    plan = plan_of(arms_file('name = "tpt"', 'name = "human"', base=base))
    with pytest.raises(ConfigError, match=r"arm 'human': .*no training problem .* has a solution"):
        run_arms(plan, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('"train.loss" = "{there}/own.py:lost"', r"arm 'odd': .* has no function 'lost', it has: loss"),
        ('"train.loss" = "{there}/gone.py:loss"', r"arm 'odd': .*{there}/gone\.py: no such file"),
        ('"train.loss" = "own.py:lost"', r"arm 'odd': .* has no function 'lost'"),
        ('"problems.train" = "{there}/gone.jsonl"', r"arm 'odd': .*gone\.jsonl: no such file"),
        ('"data.source" = "file", "data.file" = "{there}/gone.jsonl"', r"arm 'odd': data\.file = .*no such file"),
    ],
    ids=["no function", "no file", "beside the arms", "no problems", "no traces"],
)
def test_what_an_arm_lacks_is_told_before_any_is_run(arms_file: Write, tmp_path: Path, keys: str, said: str) -> None:
    (tmp_path / "own.py").write_text("def loss(log_p, weight):\n    return -weight * log_p\n")
    keys, said = (text.replace("{there}", str(tmp_path)) for text in (keys, said))
    plan = plan_of(arms_file('name = "tpt"', f'name = "odd"\npreset = "tpt"\nset = {{{keys}}}'))
    with pytest.raises(TPTError, match=said):
        run_arms(plan, tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spelt", ["own.py:loss", "{there}/own.py:loss", "../{name}/own.py:loss", "~/own.py:loss"])
def test_an_arm_s_function_is_found_however_its_file_is_named(
    arms_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelt: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text("def loss(log_p, weight):\n    return -weight * log_p\n")
    spelt = spelt.replace("{there}", str(tmp_path)).replace("{name}", tmp_path.name)
    plan = plan_of(arms_file(f'name = "tpt"\nset = {{"train.loss" = "{spelt}"}}'))
    assert callable(load_own_code(plan.arms[0].config(0).train.loss))


def done(index: int, tokens: int) -> RoundRecord:
    """A round of a model with 10 weights, with as many tokens in the prompts as in the completions."""
    think = {"traces": 5, "completion_tokens": tokens, "surplus_tokens": 0, "cancelled_tokens": 0}
    train = {"parameters": 10, "total_tokens": tokens // 2}
    return (
        RoundRecord(index, "m", REPORT, think={**think, "prompt_tokens": tokens}, train=train) if index else BASE_ROUND
    )


def test_operations_by_hand() -> None:
    assert flops(done(1, 100)) == 10 * (2 * (100 + 100) + 6 * 50) and flops(BASE_ROUND) == 0
    adapted = changed(done(1, 100), train={"parameters": 10, "total_tokens": 50, "method": "lora"})
    assert flops(adapted) == 10 * (2 * 200 + 4 * 50)
    human = changed(done(1, 100), think={"traces": 60})
    assert flops(human) == 10 * 6 * 50
    # Of earlier versions nobody knows how long the prompts were.
    earlier = changed(done(1, 100), think={"traces": 5, "completion_tokens": 100})
    assert flops(earlier) is None and spent_flops([done(1, 100), earlier]) is None
    assert spent_flops([BASE_ROUND, done(1, 100), adapted]) == 7000 + 6000


def test_an_arm_that_only_trains_goes_on_until_it_has_cost_as_much(arms_file: Write) -> None:
    plan = plan_of(arms_file('name = "tpt"', 'name = "human"', top='budget = "flops"'))
    reference = [BASE_ROUND, done(1, 100)]  # 7000
    rounds = [BASE_ROUND, *(changed(done(index, 100), think={"traces": 60}) for index in (1, 2, 3))]  # 3000 each
    limit = limit_of(plan.arms[1], plan, reference=reference)
    assert limit == Limit(3, 12, 7000.0, is_flops=True)
    assert [limit.allows_round_after(rounds[:count]) for count in (2, 3, 4)] == [True, False, False]


def test_what_was_thrown_away_was_spent_too() -> None:
    counts = {"completion_tokens": 100, "surplus_tokens": 20, "cancelled_tokens": 3}
    counts |= {"traces": 10, "surplus_traces": 2, "cancelled_requests": 1}
    record = RoundRecord(1, "m", REPORT, think=counts)
    assert (think_tokens(record), sampled_completions(record)) == (123, 13)
    taken = RoundRecord(1, "m", REPORT, think={"traces": 60})
    assert (think_tokens(taken), sampled_completions(taken), spent([record, taken])) == (0, 0, 123)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([], True),  # one round in any case
        ([900], False),
        ([1000], False),
        ([600], True),  # 1200 would be nearer to 1000 than 600 is
        ([300, 300, 300], False),  # 900 is nearer to 1000 than 1200
        ([400, 400], True),
    ],
)
def test_an_arm_ends_where_it_is_nearest_to_its_tokens(arms_file: Write, costs: list[int], expected: bool) -> None:
    plan = plan_of(arms_file('name = "tpt"', 'name = "star"', 'name = "majority-vote"', top="budget = 1000"))
    records = [done(0, 0), *(done(index, cost) for index, cost in enumerate(costs, start=1))]
    assert limit_of(plan.arms[1], plan, reference=[]).allows_round_after(records) == expected
    by_tokens, by_flops = replace(plan, budget="tokens"), replace(plan, budget="flops")
    reference = [done(0, 0), done(1, 1000)]
    assert limit_of(plan.arms[1], by_tokens, reference=reference).allows_round_after(records) == expected
    assert limit_of(plan.arms[1], by_flops, reference=reference).allows_round_after(records) == expected
    assert limit_of(plan.arms[0], by_tokens, reference=[]).allows_round_after(records) == (len(costs) < 3)
    vote = limit_of(plan.arms[2], plan, reference=[])
    assert vote.allows_round_after([]) and not vote.allows_round_after(records)


def test_an_arm_that_samples_nothing_does_the_bases_rounds(arms_file: Write) -> None:
    plan = plan_of(arms_file('name = "tpt"', 'name = "human"', top="budget = 1000"))
    records = [done(0, 0), *(RoundRecord(index, "m", REPORT, think={"traces": 60}) for index in (1, 2, 3))]
    limit = limit_of(plan.arms[1], plan, reference=[])
    assert [limit.allows_round_after(records[:count]) for count in (1, 2, 3, 4)] == [True, True, True, False]


def test_rounds_for_tokens_have_an_end(arms_file: Write) -> None:
    plan = plan_of(arms_file('name = "tpt"', 'name = "one-big-round"', top="budget = 1000000"))
    records = [done(0, 0), *(done(index, 1) for index in range(1, 13))]
    one, big = (limit_of(arm, plan, reference=[]) for arm in plan.arms)
    assert one.allows_round_after(records[:12]) and not one.allows_round_after(records)
    assert big.allows_round_after(records[:1]) and not big.allows_round_after(records[:2])
