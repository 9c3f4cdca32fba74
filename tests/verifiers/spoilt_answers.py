"""Answers beside which something makes them other ones: words, signs, a second answer, a word that takes them back."""

from __future__ import annotations

from answer_tables import Row, boxed

_BEFORE = (
    *(
        "definitely not",
        "not equal to",
        "other than",
        "anything but",
        "different from",
        "far from",
        "nowhere near",
        "rather than",
    ),
    *(
        "no more than",
        "just under",
        "in excess of",
        "upwards of",
        "below",
        "beyond",
        "at least",
        "three times",
        "ten minus",
    ),
    *(
        "the square root of",
        "the cube of",
        "the reciprocal of",
        "the opposite of",
        "a third of",
        "a multiple of",
        "15% of",
    ),
    *("neither 9 nor", "x >", "x <=", "x !=", "<", "≥", "±", "+/-", "9 —", "9 versus", "ln", "sin", "∛"),
)
_AFTER = (
    *(
        " or eight",
        " to twenty",
        ", or 9",
        ", maybe 9",
        " or even 9",
        " and up",
        " or over",
        " and counting",
        " at most",
        " minimum",
    ),
    *(
        "⁴",
        "⁻¹",
        "₉",
        "⅛",
        " ⅝",
        "①",
        "𝟗",
        "π",
        " π",
        "pi",
        "‱",
        "%%",
        "!!",
        "•2",
        "✖ 2",
        "∶2",
        " → 9",
        " -> 9",
        "…9",
        "..9",
        "—9",
    ),
    *(
        " times two",
        " plus two",
        " minus two",
        " point five",
        " to the fourth",
        " and three fifths",
        " and a bit",
        " fifths",
    ),
    *(
        " halves",
        " hours and a half",
        " dollars and fifty cents",
        " in base 9",
        " (mod 5)",
        " R2",
        "h30",
        "°30'",
        "% of 50",
    ),
    *(
        " quadrillion",
        " Millionen",
        " millones",
        " milliards",
        " mil",
        " Tausend",
        " тысяч",
        " ล้าน",
        "千",
        "만",
        " degrees below zero",
    ),
    *(
        " is too high",
        " isn't right",
        " cannot be right",
        ", which is wrong",
        " (incorrect)",
        " - wrong",
        "? No",
        " (negative)",
    ),
    *(" is impossible", "th root of 5", " if it rains, else 9", " give or take 2", "\u00ad9", "\u20639"),
)
_TAKEN_BACK = (
    *(
        "No, 9.",
        "No, it is 9.",
        "Wait, it should be 9.",
        "Actually, 9.",
        "Sorry, 9 is the answer.",
        "Oops, 9!",
        "Correction: 9.",
    ),
    *(
        "That is wrong.",
        "This is incorrect: it is 9.",
        "But I made a mistake. It is 9.",
        "On second thought, 9.",
        "I mean 9.",
    ),
    *("That answer is wrong.", "Scratch that.", "It isn't right."),
)
_CORRECTED = ("No, 9.", "Wait, it should be 9.", "Actually, 9.", "Correction: 9.", "I mean 9.")
_STANDS = (
    *(
        "Let me know if this is wrong!",
        "We did not actually need the 4 hens.",
        "No other 3 numbers do.",
        "Check: 4 + 4 = 8.",
    ),
    *("Let me know if I made a mistake.", "There is no doubt, as 2 * 4 = 8."),
)
_PLACES = ("#### {}", "The answer is {}.", "So she has {}.", r"\boxed{{{}}}")

AROUND: list[Row] = [
    *(("8", place.format(f"{words} 8"), False) for words in _BEFORE for place in _PLACES[:3]),
    *(("8", f"So she has {sign}8.", False) for sign in "⅟②𝟏⁻₋√∜≠!"),
    *(("8", place.format(f"8{words}"), False) for words in _AFTER for place in _PLACES),
    *(
        ("8", f"{answer} {words}", False)
        for words in _TAKEN_BACK
        for answer in ("#### 8\n", "The answer is 8.", r"So \boxed{8}.")
    ),
    *(("9", f"{answer} {words}", True) for words in _CORRECTED for answer in ("#### 8\n", "The answer is 8.")),
    *(
        ("8", f"{answer} {words}", True)
        for words in _STANDS
        for answer in ("#### 8\n", "The answer is 8.", r"So \boxed{8}.")
    ),
    *(("8", f"#### {text}", False) for text in ("~~8~~", "~~8~~ 9", "<del>8</del> 9", "<!-- 8 -->", "9 <!-- 8 -->")),
    *(("8", text, True) for text in ("#### ~~9~~ 8", "#### 8 <!-- 9 -->", "17 rounds up to 8")),
]
"""Of ``number`` and ``math`` alike; ``number`` reads more of what stands around a number as words, ``NUMBER_ALONE``."""

NUMBER_ALONE: list[Row] = [
    ("0.5", "#### 0.5%", False), ("0.005", "#### 0.5%", True), ("8000", "#### 8千", True), ("8", "#### 8 √", False),
    *(("9", f"#### 8\n {words}", True) for words in _TAKEN_BACK[:7]),
    *(("8", text, True) for text in ("<s> So it is 8</s>", "a -> 8", "The answer is 8. (Not 9, for that is too many.)")),
    *(("8", f"#### 8 {each}", True) for each in ("billionaires", "pavilions", "more than before", "times", "third")),
]  # fmt: skip

MATH_ALONE: list[Row] = boxed(
    [
        # An equation is the value of its left side only where that is a name.
        *(
            ("5", rf"{left} = 5", False)
            for left in (
                "2x",
                "x^2",
                "-x",
                "|x|",
                r"\sqrt{x}",
                "1/x",
                "x+1",
                r"\frac{x}{2}",
                r"\ln x",
                "e^x",
                "6",
                r"\not",
                r"\neg",
            )
        ),
        *(("5", f"{left} = 5", True) for left in ("x", "f(2)", "2+3", "AB", r"\angle A", r"\text{Area}", "")),
        ("x^2 + y^2 = 4", "4", False),
        (r"\frac{MN}{PQ} = 4", "4", True),
        ("4", "|PQ| = 4", True),
        ("4", "2PQ = 4", False),
        ("(p,q) = (4,5)", "(4,5)", True),
        ("120", r"2\text{ hours} = 120\text{ minutes}", True),
        ("x_1", "x", False),
        # Half a percent is not a half.
        (r"\frac{1}{2}", r"0.5\%", False),
        (r"\frac{1}{2}", r"\frac{1}{2}\%", False),
        (r"\frac{1}{200}", r"0.5\%", True),
        # Signs of measures.
        (r"\$5", r"5\text{ cents}", False),
        (r"\$5", "5 €", False),
        (r"\$5", r"5\text{ dollars per hour}", True),
        (r"5\text{ cm}", r"5^\circ", False),
        (r"5\text{ cm}", r"5\%", False),
        (r"5\text{ cm}", r"5\text{ per cm}", False),
        (r"60^\circ", r"60\text{ radians}", False),
        (r"60^\circ", r"60\text{ degrees}", True),
        (r"60^\circ", "60'", False),
        (r"\pi", r"\pi^\circ", False),
        (r"\pi", r"\Pi", False),
        (r"\frac{1}{2}", r"\sin 30^\circ", True),
        (r"\frac{1}{2}", r"\sin 30", False),
        # Bases, points, several values.
        ("18", "18_9", False),
        ("18", "18_{10}", True),
        ("(3,4)", r"3 \text{ or } 4", False),
        ("(3,4)", r"\langle 3, 4 \rangle", True),
        ("5", "5;5", False),
        ("18", "18^T", False),
        ("18", r"\cancel{18}", False),
        ("19", r"\phantom{18}19", True),
        ("10^6", "1e6", True),
        ("6-5i", "6 - 5 i", True),
        ("6-5i", "6+(-5)i", True),
        ("6-5i", "6 - 5 k", False),
        ("1/2", "= 1/2", True),
        (r"2\sqrt{3}", r"\approx 3.4641", True),
    ]
)
"""Of ``math`` alone."""

MATH_QUESTIONS: list[tuple[str, str, str, bool]] = [
    ("What is 22 in base 8?", "26", r"26_8", True),
    ("What is 22 in base eight?", "26", r"26_{8}", True),
    ("What is 22 in octal?", "26", r"26_8", True),
    ("What is 22 in base 8?", "26", r"26_9", False),
    ("Find $a+b$.", "5", "a + b = 5", True),
    ("Find $a-b$.", "5", "a + b = 5", False),
    ("If $2x = 10$, find $x$.", "5", "2x = 5", False),
    ("What percent is it?", "0.5", r"0.5\%", True),
    ("What is it?", "0.5", r"0.5\%", False),
]
"""Question, gold, what stands in the box, whether it is right."""

CHOICE: list[Row] = [
    *(
        ("B", f"#### B{words}", False)
        for words in (
            *(
                "?? or C",
                "... or maybe C",
                ", maybe C",
                " or maybe C",
                "+",
                "|C",
                " > C",
                "=C",
                "→C",
                " -> C",
                "–C",
                "-D",
                " to D",
            ),
            *(
                " through D",
                " as well as C",
                " plus C",
                " with C",
                " (and C)",
                " (or C)",
                " (wrong)",
                ", which is wrong",
                " - wrong",
            ),
            *(
                " if it rains, else C",
                ". No, C.",
                "\nWait, that is wrong. It is C.",
                "\nActually, C.",
                "\nSorry, C is the answer.",
            ),
        )
    ),
    *(
        ("B", f"{words} B", False)
        for words in ("Rule out option", "We exclude option", "Discard", "I doubt it is", "Not")
    ),
    *(
        ("B", f"{answer} B", True)
        for answer in ("The answer is A. No, wait: it is", "#### A\nThat is wrong.\n####", "So, it must be")
    ),
    *(
        ("B", text, True)
        for text in ("The answer is B. A is wrong.", "#### B because C is wrong", "#### B, not A.", "B - a swan")
    ),
    ("B", r"\boxed{B} or C", False),
    ("B", r"\boxed{B}, which is wrong", False),
]

# What a question asks how many of may be left off, whatever it is; nothing else may.
COUNTED_QUESTION = "Tom has 30 blue widgets and gives 12 away. How many blue widgets are left?"
COUNTED = boxed(
    [
        ("18", "18 widgets", True),
        ("18", r"18\text{ widgets}", True),
        ("18", "18 blue widgets", True),
        ("18", "18 widgets left", True),
        ("17", "18 widgets", False),
        ("18", "18 zorbs", False),
        ("18", "18 more widgets", False),
        ("18", "18 dozen widgets", False),
        ("18", r"18\text{ or more widgets}", False),
        ("18", "18 times widgets", False),
        ("18", "18 red widgets", False),
    ]
)
