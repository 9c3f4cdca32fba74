"""Source specs: what is allowed, and what a typo is answered with."""

import pytest
from msgspec.structs import replace

from tpt.config import RunConfig
from tpt.config.own_code_keys import own_code_of, own_code_settings, with_absolute_own_code
from tpt.config.problem_sections import ProblemsConfig
from tpt.errors import ProblemError
from tpt.problems import load_problems
from tpt.problems.spec import SOURCES, parse_spec


def test_a_spec_is_taken_apart():
    spec = parse_spec("reasoning_gym:chain_sum?min_terms=2&seed=7")
    assert (spec.name, spec.rest, spec.params) == ("reasoning_gym", "chain_sum", {"min_terms": "2", "seed": "7"})


def test_values_keep_their_plus_and_decode_percent_signs():
    assert parse_spec("reasoning_gym:x?operators=+,-&name=a%26b%3D").params == {"operators": "+,-", "name": "a&b="}


@pytest.mark.parametrize("path", ["a.jsonl", "a/b.JSON", "../x.csv", "gsm8k.tsv", "word_problems.d/x.parquet"])
def test_a_path_is_known_by_its_suffix(path):
    spec = parse_spec(f"{path}?split=train")
    assert (spec.name, spec.rest, spec.params) == ("table", path, {"split": "train"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gsm9k?split=train", "'gsm9k' is unknown. Did you mean 'gsm8k'"),
        (
            "data.txt",
            r"Allowed: apps, .*word_problems, the path of a file ending in \.jsonl.*, or a function of your own",
        ),
        ("", "the problem source is empty. Name one"),
        ("?split=train", "the problem source is empty"),
        ("gsm8k?train", "'train' is no parameter"),
        ("gsm8k?=train", "is no parameter"),
        ("gsm8k?split=train&split=test", "'split' is given twice"),
        ("gsm8k", r"needs \?split=train or \?split=test"),
        ("gsm8k?split=heldout", "split = 'heldout' is not allowed"),
        ("gsm8k?spilt=test", "'spilt' is unknown. Did you mean 'split'"),
        ("word_problems:x?split=train", "takes nothing after a colon"),
        ("word_problems?split=trian", "Did you mean 'train'"),
        ("word_problems?split=train&size=0", "a whole number from 1 up"),
        ("word_problems?split=train&size=-3", "a whole number from 1 up"),
        ("word_problems?split=train&size=many", "size = 'many' is not allowed"),
        ("word_problems?split=train&size=" + "9" * 5000, "a whole number from 1 up"),
    ],
)
def test_a_bad_spec_is_explained(text, message):
    with pytest.raises(ProblemError, match=message):
        load_problems(text)


def test_word_problems_take_size_seed_kind_and_limit():
    problems = load_problems("word_problems?split=train&size=30&seed=3", seed=9)
    assert len(problems) == 30
    assert load_problems("word_problems?split=train&size=30", seed=3) == problems
    assert load_problems("word_problems?split=train&size=30&seed=3", limit=4) == problems[:4]
    exact = load_problems("word_problems?split=train&size=30&seed=3", kind="exact")
    assert exact == [replace(problem, kind="exact") for problem in problems]


def test_a_limit_must_leave_something():
    with pytest.raises(ProblemError, match="limit = 0 leaves no problems"):
        load_problems("word_problems?split=train", limit=0)


@pytest.mark.parametrize("source", SOURCES)
def test_a_named_source_is_no_function_of_a_module_of_that_name(source: str) -> None:
    """``reasoning_gym:gcd`` and ``gsm8k:folder`` read like ``module:function``."""
    texts = (f"{source}:data?split=train", f"{source}:data")
    config = RunConfig(problems=ProblemsConfig(train=texts[0], heldout=texts[1]))
    assert own_code_of(config) == {} and own_code_settings(config) == {}
    assert with_absolute_own_code(config) == config
    assert all(parse_spec(text).name == source for text in texts)
    own = RunConfig(problems=ProblemsConfig(train="mine.problems:train?size=3", heldout=f"{source}s:data"))
    assert own_code_of(own) == {"problems.train": "mine.problems:train", "problems.heldout": f"{source}s:data"}
