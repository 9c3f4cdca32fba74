"""The comparison by computer algebra itself: what two answers have in common, whatever judged them before."""

from __future__ import annotations

import pytest

from tpt.verifiers.math.symbolic import equal

Pairs = list[tuple[str, str]]
SAME: dict[str, Pairs] = {
    "products and sums": [
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("10", "5(2)"),
        ("6", "-3(-2)"),
        ("3x+3", "3(x+1)"),
        (r"\frac{7}{2}", r"3\frac{1}{2}"),
        (r"\frac{3\pi}{2}", r"1\frac{1}{2}\pi"),
        ("(0, 3.75)", "(0, 3 3/4)"),
        (r"\frac{3\pi}{2}", r"1 1/2\pi"),
        (r"\begin{pmatrix} 2 \\ 4 \end{pmatrix}", r"2\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("x^2-1", "(x+1)(x-1)"),
        ("x_1+x_2", "x_2 + x_1"),
        (r"10x", r"\binom{5}{2}x"),
    ],
    "as people type it": [("1024", "2^10"), ("12", "3*4"), ("8", "2**3"), (r"\log_2 8", "3")],
    "rounded": [
        (r"\sqrt{2}", "1.4142"),
        (r"\sqrt{2}", "1.41421"),
        (r"-\sqrt{2}", "-1.4142"),
        (r"x=\sqrt{2}", "1.4142"),
        (r"100\pi", "314.1593"),
    ],
    "what is exact of an approximation": [
        (r"\frac{8}{3}", r"\frac{8}{3} \approx 2.67"),
        (r"\frac{8}{3}", r"x = \frac{8}{3} ≈ 2.67"),
        ("2.65", r"x \approx 2.65"),
        ("2.65", r"\approx 2.65"),
        ("2.65", r"X \approx 2.65"),
    ],
    "the end of a chain": [
        ("5", "a = 2 + 3 = 5"),
        ("5", "a = b = 5"),
        ("6", r"S = \sum_{k=1}^{3} k = 6"),
        (r"\sqrt{2}", r"a = \sqrt{1+1} = \sqrt{2}"),
    ],
    "either, or": [
        (r"(-\infty,1)\cup(2,\infty)", r"x < 1 \lor x > 2"),
        (r"\{1,2\}", r"x=1 \lor x=2"),
    ],
    "equations": [("x^2+y^2=1", "y^2+x^2=1"), ("x^2+y^2=1", "2x^2+2y^2=2"), ("y=1-x", "x+y=1"), ("y=2x+3", "2x+3")],
    "both signs": [
        (r"\frac{-1\pm\sqrt{5}}{2}", r"\frac{-1+\sqrt{5}}{2}, \frac{-1-\sqrt{5}}{2}"),
        (r"\frac{-1+\sqrt{5}}{2}, \frac{-1-\sqrt{5}}{2}", r"x = \frac{-1\pm\sqrt{5}}{2}"),
        (r"\sqrt{2\pm\sqrt{3}}", r"\sqrt{2+\sqrt{3}},\sqrt{2-\sqrt{3}}"),
        (r"1\pm\sqrt{2}", r"1\mp\sqrt{2}"),
        (r"1,\pm\sqrt{2}", r"1,\sqrt{2},-\sqrt{2}"),
    ],
    "letters": [
        (r"\pi(R^2-r^2)", r"\pi(R-r)(R+r)"),
        ("x^2-1", "(X+1)(X-1)"),
        ("2^{T+1}", r"2\cdot 2^T"),
        (r"\gcd(a,b)", r"\gcd(b,a)"),
        ("6", r"\gcd(12,18)"),
        (r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T"),
    ],
    "what is named": [
        (r"\frac{x-3}{2}", r"f^{-1}(x) = \frac{x-3}{2}"),
        (r"\sqrt{40}", r"\angle ABC = 2\sqrt{10}"),
        (r"AB = \sqrt{8}", r"2\sqrt{2}"),
        (r"\frac{AB}{CD} = \sqrt{8}", r"2\sqrt{2}"),
    ],
    "matrices": [
        (
            r"\begin{pmatrix} 3 \\ 7 \end{pmatrix}",
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}\begin{pmatrix} 1 \\ 1 \end{pmatrix}",
        ),
        ("-2", r"\begin{vmatrix} 1 & 2 \\ 3 & 4\end{vmatrix}"),
    ],
    "sets": [
        ("(1, 3]", r"1 < x \le 3"),
        (r"\{2,\sqrt{3}\}", r"x \in \{\sqrt{3},2\}"),
        (r"(1,2)\cup(3,\sqrt{20})", r"(1,2)\cup(3,2\sqrt{5})"),
        (r"x=2,y=\sqrt{12}", r"x=2, y=2\sqrt{3}"),
    ],
    "small": [
        (r"10^{-20}\pi", r"\frac{\pi}{10^{20}}"),
        (r"\{10^{-20}, 1\}", r"\{1, 10^{-20}\}"),
        (r"(10^{-20}, \sqrt{4})", r"(10^{-20}, 2)"),
    ],
}
DIFFERENT: dict[str, Pairs] = {
    "products and sums": [
        ("7", "5(2)"),
        (r"\frac{3}{2}", r"3\frac{1}{2}"),
        ("(0, 0.75)", "(0, 3 1/4)"),
        ("(0, 3.25)", "(0, 31/4)"),
        ("(0, 3.5)", "(0, 3 1)"),
        ("x^2-1", "(x+1)(x+1)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
        ("x_1", "x_2"),
        ("|x|", "x"),
        (r"\infty", r"-\infty"),
    ],
    "rounded": [
        (r"\sqrt{2}", "1.414"),
        (r"\sqrt{2}", "1.4143"),
        (r"\sqrt{2}", "1.41422"),
        (r"-\sqrt{2}", "1.4142"),
        (r"x=\sqrt{2}", r"141.42\%"),
        (r"\pi", r"\frac{22}{7}"),
        (r"\pi", "3.1415"),
        (r"x\sqrt{2}", "1.4142"),
    ],
    "an approximation alone": [
        ("2.65", r"\sqrt{7} \approx 2.65"),
        (r"\frac{8}{3}", r"\frac{5}{3} \approx 2.67"),
        ("2.65", r"2.6458 \approx 2.65"),
        ("2.6458", r"2.6458 \approx 2.65"),
        ("2", r"2 \approx 3"),
        ("3", r"2 \approx 3"),
        (r"\sqrt{7}", r"\sqrt{7} \approx 2.65 \approx 2.6"),
    ],
    "what cannot be read to its end": [
        ("5", r"a = \text{so} = 5"),
        ("5", "a = 2 3 = 5"),
        ("1234", "12 34"),
        ("1.23", "1.2.3"),
        ("0", "0 x"),
        ("5", "5?"),
        ("x", "x'"),
        ("x", r"x \mod 3"),
        (r"1,2,\ldots", r"1,2,..."),
        ("1", r"\frac{0}{0}"),
    ],
    "the beginning of a chain": [("6", "a = 2 + 3 = 5"), ("a", "a = 2 + 3 = 5")],
    "either, or": [
        (r"(-\infty,1]\cup(2,\infty)", r"x < 1 \lor x > 2"),
        (r"\{1,3\}", r"x=1 \lor x=2"),
        (r"x < 1 \lor y > 2", r"x < 1 \lor y > 3"),
        (r"x < 1 \lor x > 2", r"y < 1 \lor x > 2"),
    ],
    "equations": [
        ("x=5", "2x = 11"),
        ("x^2+y^2=1", "x^2+y^2=2"),
        ("y=2x+3", "y=2x+4"),
        ("x+y=3", "3"),
        (r"\frac{x}{2}+\frac{y}{3}=1", "1"),
        ("3x+4y=12", "12"),
        (r"x-y=\sqrt{2}", r"\sqrt{2}"),
        (r"10^{-20}\pi", r"x+y = 10^{-21}\pi"),
    ],
    "both signs": [
        (r"\frac{-1\pm\sqrt{5}}{2}", r"\frac{-1+\sqrt{5}}{2}"),
        (r"\frac{-1\pm\sqrt{5}}{2}", r"\frac{1\pm\sqrt{5}}{2}"),
        (r"x=\pm\sqrt{2}", r"y=\pm\sqrt{2}"),
        (r"(\pm 1, \sqrt{2})", r"(1,\sqrt{2})"),
    ],
    "letters that differ in their case alone": [
        (r"\pi(R^2-r^2)", "0"),
        ("0", "R-r"),
        ("2r", "R+r"),
        (r"\frac{Rr}{2}", r"\frac{r^2}{2}"),
        ("2ab", "AB+ab"),
        (r"\Delta-\delta", "0"),
    ],
    "an exponent T": [("2^T", "2"), ("x", "x^{T}"), ("(1+r)^T", "1+r"), ("A^T B", "AB"), ("P(1+r)^{ T }", "P(1+r)")],
    "what names stand for is unknown": [
        (r"\gcd(a,b)", "1"),
        ("2", r"\gcd(m,n)+1"),
        (r"\gcd(a,b)", r"\gcd(c,d)"),
        (r"\operatorname{lcm}(a,b)", "ab"),
        (r"\frac{dy}{dx}", "0"),
        (r"\frac{dy}{dx}", r"\frac{dx}{dy}"),
        (r"\frac{dy}{dx}=2x", r"\frac{dy}{dx}=3x"),
        (r"x+\frac{dy}{dx}", "x"),
        (r"\frac{\partial f}{\partial x}", r"\frac{\partial f}{\partial y}"),
        (r"f^{-1}(x)", r"\frac{1}{f(x)}"),
        ("1/g(3)", "g^{-1}(3)"),
        (r"\angle ABC", r"\angle ACB"),
        (r"\frac{x-3}{2}", r"f^{-1}(x) = \frac{x+3}{2}"),
    ],
    "matrices": [
        (
            r"\begin{pmatrix} 3 \\ 8 \end{pmatrix}",
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}\begin{pmatrix} 1 \\ 1 \end{pmatrix}",
        ),
        (
            r"\begin{pmatrix} 1 \\ 1 \end{pmatrix}",
            r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}\begin{pmatrix} 1 \\ 1 \end{pmatrix}",
        ),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T"),
    ],
    "sets": [
        ("(1, 3)", r"1 < x \le 3"),
        (r"\{1,2,\sqrt{3}\}", r"\{1,\sqrt{3}\}"),
        (r"(1,\sqrt{2})", r"(1,\sqrt{2},3)"),
        (r"(1,2)\cup(3,\sqrt{20})", r"(1,2)\cup(3,2\sqrt{6})"),
        (r"x=2,y=\sqrt{3}", r"x=\sqrt{3}, y=2"),
    ],
    "small": [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"10^{-20}\pi", r"10^{-21}\pi"),
        (r"0.0000001\pi", r"0.0000004\pi"),
        ("10^{-9}x", "10^{-8}x"),
        (r"\frac{x}{10^9}", r"\frac{y}{10^9}"),
        ("(10^{-20}, 1)", "(10^{-21}, 1)"),
        (r"\{10^{-20}, 1\}", r"\{1, 10^{-21}\}"),
        ("[10^{-20}, 1]", "[10^{-21}, 1]"),
        ("[0, 10^{-20}]", "[0, 10^{-21}]"),
        (r"\begin{pmatrix} 10^{-20} \\ 1 \end{pmatrix}", r"\begin{pmatrix} 10^{-21} \\ 1 \end{pmatrix}"),
    ],
}


@pytest.mark.parametrize("name", SAME)
def test_the_same(name: str) -> None:
    missed = [(gold, answer) for gold, answer in SAME[name] if equal(gold, ["\\text{no}", answer]) != answer]
    assert missed == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_different(name: str) -> None:
    assert [(gold, answer) for gold, answer in DIFFERENT[name] if equal(gold, [answer]) is not None] == []


def test_the_first_that_equals_is_named() -> None:
    assert equal("x+1", ["x", "1+x", "x+1"]) == "1+x"
    assert equal("x+1", []) is None
