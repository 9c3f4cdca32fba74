r"""Judges generated pairs of gold answer and completion whose equality is known by construction.

    python benchmarks/verify_fuzz.py [--pairs 12000] [--seed 0] [--show 20]

Values are exact (fractions, radicals, sets, intervals, quantities with units and scales); each is spelled in one way for the
gold answer and in another for the completion, and wrapped in a phrase. Half of the completions spell another value. A false
accept is a fault and ends the program with exit code 1; false rejects are counted by kind.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge

Spelling = Callable[[random.Random, "Value"], str]


@dataclass(frozen=True, slots=True)
class Value:
    """What an answer is worth: equal values are equal answers, and no others are."""

    kind: str
    parts: tuple[Fraction | int | str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold answer, a completion and whether it is right."""

    kind: str
    problem: Problem
    completion: str
    right: bool


# Each phrase holds its place for the answer; the first of a kind is the asked format.
PHRASES = {
    "math": [
        r"So it is $\boxed{{{}}}$.", r"\boxed{{{}}}", r"Thus \[ \boxed{{{}}} \]", r"The answer is ${}$.", "#### ${}$",
        r"Therefore $\boxed{{{}}}$ is the answer. I hope it is correct.", "<think>Let me see: 7?</think>\n\\boxed{{{}}}",
        "\\boxed{{{}}}<|im_end|>", "**Final Answer**\n\n$${}$$", "\\boxed{{{}}}\n\nQuestion: And 2?\n\\boxed{{2}}",
        "<answer>${}$</answer>",
    ],
    "number": [
        "#### {}", "The answer is {}.", r"\boxed{{{}}}", "Answer: {}", "**Answer:** {}", "#### {}<eos>",
        "#### {}\n\nQuestion: And two?\n#### 2", "<think>#### 7</think>\n#### {}", "<answer>{}</answer>", "Final answer:\n- {}",
    ],
    "choice": [
        "#### {}", "The answer is {}.", "({})", r"\boxed{{{}}}", "Answer: {}", "I would choose {}.", "<answer>{}</answer>",
        "The correct option is {}", "#### {}<end_of_turn>", "The answer is {}.\n\nQuestion: Another?\nThe answer is A.",
    ],
}  # fmt: skip
WORDS = ("million", "thousand", "billion", "dozen", "hundred")
FACTORS = {"million": 10**6, "thousand": 1000, "billion": 10**9, "dozen": 12, "hundred": 100}
UNITS = ("cm", "m", "kg", "hours", "dollars", "square units", "miles per hour", "inches", "apples", "students")
QUESTION = "Which?\n(A) {}\n(B) {}\n(C) {}\n(D) {}"


def whole(rng: random.Random, value: Value) -> str:
    """Spell a whole number."""
    number = int(value.parts[0])
    forms = [
        str(number),
        f"{number:,}",
        f"{number}.0",
        rf"\text{{{number}}}",
        f"{number}.00",
        f"+{number}" if number > 0 else str(number),
    ]
    if abs(number) >= 1000:
        forms += [
            f"{number:,}".replace(",", r"{,}"),
            f"{number:,}".replace(",", r"\,"),
            f"{number:,}".replace(",", r",\!"),
        ]
    if number < 0:
        forms += [rf"- {-number}", rf"\text{{negative }} {-number}"]
    if number and number % 1000 == 0:
        forms += [rf"{number // 1000} \times 10^3", f"{number // 1000}e3", rf"{number // 1000} \cdot 10^{{3}}"]
    return rng.choice(forms)


def fraction(rng: random.Random, value: Value) -> str:
    """Spell a fraction."""
    number = Fraction(value.parts[0])
    sign, top, bottom = "-" if number < 0 else "", abs(number.numerator), number.denominator
    times = rng.randint(2, 5)
    forms = [
        rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{top}}}{{{bottom}}}", f"{sign}{top}/{bottom}",
        rf"\frac{{{sign}{top}}}{{{bottom}}}", rf"{sign}\frac{{{top * times}}}{{{bottom * times}}}",
    ]  # fmt: skip
    if top > bottom > 1:
        forms += [rf"{sign}{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}"]
    rest = bottom
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest == 1:
        forms.append(format(float(number), "f").rstrip("0"))
    if bottom in (3, 9):
        forms.append(rf"{sign}{top // bottom}.\overline{{{top % bottom * (9 // bottom)}}}")
    return rng.choice(forms)


def radical(rng: random.Random, value: Value) -> str:
    """Spell a whole multiple of a root."""
    factor, root = (int(part) for part in value.parts)
    forms = [
        rf"{factor}\sqrt{{{root}}}", rf"\sqrt{{{factor * factor * root}}}", rf"{factor} \cdot \sqrt{{{root}}}",
        rf"\sqrt{{{root}}} \cdot {factor}", rf"\frac{{{factor * root}}}{{\sqrt{{{root}}}}}", rf"{factor} \times {root}^{{1/2}}",
    ]  # fmt: skip
    return rng.choice(forms)


def product(rng: random.Random, value: Value) -> str:
    """Spell a product of two numbers, or what it comes to."""
    one, other = (int(part) for part in value.parts)
    return rng.choice(
        [f"{one}({other})", f"({one})({other})", rf"{one} \cdot {other}", rf"{one} \times {other}", str(one * other)]
    )


def point(rng: random.Random, value: Value) -> str:
    """Spell a point."""
    inside = [str(part) for part in value.parts]
    return rng.choice([f"({', '.join(inside)})", f"({','.join(inside)})", rf"\left( {', '.join(inside)} \right)"])


def numbers(rng: random.Random, value: Value) -> str:
    """Spell a set of numbers."""
    inside = [str(part) for part in value.parts]
    rng.shuffle(inside)
    return rng.choice(
        [", ".join(inside), rf"\{{{', '.join(inside)}\}}", rf"{', '.join(inside[:-1])} \text{{ and }} {inside[-1]}"]
    )


def interval(rng: random.Random, value: Value) -> str:
    """Spell an interval, open or closed on either side."""
    left, low, high, right = value.parts
    opening = "<" if left == "(" else r"\le"
    closing = "<" if right == ")" else r"\le"
    return rng.choice(
        [f"{left}{low}, {high}{right}", f"{left}{low},{high}{right}", rf"\left{left}{low}, {high}\right{right}",
         rf"{low} {opening} x {closing} {high}", rf"x \in {left}{low}, {high}{right}"]
    )  # fmt: skip


def quantity(rng: random.Random, value: Value) -> str:
    """Spell a number with a unit."""
    number, unit = value.parts
    return rng.choice(
        [rf"{number} \text{{ {unit}}}", rf"{number}\text{{ {unit}}}", rf"{number}\ \mathrm{{{unit}}}", str(number)]
    )


def scaled(rng: random.Random, value: Value) -> str:
    """Spell a number of millions, dozens, …"""
    number, word = int(value.parts[0]), str(value.parts[1])
    return rng.choice([rf"{number} \text{{ {word}}}", f"{number} {word}", str(number * FACTORS[word])])


def polynomial(rng: random.Random, value: Value) -> str:
    """Spell (x + a)(x + b)."""
    one, other = (int(part) for part in value.parts)
    factors = [f"(x {'+' if each >= 0 else '-'} {abs(each)})" for each in (one, other)]
    rng.shuffle(factors)
    total, constant = one + other, one * other
    middle = "" if not total else f" {'+' if total > 0 else '-'} {abs(total)}x"
    last = "" if not constant else f" {'+' if constant > 0 else '-'} {abs(constant)}"
    return rng.choice(["".join(factors), r" \cdot ".join(factors), f"x^2{middle}{last}", f"x^{{2}}{middle}{last}"])


def percent(rng: random.Random, value: Value) -> str:
    """Spell a share in percent."""
    return rng.choice([rf"{value.parts[0]}\%", rf"{value.parts[0]}\text{{ percent}}", rf"{value.parts[0]} \%"])


def matrix(rng: random.Random, value: Value) -> str:
    """Spell a column of numbers."""
    kind = rng.choice(["pmatrix", "bmatrix"])
    inside = rng.choice([r" \\ ", r"\\"]).join(map(str, value.parts))
    return rf"\begin{{{kind}}} {inside} \end{{{kind}}}"


def signed(rng: random.Random, value: Value) -> str:
    """Spell a number whose sign stands before it, before its box, or in words."""
    number = int(value.parts[0])
    return rng.choice(
        [str(number), f"{'-' if number < 0 else ''}{abs(number)}", f"{'minus ' if number < 0 else ''}{abs(number)}"]
    )


def letter(rng: random.Random, value: Value) -> str:
    """Spell an option."""
    return str(value.parts[0])


def _whole(rng: random.Random) -> Value:
    return Value("whole", (rng.choice([rng.randint(-20, 20), rng.randint(100, 99_999), 1000 * rng.randint(1, 999)]),))


def _fraction(rng: random.Random) -> Value:
    while True:
        number = Fraction(rng.randint(-40, 40), rng.choice([2, 3, 4, 5, 6, 7, 8, 9, 10, 12]))
        if number.denominator > 1:
            return Value("fraction", (number,))


def _radical(rng: random.Random) -> Value:
    return Value("radical", (rng.randint(2, 9), rng.choice([2, 3, 5, 6, 7, 10])))


def _product(rng: random.Random) -> Value:
    return Value("product", (rng.randint(2, 30), rng.randint(2, 30)))


def _point(rng: random.Random) -> Value:
    return Value("point", tuple(rng.randint(-9, 9) for _ in range(rng.choice([2, 3]))))


def _numbers(rng: random.Random) -> Value:
    return Value("set", tuple(sorted(rng.sample(range(-15, 16), rng.choice([2, 3])))))


def _interval(rng: random.Random) -> Value:
    low = rng.randint(-9, 5)
    return Value("interval", (rng.choice("(["), low, low + rng.randint(1, 9), rng.choice(")]")))


def _quantity(rng: random.Random) -> Value:
    return Value("quantity", (rng.randint(2, 500), rng.choice(UNITS)))


def _scaled(rng: random.Random) -> Value:
    return Value("scaled", (rng.randint(2, 90), rng.choice(WORDS)))


def _polynomial(rng: random.Random) -> Value:
    return Value("polynomial", tuple(sorted(rng.choice([each for each in range(-9, 10) if each]) for _ in range(2))))


def _percent(rng: random.Random) -> Value:
    return Value("percent", (rng.randint(2, 99),))


def _matrix(rng: random.Random) -> Value:
    return Value("matrix", tuple(rng.randint(-9, 9) for _ in range(rng.choice([2, 3]))))


def _signed(rng: random.Random) -> Value:
    return Value("signed", (rng.randint(1, 60) * rng.choice([1, -1]),))


def _letter(rng: random.Random) -> Value:
    return Value("letter", (rng.choice("ABCD"),))


MADE: dict[str, tuple[str, Callable[[random.Random], Value], Spelling]] = {
    "whole": ("math", _whole, whole),
    "fraction": ("math", _fraction, fraction),
    "radical": ("math", _radical, radical),
    "product": ("math", _product, product),
    "point": ("math", _point, point),
    "set": ("math", _numbers, numbers),
    "interval": ("math", _interval, interval),
    "quantity": ("math", _quantity, quantity),
    "scaled": ("math", _scaled, scaled),
    "polynomial": ("math", _polynomial, polynomial),
    "percent": ("math", _percent, percent),
    "matrix": ("math", _matrix, matrix),
    "signed": ("number", _signed, signed),
    "letter": ("choice", _letter, letter),
}
"""Kind of value to the verifier's kind, what makes a value, and what spells it."""
SPOILT: dict[str, list[Callable[[str], str]]] = {
    "math": [
        lambda text: rf"{text} \\ 7", lambda text: rf"{text} + \cdots", lambda text: rf"{text}\text{{ or more}}",
        lambda text: rf"{text} \text{{ is wrong}}", lambda text: rf"\text{{not }} {text}", lambda text: rf"{text} \cup 77",
        lambda text: rf"{text} \pm", lambda text: rf"\sim {text}", lambda text: rf"{text}\mathbf{{v}}",
        lambda text: rf"{text} \text{{ score}}", lambda text: rf"77 + {text}", lambda text: rf"{text}, 77",
        lambda text: rf"{text} = 77",
    ],
    "number": [lambda text: f"not {text}", lambda text: f"{text} or 77", lambda text: f"{text} to 77",
               lambda text: f"{text} or more"],
    "choice": [lambda text: f"{text} and {'A' if text != 'A' else 'B'}", lambda text: f"{text}, {'A' if text != 'A' else 'B'}"],
}  # fmt: skip
"""What makes a right answer another one, or none."""


def pair(rng: random.Random, index: int) -> Pair:
    """Make one pair: the same value, another one, or the same one spoilt."""
    name = rng.choice(list(MADE))
    kind, make, spell = MADE[name]
    value = make(rng)
    fate = rng.random()
    other = value if fate < 0.5 or fate >= 0.75 else _another(value, make, rng)
    gold = str(value.parts[0]) if kind != "math" else spell(rng, value)
    text = spell(rng, other)
    if fate >= 0.75:
        text = rng.choice(SPOILT[kind])(text)
    question = QUESTION.format("oak", "elm", "ash", "fir") if kind == "choice" else ""
    problem = Problem(str(index), question, gold, kind)
    return Pair(name, problem, rng.choice(PHRASES[kind]).format(text), fate < 0.5)


def _another(value: Value, make: Callable[[random.Random], Value], rng: random.Random) -> Value:
    while True:
        other = make(rng)
        if _worth(other) != _worth(value) and not (value.kind == "quantity" and other.parts[0] == value.parts[0]):
            return other


def _worth(value: Value) -> object:
    """Return what makes two values of a kind the same answer."""
    if value.kind == "product":
        return int(value.parts[0]) * int(value.parts[1])
    if value.kind == "scaled":
        return int(value.parts[0]) * FACTORS[str(value.parts[1])]
    if value.kind == "radical":
        return int(value.parts[0]) ** 2 * int(value.parts[1])
    return value.parts


def judged(pairs: list[Pair]) -> list[tuple[Pair, Outcome, str | None]]:
    """Return the pairs with their verdicts."""
    problems = {each.problem.id: each.problem for each in pairs}
    verdicts = judge([Trace(each.problem.id, 0, each.completion, "stop", 0, 0) for each in pairs], problems)
    return [(each, verdict.outcome, verdict.extracted) for each, verdict in zip(pairs, verdicts, strict=True)]


def main() -> None:
    """Parse the options, judge, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20, help="rows of each sort to print")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    found = judged([pair(rng, index) for index in range(options.pairs)])
    accepts = [row for row in found if row[1] is Outcome.CORRECT and not row[0].right]
    rejects = [row for row in found if row[1] is not Outcome.CORRECT and row[0].right]
    made = Counter(row[0].kind for row in found if row[0].right)
    missed = Counter(row[0].kind for row in rejects)
    for name, rows in (("false accepts", accepts), ("false rejects", rejects)):
        for each, outcome, extracted in rows[: options.show]:
            print(
                f"  {name}: {each.kind}: gold {each.problem.answer!r}, {each.completion!r}: {outcome}, read {extracted!r}"
            )
    print(
        f"{len(found)} pairs, {sum(made.values())} of them equal; false accepts {len(accepts)}, false rejects {len(rejects)}"
    )
    for name in MADE:
        print(f"  {name:<10} {missed[name]:>5} of {made[name]:>5} equal pairs rejected")
    sys.exit(1 if accepts else 0)


if __name__ == "__main__":
    main()
