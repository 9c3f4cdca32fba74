r"""Finds ``\boxed{...}`` in a completion, and what stands around one and belongs to it: the sign of ``-\boxed{5}``.

Everything here is linear in the length of the text, for completions are hostile input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tpt.verifiers.wording import AFTER, turned

SPAN = 600
"""Characters after an answer phrase or an unclosed box that can belong to the answer."""
_AROUND = 160
"""Characters on either side of a box that can belong to its formula."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: where the command begins, where the closing brace ends, and what is between."""

    start: int
    end: int
    content: str


_BRACES = re.compile(r"\\\\(?!boxed|fbox)|\\[{}]|\\(?:boxed|fbox)\s?(?=\{)|\\boxed\s(?=[^\s{])|[{}]")
_BARE_BOX = re.compile(r"\\boxed[ \t]+([^\s$\\{}]{1,40})")

_FUNCTION = r"sqrt|[dtc]?frac|binom|log|ln|exp|(?:arc)?(?:sin|cos|tan)|sec|csc|cot|max|min|gcd"
_SIGN = r"pm|mp|cdot|times|div|ast|neg|lnot|not|sim|bullet"
_LETTER = r"alpha|beta|gamma|delta|theta|lambda|mu|pi|rho|sigma|tau|phi|omega|infty"
# Where the part of a formula that a box stands in begins.
_BEGIN = re.compile(
    r"\\\\(?![a-zA-Z])|\\\[|\\\(|(?<!\\)\$+|\n|&|\*\*|(?<!\\)[=<>≤≥≈:,;]"
    r"|\\(?:approx|leq?|geq?|leqslant|geqslant|ne|neq|equiv|in|implies|Rightarrow|Longrightarrow|rightarrow|to|iff|quad|qquad"
    r"|therefore|because|displaystyle)(?![a-zA-Z])|\\(?:begin\{[^}]*\}|text(?:bf|it|rm)?\s?\{[^{}]*\}"
    r"|mbox\{[^{}]*\}|color\{[^}]*\}"
    r"|textcolor\{[^}]*\}\{?|hspace\{[^}]*\}|(?:Large|large|huge|bf|it|rm)(?![a-zA-Z]))"
)
_END = re.compile(
    r"\\\\(?![a-zA-Z])|\\\]|\\\)|(?<!\\)\$|\n|&|\*\*|(?<!\\)[=<>≤≥≈:,;]|。|\.(?![0-9])|\?"
    r"|\\(?:approx|leq?|geq?|leqslant|geqslant|ne|neq|equiv|in|implies|Rightarrow|Longrightarrow|rightarrow|to|iff|quad|qquad"
    r"|text\w*|mbox|mathrm|boxed|fbox|end|tag|blacksquare|square|checkmark|because|therefore)(?![a-zA-Z])"
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[ \t'’]*")
_ADDED = re.compile(r"[-−+±]|\\(?:pm|mp)(?![a-zA-Z])")
_SPACE = re.compile(r"\\[,;:! ]|~|\\\$|\\(?:left|right|big|Big)(?![a-zA-Z])")
_FACTOR = re.compile(r"(?:[0-9)}]|(?<![A-Za-z\\])[A-Za-z])\s*\Z")
_BINDS_BEFORE = re.compile(
    rf"(?:[0-9]\.|[-−+/^_±×·÷√]|(?<!\*)\*|\\(?:{_FUNCTION}|{_SIGN}|{_LETTER})(?:\[[^\]]*\])?(?:[_^]\{{?\w+\}}?)?"
    r"|\\[dtc]?frac\s?\{[^{}]*\}|[0-9)}|!]|(?<![A-Za-z])[A-Za-z])[\s({\[]*\Z"
)
# In running text a hyphen or a star is a bullet or a dash unless it touches the box, and a digit an item's number.
_BINDS_IN_TEXT = re.compile(
    rf"(?:(?<![-\w*])[-−–]\$?|[0-9a-z)}}]\s*[-−+*/^×·÷]\s*|[0-9]|[A-Za-z0-9)}}][_^]\{{?|[±√×·÷]\s*|\\(?:{_FUNCTION}|{_SIGN})\s*[({{\[]*)\Z"
)
_BINDS_AFTER = re.compile(
    rf"\^|\.[0-9]|_[0-9{{]|!(?!\w)|[±×·÷√%]|\\(?:{_FUNCTION}|{_SIGN}|{_LETTER}|choose)(?![a-zA-Z])|\\%"
    r"|[-−+*/]\s?(?=[0-9(\\{]|[a-zA-Z](?![a-zA-Z]))|[0-9(]|[a-zA-Z](?![a-zA-Z])"
)
_AFTER_IN_TEXT = re.compile(
    rf"\^|_[0-9{{]|\.[0-9]|[±×·÷√%]|\s?\\(?:{_FUNCTION}|{_SIGN}|{_LETTER})(?![a-zA-Z])|\\%"
    r"|\s?[*/+]\s?(?=[0-9(\\])|[-−](?=[0-9(\\])|\s[-−]\s(?=[0-9(\\])|[0-9]|[a-zA-Z](?![a-zA-Z'’])"
)
_CLOSED = re.compile(r"(?:[ \t]|~|\\[,;:! ]|\$|\\\)|\*)*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*")
# Right behind a box, what makes its number another one, or one of several: 6,000 and 6:7 and 6, 7.
_TOUCHING = re.compile(r"[0-9]|:[0-9]|[,;]\s?-?[0-9]")
# Right before a box, what makes its number one that is not meant: x \ne 6, x > 6; a tag such as <b> does not.
_UNEQUAL = re.compile(r"(?:\\(?:neq?|lt|gt)(?![a-z])|≠|\s!=|(?<![</A-Za-z])[A-Za-z0-9)}]\s*[<>])[\s$]*\Z")
# Right before a box: another answer, a bound, or what strikes it out or puts something over it.
_ANOTHER = re.compile(
    r"(?:(?<![^\s$=(*])[-−]?(?P<other>[0-9][0-9.,]*)[$*\s]*(?:\\text\s*\{\s*)?,?\s*\b(?:or|to|versus|vs\.?)\s*\}?|\bbetween\b[^.\n]{1,40}\band"
    r"|\b(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than)[\s$*(\[{\\]*(?:[A-Za-z]\s*=\s*)?\Z"
    r"|\\(?:[xb]?cancel|sout|st|overline|bar|hat|tilde|dot|vec|v?h?phantom)\s*\{[^{}]*\Z",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"(?:\A|[:=]|\b(?:is|are|be|equals|gives|answer))[\s*]*(?:an?\s+)?(?:negative|minus)[\s$*(\[\\]*\Z", re.IGNORECASE
)
_SIGN_WORD = re.compile(r"\b(?:negative|minus)[\s$*(\[\\]*\Z", re.IGNORECASE)
_BRACKET = re.compile(r"\\[\[\](){}]|[()\[\]$\n]|;|,(?![0-9]{3}(?![0-9]))")
_MEMBER_END = re.compile(r"\\[\])}]|[)\]$\n]|;|,(?![0-9]{3}(?![0-9]))")
_JOINT = re.compile(
    r"[\s$~*]*(?:\\\)|\\\])?(?:\\text\s*\{)?\s*(?:[,;]\s*(?:and|or)?|(?:and|or)|\\(?:lor|land|vee|wedge)(?![a-z]))\s*\}?(?:\\\(|\\\[)?[\s$~*]*"
)
_NOT = r"\text{not }"
_MINUS = r"\text{negative }"
_SCALE = re.compile(r"(dozen|hundred|thousand|million|billion|trillion|percent|per cent)s?(?![A-Za-z])")
_OTHER_NUMBER = re.compile(r" \(?(?:or|and|to) [-+$\\({\[]*[0-9]")
_OTHER_LETTER = re.compile(r" (?:or|and) \(?[A-J]\)?(?![A-Za-z])")


def boxes(text: str) -> tuple[list[Box], Box | None]:
    r"""Return the outermost closed boxes in order, and a last one whose brace is never closed but whose line goes on."""
    if "boxed" not in text and "fbox" not in text:
        return [], None
    closed: list[Box] = []
    stack: list[tuple[int, int] | None] = []
    """For every open brace: where its box and its content begin, or None for another brace."""
    command: int | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token.startswith(("\\boxed", "\\fbox")):
            command = match.start() if text.startswith("{", match.end()) else None
            if command is None and (bare := _BARE_BOX.match(text, match.start())):
                closed.append(Box(match.start(), bare.end(), bare[1].rstrip(".,")))
        elif token == "{":
            stack.append(None if command is None else (command, match.end()))
            command = None
        elif token == "}" and stack:
            box = stack.pop()
            if box is not None:
                while closed and closed[-1].start > box[0]:
                    closed.pop()
                closed.append(Box(box[0], match.end(), text[box[1] : match.start()]))
    return closed, _open_box(text, [box for box in stack if box is not None])


def strip_boxes(text: str) -> str:
    r"""Return the content of a text that is one ``\boxed{...}``; other texts as they are."""
    for _ in range(3):
        closed, _unclosed = boxes(text)
        if len(closed) != 1 or text[: closed[0].start].strip(" $") or text[closed[0].end :].strip(" $."):
            break
        text = closed[0].content
    return text.strip()


def with_surroundings(text: str, box: Box, content: str) -> str:
    r"""Return a box's content together with what it is a part of: ``-5`` for ``-\boxed{5}``."""
    before, in_formula = _before(text, box.start, content)
    piece = text[box.end : box.end + _AROUND]
    after = _words_after(piece, content) or _after(piece, in_formula=in_formula, opened=before[-1:] in ("{", "("))
    if before != _NOT and _is_member(text[max(0, box.start - _AROUND) : box.start], piece):
        before = _NOT
    if not before and not after and not _TOUCHING.match(piece):
        return content
    # Digits that touch are neither a product nor two numbers.
    if (before[-1:].isdigit() and content[:1].isdigit()) or (content[-1:].isdigit() and _TOUCHING.match(piece)):
        return f"{_NOT}{content}"
    simple = re.fullmatch(r"[0-9.,]+|[A-Za-z]|\\[A-Za-z]+(?:\{[^{}+]*\})*", content.strip())
    factor = "\\cdot " if before not in (_NOT, _MINUS) and _FACTOR.search(before) else ""
    # "-\\boxed{x+1}" is -(x+1), but "-\\boxed{5 cm}" is -5 cm.
    negated = before == _MINUS or (not before.strip("-−") and not _ADDED.search(content, 0 if before else 1))
    return f"{before}{factor}{content if simple or negated else f'({content})'}{after}"


def _words_after(piece: str, content: str) -> str:
    """Return the words behind a box that belong to it, as text: its scale, or what makes it another answer."""
    closed = _CLOSED.match(piece)
    rest = piece[closed.end() if closed else 0 :]
    if scale := _SCALE.match(rest):
        return f"\\text{{ {scale[1]}}}"
    letter = len(content.strip("() ")) == 1 and content.strip("() ").isupper()
    changed = AFTER.match(f" {rest}") or (_OTHER_LETTER if letter else _OTHER_NUMBER).match(f" {rest}")
    return f"\\text{{ {re.sub('[^A-Za-z0-9, ]', '', changed[0]).strip() or 'or'}}}" if changed else ""


def is_one_of_several(text: str, start: int, content: str) -> bool:
    """Tell whether only an "or", "and" or comma joins the box that begins here to one with another content before it."""
    before = text[max(0, start - _AROUND) : start]
    earlier = boxes(before)[0][-1:]
    return any(
        each.content.strip() != content.strip() and _JOINT.fullmatch(before, each.end) is not None for each in earlier
    )


def _is_member(before: str, after: str) -> bool:
    r"""Tell whether a box is one of several members of a point, an interval or a set: ``(\boxed{6}, 7)``."""
    opened: list[tuple[int, bool]] = []
    """For every open bracket: where its content begins, and whether a comma is in it."""
    for match in _BRACKET.finditer(before):
        token = match.group()
        if token in ("(", "[", "\\{"):
            opened.append((match.end(), False))
        elif token in (")", "]", "\\}"):
            del opened[-1:]
        elif token not in (",", ";"):
            opened.clear()  # a formula begins or ends
        elif opened:
            opened[-1] = (opened[-1][0], True)
    if not opened:
        return False
    begin, listed = opened[-1]
    end = _MEMBER_END.search(after)
    listed = listed or (end is not None and end.group() in (",", ";"))
    # In running text a bracket holds a remark; and where every member is boxed, all of them are the answer.
    others = before[begin:] + after[: end.end() + len("\\boxed ") if end else 0]
    return listed and "boxed" not in others and not _WORD.search(before, begin)


def _open_box(text: str, stack: list[tuple[int, int]]) -> Box | None:
    """Return the last unclosed box, if its formula ends: else it may be cut off in the middle of a number."""
    if not stack:
        return None
    start, content = stack[-1]
    piece = text[content : content + SPAN]
    end = re.search(r"\$|\\\)|\\\]|\n", piece)
    if end is None:
        return Box(start, start, "")
    return Box(start, content + end.start(), piece[: end.start()].strip(" .,"))


def _before(text: str, start: int, content: str) -> tuple[str, bool]:
    """Return what a box is bound to on its left, and whether it stands in a formula."""
    # Of "\\boxed", as some files escape it, one backslash is not the box's own.
    piece = text[max(0, start - _AROUND) : start].removesuffix("\\")
    begin, mark = 0, ""
    for match in _BEGIN.finditer(piece):
        begin, mark = match.end(), match.group()
    rest = piece[begin:]
    words = list(_WORD.finditer(rest))
    if words:
        rest, mark = rest[words[-1].end() :], ""
    in_formula = mark[:1] in tuple("$\\&=<>≤≥≈")
    plain = _SPACE.sub(" ", rest).strip(" \t")
    if turned(piece, boxed=True) or _UNEQUAL.search(piece) or _follows_another(piece, content):
        return _NOT, in_formula
    if _SIGN_WORD.search(piece):
        return (_MINUS if _NEGATIVE.search(piece) else _NOT), in_formula
    if not plain:
        # "-$\boxed{5}$": a sign that touches the formula.
        outside = re.search(r"(?<![-\w*])[-−–]\Z", piece[: begin - len(mark)]) if mark == "$" else None
        return ("-" if outside else ""), in_formula
    if in_formula:
        return (plain if _BINDS_BEFORE.search(plain) else ""), True
    bullet = not words and mark in ("\n", "") and re.fullmatch(r"[-+*−–>][ \t]+", rest)
    bound = None if bullet else _BINDS_IN_TEXT.search(_SPACE.sub(" ", rest))
    return (plain if bound else ""), False


def _follows_another(piece: str, content: str) -> bool:
    """Tell whether another number, "7 or", a bound or what strikes a box out stands right before it."""
    found = _ANOTHER.search(piece)
    return found is not None and not (found["other"] and found["other"].rstrip(".,") == content.strip())


def _after(piece: str, *, in_formula: bool, opened: bool) -> str:
    """Return what a box is bound to on its right."""
    end = _END.search(piece)
    if opened and end is None:
        return piece
    rest = piece[: end.start()] if end else piece
    in_formula = in_formula or (end is not None and end.group() in ("$", "\\)", "\\]"))
    plain = _SPACE.sub(" ", rest).strip(" \t")
    if opened:
        return plain
    if in_formula:
        return plain if _BINDS_AFTER.match(plain) else ""
    bound = _AFTER_IN_TEXT.match(rest)
    return rest.split(" ")[0] if bound and not rest[:1].isspace() else rest if bound else ""
