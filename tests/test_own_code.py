"""Functions of the user's own, through the real stages; and every shipped method on what its page says it does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import QUICKSTART, TINY, Tpt, sets
from msgspec.structs import replace

from tpt.compare.reuse import take_over
from tpt.config import EngineConfig, PruneConfig, load_config, parse_config
from tpt.config.engine_section import sampling_settings
from tpt.config.own_code_keys import own_code_of, with_absolute_own_code
from tpt.errors import OwnCodeError, StaleStageError
from tpt.model.load import load_model
from tpt.problems import load_problems
from tpt.prune import is_keepable
from tpt.records import Example, Outcome, Problem, Trace, Verdict
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.manifest import load_manifest
from tpt.sampling.hints import Hints
from tpt.sft.losses import own_loss
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_records
from tpt.system.own_code import load_own_code

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "examples" / "methods"
SMALL = (
    *("problems.max_train=40", "problems.max_heldout=8", "think.samples=4", "prune.size=8", "evaluate.samples=2"),
    *("engine.slots=16", "threads=1", "engine.batch_invariant=true", "stop.gate=warn", "evaluate.probe=0"),
)


def prepared(path: Path, *overrides: str) -> RunDir:
    run = Run(path, load_config(ROOT / "examples" / "quickstart.toml", [*SMALL, *overrides]))
    run.prepare()
    return run.dir


def pair(outcome: Outcome, sample: int = 0, **changed: Any) -> tuple[Trace, Verdict]:
    trace = Trace("p", sample, f"text {sample}", "stop", 5, 7)
    return trace, replace(Verdict("p", sample, outcome, outcome is Outcome.CORRECT, "1"), **changed)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(
        "from tpt import Problem\n"
        "def longest(traces, count, source): return sorted(traces, key=lambda t: -t.completion_tokens)[:count]\n"
        "def late(problem, sample): return 'Think twice.' if sample else ''\n"
        "def backwards(problems, tried, source): return sorted((p.id for p in problems), reverse=True)[:30]\n"
        "def sums(size='3'): return (Problem(f's{n}', f'{n} + 1?', str(n + 1)) for n in range(int(size)))\n"
        "def bad(*arguments): return 7\n"
        "def raises(*arguments): raise RuntimeError('no luck')\n",
        encoding="utf-8",
    )
    return path


def test_order_hint_pick_loss_and_source_go_through_the_stages(tmp_path: Path, own: Path) -> None:
    run = prepared(
        tmp_path / "run",
        *(f"think.order={own}:backwards", f"think.hint_by={own}:late", f"train.loss={METHODS / 'dft.py'}:loss"),
    )
    for stage in ("think", "prune", "train"):
        do_stage(run.path, stage, 1)
    walked = sorted((problem.id for problem in read_records(run.problems, Problem)), reverse=True)[:30]
    traces = read_records(run.round(1).traces, Trace)
    assert {trace.problem_id for trace in traces} <= set(walked)
    assert all(trace.hint == ("Think twice." if trace.sample else "") for trace in traces)
    assert any(trace.hint for trace in traces)
    examples = read_records(run.round(1).examples, Example)
    hinted = [each for each in examples if each.sample]
    assert hinted and not any("Think twice" in message["content"] for each in examples for message in each.messages)
    solved = {verdict.problem_id for verdict in read_records(run.round(1).verdicts, Verdict) if verdict.strict}
    assert {each.problem_id for each in examples} == set([each for each in walked if each in solved][:8])
    # Where the function is changed, what was done with it is no longer what would be done now.
    text = own.read_text(encoding="utf-8")
    own.write_text(text.replace("twice", "again"), encoding="utf-8")
    load_own_code.cache_clear()
    with pytest.raises(StaleStageError, match="settings"):
        do_stage(run.path, "think", 1)
    own.write_text(text, encoding="utf-8")
    load_own_code.cache_clear()


def test_negatives_and_a_trainer_of_one_s_own(tmp_path: Path) -> None:
    run = prepared(
        tmp_path / "run",
        *("think.sampler=fixed", "prune.per_problem=all", f"prune.keep={METHODS / 'negatives.py'}:keep"),
        *(f"prune.weigh={METHODS / 'negatives.py'}:weigh", f"train.loss={METHODS / 'negatives.py'}:loss"),
        f"train.trainer={METHODS / 'averaged.py'}:train",
    )
    for stage in ("think", "prune", "train"):
        do_stage(run.path, stage, 1)
    examples = read_records(run.round(1).examples, Example)
    verdicts = {(each.problem_id, each.sample): each for each in read_records(run.round(1).verdicts, Verdict)}
    right = {(each.problem_id, each.sample): each.weight > 0 for each in examples}
    assert set(right.values()) == {True, False}
    assert all((verdicts[key].outcome is Outcome.CORRECT) == value for key, value in right.items())
    for problem_id in {each.problem_id for each in examples}:
        weights = [each.weight for each in examples if each.problem_id == problem_id]
        assert sum(weight for weight in weights if weight > 0) == pytest.approx(1)
        assert sum(weight for weight in weights if weight < 0) == pytest.approx(-0.5) or min(weights) > 0
    counts = load_manifest(run.round(1).manifest("train"))["counts"]
    assert counts["trainer"].endswith("averaged.py:train") and counts["examples"] == len(examples)
    assert (run.round(1).checkpoint / "model.safetensors").exists()


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose right and wrong traces several methods learn from."""
    run = prepared(tmp_path_factory.mktemp("sampled") / "run", *BOTH, *weighed("revise"))
    do_stage(run.path, "think", 1)
    return run


BOTH = (
    "think.sampler=fixed",
    "prune.per_problem=all",
    "prune.dedupe=none",
    f"prune.keep={METHODS / 'negatives.py'}:keep",
)


def weighed(method: str) -> tuple[str, str]:
    return f"prune.weigh={METHODS / method}.py:weigh", f"train.trainer={METHODS / method}.py:train"


@pytest.mark.parametrize(
    "settings", [weighed("revise"), weighed("nft"), (f"train.trainer={METHODS / 'gem'}.py:train",)]
)
def test_a_method_with_a_trainer_learns_and_its_cost_is_known(
    tmp_path: Path, sampled: RunDir, settings: tuple[str, ...]
) -> None:
    run = prepared(tmp_path / "run", *BOTH, *settings)
    take_over(run, load_config(run.config), [sampled], first_traces=True)
    for stage in ("prune", "train"):
        do_stage(run.path, stage, 1)
    counts = load_manifest(run.round(1).manifest("train"))["counts"]
    before, after = (
        load_model(spec, dtype="float32", device="cpu") for spec in ("embedded", str(run.round(1).checkpoint))
    )
    moved = [
        float((one - other).detach().abs().max())
        for one, other in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 0.1
    assert counts["parameters"] == after.num_parameters() and counts["total_tokens"] > counts["target_tokens"] > 0
    examples = read_records(run.round(1).examples, Example)
    if "revise" in settings[0]:
        # The right ones, and a pair for each that has a wrong one beside it.
        right = sum(each.weight > 0 for each in examples)
        assert right < counts["examples"] <= 2 * right and len(examples) > right
    else:
        assert counts["examples"] == len(examples)


def test_logits_are_scaled_there_and_back(tmp_path: Path) -> None:
    scaled = load_own_code(f"{METHODS / 'gem.py'}:scaled")
    scaled("embedded", tmp_path / "sharp", 1 / 0.7, cache=None)
    scaled(str(tmp_path / "sharp"), tmp_path / "back", 0.7, cache=None)
    ids = torch.tensor([[5, 6, 7, 8]])
    plain, sharp, back = (
        load_model(str(spec), dtype="float32", device="cpu")(ids).logits
        for spec in ("embedded", tmp_path / "sharp", tmp_path / "back")
    )
    torch.testing.assert_close(sharp, plain / 0.7)
    torch.testing.assert_close(back, plain)


@pytest.mark.parametrize("path", sorted(METHODS.glob("*.py")), ids=lambda path: path.stem)
def test_a_method_is_a_short_file_with_its_objective_and_a_few_lines_of_settings(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = text.split('"""')[1]
    settings = [line for line in head.splitlines() if line.startswith("    ")]
    assert len(text.splitlines()) <= 60 and "Objective: " in head
    assert 1 <= sum(not line.strip().startswith("[") for line in settings) <= 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's own use of names that transformers will drop
def test_dpo_through_trl(tmp_path: Path) -> None:
    run = prepared(
        tmp_path / "run",
        *("think.sampler=fixed", "prune.per_problem=all", f"prune.keep={METHODS / 'negatives.py'}:keep"),
        *(f"prune.weigh={METHODS / 'negatives.py'}:weigh", f"train.trainer={METHODS / 'dpo.py'}:train"),
    )
    for stage in ("think", "prune", "train"):
        do_stage(run.path, stage, 1)
    assert load_manifest(run.round(1).manifest("train"))["counts"]["pairs"] > 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("prune.keep={own}:bad", "prune.keep = .*mine.py:bad: it returned 7 of problem .*; expected a bool"),
        ("prune.keep={own}:raises", "raised:\n.*no luck"),
        ("think.order={own}:bad", "it must return a list of ids of the problems"),
        ("think.hint_by={own}:bad", "it returned 7 for problem .*, sample 0; expected a str"),
        ("engine.name={own}:bad", "it returned 7, which lacks guarantee, slots, add"),
    ],
)
def test_a_function_that_does_not_fit_ends_the_stage_with_a_sentence(
    tmp_path: Path, own: Path, setting: str, said: str
) -> None:
    run = prepared(tmp_path / "run", setting.format(own=own))
    with pytest.raises(OwnCodeError, match=f"(?s){said}"):
        do_stage(run.path, "think", 1)


def test_what_cannot_be_imported_is_told_before_anything_is_written(tmp_path: Path, own: Path) -> None:
    with pytest.raises(OwnCodeError, match=r"has no function 'missing', it has: .*longest"):
        prepared(tmp_path / "run", f"prune.weigh={own}:missing", "think.sampler=fixed")
    assert not (tmp_path / "run" / "problems.jsonl").exists()


def test_an_engine_in_a_file_belongs_to_every_stage_that_samples(own: Path) -> None:
    engine, before = EngineConfig(name=f"{own}:bad"), sampling_settings(EngineConfig(), "full")
    first = sampling_settings(engine, "full")
    own.write_text(own.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert sampling_settings(engine, "full")["own_code"] != first["own_code"]
    assert "own_code" not in before


def test_a_hint_is_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "once.py"
    path.write_text("asked = []\ndef hint(problem, sample):\n    asked.append(1)\n    return str(len(asked))\n")
    hints = Hints(f"{path}:hint", {"p": Problem("p", "?", "1")}, samples=2)
    assert [hints.of(("p", 0)), hints.of(("p", 1)), hints.of(("p", 0))] == ["1", "2", "1"]
    assert hints.prompt_key(("p", 1)).endswith("2")


def test_a_problem_source_of_one_s_own(own: Path) -> None:
    problems = load_problems(f"{own}:sums?size=5", limit=4)
    assert [(problem.id, problem.answer) for problem in problems] == [
        ("s0", "1"),
        ("s1", "2"),
        ("s2", "3"),
        ("s3", "4"),
    ]
    with pytest.raises(OwnCodeError, match=r"(?s)raised:.*unexpected keyword argument 'sise'"):
        load_problems(f"{own}:sums?sise=5")
    with pytest.raises(OwnCodeError, match="'int' object is not iterable"):
        load_problems(f"{own}:bad")


def test_functions_in_files_are_named_by_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    table = {"problems": {"train": "a.py:f?size=3", "heldout": "word_problems"}, "prune": {"keep": "k.py:keep"}}
    config = with_absolute_own_code(parse_config(table))
    assert own_code_of(config) == {"problems.train": f"{tmp_path}/a.py:f", "prune.keep": f"{tmp_path}/k.py:keep"}
    assert config.problems.train == f"{tmp_path}/a.py:f?size=3"


def method(name: str) -> Any:
    return load_own_code(f"{METHODS}/{name}")


def test_what_losses_of_methods_do_to_a_token() -> None:
    log_p = torch.tensor([-0.1, -2.0, -5.0])
    losses, slope = own_loss(f"{METHODS}/dft.py:loss")(log_p)
    torch.testing.assert_close(losses, -log_p.exp() * log_p)
    torch.testing.assert_close(slope, -log_p.exp())  # sg(p): the factor has no gradient of its own
    losses, slope = own_loss(f"{METHODS}/negatives.py:loss")(log_p, torch.tensor([1.0, -0.5, -0.5]))
    torch.testing.assert_close(slope, torch.tensor([-1.0, 0.5 * 0.1353353, 0.5 * 0.0067379]))
    assert float(losses[2]) >= -0.5  # bounded, however unlikely the token becomes


def test_weights_of_methods() -> None:
    problem = Problem("p", "?", "1")
    right, wrong = pair(Outcome.CORRECT), pair(Outcome.WRONG, 1)
    assert method("per_problem.py:weigh")(problem, [right] * 4) == [0.25] * 4
    assert method("negatives.py:weigh")(problem, [right, wrong, wrong]) == [1.0, -0.25, -0.25]
    assert method("negatives.py:weigh")(problem, [wrong]) == [0.0]
    assert method("wrong_only.py:weigh")(problem, [right, wrong]) == [0.1, -1.0]
    votes = [pair(Outcome.WRONG, n, extracted=answer) for n, answer in enumerate(["3", "4", "3"])]
    assert method("vote.py:weigh")(problem, votes) == [1.0, 0.0, 1.0]
    assert method("vote.py:weigh")(problem, votes[:2]) == [0.0, 0.0]


def test_hints_of_methods() -> None:
    problem = Problem("p", "?", "12", solution="one two three four five six seven eight")
    assert [bool(method("star.py:answer")(problem, sample)) for sample in range(6)] == [False] * 4 + [True] * 2
    shown = [method("prefix.py:prefix")(problem, sample) for sample in range(9)]
    assert (
        shown[:4] == [""] * 4 and shown[5] == "The solution begins: one" and shown[8] == "The solution begins: one two"
    )
    assert method("prefix.py:prefix")(replace(problem, solution=None), 8) == ""


def test_orders_of_methods() -> None:
    from tpt.run.problem_order import Tried

    problems = [Problem(f"p{n}", "?", "1", level=f"Level {n % 3 + 1}") for n in range(9)]
    tried = {each.id: Tried(n % 2 * 4, n % 4) for n, each in enumerate(problems)}
    order = method("by_need.py:order")(problems, tried, random.Random(0))
    needs = [(tried[each].samples, tried[each].right / max(1, tried[each].samples)) for each in order]
    assert needs == sorted(needs) and len(order) == 9
    fresh = dict.fromkeys(tried, Tried(0, 0))
    assert sorted(method("curriculum.py:order")(problems, fresh, random.Random(0))) == ["p0", "p3", "p6"]
    easy = {each.id: Tried(4, 4 if each.level == "Level 1" else 0) for each in problems}
    assert len(method("curriculum.py:order")(problems, easy, random.Random(0))) == 6


def test_the_noisy_verifier_errs_at_its_rates() -> None:
    problem = Problem("p", "?", "1")

    def kept(function: str, outcome: Outcome) -> int:
        config = PruneConfig(keep=f"{METHODS}/noisy.py:{function}")
        return sum(is_keepable(*pair(outcome, sample), problem, config) for sample in range(2000))

    assert kept("fp_10", Outcome.WRONG) == pytest.approx(200, abs=40) and kept("fp_10", Outcome.CORRECT) == 2000
    assert kept("fn_30", Outcome.CORRECT) == pytest.approx(1400, abs=60) and kept("fn_30", Outcome.WRONG) == 0
    cut, verdict = replace(pair(Outcome.CORRECT)[0], finish_reason="length"), pair(Outcome.CORRECT)[1]
    assert not is_keepable(cut, verdict, problem, PruneConfig(keep=f"{METHODS}/noisy.py:fp_10"))


@pytest.mark.parametrize("path", sorted(METHODS.glob("*.py")), ids=lambda path: path.stem)
def test_a_method_is_small_and_its_settings_are_as_its_page_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60 and "Objective:" in text
    settings = "\n".join(line[4:] for line in text.split('"""')[1].splitlines() if line.startswith("    "))
    assert 1 < len(settings.splitlines()) <= 9
    import tomllib

    monkeypatch.chdir(METHODS)
    config = parse_config(tomllib.loads(settings))
    functions = own_code_of(config)
    assert functions and all(callable(load_own_code(with_path)) for with_path in functions.values())


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own_code.md").read_text(encoding="utf-8")
    blocks = [block.removeprefix("python\n") for block in page.split("```")[1::2]]
    path = tmp_path / "mine.py"
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    run = prepared(
        tmp_path / "run",
        *(f"problems.train={path}:sums?size=40&seed=1", f"problems.heldout={path}:sums?size=9&seed=2"),
        *("think.sampler=fixed", f"prune.pick={path}:fewest_digits"),
        *(
            f"engine.name={path}:loud",
            f"train.trainer={path}:twice_as_long",
            "prune.correct_only=false",
            "prune.size=16",
        ),
    )
    for stage in ("think", "prune", "train"):
        do_stage(run.path, stage, 1)
    assert load_manifest(run.round(1).manifest("train"))["counts"]["steps"] == 2
    assert len(read_records(run.round(1).examples, Example)) == 16


def test_a_run_on_a_named_source_imports_no_module_of_that_name(tpt: Tpt, tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym")
    source = "reasoning_gym:chain_sum?size=30&min_terms=2&max_terms=2&split="
    problems = (f"problems.train={source}train", f"problems.heldout={source}heldout")
    given = sets(*TINY, *problems, "rounds=0", "evaluate.greedy=false", "evaluate.probe=0", "stop.gate=off")
    result = tpt("run", QUICKSTART, "--out", tmp_path / "run", *given)
    assert result.code == 0, result.err
