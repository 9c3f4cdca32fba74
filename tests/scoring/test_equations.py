"""Equation chains: one spelling for one chain, and no way to hang them."""

from __future__ import annotations

import time

import pytest

from tpt.scoring.equations import equation_chain

SAME = [
    "9 * 2 = 18",
    "She makes 9 * 2 = $<<9*2=18>>18.",
    "9 eggs * $2.00 = **$18**",
    "9 × 2 = 18.0",
    "9 ✕ 2 = １８",
    "$9 \\times 2 = 18$",
    "9 x 2 = 18",
    "9 eggs/day * 2 dollars/egg = 18 dollars",
    "In 2020 9 * 2 = 18 things. 8 are red.",
    "She makes <<9*2=18>>18",
]


@pytest.mark.parametrize("completion", SAME)
def test_one_chain_has_one_spelling(completion: str) -> None:
    assert equation_chain(completion) == ("9*2=18",)


def test_order_and_operators_count() -> None:
    assert equation_chain("16 - 3 - 4 = 9\n9 * 2 = 18") == ("16-3-4=9", "9*2=18")
    assert equation_chain("1,000 + 5 = 1,005, 10 + 1 = 11") == ("1000+5=1005", "10+1=11")
    assert equation_chain("2 * 3 = 2 + 4 = 6") == ("2*3=2+4", "2+4=6")
    assert equation_chain("\\frac{1}{2} * 4 = 2") == ("1/2*4=2",)
    assert equation_chain("x = 3, so x + 3 = 6") == ()


@pytest.mark.parametrize(
    "piece", ["1+", "1 ", "=", "a$", "*", "1=1+1", "<<", ".", "\\frac{", "= $<<", "-", "*`", "/ ", " "]
)
def test_hostile_completions_take_no_time(piece: str) -> None:
    began = time.perf_counter()
    equation_chain(piece * 200_000)
    assert time.perf_counter() - began < 0.5


def test_a_typographic_minus_is_a_minus() -> None:
    assert equation_chain("58 – 2 = <<58-2=56>>56, 56 − 6 = 50") == ("58-2=56", "56-6=50")
