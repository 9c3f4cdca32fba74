"""A model card says of each config only how that config makes a model."""

from __future__ import annotations

from typing import Any

import pytest

from tpt.config import RunConfig
from tpt.export.recipe import judged_by, made_by

PURE = "No reinforcement learning, no reward model, no teacher."
FIXED = {"sampler": "fixed"}
SAMPLED = "the model sampled step-by-step solutions"
RIGHT = "a verifier kept those whose final answer is right"


def config_of(**sections: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate({"model": "embedded", **sections})


def test_the_plain_loop_is_told_as_it_is() -> None:
    assert made_by(config_of(), 1).startswith(
        f"1 round of *Think, Prune, Train* (arXiv 2504.18116): {SAMPLED}; {RIGHT}; and"
    )
    assert made_by(config_of(), 2).startswith("2 rounds of") and "one of them per problem. No" in made_by(
        config_of(), 2
    )
    assert made_by(config_of(), 2).endswith(PURE) and "final answer" in judged_by(config_of())


@pytest.mark.parametrize(
    ("sections", "said", "not_said"),
    [
        ({"data": {"source": "human"}}, "solutions that the problems came with", (SAMPLED, PURE)),
        ({"data": {"source": "file", "file": "x"}}, "sampled elsewhere", (SAMPLED, PURE)),
        ({"data": {"source": "file", "file": "x", "file_rounds": 1}}, SAMPLED, (PURE,)),
        ({"data": {"mix": 0.25}}, "made up 25% of each training set", (PURE,)),
        ({"prune": {"correct_only": False}}, "right and wrong ones were kept alike", (RIGHT,)),
        (
            {"prune": {"correct_only": False, "wrong_only": True}},
            "only those were kept whose answer is wrong",
            (RIGHT,),
        ),
        ({"prune": {"min_tests_passed": 0.5}}, "at least 50% of their tests", ()),
        ({"prune": {"per_problem": 4}}, "at most 4 of them per problem", ("one of them",)),
        ({"prune": {"per_problem": "all"}, "think": FIXED}, "fine-tuned on all of them", ("one of them",)),
        ({"data": {"mode": "accumulate"}}, "one of them per problem and round, those of earlier rounds too", ()),
        ({"prune": {"keep": "m.py:f"}}, "a function of the user's own decided", (RIGHT, PURE)),
        ({"prune": {"weigh": "m.py:f"}, "think": FIXED}, "functions of the user's own (`prune.weigh`)", (PURE,)),
        ({"train": {"trainer": "m.py:f"}}, "functions of the user's own (`train.trainer`)", (PURE,)),
        ({"train": {"loss": "m.py:f"}}, SAMPLED, (PURE,)),
    ],
)
def test_no_card_says_what_its_config_does_not_do(
    sections: dict[str, dict[str, Any]], said: str, not_said: tuple[str, ...]
) -> None:
    told = made_by(config_of(**sections), 2)
    assert said in told and not any(each in told for each in not_said)


@pytest.mark.parametrize(
    ("prune", "said"),
    [
        ({"correct_only": False}, "wrong ones may have been trained on"),
        ({"correct_only": False, "wrong_only": True}, "Wrong solutions were trained on"),
        ({"keep": "m.py:f"}, "`prune.keep`"),
    ],
)
def test_the_caveat_is_that_of_the_pruning(prune: dict[str, Any], said: str) -> None:
    assert said in judged_by(config_of(prune=prune)) and "right answer" not in judged_by(config_of(prune=prune))
