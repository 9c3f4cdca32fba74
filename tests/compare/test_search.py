"""The search for each arm's learning rate, and the budget of operations: really run on the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpt.compare import run_comparison
from tpt.compare.arms import StudyPlan, load_arms
from tpt.compare.budget import flops, limit_of
from tpt.compare.results import Study
from tpt.compare.running import arm_run_of
from tpt.compare.search import FOLDER, Searched, search_rates, with_rates
from tpt.compare.table import study_markdown, study_text
from tpt.config import load_config
from tpt.errors import ConfigError
from tpt.problems import load_problems
from tpt.records import Problem
from tpt.system.jsonl import read_json, read_records

ARMS = """
seeds = [0]
budget = "flops"
[search]
rates = [1e-7, 2e-4]
held_back = 6
rounds = 1
[base]
model = "embedded"
rounds = 1
threads = 1
problems = {max_train = 30, max_heldout = 8}
engine = {slots = 16}
stop = {gate = "off"}
think = {samples = 2, max_tokens = 60}
prune = {size = 8}
evaluate = {samples = 2, max_tokens = 60, probe = 0}
[[arm]]
name = "tpt"
[[arm]]
name = "human"
[[arm]]
name = "majority-vote"
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search")
    (path / "arms.toml").write_text(ARMS)
    return path


@pytest.fixture(scope="module")
def plan(out: Path) -> StudyPlan:
    return load_arms(out / "arms.toml")


@pytest.fixture(scope="module")
def found(plan: StudyPlan, out: Path) -> Study:
    return run_comparison(plan, out, jobs=1)


def searched_runs(out: Path) -> list[Path]:
    return sorted(path.parent for path in (out / FOLDER / "arms").glob("*/*/config.toml"))


def test_every_arm_that_trains_is_tried_at_every_rate_on_training_problems_alone(found: Study, out: Path) -> None:
    runs = searched_runs(out)
    assert [run.parent.name for run in runs] == ["human-0.0002", "human-1e-07", "tpt-0.0002", "tpt-1e-07"]
    assert {run.name for run in runs} == {"seed-1"}, "the search has a seed of its own"
    config = load_config(out / "arms" / "tpt" / "seed-0" / "config.toml")
    learnt = {each.question for each in load_problems(config.problems.train, seed=1, limit=30)}
    for run in runs:
        held, rest = (read_records(run / name, Problem) for name in ("heldout.jsonl", "problems.jsonl"))
        assert (len(held), len(rest)) == (6, 24)
        assert {each.question for each in [*held, *rest]} == learnt
        assert all(each.solution and each.cluster for each in held)


def test_the_best_rate_is_what_the_arm_is_trained_at(found: Study, out: Path) -> None:
    assert [each.arm for each in found.search] == ["tpt", "human"]
    for each in found.search:
        scores = {
            rate: read_json(out / FOLDER / "arms" / f"{each.arm}-{rate:g}" / "seed-1" / "round-1" / "round.json")
            for rate in each.strict
        }
        assert each.strict == {rate: score["evaluate"]["pass_at_k"]["1"]["mean"] for rate, score in scores.items()}
        assert each.strict[each.chosen] == max(each.strict.values())
        config = load_config(out / "arms" / each.arm / "seed-0" / "config.toml")
        assert config.train.learning_rate == each.chosen
        assert each.at_the_edge and each.minutes > 0
    tpt, human = found.search
    assert tpt.tokens_sampled > 0 == human.tokens_sampled
    assert tpt.flops is not None and human.flops is not None and tpt.flops > human.flops > 0
    for page in (study_text(found), study_markdown(found)):
        assert "strict pass@1 on 6 training problems held back, after 1 round at each rate" in page
        assert "(edge)" in page


def test_arms_end_where_they_are_nearest_to_the_reference_arm_s_operations(
    found: Study, plan: StudyPlan, out: Path
) -> None:
    reference, human = (arm_run_of(out, arm, 0).records() for arm in plan.arms[:2])
    budget = flops(reference[1])
    assert budget is not None and budget > 0
    spent = [flops(record) for record in human]
    assert spent[1] and len(human) >= 2
    limit = limit_of(plan.arms[1], plan, reference=reference)
    assert not limit.allows_round_after(human) and (len(human) == 2 or limit.allows_round_after(human[:-1]))
    # The run that is left says how many rounds it has, not how many it might have had.
    assert load_config(out / "arms" / "human" / "seed-0" / "config.toml").rounds == len(human) - 1
    costs = {arm.name: arm.cost.flops for arm in found.arms}
    assert costs["tpt"] is not None and costs["tpt"].mean == budget
    vote = costs["majority-vote"]
    assert vote is not None and 0 < vote.mean <= budget
    train = reference[1].train or {}
    think = reference[1].think or {}
    sampled = sum(think[part] for part in ("completion_tokens", "surplus_tokens", "cancelled_tokens", "prompt_tokens"))
    assert budget == train["parameters"] * (2 * sampled + 6 * train["total_tokens"])


def test_called_again_it_computes_nothing(found: Study, plan: StudyPlan, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("round-*/*.json*")}
    again = run_comparison(plan, out, jobs=1)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("round-*/*.json*")} != {}
    assert again.search == found.search


def test_of_rates_alike_the_lowest_is_taken(plan: StudyPlan) -> None:
    found = Searched("tpt", {3e-4: 0.5, 1e-4: 0.5, 2e-4: 0.4}, 1e-4, 6, 1, 0, None, 0.0)
    (tpt, human, vote) = with_rates(plan, [found]).arms
    assert tpt.config(0).train.learning_rate == 1e-4
    assert (human, vote) == tuple(plan.arms[1:])
    assert (
        found.at_the_edge
        and not Searched("tpt", {1e-4: 0.1, 2e-4: 0.9, 3e-4: 0.2}, 2e-4, 6, 1, 0, None, 0.0).at_the_edge
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rates = [1e-7, 2e-4]", "rates = [1e-4]", "search.rates"),
        ("rates = [1e-7, 2e-4]", "rates = [1e-4, 1e-4]", "each rate once"),
        ("held_back", "heldback", "Did you mean 'held_back'"),
        (
            'name = "human"',
            'name = "human"\nset = {"train.learning_rate" = 1e-4}',
            "arm 'human': set: train.learning_rate is searched for",
        ),
    ],
)
def test_a_search_that_cannot_be_done_is_explained(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "arms.toml").write_text(ARMS.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        load_arms(tmp_path / "arms.toml")


def test_some_problems_must_be_left_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "arms.toml").write_text(ARMS.replace("held_back = 6", "held_back = 30"))
    with pytest.raises(ConfigError, match=r"search\.held_back = 30, but arm 'tpt' has 30 training problems"):
        search_rates(load_arms(tmp_path / "arms.toml"), tmp_path / "out", jobs=1, progress=False)
