"""Are the held-out problems really unseen: same text, shared long n-grams, duplicates."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from msgspec.structs import replace

from tpt.errors import ProblemError
from tpt.records import Problem

# Numbers, words, and single signs: "3 + 4" and "3 - 4" are different questions, "two-thirds" and "two thirds" are not.
# The escapes are the typographic quotes, guillemets, ellipsis and dashes.
_TOKEN = re.compile(
    r"\d+(?:\.\d+)?|[^\W\d_]+|"
    r"[^\w\s.,;:!?'\"`\u00b4\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2026\u2013\u2014]"
)
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")

HELDOUT_PART = 5
"""One question in so many is held out by ``hash_split``."""

_GRAM = 8
"""Words of an n-gram."""
COMMON_SHARE = 0.01
COMMON_LEAST = 20
"""An n-gram in more training questions than this, and than COMMON_SHARE of them, is boilerplate and not compared."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A held-out question and the training question nearest to it."""

    heldout_id: str
    train_id: str
    share: float
    """Share of the held-out question's n-grams that occur in the training question, 0 to 1."""
    shared: str
    """The longest run of words that both have."""


def normalised(question: str) -> str:
    """Return a question with case, Unicode form, whitespace and punctuation folded; mathematical signs stay.

    >>> normalised("How much is 1,000 - 2.5?")
    'how much is 1000 - 2.5'
    """
    return " ".join(_TOKEN.findall(_HYPHEN.sub(" ", _folded(question))))


def hash_split(question: str) -> Literal["train", "heldout"]:
    """Return the side a question falls on, by the CRC-32 of its normalised text: one in five is held out.

    Equal questions always fall on the same side, so the sides are disjoint whatever they are drawn from.
    """
    return "heldout" if zlib.crc32(normalised(question).encode()) % HELDOUT_PART == 0 else "train"


def check_disjoint(train: Sequence[Problem], heldout: Sequence[Problem]) -> None:
    """Raise ProblemError when a held-out problem has the id or the normalised question of a training problem."""
    ids = {problem.id: problem for problem in train}
    questions = {normalised(problem.question): problem for problem in train}
    for problem in heldout:
        twin = ids.get(problem.id)
        what = "id"
        if twin is None:
            twin, what = questions.get(normalised(problem.question)), "question"
        if twin is not None:
            raise ProblemError(
                f"training and held-out problems share the {what}: training {twin.id!r}: {twin.question[:200]!r}; "
                f"held-out {problem.id!r}: {problem.question[:200]!r}. Scores would be those of seen problems: take "
                "the problem out of one side, or draw the sides with split=train and split=heldout."
            )


def told_apart(train: Sequence[Problem], others: Sequence[Problem], prefix: str) -> list[Problem]:
    """Return the other problems, ids prefixed where they are row numbers that the training problems have too.

    Equal row numbers of two files mean nothing; an id that was given to a problem, and the same question, do.
    """
    questions = {problem.id: normalised(problem.question) for problem in train if _is_row_number(problem)}
    numbered = [problem for problem in others if _is_row_number(problem)]
    if not any(questions.get(each.id, normalised(each.question)) != normalised(each.question) for each in numbered):
        return list(others)
    return [replace(each, id=f"{prefix}/{each.id}") if _is_row_number(each) else each for each in others]


def _is_row_number(problem: Problem) -> bool:
    """Return whether an id is a row number, by itself or after the name of the problem's file."""
    head, _, number = problem.id.rpartition("/")
    return number.isdigit() and (not head or problem.source.startswith(f"{head}."))


def duplicates(problems: Sequence[Problem]) -> list[list[str]]:
    """Return the ids of problems with the same normalised question, a list for each such question."""
    groups: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        groups[normalised(problem.question)].append(problem.id)
    return [ids for ids in groups.values() if len(ids) > 1]


def closest_pairs(train: Sequence[Problem], heldout: Sequence[Problem], *, most: int = 5) -> list[Overlap]:
    """Return the held-out questions that share the most runs of 8 words with one training question, closest first.

    A question shorter than that counts as one n-gram. Boilerplate (see COMMON_SHARE) is not compared. Each held-out
    question appears at most once, with its nearest training question, and only when they share an n-gram.
    """
    grams = [_grams(problem.question) for problem in heldout]
    holders: dict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(grams):
        for gram in each:
            holders[gram].append(index)
    # The same question twice must not make its n-grams look common.
    distinct = {normalised(problem.question): problem for problem in reversed(train)}
    shared = [(problem, _grams(problem.question) & holders.keys()) for problem in distinct.values()]
    seen = Counter(gram for _, each in shared for gram in each)
    limit = max(COMMON_LEAST, COMMON_SHARE * len(distinct))
    nearest: dict[int, tuple[int, Problem]] = {}
    for problem, each in shared:
        counts = Counter(index for gram in each if seen[gram] <= limit for index in holders[gram])
        for index, count in counts.items():
            if index not in nearest or (count, nearest[index][1].id) > (nearest[index][0], problem.id):
                nearest[index] = count, problem
    pairs = []
    for index, (count, problem) in nearest.items():
        compared = sum(seen[gram] <= limit for gram in grams[index])
        pairs.append((-count / compared, heldout[index].id, index, problem))
    return [
        Overlap(heldout_id, problem.id, -negative, _longest_run(heldout[index].question, problem.question))
        for negative, heldout_id, index, problem in sorted(pairs, key=lambda pair: pair[:3])[:most]
    ]


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\N{MINUS SIGN}", "-")
    return _THOUSANDS_COMMA.sub("", folded)


def _words(question: str) -> list[str]:
    return _WORD.findall(_folded(question))


def _grams(question: str) -> set[str]:
    words = _words(question)
    return {" ".join(words[start : start + _GRAM]) for start in range(max(1, len(words) - _GRAM + 1))} - {""}


def _longest_run(first: str, second: str) -> str:
    a, b = _words(first), _words(second)
    run = SequenceMatcher(a=a, b=b, autojunk=False).find_longest_match()
    return " ".join(a[run.a : run.a + run.size])
