"""The typographic characters of numbers and formulas; what each becomes is up to those who read them."""

from __future__ import annotations

DIGITS = {0xFF10 + digit: str(digit) for digit in range(10)}
"""Full-width digits, as a table for ``str.translate``."""
MINUS = "−－–‐‑‒﹣"
TIMES = "×·⋅✕∗＊"
OVER = "÷⁄∕／"
BLANKS = "\u00a0\u2007\u2009\u202f\u3000"
INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"

PLAIN: dict[int, str | None] = {
    **DIGITS,
    **dict.fromkeys(map(ord, MINUS), "-"),
    **dict.fromkeys(map(ord, BLANKS), " "),
    **dict.fromkeys(map(ord, INVISIBLE), None),
}
"""What is the same to every reader: digits, minus signs, blanks."""
