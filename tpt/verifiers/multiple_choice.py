r"""Checks a multiple-choice answer (kind ``choice``): the option's letter, or the option's text.

The gold answer is a letter (or the text of an option). The options are read from the question, where they stand as
``A) ...``, ``(A) ...``, ``A. ...`` or ``A: ...``, in order from A. A letter counts before a text: ``B) 21`` is B.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.completion import final_part, without_chatter
from tpt.verifiers.math.final_answer import final_answer
from tpt.verifiers.math.latex import MAX_ANSWER, as_words, compare_exactly
from tpt.verifiers.math.spelling import canonical

CHOICE_FORMAT = (
    "choice/2: '#### L', the last '####' of the completion's final part. L is the letter of an option, a capital "
    "without brackets; no "
    "letter or digit right behind it. Words and lines that follow do not matter."
)
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""
_LONGEST_QUESTION = 20_000
_LONGEST_COMPLETION = 20_000
_FULL_WIDTH = {0xFF21 + index: chr(65 + index) for index in range(26)} | {
    0xFF08: "(",
    0xFF09: ")",
    0xFF1A: ":",
    0xFF0E: ".",
    **dict.fromkeys(map(ord, "“”"), '"'),
    **dict.fromkeys(map(ord, "‘’"), "'"),
}
_LETTERS = "ABCDEFGHIJ"
_STRICT = re.compile(r"####[ \t]*([A-J])(?![0-9A-Za-z_'’])")
# Behind the letter, a second one: "B and C", "B, C", "B or C", "B/C", "B) (C)". Neither is chosen then.
_SECOND = re.compile(
    r"[)\]}.:]*[*_`$}\"']*\s*(?:[,;&/+|=<>→~–—?、，；／-]+|\.\.+|(?:,\s*)?\(?\b(?:and|or|und|oder|et|ou|y|o|to|through|plus|with|as\s+well\s+as)\b|\s)"
    r"\s*(?:(?:or|and|also|maybe|perhaps|possibly|even|option)\s+|\\text\{)*"
    r"[(\[*_`$\"']*[A-J][)\]*_`$\"']*(?=\s*(?:$|[.,;:)\n!?*_`$}/&]|\b(?:and|or|are|is)\b))"
    r"|[)\]]?\s*[(\[][A-J][)\]]"
    # One word of any language between two letters joins them, but for these.
    r"|[)\]}.:]*[*_`$}\"']*\s*(?!(?i:not|because|since|as|while|whereas|for|if|but|so|is|are|unlike|over)\b)[^\W\d_]{1,8}\s*"
    r"[(\[\"'*_]*(?:[B-HJ](?![A-Za-z0-9'])|A(?=[)\]\"'*_]*\s*(?:$|[.,;:\n!?。])))"
    r"|[)\]]?,?\s+(?:but|though|although)\s+[(\[]?[A-J][)\]]?\s+(?:(?:is|could|may|might|can|would|seems)\s+(?:be\s+)?)?"
    r"(?:also|too|possible|right|correct|fine|likely)\b"
    r"|\+(?!\w)"
)
# Before the letter, another one: "(B) and (C)".
_FIRST = re.compile(r"(?<![A-Za-z])[(\[]?[A-J][)\]]?\s*(?:,|;|&|/|\band\b|\bor\b)(?:\s*\b(?:and|or)\b)?\s*[(\[]?\Z")
_NOT_BUT = re.compile(r"\bnot\s+(?:option\s+|choice\s+)?[(\[]?[A-J][)\]]?,?\s+but\s+(?:rather\s+)?(?=[(\[]?[A-J]\b)")
# What follows a letter that is turned down.
_REFUSED = re.compile(
    r"[)\]]?[\s,(–—-]*(?:(?:which\s+)?(?:is|are|was|seems|looks|would\s+be|must\s+be)\s*(?:not|n['’]t|wrong|incorrect|false|out)"
    r"|(?:isn|can)['’]t|cannot\s+be|(?:wrong|incorrect|false)\b"
    r"|(?:ist|est|es|è|é|is)\s+(?:nicht|niet|falsch|fau(?:x|sse)\b|fals[oa]\b|incorrect|errad|sbagliat)|(?:nicht|n'est\s+pas|no\s+es|non\s+è|não\s+é|не)\b|невер"
    r"|[가이은는]?\s*아니|(?:では|じゃ)(?:な|あ)|以外|是?[不错錯])"
    r"|[^.\n]{0,60}\b(?:else|otherwise|and\s+so\s+(?:is|are))\b"
    r"|[^.\n]{0,40}\band\s+[(\[]?[A-J][)\]]?\s+(?:is|are)\s+(?:also|too|right|correct|true|possible)\b",
    re.IGNORECASE,
)
# What turns an option down behind its text: "C) Rome is not", "C) Rome: no".
_TURNED_AWAY = re.compile(r"[\s.,:;?(–—-]*(?:no\b|[✗✘❌×])", re.IGNORECASE)
_MARKUP = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textit|mbox|rm|bf)(?![a-zA-Z])\s*|[{}$*_`]|\\[()\[\],;!: ]|\\boxed"
)
# Behind a capital that is an option's letter and not the article "A" or the first of a word.
_CHOSEN = re.compile(
    r"[\s\"'(\[]*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|letter)s?\s*(?:is\s*)?:?\s*)?[(\[]?([A-Ja-j])"
    r"(?:[)\]]|(?=\s*(?:$|[.:,;\n=\-–—]|\(|because|since|as\b|which|and\b|with\b)))",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r"[$€£]?\s?(-?[0-9][0-9.,/]*|-?\\[dt]?frac\{\d+\}\{\d+\})\s?"
    r"(?![kM]\b|.*\b(?:or|and|to|not|more|less|fewer|than|times|dozen|hundred|thousand|million|billion|k|M)s?\b)"
    r"([A-Za-z°%/.²³^ ]*[23]?)"
)
# "The answer is A city", "the answer I think": no letters of options.
_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|which|and|with|is|was|for|if|it|so|due|but|not|or|the|in)\b)[a-z]")
_LETTER = r"[(\[]?([A-J])(?![A-Za-z'’])"
_ANSWER_WORD = (
    r"antwort|respuesta|réponse|risposta|resposta|jawaban|ответ|答案|回答|答え|答|정답|الجواب|đáp án|odpowiedź|odpověď|cevap"
    r"|svar|antwoord"
)
_SAID = re.compile(
    rf"(?i:\bans[.:]\s*|(?:option|choice|answer)\s+[–—-]\s+){_LETTER}"
    rf"|(?i:option|choice|answer)s?(?:\s+(?:is|would be|must be|should be))?(?:\s+(?:therefore|thus|then"
    rf"|clearly))?\s*:?\s+[(\[]?([A-J])\b(?!')"
    r"|\(([A-J])\)|(?:^|\n)[ \t]*([A-J])[.)]?[ \t]*(?:\n|$)"
    rf"|(?:(?i:\b(?:pick|choose|select|go with|going with|chose|picked|selected))|(?<![不别別勿])(?:选择?|選擇?))"
    rf"\s*[:：]?\s*(?:option\s+|choice\s+)?{_LETTER}"
    rf"|(?i:{_ANSWER_WORD})(?:\s+(?:correct[ao]|corretta|correta|yang\s+benar|đúng|الصحيحة))?\s*"
    rf"(?:(?:ist|lautet|es|est|è|é|is|är|là|jest|adalah|هو|هي|是|为|は|은|는)(?![a-z]))?\s*(?:l?a\s+(?:letra\s+)?)?[:：]?"
    rf"\s*{_LETTER}"
    r"|(?:^|[.!?\n,]\s*)(?i:so|thus|hence|therefore|then)(?:,| it is| it must be)?\s+[(\[]?([A-J])[)\]]?\s*(?:[.!]\s*)?$"
    r"|(?i:\b(?:it|that|this)(?:'s|’s| is| must be))\s+[(\[]?([A-J])[)\]]?(?=\s*(?:$|[.,;:!\n]))"
    r"|(?:^|[.!?\n]\s*)(?i:(?:so|thus|therefore),?\s+)?[(\[]?([A-J])[)\]]?\s+is\s+(?:the\s+)?(?:correct|right|best|answer)"
)
_TURNED_DOWN = re.compile(
    r"(?:\bnot|n't|n’t|\bnever|\bneither|\bnor|\bcannot(?:\s+be)?|\b(?:rul|exclud|eliminat|discard|reject|doubt|avoid)\w*(?:\s+(?:out|that))?)"
    r"\s*\Z",
    re.IGNORECASE,
)
# An option's text as a sentence of its own: "It is a car."
_IT_IS = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:it|this|that|it must be|the one)\s*(?:is|'s|was|must be)\s+(?!not\b)(.{1,200})",
    re.I,
)
_MARK = re.compile(r"[(\[]?(?<![A-Za-z])([A-J])[)\].:]+[\s*_]*")
_ITEM_BEGIN = re.compile(r"(?:\A|[\n,;:])[\s*_\-•]*(?:\d{1,2}[.)]\s*)?(?:and\s+|or\s+)?\Z")
_ITEM = re.compile(r"[\s*_\-•]*[(\[]?([A-J])[)\].:]+[\s*_]*(\S.*)")
_LINE_LETTER = re.compile(r"[*_`]*([a-j])[).:]\s+(\S.*)")


def verify_choice(problem: Problem, completion: str) -> Judgement:
    """Judge a completion against the letter of the right option."""
    options = options_of(problem.question)
    gold = _gold_letter(problem.answer, options)
    if gold is None:
        detail = (
            f"the gold answer {problem.answer[:EXTRACTED]!r} of problem {problem.id} is no letter and no option's text"
        )
        return Judgement(Outcome.ERROR, False, None, detail)
    completion = _latin(final_part(completion))
    start = completion.rfind("####")
    strict = _STRICT.match(completion, start) if start >= 0 else None
    if strict is not None and not (
        _SECOND.match(completion, strict.end()) or _is_refused(completion, strict.end(), options)
    ):
        right = strict[1] == gold
        return Judgement(Outcome.CORRECT if right else Outcome.WRONG, right, strict[1])
    chosen, text = _chosen(completion, options)
    if not chosen:
        return Judgement(Outcome.WRONG, False, text[:EXTRACTED], "no option") if text else _no_answer()
    return Judgement(Outcome.CORRECT if gold in chosen else Outcome.WRONG, False, gold if gold in chosen else chosen[0])


@lru_cache(maxsize=16_384)
def options_of(question: str) -> dict[str, str]:
    """Return letter to text of the options in a question; empty when there are none."""
    question = question[-_LONGEST_QUESTION:]
    found: dict[str, str] = {}
    marks = list(re.finditer(r"(?:^|(?<=[\s\[,;'\"]))\(?([A-J])[).:](?=\s?\S)", question))
    begins = [index for index, mark in enumerate(marks) if mark[1] == "A"]
    for begin in begins[-3:]:
        run: list[re.Match[str]] = []
        for mark in marks[begin:]:
            if len(run) < len(_LETTERS) and mark[1] == _LETTERS[len(run)]:
                run.append(mark)
        if len(run) >= 2:
            ends = [mark.start() for mark in run[1:]] + [len(question)]
            found = {
                mark[1]: question[mark.end() : end].strip(" \t\n,;'\"[]") for mark, end in zip(run, ends, strict=True)
            }
    if found:
        # Whatever follows the last option in a paragraph of its own is an instruction.
        last = max(found)
        found[last] = re.split(r"\n\s*\n|\n(?=[A-Z])", found[last], maxsplit=1)[0].strip()
    return found


def _no_answer() -> Judgement:
    return Judgement(Outcome.NO_ANSWER, False, None)


def _gold_letter(answer: str, options: dict[str, str]) -> str | None:
    plain = _MARKUP.sub("", answer).strip().strip("().:").strip()
    if len(plain) == 1 and plain.upper() in _LETTERS:
        return plain.upper()
    letters = _matching(answer, options)
    return letters[0] if letters else None


def _latin(text: str) -> str:
    """Return a text with full-width letters in their plain form."""
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def _chosen(completion: str, options: dict[str, str]) -> tuple[list[str], str]:
    """Return the letters that the final answer can mean, and the text it was read from."""
    completion = _without_list(_without_run(completion[-_LONGEST_COMPLETION:], options), options)
    completion = _NOT_BUT.sub("", without_chatter(completion))
    found = final_answer(completion)
    if found is not None and found.text.strip() and len(found.text) <= MAX_ANSWER:
        marked = found.how in ("boxed", "####", "phrase")
        if marked and (found.earlier or _names_two(found.text)):
            return [], found.text
        letters = _letters(found.text, options) if marked else []
        if letters or found.how in ("boxed", "####"):
            return letters, found.text
    letter = _said(completion, options) or _of_last_line(completion, options)
    if letter:
        return ([letter] if not options or letter in options else []), letter
    return _by_text(completion, options)


def _without_list(text: str, options: dict[str, str]) -> str:
    """Return a text without the lines in which it only repeats the options: a list of all of them chooses none."""
    lines = text.split("\n")
    repeated = [
        index
        for index, line in enumerate(lines)
        if (item := _ITEM.fullmatch(line)) and options.get(item[1]) and _plain(options[item[1]]) == _plain(item[2])
    ]
    return "\n".join(line for index, line in enumerate(lines) if index not in repeated) if len(repeated) > 1 else text


def _without_run(text: str, options: dict[str, str]) -> str:
    """Return a text without what goes through the options in their order, A) to D) with a remark each: it may end anywhere."""
    runs: list[list[re.Match[str]]] = []
    first_is_item = False
    end = 0
    """Where the text of the last option ends."""
    for mark in _MARK.finditer(text):
        option = options.get(mark[1], "").rstrip(".")
        if not option or text[mark.end() : mark.end() + len(option)].casefold() != option.casefold():
            continue
        is_item = _ITEM_BEGIN.search(text, max(0, mark.start() - 20), mark.start()) is not None
        joined = mark.start() - end <= len(", and ")
        if runs and ord(mark[1]) == ord(runs[-1][-1][1]) + 1 and (joined or (is_item and first_is_item)):
            runs[-1].append(mark)
        elif is_item or mark[1] == "A":
            runs.append([mark])
            first_is_item = is_item
        end = mark.end() + len(option)
    for run in reversed(runs):
        if len(run) >= min(3, len(options)):
            line_end = text.find("\n", run[-1].start())
            text = text[: run[0].start()] + (text[line_end:] if line_end >= 0 else "")
    return text


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;*_")


def _said(completion: str, options: dict[str, str]) -> str:
    """Return the letter that the last words which choose one name; empty when two are named or it is turned down."""
    text = re.sub(r"[*_`]", "", completion[-2_000:])
    for said in reversed(list(_SAID.finditer(text))):
        group = next(index for index, value in enumerate(said.groups(), 1) if value)
        end = said.end(group)
        if said[group] in "AI" and _ARTICLE.match(text, end):
            continue
        if (
            _TURNED_DOWN.search(text, max(0, said.start() - 20), said.start())
            or _FIRST.search(text, max(0, said.start(group) - 40), said.start(group))
            or _SECOND.match(text, end)
            or _is_refused(text, end, options)
        ):
            return ""
        return said[group]
    return ""


def _is_refused(text: str, end: int, options: dict[str, str]) -> bool:
    """Tell whether what follows a letter, or the text of its option behind it, turns it down."""
    if _REFUSED.match(text, end):
        return True
    option = options.get(text[end - 1 : end], "").rstrip(".")
    begin = end + len(text[end : end + 8]) - len(text[end : end + 8].lstrip(" .:)]*_"))
    behind = begin + len(option)
    if not option or text[begin:behind].casefold() != option.casefold():
        return False
    return _REFUSED.match(text, behind) is not None or _TURNED_AWAY.match(text, behind) is not None


def _names_two(text: str) -> bool:
    plain = _MARKUP.sub("", text).strip()
    first = re.match(r"(?:option|choice|answer)?s?\s*[(\[]?[A-J](?![A-Za-z'])", plain)
    return first is not None and _SECOND.match(plain, first.end()) is not None


def _of_last_line(completion: str, options: dict[str, str]) -> str:
    line = _unquoted(_MARKUP.sub("", completion.rstrip()[-MAX_ANSWER:].rpartition("\n")[2]))
    match = _CHOSEN.match(line)
    if (
        match
        and match[1].isupper()
        and not _SECOND.match(line, match.end(1))
        and not _is_refused(line, match.end(1), options)
    ):
        return match[1]
    small = _LINE_LETTER.fullmatch(line)
    if small and small[1].upper() in options and _same(options[small[1].upper()], small[2]):
        return small[1].upper()
    return ""


def _by_text(completion: str, options: dict[str, str]) -> tuple[list[str], str]:
    """Return the option whose text the whole completion is, or its last line says ("It is a car.")."""
    found = final_answer(completion)
    if found is not None and found.how == "phrase" and len(found.text) <= MAX_ANSWER:
        return _letters(found.text, options), found.text
    line = completion.rstrip()[-MAX_ANSWER:].rpartition("\n")[2].strip()
    it_is = _IT_IS.fullmatch(line)
    alone = line if line == completion.strip() else ""
    for text in (it_is[1] if it_is else "", alone):
        letters = _matching(text.rstrip(".!"), options) if text else []
        if letters:
            return letters, text
    return [], ""


def _letters(text: str, options: dict[str, str]) -> list[str]:
    plain = _unquoted(_MARKUP.sub("", text))
    match = _CHOSEN.match(plain)
    if match and (match[1].isupper() or len(plain.strip("()[]. ")) == 1):
        if _SECOND.match(plain, match.end(1)) or _is_refused(plain, match.end(1), options):
            return []
        letter = match[1].upper()
        return [letter] if not options or letter in options else []
    return _matching(text, options)


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = re.fullmatch(r"([\"'])([^\"']*)\1", text)
    return quoted[2].strip() if quoted else text


def _matching(text: str, options: dict[str, str]) -> list[str]:
    """Return the letters of the options that have this text or value."""
    same = [letter for letter, option in options.items() if option and _same(option, text)]
    return same or _measured(text, options)


def _measured(text: str, options: dict[str, str]) -> list[str]:
    """Return the letter of the option with this number, if one of the two lacks the unit and no other option has it."""
    number = _MEASURE.fullmatch(text.strip())
    if number is None:
        return []
    having = [
        (letter, match[2])
        for letter, option in options.items()
        if (match := _MEASURE.fullmatch(option)) and compare_exactly(match[1], number[1])
    ]
    return [having[0][0]] if len(having) == 1 and not (number[2] and having[0][1]) else []


def _same(option: str, text: str) -> bool:
    if canonical(option[:MAX_ANSWER]).casefold() == canonical(text[:MAX_ANSWER]).casefold():
        return True
    words = as_words(option)
    if words is not None and words == as_words(text):
        return True
    return compare_exactly(option, text) is True
