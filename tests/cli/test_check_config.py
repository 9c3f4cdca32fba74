"""``tpt check CONFIG``: a config's problems without its model, and whether the held-out ones can show a gain."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, Finished, Tpt, sets

from tpt.config import load_config
from tpt.plan import SOLVE_RATE, expected_power, power_warnings
from tpt.plan.power import power_of
from tpt.scoring import fewest_units
from tpt.scoring.solve_rates import Rates


def test_few_problems_are_warned_of_with_the_numbers_of_the_plan(tpt: Tpt) -> None:
    config = sets("problems.max_heldout=50", "evaluate.samples=2")
    checked = tpt("check", QUICKSTART, *config, "--detect", 4)
    assert checked.code == 0
    assert checked.out.endswith("ok: yes\n")
    (said,) = [line for line in checked.err.splitlines() if line.startswith("warning: ")]
    needed = re.search(r"Detecting 4 points takes ([\d,]+) held-out problems .*, and ([\d,]+) to make", said)
    assert needed
    planned = tpt("plan", QUICKSTART, *config, "--detect", 4).out
    assert f"takes {needed[1]} held-out problems, and {needed[2]} to make a round the best one" in planned
    assert "50 held-out problems with 2 samples are few" in said
    assert "tpt plan CONFIG --detect POINTS" in said


def test_enough_problems_are_not_warned_of(tpt: Tpt) -> None:
    checked = tpt("check", QUICKSTART, *sets('problems.heldout="word_problems?split=heldout&size=1000"'))
    assert "warning" not in checked.err
    found = json.loads(tpt("check", QUICKSTART, "--detect", 30, "--format", "json").out)
    assert (found["warnings"], found["ok"], found["heldout"]["problems"]) == ([], True, 200)


def test_a_gain_between_word_and_star_is_told_apart() -> None:
    power = power_of(load_config(QUICKSTART), Rates.of_mean(SOLVE_RATE), problems=200)
    between = (power.word + power.star) / 2
    asked = power_of(load_config(QUICKSTART), Rates.of_mean(SOLVE_RATE), problems=200, asked=between)
    (said,) = power_warnings(asked, choosing_units=100, needed_for_star=8)
    assert "would make a round the best one less than 80 % of the time" in said
    assert "be detected" not in said


def test_too_few_to_choose_any_round(tpt: Tpt) -> None:
    checked = tpt("check", QUICKSTART, *sets("problems.max_heldout=8"))
    needed = fewest_units(0.05 / 4, clustered=True)
    assert f"4 held-out problems (or clusters) choose the best round; with fewer than {needed} none can" in checked.err


def test_a_run_that_only_scores_claims_no_gain(tpt: Tpt) -> None:
    assert tpt("check", QUICKSTART, *sets("rounds=0", "problems.max_heldout=8")).err == ""


def test_what_a_run_has_shown_takes_the_guess_s_place(finished: Finished) -> None:
    config = load_config(QUICKSTART, TINY)
    guessed, seen = (
        expected_power(config, out, problems=200, asked=None) for out in (finished.path / "none", finished.path)
    )
    assert guessed.word != seen.word


def test_bad_golds_and_overlap_are_found(tpt: Tpt, fails: Callable[..., str], tmp_path: Path) -> None:
    def own(name: str, *rows: tuple[str, str]) -> Path:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        return tmp_path / name

    bad, good = own("bad.csv", ("What is 1?", "one or two")), own("good.csv", ("What is 2?", "2"))
    checked = tpt("check", QUICKSTART, *sets(f'problems.train="{bad}"'))
    assert checked.code == 1
    assert "one or two" in checked.out
    also = tpt("check", QUICKSTART, *sets(f'evaluate.also=["{bad}"]'))
    assert also.code == 1
    assert "one or two" in also.out
    assert "training and held-out problems share the id" in fails(
        "check", QUICKSTART, *sets(f'problems.train="{good}"', f'evaluate.also=["{good}"]')
    )


@pytest.mark.parametrize(
    ("key", "named", "said"),
    [
        ("think.order", "https://example.org/order.py:by_length", "is a URL"),
        ("prune.keep", "none.py:short", "no such file"),
        ("think.hint_by", "no_such_module:hint", "importing no_such_module failed"),
        ("train.loss", "math:no_such_loss", "math has no function 'no_such_loss'"),
    ],
)
@pytest.mark.parametrize("command", [("check",), ("run", "--dry-run")])
def test_functions_that_cannot_be_imported(
    fails: Callable[..., str], tmp_path: Path, command: tuple[str, ...], key: str, named: str, said: str
) -> None:
    out = ("--out", tmp_path / "run") if command[0] == "run" else ()
    assert said in fails(*command, QUICKSTART, *sets(f'{key}="{named}"'), *out)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("word_problems?split=heldout&size=10", "--set", "rounds=2"), "is a source of problems: name a config file"),
        ((QUICKSTART, "--against", "svamp"), "is a config, which names all of its problems: leave out --against"),
        (("--model", QUICKSTART, "--column", "a=b"), "--model checks a config with its model: leave out --column"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[object, ...], said: str, fails: Callable[..., str]) -> None:
    assert said in fails("check", *arguments, code=2)
