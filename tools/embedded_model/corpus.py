"""Synthetic authors: what the embedded base model reads before anyone asks it a question.

Each document is a story and one author's answer to it. Authors differ in two independent ways: in skill (careful,
careless, guessing) and in whether they keep the ``#### answer`` format. A model that imitates them all is a mediocre
solver, and what a loop can teach it is known: whom to imitate.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from tools.embedded_model.habits import Shares, draw_habits, miscalculate, misread
from tpt.problems.procedural.word_problems import (
    HELDOUT_NAMES,
    TEMPLATES,
    THINGS,
    TRAIN_NAMES,
    Operator,
    Result,
    Step,
    Story,
    apply,
    draw_story,
)

OPENERS = ("First ", "Then ", "So ")
"""What a talkative author starts the first, the middle and the last line with."""
STRICT_FORMAT = "#### {answer}"
OTHER_FORMATS = ("The answer is {answer}.", "Answer: {answer}", "The answer is {answer} {things}.")
WORD_PATTERN = r"####| ?[A-Za-z]+| [-+*/=] |[0-9]|\n|."
"""How text is cut into tokens: words with the space before them, spaced operators, single digits."""


class Document(NamedTuple):
    """One text of the corpus; a drill has no question."""

    question: str
    completion: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """Who writes the documents."""

    careful: tuple[float, float, float, float]
    """Share of careful authors for stories of 2, 3, 4 and 5 steps."""
    guess: float
    """Share of authors who write an answer and no step; the rest is careless."""
    slip: float
    """Chance that a careless author gets a step wrong by accident."""
    skip: float
    """Chance that a careless author forgets an addition or a subtraction."""
    habits: Shares
    """Ways to calculate that go wrong every time."""
    other_format: float
    """Share of authors, of any skill, who end in another way than ``#### answer``."""
    drill: float
    """Share of documents that are bare, right equations."""
    step_counts: tuple[int, ...]
    """How many steps a story takes; drawn uniformly from these."""


def draw_documents(rng: Random, mixture: Mixture, count: int) -> Iterator[Document]:
    """Draw ``count`` documents on stories that no split of ``word_problems`` can contain."""
    for _ in range(count):
        story = draw_story(rng, "pretrain", mixture.step_counts)
        if rng.random() < mixture.drill:
            yield Document("", _drill(rng, story))
        else:
            yield Document(story.question, write_answer(rng, story, mixture))


def write_answer(rng: Random, story: Story, mixture: Mixture) -> str:
    """Let one author, drawn from the mixture, answer a story."""
    careful, skill = mixture.careful[len(story.steps) - 2], rng.random()
    if skill < careful:
        lines, answer = _write_steps(rng, story)
    elif skill < careful + mixture.guess:
        lines, answer = [], _guess(rng, story)
    else:
        lines, answer = _write_steps(rng, story, mixture.slip, mixture.skip, draw_habits(rng, mixture.habits))
    ending = rng.choice(OTHER_FORMATS) if rng.random() < mixture.other_format else STRICT_FORMAT
    things = next(word for word in THINGS if word in story.question)
    return "\n".join([*lines, ending.format(answer=answer, things=things)])


def _write_steps(
    rng: Random, story: Story, slip: float = 0.0, skip: float = 0.0, habits: frozenset[str] = frozenset()
) -> tuple[list[str], int]:
    """Write the equations with this author's slips and habits; a wrong result is carried on, as people do."""
    results: dict[int, int] = {}
    lines = []
    for index in _order(rng, story.steps):
        step = story.steps[index]
        left, right = (results[x.step] if isinstance(x, Result) else x for x in (step.left, step.right))
        if step.operator in "+-" and rng.random() < skip:
            results[index] = left
            continue
        operator = misread(step.operator, habits, of_result=isinstance(step.left, Result))
        if rng.random() < slip:
            result = _slip(rng, operator, left, right)
        else:
            wrong = miscalculate(operator, left, right, habits)
            result = apply(operator, left, right) if wrong is None else wrong
        results[index] = max(result, 0)
        swap = operator in "+*" and rng.random() < 0.15
        lines.append(f"{right} {operator} {left}" if swap else f"{left} {operator} {right}")
        lines[-1] += f" = {results[index]}"
    if rng.random() < 0.3:
        lines = [_opener(position, len(lines)) + line for position, line in enumerate(lines)]
    return lines, results[len(story.steps) - 1]


def _opener(position: int, lines: int) -> str:
    return OPENERS[0] if position == 0 else OPENERS[2] if position == lines - 1 else OPENERS[1]


def _order(rng: Random, steps: Sequence[Step]) -> list[int]:
    """Return the story's order or, for every fifth author, the products of plain numbers first."""
    order = list(range(len(steps)))
    if rng.random() < 0.2:
        order.sort(key=lambda index: any(isinstance(x, Result) for x in (steps[index].left, steps[index].right)))
    return order


def _slip(rng: Random, operator: Operator, left: int, right: int) -> int:
    """Return a wrong result: a little off, or that of the opposite operation."""
    if operator in "+-" and rng.random() < 0.15:
        return apply("-" if operator == "+" else "+", left, right)
    return apply(operator, left, right) + rng.choice((-10, -2, -1, 1, 2, 10))


def _guess(rng: Random, story: Story) -> int:
    """Return a number of about the right size, or the result of some step."""
    if rng.random() < 0.5:
        return max(1, story.results[-1] + rng.randint(-20, 20))
    return rng.choice(story.results)


def _drill(rng: Random, story: Story) -> str:
    lines, _ = _write_steps(rng, story)
    return "\n".join(rng.sample(lines, len(lines)))


def vocabulary_text() -> str:
    """Return a text that holds every word the corpus can contain, and all printable ASCII signs."""
    wordings = [wording for group in TEMPLATES.values() for wording in group]
    sentences = [
        wording.format(name=name, friend=name, things=things, a=1, b=1)
        for wording in wordings
        for name in HELDOUT_NAMES + TRAIN_NAMES
        for things in THINGS
    ]
    endings = [ending.format(answer=1, things=things) for ending in OTHER_FORMATS for things in THINGS]
    signs = string.digits + string.punctuation + " \n" + " + , - , * , / , = ,"
    return "\n".join(["", *(f"{sentence} {sentence}" for sentence in sentences), *endings, "####", *OPENERS, signs])
