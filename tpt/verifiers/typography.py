"""The typographic characters of numbers and formulas; what each becomes is up to those who read them."""

from __future__ import annotations

# Full-width, Arabic-Indic, Persian, Devanagari, Bengali, Tamil, Telugu, Thai, Lao, Tibetan, Burmese, Khmer; each a run of ten.
_ZEROS = (0xFF10, 0x0660, 0x06F0, 0x0966, 0x09E6, 0x0BE6, 0x0C66, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x17E0)
DIGITS = {zero + digit: str(digit) for zero in _ZEROS for digit in range(10)}
"""The digits of other scripts, as a table for ``str.translate``."""
MINUS = "−－–‐‑‒﹣"
TIMES = "×·⋅✕∗＊"
OVER = "÷⁄∕／"
BLANKS = "\u00a0\u2007\u2009\u202f\u3000"
INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\u206a\u206b\ufeff"

PLAIN: dict[int, str | None] = {
    **DIGITS,
    **dict.fromkeys(map(ord, MINUS), "-"),
    **dict.fromkeys(map(ord, BLANKS), " "),
    **dict.fromkeys(map(ord, INVISIBLE), None),
}
"""What is the same to every reader: digits, minus signs, blanks."""
