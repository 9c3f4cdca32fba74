"""When alarms are raised and what they say, on twelve problems whose figures are worked out by hand."""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scored_run import many, records_of, run_of

from tpt.config import AlarmConfig
from tpt.evidence.alarms import FEWEST, Alarm, Observed, alarms_between, alarms_of, in_words, observed_of
from tpt.records import ProblemDiversity
from tpt.scoring.score import Counts
from tpt.system.jsonl import replace_records

PROBLEMS = 12
Halves = tuple[float, float]
"""A figure of the even problems, and one of the odd ones."""


def halves(pair: Halves, dtype: type = np.float64) -> np.ndarray:
    return np.tile(np.array(pair, dtype=dtype), PROBLEMS // 2)


def scored(
    strict: Halves = (2, 2),
    lenient: Halves = (4, 4),
    greedy: Halves | None = None,
    *,
    index: int = 1,
    probe: dict[str, float] | None = None,
    **traces: Halves,
) -> Observed:
    """A round with 8 samples of each problem, so many of them right."""
    names = tuple(f"p{number:02d}" for number in range(PROBLEMS))
    usual = {"chains": (2, 2), "texts": (3, 3), "answer_entropy": (1, 1), "tokens": (40, 40), "truncated": (0, 0)}
    columns = {key: halves(pair) for key, pair in {**usual, "looped": (0, 0), **traces}.items()}
    rows = [ProblemDiversity(name, **{k: float(v[n]) for k, v in columns.items()}) for n, name in enumerate(names)]
    right = None if greedy is None else np.stack([halves(greedy)] * 2, axis=1)
    counts = Counts(names, np.full(PROBLEMS, 8), halves(strict, np.int64), halves(lenient, np.int64), right)
    return observed_of(index, counts, rows, probe)


def probed(kl: Halves = (0, 0.25), nll: Halves = (0.5, 0.0), noise: float = 0.0625) -> dict[str, float]:
    """KL and its error; human text's nats a token, and what was added to them, with its error."""
    human = {"human_nll": sum(nll), "human_nll_change": nll[1], "human_nll_change_stderr": noise}
    return {"kl_base_round": kl[0], "kl_base_round_stderr": kl[1], **human}


def raised(base: Observed, now: Observed, **settings: float) -> list[str]:
    """Names of alarms; errors count for nothing but where they are set."""
    return [alarm.name for alarm in alarms_between(base, now, AlarmConfig(**{"stderrs": 1e-9, **settings}))]


FORGOT = probed(nll=(0.5, 0.125), noise=0.0)


@pytest.mark.parametrize(
    ("name", "base", "now", "key", "at", "raises"),
    [
        ("mode collapse", scored(), scored((4, 4), (6, 6), chains=(1, 1)), "variety_drop", 0.5, -1),
        ("model collapse", scored((0, 0)), scored((0, 0), (3, 3), probe=FORGOT), "human_nll_rise", 0.25, -1),
        ("format-only gain", scored((1, 1)), scored((5, 5), (5, 5)), "format_share", 0.25, 1),
        ("sharpening only", scored((1, 1), (1, 1), (0, 0)), scored((5, 5), (5, 5), (0.125, 0.125)), "skill_share", 0.25, 1),
        ("far from the base model", scored(), scored(probe=probed((1.5, 0.0))), "kl", 1.5, -1),
        ("length drift", scored(), scored(tokens=(80, 80)), "length_factor", 2.0, -1),
        ("length drift", scored(), scored(tokens=(20, 20)), "length_factor", 2.0, -1),
        ("truncation drift", scored(), scored(truncated=(0.25, 0.25)), "truncated_rise", 0.25, -1),
        ("repetition", scored(), scored(looped=(0.5, 0.5)), "looped_rise", 0.5, -1),
    ],
)  # fmt: skip
def test_a_change_of_just_the_threshold_is_none(
    name: str, base: Observed, now: Observed, key: str, at: float, raises: int
) -> None:
    """Changes without an error: a share of the gain must be less than its threshold, all else must be more."""
    assert [raised(base, now, **{key: value}) for value in (at, at + 0.01 * raises)] == [[], [name]]


# Of twelve problems, six that change by m - d and six by m + d, the mean is m and its error d / √11.
TWICE = 2 * sqrt(11)


@pytest.mark.parametrize(
    ("name", "base", "now", "errors"),
    [
        ("mode collapse", scored(chains=(1, 3)), scored((4, 4), (6, 6), chains=(1, 1)), TWICE),
        ("mode collapse", scored(), scored((3, 5), (5, 7), chains=(1, 1)), TWICE),
        ("model collapse", scored((0, 0)), scored((0, 0), (3, 3), probe=probed(nll=(0.5, 0.125))), 2),
        ("model collapse", scored((0, 0)), scored((0, 0), (3, 1), probe=FORGOT), TWICE),
        ("format-only gain", scored(), scored((3, 5)), TWICE),
        ("format-only gain", scored(), scored((4, 4), (3, 5)), TWICE / 2),
        ("sharpening only", scored(greedy=(1, 1)), scored((3, 5), (5, 7), (1, 1)), TWICE),
        ("sharpening only", scored(greedy=(0.5, 0.5)), scored((4, 4), (6, 6), (0.375, 0.625)), TWICE / 2),
        ("far from the base model", scored(), scored(probe=probed((1.5, 0.25))), 6),
        ("length drift", scored(tokens=(20, 60)), scored(tokens=(60, 100)), TWICE),
        ("length drift", scored(tokens=(60, 100)), scored(tokens=(20, 60)), 2 * TWICE),
        ("truncation drift", scored(), scored(truncated=(0.125, 0.375)), TWICE),
        ("repetition", scored(), scored(looped=(0.0, 0.5)), TWICE / 2),
    ],
)
def test_a_change_is_held_against_its_standard_errors(name: str, base: Observed, now: Observed, errors: float) -> None:
    assert [raised(base, now, stderrs=errors * share) for share in (1.001, 0.999)] == [[], [name]]


def told(base: Observed, now: Observed, stderrs: float = 3) -> tuple[str, str]:
    """What is seen, and by which threshold it is too much."""
    (alarm,) = alarms_between(base, now, AlarmConfig(stderrs=stderrs))
    assert alarm.round == now.round and re.fullmatch(r"[A-Z].*[a-z\")]\.", alarm.advice), "a sentence of what to do"
    return alarm.seen, alarm.threshold


def test_alarms_show_their_figures() -> None:
    few = scored((4, 4), (6, 6), index=3, chains=(1, 1.5))
    assert told(scored(), few) == (
        "pass@1 rose from 25.0% to 50.0% while a problem's 4 correct traces went from 2.00 to 1.25 different equation "
        "chains (-38%); pass@8 has not fallen (100.0%, now 100.0%)",
        "alarms.variety_drop = 0.25",
    )
    # Half of the problems are never solved, where before each had one of its 8 samples right.
    fallen = scored((0, 8), (0, 8), chains=(1, 1))
    assert told(scored((1, 1), (1, 1)), fallen, stderrs=2)[0].endswith("; pass@8 fell (100.0%, now 50.0%)")
    # Two of 8 right, and two of 4 drawn: 1 - C(6, 4) / C(8, 4); four right: 1 - 1 / 70.
    assert told(scored()._replace(k=4), few)[0].endswith("; pass@4 has not fallen (78.6%, now 98.6%)")
    assert told(scored(), scored((2, 2), (0, 5), probe=FORGOT)) == (
        "lenient pass@8 fell from 100.0% to 50.0%, and the source's own solutions became less likely: 0.500 to 0.625 "
        "nats a token (+25%)",
        "alarms.human_nll_rise = 0.05",
    )
    both = told(scored((0, 0), (1, 1)), scored((0, 0), (0, 0), probe=FORGOT))[0]
    assert both.startswith("lenient pass@1 fell from 12.5% to 0.0%, lenient pass@8 fell from 100.0% to 0.0%, and ")
    assert told(scored((2, 2), (6, 6)), scored((5, 5), (6, 7))) == (
        "strict pass@1 rose by 37.5 points, from 25.0% to 62.5%, but lenient pass@1 by +6.2 (standard error "
        "1.9), from 75.0% to 81.2%: "
        "most of the gain is format, how answers are written, not how they are found",
        "alarms.format_share = 0.25",
    )
    assert told(scored(greedy=(0.5, 0.5)), scored((5, 5), (7, 7), (0.5, 0.625))) == (
        "lenient pass@1 at the sampling temperature rose by 37.5 points, from 50.0% to 87.5%, but greedily by +6.2 "
        "(standard error 1.9), from 50.0% to 56.2%: samples come nearer to what the base model says greedily",
        "alarms.skill_share = 0.25",
    )
    assert told(scored(), scored(probe=probed((1.5, 0.25)))) == (
        "on correct traces of the base model, the KL divergence from it is 1.50 nats a token",
        "alarms.kl = 1",
    )
    assert told(scored(), scored(tokens=(90, 90))) == (
        "the mean trace went from 40 to 90 tokens (2.25 times)",
        "alarms.length_factor = 1.5",
    )
    assert told(scored(truncated=(0.125, 0.125)), scored(truncated=(0.5, 0.5))) == (
        "the share of traces cut off before their end went from 12.5% to 50.0%",
        "alarms.truncated_rise = 0.05",
    )
    assert told(scored(), scored(looped=(0.125, 0.125))) == (
        "the share of traces in which some words come again and again went from 0.0% to 12.5%",
        "alarms.looped_rise = 0.02",
    )


def test_a_line_names_the_round_unless_told_of_what() -> None:
    alarm = Alarm(3, "repetition", "it loops", "alarms.looped_rise = 0.02", "Stop.")
    assert in_words(alarm) == "Round 3, repetition: it loops (alarm: alarms.looped_rise = 0.02). Stop."
    assert in_words(alarm, subject="Second").startswith("Second, repetition: it loops")


def test_problems_are_paired_by_name_where_both_rounds_know_them() -> None:
    base, now = scored(tokens=(20, 60)), scored(tokens=(60, 100))
    backwards = now._replace(
        counts=now.counts.of(now.counts.problem_ids[::-1]), diversity=dict(reversed(now.diversity.items()))
    )
    expected = alarms_between(base, now, AlarmConfig())
    assert [alarm.name for alarm in expected] == ["length drift"]
    assert alarms_between(base, backwards, AlarmConfig()) == expected

    def without(each: Observed, *names: str) -> Observed:
        return each._replace(diversity={key: row for key, row in each.diversity.items() if key not in names})

    assert PROBLEMS - 2 == FEWEST
    assert raised(without(base, "p00"), without(now, "p01")) == ["length drift"]
    assert raised(without(base, "p00"), without(now, "p01", "p02")) == []
    assert raised(scored(tokens=(0, 0)), now) == [], "nothing is so many times nothing"


def test_ten_problems_are_enough_and_nine_are_too_few() -> None:
    def first(each: Observed, count: int) -> Observed:
        return each._replace(counts=each.counts.of(each.counts.problem_ids[:count]))

    base, now = scored(), scored((4, 4))
    assert [raised(first(base, n), first(now, n)) for n in (FEWEST - 1, FEWEST)] == [[], ["format-only gain"]]


def test_a_runs_alarms_read_what_its_rounds_wrote(tmp_path: Path) -> None:
    """Of each problem's traces, of what the probe measured, and up to the largest k that was asked for."""
    run = run_of(tmp_path, many(1), many(3), many(3))
    base, first, second = records_of(run)
    for index, chains in ((0, 2.0), (1, 2.0), (2, 1.0)):
        rows = [ProblemDiversity(name, chains, chains, 1.0, 40.0, 0.0, 0.0) for name in many(1)]
        replace_records(run.round(index).evaluate_diversity, rows)
    asked = {k: each for k, each in base.evaluate.pass_at_k.items() if k < 8}
    records = [replace(each, evaluate=replace(each.evaluate, pass_at_k=asked)) for each in (base, first, second)]
    records[1] = replace(first, evaluate=replace(records[1].evaluate, probe=probed((1.5, 0.0))))
    found = alarms_of(run, records, AlarmConfig())
    assert [(alarm.round, alarm.name) for alarm in found] == [(1, "far from the base model"), (2, "mode collapse")]
    assert "; pass@4 has not fallen (" in found[1].seen
