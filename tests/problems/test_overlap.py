"""Contamination checks: what counts as the same question, and how near two questions are."""

import random
import time

import pytest

from tpt.errors import ProblemError
from tpt.problems import check_disjoint, closest_pairs, duplicates
from tpt.problems.overlap import hash_split, normalised
from tpt.records import Problem


def problems(prefix: str, *questions: str) -> list[Problem]:
    return [Problem(f"{prefix}/{index}", question, "1") for index, question in enumerate(questions)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How  many\napples?", "how many apples"),
        ("Janet\u2019s \u201ceggs\u201d", 'JANET\'s "eggs".'),
        ("STRASSE", "stra\u00dfe"),
        ("\uff11\uff12 apples", "12 apples"),
        ("cafe\u0301", "caf\u00e9"),
        ("$1,000,000 each", "$1000000 each"),
        ("two-thirds of it", "two thirds of it"),
        ("3+4", "3 + 4"),
        ("5 \u2212 2", "5 - 2"),
    ],
)
def test_folded_questions_are_the_same(one, other):
    assert normalised(one) == normalised(other)
    assert hash_split(one) == hash_split(other)
    with pytest.raises(ProblemError, match="share the question"):
        check_disjoint(problems("a", one), problems("b", other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("3 + 4", "3 - 4"), ("3 - 4", "3 4"), ("2.5", "25"), ("2 * (3 + 4)", "(2 * 3) + 4"), ("x < y", "x > y")],
)
def test_signs_make_questions_different(one, other):
    check_disjoint(problems("a", one), problems("b", other))


def test_normalising_twice_changes_nothing():
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choice("aZé1.,-+ \n'\"\u2019\ufb01\u00bd\u0345\u0130(x)") for _ in range(20))
        assert normalised(normalised(text)) == normalised(text)


def test_a_shared_id_or_question_is_shown():
    train = problems("train", "What is one and one?", "What is two?")
    with pytest.raises(
        ProblemError, match=r"share the question: training 'train/1': 'What is two\?'; held-out 'held/0'"
    ):
        check_disjoint(train, problems("held", "what is two"))
    with pytest.raises(ProblemError, match="share the id: training 'train/0'"):
        check_disjoint(train, problems("train", "Something else?"))
    check_disjoint(train, problems("held", "What is three?"))
    check_disjoint([], problems("held", "What is three?"))


def test_duplicates_are_grouped():
    assert duplicates(problems("a", "One?", "Two?", "one", "Three?", "ONE!")) == [["a/0", "a/2", "a/4"]]


def test_closest_pairs_give_share_and_shared_words():
    train = problems("train", "a b c d e f g h i j", "q r s t u v w x y z")
    heldout = problems(
        "held", "Z, a b c d e f g h i!", "nothing of it here at all my dear friend", "q r s t u v w x y z"
    )
    first, second = closest_pairs(train, heldout)
    assert (first.heldout_id, first.train_id, first.share) == ("held/2", "train/1", 1.0)
    assert (second.heldout_id, second.train_id, second.share) == ("held/0", "train/0", pytest.approx(2 / 3))
    assert second.shared == "a b c d e f g h i"
    assert closest_pairs(train, heldout, most=1) == [first]
    assert closest_pairs([], heldout) == closest_pairs(train, []) == []


def test_short_questions_match_as_a_whole():
    pairs = closest_pairs(problems("train", "One plus one?", "??"), problems("held", "one, plus one", "one plus", "!!"))
    assert [(pair.heldout_id, pair.share) for pair in pairs] == [("held/0", 1.0)]


def test_boilerplate_is_not_compared_and_does_not_hide_a_leak():
    frame = "State the final answer to the following problem in digits: {} plus {} minus {} times {} minus {} plus {}"
    rng = random.Random(1)
    numbers = [tuple(rng.randrange(10**6) for _ in range(6)) for _ in range(1001)]
    train = problems("train", *(frame.format(*each) for each in numbers[:1000]))
    fresh = problems("held", frame.format(*numbers[1000]))
    assert closest_pairs(train, fresh) == []
    leak = problems("held", "Please! " + frame.format(*numbers[3]) + " thanks")
    # Thirty copies of one question are one question.
    assert closest_pairs(train + problems("copy", *[train[3].question] * 30), leak)[0].train_id == "train/3"


def test_ties_go_to_the_smaller_id_whatever_the_order():
    train = problems("train", "a b c d e f g h x", "y a b c d e f g h")
    heldout = problems("held", "a b c d e f g h")
    assert closest_pairs(train, heldout)[0].train_id == closest_pairs(train[::-1], heldout)[0].train_id == "train/0"


def test_thousands_of_questions_take_seconds():
    rng = random.Random(0)
    words = [f"w{index}" for index in range(300)]
    questions = [" ".join(rng.choices(words, k=45)) + " how much did all of them pay in the end" for _ in range(9000)]
    start = time.process_time()  # a busy machine is no slower a search
    closest_pairs(problems("train", *questions[:7500]), problems("held", *questions[7500:]))
    assert time.process_time() - start < 5
