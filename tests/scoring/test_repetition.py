"""Repetition within and between texts, against brute force and worked examples."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tpt.scoring.repetition import (
    LOOP_TIMES,
    LOOP_WORDS,
    compression_ratio,
    distinct_ngrams,
    looped,
    self_bleu,
    words_of,
)


def brute_bleu(text: list[str], others: list[list[str]]) -> float:
    """BLEU-4 by its formula, one order after the other, with sacrebleu's ``exp`` smoothing."""
    closest = sorted((abs(len(other) - len(text)), len(other)) for other in others)[0][1]
    product, orders, smooth = 1.0, min(4, len(text)), 1.0
    for n in range(1, orders + 1):
        mine = Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
        theirs = [Counter(tuple(other[i : i + n]) for i in range(len(other) - n + 1)) for other in others]
        hits = sum(min(count, max(counts[gram] for counts in theirs)) for gram, count in mine.items())
        if hits == 0 and n == 1:
            return 0.0
        if hits == 0:
            smooth *= 2
        product *= (hits or 1 / smooth) / sum(mine.values())
    penalty = 1.0 if len(text) >= closest else math.exp(1 - closest / len(text))
    return penalty * product ** (1 / orders)


def test_self_bleu_is_bleu_of_each_against_the_others() -> None:
    draw = random.Random(0)
    for _ in range(200):
        group = [draw.choices("abcd", k=draw.randint(1, 12)) for _ in range(draw.randint(2, 5))]
        by_hand = [brute_bleu(text, group[:at] + group[at + 1 :]) for at, text in enumerate(group)]
        assert self_bleu(group) == pytest.approx(sum(by_hand) / len(by_hand))


def test_self_bleu_is_one_for_copies_and_small_for_strangers() -> None:
    same = words_of("55 + 40 = 95 #### 95")
    assert self_bleu([same, same, same]) == pytest.approx(1.0)
    assert self_bleu([list("abcdef"), list("ghijkl")]) == 0.0
    assert self_bleu([[], []]) == 1.0 and self_bleu([[], ["a"]]) == 0.0
    with pytest.raises(ValueError, match="at least two texts, got 1"):
        self_bleu([same])


def test_words_are_runs_of_letters_and_digits_or_single_marks() -> None:
    assert " ".join(words_of("Jack's 3.5 + 40=43.5\n#### 43")) == "Jack ' s 3 . 5 + 40 = 43 . 5 # # # # 43"
    assert words_of("é漢 \x00\u202e") == ["é漢", "\x00", "\u202e"]
    assert len(words_of("a " * 50_000)) == 10_000


def test_distinct_ngrams_do_not_cross_texts() -> None:
    assert distinct_ngrams([["a", "b"], ["a", "b"]], 1) == 0.5
    assert distinct_ngrams([["a", "b"], ["a", "b"], ["b", "a"]], 2) == pytest.approx(2 / 3)
    assert distinct_ngrams([["a"], []], 2) == 0.0


def test_what_repeats_itself_compresses_better() -> None:
    draw = random.Random(0)
    noise = bytes(draw.choices(range(256), k=4096))
    assert compression_ratio(noise) < 1.01 < compression_ratio(noise[:64] * 64)


def brute_loop(words: list[str]) -> bool:
    for period in range(1, len(words)):
        for start in range(len(words) - period):
            run = 0
            while start + period + run < len(words) and words[start + run] == words[start + run + period]:
                run += 1
            if run + period >= max(LOOP_TIMES * period, LOOP_WORDS):
                return True
    return False


def test_loops_are_found_wherever_they_are() -> None:
    draw = random.Random(1)
    texts = []
    for _ in range(300):
        part = [str(number) for number in range(draw.randint(1, 8))]
        loop = (part * 30)[: draw.choice([0, 12, 19, 20, 21, 31, 32, 33])]
        texts.append([*draw.choices("abc", k=draw.randint(0, 30)), *loop, *draw.choices("abc", k=draw.randint(0, 30))])
    expected = [brute_loop(text) for text in texts]
    assert looped(texts) == expected and 60 < sum(expected) < 240


def test_loops_do_not_reach_over_the_end_of_a_text() -> None:
    assert looped([["a"] * 19, ["a"] * 19, ["a"] * 20, [], ["a"] * 5]) == [False, False, True, False, False]
    assert looped([]) == [] and looped([[]]) == [False]
