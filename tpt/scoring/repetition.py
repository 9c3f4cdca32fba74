"""How much completions repeat themselves and each other: n-grams, self-BLEU, compression, loops.

A word is a run of letters and digits or a single other mark. No tokenizer is asked, so that models of different
vocabularies are measured alike.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tpt.scoring import IntArray

LIMIT = 20_000
"""Characters of a completion that are looked at, from its end: that is where loops are."""
LOOP_TIMES = 4
"""So many times in a row make a loop."""
LOOP_WORDS = 20
"""And so many words at least: ``1 1 1 1`` or ``- - - -`` is none."""
LONGEST_PERIOD = 64
"""Words of the longest repeated part that is looked for."""

_WORD = re.compile(r"\w+|[^\w\s]")
_ORDERS = 4
"""BLEU compares n-grams up to this length."""


def words_of(text: str) -> list[str]:
    """Return the words of a text's last ``LIMIT`` characters."""
    return _WORD.findall(text[-LIMIT:])


def distinct_ngrams(texts: Iterable[Sequence[str]], n: int) -> float:
    """Return the different n-grams of some texts over all their n-grams; 0 if there are none.

    It falls with the number of words, whatever the texts are like: compare it at equal numbers of words.
    """
    counts = Counter(gram for text in texts for gram in _ngrams(text, n))
    return len(counts) / counts.total() if counts else 0.0


def compression_ratio(data: bytes) -> float:
    """Return a text's size over its compressed size (zlib, level 9): the higher, the more repetition."""
    return len(data) / len(zlib.compress(data, 9))


def self_bleu(group: Sequence[Sequence[str]]) -> float:
    """Return the mean BLEU of each text against all the others of its group, in [0, 1]; lower is more varied.

    BLEU of up to 4-grams with the brevity penalty of the closest length. An order without a match counts as half of
    one, a quarter at the second such order, and so on, as in sacrebleu's ``exp`` smoothing; orders longer than the text
    are left out.
    """
    if len(group) < 2:
        raise ValueError(f"self-BLEU compares at least two texts, got {len(group)}")
    grams = [[Counter(_ngrams(text, n)) for n in range(1, _ORDERS + 1)] for text in group]
    return math.fsum(_bleu(group, grams, at) for at in range(len(group))) / len(group)


def _bleu(group: Sequence[Sequence[str]], grams: list[list[Counter[tuple[str, ...]]]], at: int) -> float:
    others = [other for other in range(len(group)) if other != at]
    length = len(group[at])
    closest = min((abs(len(group[other]) - length), len(group[other])) for other in others)[1]
    logs, halved = [], 1.0
    for order in range(min(_ORDERS, length)):
        most: Counter[tuple[str, ...]] = Counter()
        for other in others:
            most |= grams[other][order]
        total = length - order
        matched = float((grams[at][order] & most).total())
        if matched == 0:
            if order == 0:
                return 0.0
            halved /= 2
            matched = halved
        logs.append(math.log(matched / total))
    if not logs:
        return float(closest == 0)
    return math.exp(min(0.0, 1 - closest / length) + math.fsum(logs) / len(logs))


def looped(texts: Iterable[Sequence[str]]) -> list[bool]:
    """Return of each text whether some words come ``LOOP_TIMES`` times in a row or more, ``LOOP_WORDS`` words in all."""
    flat, ends = _numbered(texts)
    found = np.zeros(len(ends), dtype=bool)
    for period in range(1, min(LONGEST_PERIOD, len(flat) // LOOP_TIMES) + 1):
        # Some words come again `times` times where each word equals the one a period before, (times - 1) * period on end.
        needed = max(LOOP_TIMES * period, LOOP_WORDS) - period
        differs = np.flatnonzero(flat[period:] != flat[:-period])
        edges = np.concatenate([[-1], differs, [len(flat) - period]])
        starts = edges[:-1][np.diff(edges) > needed] + 1
        found[np.searchsorted(ends, starts, side="right")] = True
    return [bool(each) for each in found]


def _numbered(texts: Iterable[Sequence[str]]) -> tuple[IntArray, IntArray]:
    """Return all texts' words as numbers, each text ended by a number of its own, and where each text ends."""
    numbers: dict[str, int] = {}
    flat: list[int] = []
    ends = []
    for index, text in enumerate(texts):
        flat.extend(numbers.setdefault(word, len(numbers)) for word in text)
        # No run of equal words reaches over it: a run is longer than its period.
        flat.append(-1 - index)
        ends.append(len(flat))
    return np.array(flat, dtype=np.int64), np.array(ends, dtype=np.int64)


def _ngrams(text: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(text[shift:] for shift in range(n)), strict=False)
