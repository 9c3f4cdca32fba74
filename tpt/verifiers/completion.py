r"""The part of a completion that can hold its final answer: without thoughts, end markers, wrappings and invented questions.

Models write more than an answer: thoughts between ``<think>`` and ``</think>``, the end markers of other chat formats, the
answer in ``<answer>`` tags or as JSON, and, where nothing stopped them, a next question with its own answer. What is cut
here is cut for every kind of answer alike. Everything is linear in the length of the completion.
"""

from __future__ import annotations

import json
import re

UNMARKED = 120
"""Characters at the end in which an answer without a mark can be taken back."""
LOOKED_AT = 10_000
"""Characters at the end in which text may be crossed out or an answer taken back."""
LONGEST_JSON = 20_000
"""Longest JSON that is read, in characters."""
_END_MARKERS = (
    "<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<|EOT|>", "<|eom_id|>",
    "<|user|>", "<|assistant|>", "<|start_header_id|>", "<|begin_of_text|>", "<|end_of_turn|>", "<|return|>",
    "</s>", "<eos>", "<EOS>", "<end_of_turn>", "<start_of_turn>", "[/INST]", "[INST]", "<|eos|>", "<|endofprompt|>",
    "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<pad>", "<|pad|>", "<unk>",
)  # fmt: skip
_END_MARKER = re.compile("|".join(map(re.escape, _END_MARKERS)))
_QUESTION = re.compile(
    r"\n[ \t]{0,8}(?:[#*>-]{1,4}[ \t]{0,4})?(?:"
    r"(?:(?:(?:New |Next |Another )?(?:[Qq]uestion|[Pp]roblem|Exercise|Example)|Frage|Aufgabe|Pregunta|Problème|Pergunta"
    r"|问题|題目|题目|問題)"
    r"(?:[ \t]{0,4}\d{1,4})?|Q\d{0,3}|Human|User|Instruction|Input)[ \t]{0,4}\*{0,2}[ \t]{0,4}[:：]"
    r"|(?<=[#*])[ \t]?(?:Question|Problem|Exercise)[ \t]{0,4}\d{1,4}\b)"
)
# An answer that is complete, so that a question behind it is the next one.
_ANSWERED = re.compile(
    r"####[ \t]*[^\s#]|\\boxed\s?\{[^{}]|\bA(?:nswer)?:[ \t]*\S|(?:answer|ANSWER|Answer)[^\n.:]{0,60}(?::|\bis\b)[ "
    r"\t]*\S|</answer>"
)
_TAKING_LEAVE = (
    "Let me know", "I hope", "Hope this", "Hope that", "Feel free", "If you have", "If you need", "If you want", "If you would",
    "If you'd", "Is there any", "Please let", "Please feel", "Do you have", "Do you need", "Do you want", "Would you like",
    "Don't hesitate", "Good luck",
)  # fmt: skip
# Text that is crossed out, and a comment; "<s>" at the beginning is a token.
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|(?<!\A)<(s|del|strike)>[^<>\n]{0,200}</\1>")
# Words behind an answer that take it back; those of the second kind do so only where another answer follows.
_IS_WRONG = (
    r"(?:\w+\s+)?(?:wrong|incorrect|a\s+mistake|an\s+error"
    r"|not\s+(?:right|correct|true|the\s+(?:right\s+|final\s+)?answer))\b"
)
_ANOTHER = r"(?:[0-9]|\\boxed|####|nswer|\b[A-J]\b)"
_TAKEN_BACK = re.compile(
    rf"(?<!if )(?<!whether )(?:\b(?:that|this|it|which)|nswer|result)(?:['’]s|\s+(?:is|was|seems|must\s+be))\s+{_IS_WRONG}"
    r"|\b(?:that|this|it|nswer)\s+(?:isn['’]t|wasn['’]t|cannot\s+be|can['’]t\s+be)\s+(?:right|correct|true)\b"
    r"|(?<!if )(?<!whether )\bI(?:['’]ve|\s+have)?\s+(?:made\s+an?\s+(?:\w+\s+)?(?:mistake|error)|was\s+(?:wrong|mistaken))\b"
    r"|\b(?:scratch|ignore|disregard|forget)\s+(?:that|this|it|the\s+(?:above|previous|last)(?:\s+\w+)?)\b"
    r"|(?:[.!?,;…)\]}$—–]\s*|\s-\s+|(?<![:*])\n\s*|(?=no\s+wait))(?:no[,.:;!—–]\s|no\s+(?:wait\b[,.:!—–-]*\s*|(?=it|that))|wait[,.:!—–-]|actually\b|sorry\b"
    r"|oops\b|correction\b|hold\s+on\b|i\s+mean(?:t)?\b|or\s+rather\b|on\s+second\s+thought|my\s+(?:mistake|bad)|let\s+me\s+correct)"
    rf"(?=[^\n]{{0,400}}?{_ANOTHER}|[^\n]{{0,40}}\n[^\n]{{0,200}}?{_ANOTHER})",
    re.IGNORECASE,
)
# In small letters: without any of these, the above is not looked for.
_HINTS = (
    "no", "n't", "n’t", "wrong", "correct", "mistake", "error", "ignore", "disregard", "forget", "scratch", "wait",
    "actually", "sorry", "oops", "hold on", "i mean", "rather", "thought", "my bad",
)  # fmt: skip
# The thoughts of models that mark them otherwise than with <think>, and how they end.
_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_THOUGHTS = re.compile(
    rf"\s*(?:<{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|(?:<\|start\|>assistant)?<\|channel\|>analysis)",
    re.IGNORECASE,
)
_THOUGHTS_END = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.IGNORECASE
)
_BRACKETED = re.compile(r"\[/?(?:INST|THINK)\]", re.IGNORECASE)
_HASHES = len("####")
_LEAVES = 4
"""Lines of leave-taking that are cut."""
_TAG = re.compile(r"<[|/esEatprTRu｜]")
"""How every end marker and tag begins, but those in square brackets."""
_TAGGED = re.compile(r"<answer>((?:[^<]|<(?!/?answer>))*)</answer>", re.IGNORECASE)
_LATER = re.compile(r"####|\\boxed")
_FENCED_JSON = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)
# The last pair of an object that is no JSON, such as a Python dictionary.
_PAIR = re.compile(
    r"['\"](?:final[_ ])?answer['\"]\s{0,4}:\s{0,4}(?:['\"]([^'\"\n{}]{1,200})['\"]|(-?[0-9][0-9.]{0,40}))"
    r"\s{0,4},?\s{0,4}\}\s*\Z",
    re.IGNORECASE,
)
_KEYS = ("final_answer", "answer", "finalAnswer", "final answer", "Answer", "Final Answer")


def final_part(completion: str) -> str:
    """Return the part of a completion in which the final answer stands; empty when its thoughts never end."""
    text = without_hidden(completion)
    if ("<" in text and _TAG.search(text)) or "▷" in text or ("]" in text and _BRACKETED.search(text)):
        text = until_end_marker(without_thoughts(text))
    if ":" in text or text.count("#") > _HASHES or not text.isascii():
        text = _until_next_question(text)
    text = _standing(text)
    if ">" in text[-2_000:] and "</" in text:
        text = _tagged(text)
    return _from_json(text) if "}" in text[-8:] and ('"' in text or "'" in text) else text


def is_only_part(completion: str) -> bool:
    """Tell whether a completion that ends in an answer in the asked format has no other part, at a glance."""
    if not completion.isascii() or "]" in completion or completion.count("#") > _HASHES:
        return False
    if "<" in completion and _TAG.search(completion):
        return False
    return ":" not in completion or _QUESTION.search(completion) is None


def until_end_marker(text: str) -> str:
    """Return the text before the first end marker of any chat format that has text before it."""
    for marker in _END_MARKER.finditer(text):
        before = text[: marker.start()]
        if before.strip():
            return before
    return text


def program_part(completion: str) -> str:
    """Return the part of a completion in which a program stands: an end marker inside a program's line is the program's."""
    text = without_thoughts(completion.removeprefix("\ufeff"))
    for marker in _END_MARKER.finditer(text) if _TAG.search(text) or "INST]" in text else ():
        behind, before = text[marker.end() : marker.end() + 1], text[max(0, marker.start() - 3) : marker.start()]
        if before[-1:] in ("\n", "") or before == "```" or behind == "" or (behind == "\n" and "|" in marker[0]):
            text = text[: marker.start()]
            break
    return _tagged(text) if text.rstrip().endswith("</answer>") else text


def without_hidden(text: str) -> str:
    """Return a text without what is crossed out or stands in a comment of HTML."""
    if "-->" in text:
        first, *others = text.split("<!--")
        text = first + "".join(each.partition("-->")[2] if "-->" in each else f"<!--{each}" for each in others)
    if "~~" not in text and "</" not in text:
        return text
    return text[:-LOOKED_AT] + _STRUCK.sub("", text[-LOOKED_AT:])


def without_chatter(text: str) -> str:
    """Return the text before the last lines in which a chat model takes its leave."""
    rest = text.rstrip()
    for _ in range(_LEAVES):
        begin = rest.rfind("\n")
        if begin < 0 or not rest.startswith(_TAKING_LEAVE, begin + 1):
            break
        rest = text = rest[:begin].rstrip()
    return text


def without_thoughts(text: str) -> str:
    """Return what follows the last ``</think>`` or its like; nothing where the text begins with thoughts that never end."""
    end = max((match.end() for match in _THOUGHTS_END.finditer(text)), default=0)
    if end:
        return text[end:]
    return "" if _THOUGHTS.match(text) else text


def _until_next_question(text: str) -> str:
    """Return the text before the first new question that comes after a complete answer."""
    question = _QUESTION.search(text)
    if question is None:
        return text
    answered = _ANSWERED.search(text)
    if answered is None:
        return text
    question = _QUESTION.search(text, answered.end() - 1)
    return text if question is None else text[: question.start()]


def _standing(text: str) -> str:
    """Return what follows the last words that take an answer back; the text itself where there are none behind its answer."""
    marks = [place for mark in ("\\boxed", "####", "nswer", "NSWER") if (place := text.find(mark)) >= 0]
    begin = max(min(marks, default=len(text) - UNMARKED), len(text) - LOOKED_AT, 0)
    said = text[begin:].lower()
    ends = [match.end() for match in _TAKEN_BACK.finditer(text, begin)] if any(hint in said for hint in _HINTS) else []
    return text[ends[-1] :].lstrip(" \t\n,.:;!—–-") if ends else text


def _tagged(text: str) -> str:
    """Return what the last ``<answer>`` tags hold, unless a later mark takes it back."""
    found = list(_TAGGED.finditer(text))
    last = found[-1] if found else None
    if last is None or not last[1].strip() or _LATER.search(text, last.end()):
        return text
    return last[1].strip()


def _from_json(text: str) -> str:
    """Return the answer in a completion that is a JSON object, or whose last line is one."""
    whole = text.strip()
    fenced = _FENCED_JSON.match(whole)
    for piece in (fenced[1] if fenced else whole, whole.rpartition("\n")[2]):
        found = _json_object(piece.strip())
        value = next((found[key] for key in _KEYS if key in found), None)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    pair = _PAIR.search(whole, max(0, len(whole) - 1_000))
    return (pair[1] or pair[2]).strip() if pair else text


def _json_object(text: str) -> dict[str, object]:
    if len(text) > LONGEST_JSON or not (text.startswith("{") and text.endswith("}")):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
