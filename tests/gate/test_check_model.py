"""Five configs, five verdicts, each from at most 200 samples, through the real command line."""

from __future__ import annotations

import json

import pytest
import scripted_models as models
from command_line import Tpt
from scripted_models import Configure, Script

CASES = {
    "good": (models.good, False, []),
    "wrong format": (models.boxed, True, ['verify.answer_format = "boxed"']),
    "too hard": (models.hard, True, ["problems.train, problems.heldout: easier problems"]),
    "too easy": (models.easy, False, ["problems.train, problems.heldout: harder problems"]),
    "cut off": (models.cut, True, ["think.max_tokens and evaluate.max_tokens: 1024"]),
    "saturated": (models.saturated, False, ["think.temperature: higher, for more different solutions"]),
}


@pytest.mark.parametrize("verdict", CASES)
def test_a_verdict_and_the_keys_to_turn_from_200_samples(verdict: str, configure: Configure, tpt: Tpt) -> None:
    script, stops, keys = CASES[verdict]
    config = configure(script)
    told = tpt("check", config, "--model", "--format", "json")
    found = json.loads(told.out)
    assert (found["verdict"], found["stops"], told.code) == (verdict, stops, int(stops)), told.out
    assert found["samples"] == 200 and found["problems"] == 40
    assert [key for finding in found["findings"] for key in finding["keys"]][: len(keys)] == keys


@pytest.mark.parametrize("script", [models.good, models.boxed, models.cut], ids=["good", "boxed", "cut"])
def test_the_text_fits_80_columns_and_says_what_was_seen(script: Script, configure: Configure, tpt: Tpt) -> None:
    out = tpt("check", configure(script), "--model").out
    assert max(map(len, out.splitlines())) <= 80, out
    words = " ".join(out.split())
    for said in ("Gate: ", "are right in the asked format", "pass@5", "think.samples = 10", "at 512 tokens"):
        assert said in words
    if script is models.boxed:
        assert "0.0% [0, 9] of samples are right in the asked format" in words
        assert "with \\boxed." in words and 'set verify.answer_format = "boxed"' in words


def test_the_setting_it_names_mends_the_format(configure: Configure, tpt: Tpt) -> None:
    out = tpt("check", configure(models.boxed), "--model", "--set", 'verify.answer_format="boxed"').out
    assert out.startswith("Gate: cut off"), out
    assert "set verify.answer_format" not in out


def test_few_problems_are_too_few_to_tell(configure: Configure, tpt: Tpt) -> None:
    result = tpt("check", configure(models.hard, heldout=20), "--model")
    assert result.code == 0 and result.out.startswith("Gate: cannot tell yet"), result.out


def test_a_prompt_that_asks_for_another_format_is_named(configure: Configure, tpt: Tpt) -> None:
    template = 'prompt.template = "{question} Put the answer in \\\\boxed{}."'
    out = " ".join(tpt("check", configure(models.good, template), "--model").out.split())
    assert "config the prompt speaks of \\boxed{ANSWER}, but for kind 'number' strict means #### ANSWER" in out


def test_wrong_usage_is_explained(configure: Configure, tpt: Tpt) -> None:
    config = configure(models.good)
    both = tpt("check", config, "--model", "--against", "x.jsonl")
    assert both.code == 2 and "leave out --against" in both.err
    source = tpt("check", "word_problems?split=train&size=3", "--set", "rounds=2")
    assert source.code == 2 and "is a source of problems: name a config file" in source.err
    missing = tpt("check", "nowhere.toml", "--model")
    assert missing.code == 2 and "no such config file" in missing.err
