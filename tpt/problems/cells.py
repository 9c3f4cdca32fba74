"""Cells inside cells: ``a.b[0]`` is part of a nested row, and a chat is a question and a solution."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CHATS = ("messages", "conversations")
"""Columns that hold a chat where no column is named for the question."""
_PATH = re.compile(r"(?:[^.\[\]]+|\[-?\d{1,9}\])(?:\.[^.\[\]]+|\[-?\d{1,9}\])*")
_PART = re.compile(r"[^.\[\]]+|\[-?\d{1,9}\]")
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


class Turn(NamedTuple):
    """One turn of a chat."""

    role: str
    """As OpenAI's API calls it: ``user``, ``assistant``, ``system``, ``tool``."""
    text: str


def cell_at(cells: Mapping[str, Any], path: str) -> Any:
    """Return the part of a row that a path names; None where nothing is there. A column of that very name comes first.

    >>> cell_at({"a": {"b": [{"c": 1}, {"c": 2}]}}, "a.b[-1].c")
    2
    """
    if path in cells or not _PATH.fullmatch(path):
        return cells.get(path)
    value: Any = cells
    for part in _PART.findall(path):
        if part.startswith("["):
            index = int(part[1:-1])
            value = value[index] if isinstance(value, list) and -len(value) <= index < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def turns_of(value: Any) -> list[Turn]:
    """Return the turns of a chat, OpenAI's or ShareGPT's; an empty list where the value is no chat."""
    if not isinstance(value, list) or not value:
        return []
    found = [_turn(each) for each in value]
    return [each for each in found if each is not None] if None not in found else []


def last_question(turns: Sequence[Turn]) -> str | None:
    """Return the text of the last user turn; None without one."""
    return next((turn.text for turn in reversed(turns) if turn.role == "user"), None)


def reply(turns: Sequence[Turn]) -> str | None:
    """Return the text of the last assistant turn, where no user turn follows; None without one."""
    last = next((turn for turn in reversed(turns) if turn.role in ("user", "assistant")), None)
    return last.text if last is not None and last.role == "assistant" else None


def _turn(value: Any) -> Turn | None:
    if not isinstance(value, dict):
        return None
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    if not isinstance(role, str):
        return None
    text = _text_of(content)
    return None if text is None else Turn(_ROLES.get(role, role), text)


def _text_of(content: Any) -> str | None:
    """Return the text of a turn, whose content may come in parts and be empty; None where it is neither."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(part for part in parts if isinstance(part, str))
