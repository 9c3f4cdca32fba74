"""Words beside a number that make it another one: "not 18", "the root of 18", "18 or more", "18 is wrong".

Shared by all who read a number in running text or in a box, so that no reader knows fewer of them than another.
"""

from __future__ import annotations

import re

from tpt.verifiers.number.spelled import WORD

_PARTS = "thirds|(?:four|fif|six|seven|eigh|nin|ten|twelf|hundred|thousand|million|billion)ths"
_PART = "third|(?:four|fif|six|seven|eigh|nin|ten|twelf|hundred|thousand)th"
_WRONG = r"(?:wrong|incorrect|false|impossible|invalid)\b"

_NEGATED = (
    r"(?:\b(?:not|never|cannot|neither|nor)|n['’]t)(?:\s+(?:be|been|equals?|equal\s+to|exactly|really|quite|even|just|only|merely|minus|negative))*"
    r"|\b(?:other\s+than|rather\s+than|instead\s+of|(?:any|every)thing\s+but|different\s+from|far\s+from|nowhere\s+near"
    r"|unequal\s+to|except)"
)
_COMPUTED = (
    r"\b(?:twice|thrice|double|triple|half)(?:\s+of)?"
    rf"|(?:\b(?:{_PART}s?|quarter|double|root|square|cube|reciprocal|inverse|opposite|negative|multiples?|divisors?|logarithm"
    r"|factorial|complement|per\s?cent)|%)\s+of"
    r"|(?<!\\)\b(?:times|plus|divided\s+by|multiplied\s+by|to\s+the\s+power(?:\s+of)?)"
    rf"|(?:[0-9][)\]}}%$*]*|\b(?:{WORD}))\s+minus|\b(?:number|integer|prime|one)\s+(?:after|before)"
)
_BOUNDED = (
    r"\b(?:log|ln|sin|cos|tan|sqrt|exp|mod)"
    r"|\bthan|\bat\s+(?:least|most)|\b(?:is|are|be|was|has|answer)\s+up\s+to|\bupwards\s+of|\bin\s+excess\s+of|\bbeyond|\bbetween|\bshort\s+of"
    r"|\b(?:above|below)|\b(?:is|are|was|be|just|well|answer)\s+(?:over|under)"
)
_BEFORE = re.compile(rf"(?:{_NEGATED}|{_COMPUTED}|{_BOUNDED})\Z", re.IGNORECASE)
_BEFORE_BOX = re.compile(rf"(?:{_NEGATED}|{_COMPUTED})\Z", re.IGNORECASE)
_OPENERS = " \t\n$€£(*_`{}[\\"
_LONGEST = 60
# How everything above ends, so that most texts are not searched.
_LAST = frozenset(
    re.findall(
        r"\w+",
        "not never cannot neither nor be been equal equals to exactly really quite even just only merely minus negative than of"
        " but from near except twice thrice double triple half times plus by power log ln sin cos tan sqrt exp mod after before"
        " least most beyond between over under above below",
    )
)

AFTER = re.compile(
    rf"""[\s,]+(?:or|and|to|through|vs\.?|versus|[a-z]+\s+(?:and|or))\s+(?:(?:maybe|even|perhaps|possibly)\s+)?(?!one\b)(?:{WORD})\b
      | [\s,;(]+(?:or|maybe|perhaps|possibly)\s+(?:(?:maybe|even|perhaps|possibly)\s+)?[-+$]*[0-9]
      | \s+(?:or|and)\s+(?:more|less|fewer|greater|higher|lower|larger|smaller|above|below|over|under|up|counting|beyond)\b
      | \s+(?:minimum|maximum|upwards?|onwards?|at\s+(?:least|most))\b
      | \s+(?:squared|cubed|factorial|pi)\b | \s+(?:raised\s+)?to\s+the\s+(?:(?:[a-z0-9]+\s+)?power|{_PART})\b
      | \s+(?:times|plus|minus|point|dot|choose|mod(?:ulo)?|multiplied\s+by|divided\s+by)\s+[$]?(?:[0-9]|(?:{WORD})\b)
      | \s+over\s+[0-9]+(?!\s*[A-Za-z])
      | \s+(?:[a-z]+\s+)?and\s+(?:an?|one|{WORD})[\s-]+(?:hal(?:f|ves)|quarters?|{_PARTS}|{_PART}|bit)\b
      | [\s-]+(?:tens|halves|{_PARTS}|(?:ten|hundred|thousand|million|billion)th)\b
      | \s*\(?(?:in\s+)?(?:base|mod)[\s-]*(?:[0-9]|(?:{WORD})\b) | \s+in\s+(?:hex|binary|octal)
      | \s+(?:[a-z]+\s+)?(?:more|less|fewer|greater)\s+than\s+[$]?[0-9]
      | [\s,;(–—-]*(?:(?:which|that|it|this)\s+)?(?:is|are|was|would\s+be|must\s+be|seems|looks)\s+(?:not\b|too\s|{_WRONG})
      | [\s,;(–—-]*(?:(?:which|that|it|this)\s+)?(?:(?:is|are|was)n['’]t|cannot\s+be|can['’]t\s+be)\b
      | \s*[(–—-]\s*(?:{_WRONG}|not\s+(?:right|correct|the)\b|negative\b) | \s*\?\s*no\b
      | \s+(?:degrees?\s+)?below\s+zero | ,?\s+(?:but\s+)?negative\b | \s+with\s+a\s+(?:minus|negative)\s+sign
      | \s*[a-z]*(?:illi?[oó]n|milliard|milh(?:ão|ões)|milion|milyon|miljoen)(?!aire)[a-z]*
      | \s*\(?in\s+(?:hundreds|thousands|millions|billions|lakhs|crores)\b | \s*\((?:thousands|millions)\) | \s?k[€$£]
      | \s*(?:googol|mil|mill|bil|mille|mila|tausend|duizend|ribu|juta|nghìn|ngàn|triệu|tỷ|tys|tsd|mln|mld|mlrd|mio|mia|mrd)\b
      | \s*(?:тыс|млн|млрд|миллио|миллиа|हज़ार|लाख|करोड़|พัน|ล้าน|ألف|الف|مليون|مليار)
      | (?<=[%t])\s+of\s+[$]?[0-9] | (?:st|nd|rd|th)\s+(?:root|power)\b | \s+give\s+or\s+take
      | \s+if\b[^.\n]{{0,60}}\b(?:else|otherwise)\b""",
    re.VERBOSE | re.IGNORECASE,
)
"""What follows a number and makes it another one, or none."""


def turned(before: str, *, boxed: bool = False) -> bool:
    """Tell whether the words right before a number make it another one; before a box, bounds and functions are not looked for."""
    words = before[-_LONGEST:].rstrip(_OPENERS)
    last = words.rpartition(" ")[2].rpartition("\n")[2].rpartition("{")[2].lstrip("(*_$\\\"'").lower()
    if last not in _LAST and not last.endswith(("n't", "n’t")):
        return False
    return (_BEFORE_BOX if boxed else _BEFORE).search(words) is not None
