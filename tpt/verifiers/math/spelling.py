r"""One spelling for the many ways to write the same formula: ``canonical`` for short.

Nothing here drops a part of an answer that has a meaning. Everything is linear in the length of the text, which is bounded.
"""

from __future__ import annotations

import re

from tpt.verifiers.math.scalars import with_repeating_as_fractions
from tpt.verifiers.typography import PLAIN, TIMES

_CHARACTERS = {
    **PLAIN,
    **dict.fromkeys(map(ord, TIMES), "\\cdot "),
    **{ord(char): text for char, text in {"½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}"}.items()},
    **{ord(char): text + " " for char, text in {
        "π": "\\pi", "√": "\\sqrt", "∞": "\\infty", "≤": "\\le",
        "≥": "\\ge", "≠": "\\ne", "∪": "\\cup", "∩": "\\cap", "∈": "\\in", "±": "\\pm", "∅": "\\emptyset",
        "θ": "\\theta", "α": "\\alpha", "β": "\\beta", "ω": "\\omega",
    }.items()},
    **{ord(char): text for char, text in {
        "²": "^2", "³": "^3", "°": "^\\circ ", "℃": "^\\circ C", "℉": "^\\circ F", "％": "%",
        "，": ",", "：": ":", "…": "...", "。": ".", "（": "(", "）": ")", "٫": ".", "٬": ",", "٪": "%",
    }.items()},
}  # fmt: skip

_WRAPPERS = re.compile(
    r"\A\s*\\(?:therefore|Rightarrow|implies)(?![a-zA-Z])|\\\[|\\\]|\\\(|\\\)|(?<!\\)\$+|\\displaystyle(?![a-zA-Z])|\\limits(?![a-zA-Z])"
)
_SIZES = re.compile(
    r"\\(?:left|right|mleft|mright|middle|bigl?|bigr?|Bigl?|Bigr?|biggl?|biggr?|Biggl?|Biggr?)(?![a-zA-Z])\.?"
)
# A letter in upright or bold type is a number (e, i) or a variable, not a word.
_LETTER = re.compile(
    r"\\(?:mathrm|operatorname|text|rm)\s*\{\s*([ei])\s*\}|\\(?:mathbf|mathit|bm|boldsymbol)\s*\{\s*([A-Za-z])\s*\}"
)
_TEXT_COMMAND = re.compile(
    r"\\(?:textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|operatorname|rm|bf)"
    r"\s*(?=\{)"
)
TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_TEXT_OF_DIGITS = re.compile(r"\\text\s*\{\s*([-+]?[0-9][0-9.,/ ]*%?)\s*\}")
_LEAD_IN = re.compile(
    r"\\text\s*\{\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|result|value|solution|total|sum)\s*(?:is|:|=|equals|is:)\s*\}\s*(?=\S)",
    re.IGNORECASE,
)
# A text that is a whole answer: "\\text{5 cm}", "\\text{x = 5}", "\\text{Answer: 5}".
_ALL_TEXT = re.compile(
    r"\s*\\text\s*\{\s*(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*:)\s*|(?P<name>[a-zA-Z])\s*=\s*)?"
    r"(?P<number>[-+]?[0-9][0-9.,/]*%?)(?P<words>\s+[A-Za-z][A-Za-z ./]*)?\s*\}\s*",
    re.IGNORECASE,
)
_SIGN_WORD = re.compile(
    r"(?:\\text\s*\{\s*(?:negative|minus)\s*\}|(?:negative|minus)(?=[\s\\]))\s*(?=[0-9.\\])", re.IGNORECASE
)
# {\\bf 17}, \\text{\\$}17, 5^\\circ\\text{C}; \\text{C} alone is coulombs.
_SWITCH = re.compile(r"\{\s*\\(rm|bf|it)(?![a-zA-Z])\s*([^{}]*)\}")
_TEXT_OF_SIGN = re.compile(r"\\text\s*\{\s*([€£¥₹]?)\s*\}")
_MYRIAD = re.compile(r"(?<=[0-9])\s?([千万萬亿億])(?=\s*(?:\Z|[}$]))")
_MYRIADS = {"千": 3, "万": 4, "萬": 4, "亿": 8, "億": 8}
_QUANTITY = re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_NUM = re.compile(r"\\num\s*\{([^{}]*)\}")
_TEMPERATURES = {"C": "celsius", "F": "fahrenheit"}
_CHOOSE = re.compile(
    r"\{\s*([^{}]{1,60}?)\s*\\choose(?![a-zA-Z])\s*([^{}]{1,60}?)\s*\}|\A\s*(\w+)\s*\\choose\s*(\w+)\s*\Z"
)
_BAR = re.compile(r"\\(?:bar|overline|dot)(?![a-zA-Z])\s*(?:\{\s*(\d+)\s*\}|(\d))")
_SPACES = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad(?![a-zA-Z])|\\(?:hspace|phantom)\{[^{}]*\}")
_LATEX_THOUSANDS = re.compile(r"(?<=\d)(?:\s?\{,\s?\}|,\\!|\\,|\\ |,\\,)\s?(?=\d{3}(?!\d))")
_DEGREES = re.compile(r"\^\s?\{?\s?\\(?:circ|degree)(?![a-zA-Z])\s?\}?|\\degree(?![a-zA-Z])|\\deg(?![a-zA-Z])")
_TEMPERATURE = re.compile(rf"(?:{_DEGREES.pattern})\s*(?:\\text\s*\{{\s*([CF])\s*\}}|([CF])(?![A-Za-z]))")
_ANGLE = re.compile(rf"(\d+(?:\.\d+)?)\s?(?:{_DEGREES.pattern})")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_FRAC = re.compile(r"\\[dtc]?frac(?![a-zA-Z])\s?")
_FRAC_SHORT = re.compile(
    r"\\frac\s?(?:([0-9a-zA-Z])\s?([0-9a-zA-Z])|([0-9a-zA-Z])\s?(?=\{)|\{([^{}]*)\}\s?([0-9a-zA-Z]))"
)
_SQRT_SHORT = re.compile(r"\\sqrt\s?([0-9a-zA-Z])")
_SAME = [
    (re.compile(r"\\(?:leq|leqslant)(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\(?:geq|geqslant)(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\neq(?![a-zA-Z])"), r"\\ne"),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:varnothing|empty)(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])\s*"), r"\\cdot "),
    (re.compile(r"\\(?:ldots|dots|cdots)(?![a-zA-Z])"), "..."),
]
_AND = re.compile(
    r"(?P<words>\\text\s*\{(?!\s*,?\s*(?:and|or)\s*\})[^{}]*\})"
    r"|,?\s*(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*,?"
)
_OR = re.compile(r"\s*(?:\\text\s*\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\(?:lor|vee)(?![a-zA-Z]))\s*")
_RELATION = re.compile(r"[<>]|\\[lg]e(?![a-z])")
# Not before a digit: x^{1}0 is not x^10.
_BRACED = re.compile(r"([_^])\{\s?([A-Za-z0-9])\s?\}(?!\s?[0-9])")
_SIGN_BEFORE = re.compile(r"\A\s*(?::|[-=]>|[⇒→∴]|=(?!=)|\\approx(?![a-z])|≈)?\s*|\s+\Z")
_BLANKS = re.compile(r"\s+")
_TIGHT = re.compile(r" ?([-+=<>(){}\[\],/^_|:]|\\(?:cdot|le|ge|ne|in|cup|cap|pm|mp|lor)(?![a-zA-Z])) ?")
_CURRENCY = re.compile(
    r"\A(-?)(?:€|£|¥|₹|\\(?:pounds|euro)\b\s?|Rs\.?\s?(?=\d)|US(?:D|\$)\s?(?=\d))|(?<=\d)\s?(?:€|₹|£)\Z"
)
# Thousands in threes, or as in India (1,30,000).
_THOUSANDS = re.compile(r"([-+]?)([1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d{2})+,\d{3})((?:\.\d+)?%?)")
# Grouped by something that separates nothing else: blanks, apostrophes, underscores, or points that come twice.
_GROUPED = re.compile(r"([-+]?)([1-9]\d{0,2}(?:(?: \d{3})+|(?:['’_]\d{3})+|(?:\.\d{3}){2,}))(?:(?<=\d)[.,](\d+))?(%?)")


def canonical(text: str) -> str:
    """Return one spelling for the many ways to write the same formula."""
    if not text.isascii():
        text = _MYRIAD.sub(lambda match: f"\\cdot 10^{_MYRIADS[match[1]]}", text.translate(_CHARACTERS))
    if "\\" in text or "$" in text or "{," in text:
        text = _without_latex(text)
    text = _with_commas(text)
    if text[:3].lower() in ("neg", "min", "\\te"):
        text = _SIGN_WORD.sub("-", text, count=1)
    if ("." in text and ("(" in text or "\\overline" in text)) or "..." in text:
        text = with_repeating_as_fractions(text)
    text = _BRACED.sub(r"\1\2", text)
    text = _BLANKS.sub(" ", text).strip().removesuffix("...").rstrip(".,;:") + "..." * text.rstrip().endswith("...")
    text = _SIGN_BEFORE.sub("", text)
    text = _CURRENCY.sub(r"\1", text)
    text = _TIGHT.sub(r"\1", text)
    return _without_grouping(text)


def _without_latex(text: str) -> str:
    text = text.replace("\\$", "").replace("\\%", "%").replace("\\#", "#")
    text = _LATEX_THOUSANDS.sub("", text)
    text = _WRAPPERS.sub(" ", text)
    text = _SIZES.sub("", text)
    text = _QUANTITY.sub(r"\1\\text{ \2}", text)
    text = _NUM.sub(r"\1", text)
    text = _SWITCH.sub(r"\\math\1{\2}", text)
    text = _LETTER.sub(lambda match: match[1] or match[2], text)
    text = _TEXT_COMMAND.sub(r"\\text", text)
    text = _TEXT_OF_SIGN.sub(r"\1", text)
    text = _LEAD_IN.sub("", text, count=1)
    text = _TEXT_OF_DIGITS.sub(r"\1", text)
    if whole := _ALL_TEXT.fullmatch(text):
        name, words = whole["name"], whole["words"]
        text = f"{f'{name}=' if name else ''}{whole['number']}{f'{chr(92)}text{{ {words.strip()}}}' if words else ''}"
    text = _SPACES.sub(" ", text).rstrip(" \\")
    text = _TEMPERATURE.sub(lambda match: f"\\text{{ {_TEMPERATURES[match[1] or match[2]]}}}", text)
    # The sine of 30° is none of 30; elsewhere the sign says what is counted.
    text = _DEGREES.sub("", _ANGLE.sub(r"\\frac{\1\\pi}{180}", text) if _TRIGONOMETRIC.search(text) else text)
    text = _FRAC.sub(r"\\frac", text)
    text = _FRAC_SHORT.sub(_full_frac, text)
    text = _SQRT_SHORT.sub(r"\\sqrt{\1}", text)
    text = _BAR.sub(lambda match: f"\\overline{{{match[1] or match[2]}}}", text)
    text = _CHOOSE.sub(lambda match: f"\\binom{{{match[1] or match[3]}}}{{{match[2] or match[4]}}}", text)
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    return text


def _with_commas(text: str) -> str:
    r"""Write "and" and "or" between answers as commas, and "or" between inequalities as ``\lor``."""
    if "and" not in text and "or" not in text and "\\vee" not in text:
        return text
    either = _OR.split(text)
    if len(either) > 1 and all(map(_RELATION.search, either)):
        return "\\lor ".join(either)
    # In a text of words, "and" is one of them: "Monday and Tuesday".
    if re.search(r"(?<![\\A-Za-z])(?!(?:and|or)\b)[A-Za-z]{3}", text) and not re.search(r"[0-9\\=]", text):
        return text
    listed = _AND.sub(lambda match: match["words"] or ",", text)
    # An "or" with nothing on one side of it is no comma that may be left off.
    return text if listed.strip().startswith(",") or listed.rstrip().endswith(",") else listed


def _without_grouping(text: str) -> str:
    """Return a number of grouped digits without what groups them."""
    if not text[-1:].isdigit() and text[-1:] != "%":
        return text
    if thousands := _THOUSANDS.fullmatch(text):
        return thousands[1] + thousands[2].replace(",", "") + thousands[3]
    if grouped := _GROUPED.fullmatch(text):
        decimals = f".{grouped[3]}" if grouped[3] else ""
        return grouped[1] + re.sub(r"\D", "", grouped[2]) + decimals + grouped[4]
    return text


def _full_frac(match: re.Match[str]) -> str:
    top, bottom, lone_top, braced_top, lone_bottom = match.groups()
    if lone_top is not None:
        return f"\\frac{{{lone_top}}}"
    return f"\\frac{{{top if braced_top is None else braced_top}}}{{{bottom if lone_bottom is None else lone_bottom}}}"
