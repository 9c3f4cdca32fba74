"""Prompt templates that go by a name: the paper's own words, literally, as the prompt is part of an experiment."""

from __future__ import annotations

from tpt.errors import did_you_mean

_MATHEMATICIAN = "You are an expert mathematician."
_GIVEN = "You are provided with a math problem."
_TASK = "Your task is to solve the problem step-by-step, clearly showing all relevant calculations and reasoning."
_REQUIREMENTS = [
    "Requirements:",
    "1. Provide a complete and correct solution in a markdown block.",
    "2. Explain each step of the solution in detail.",
    "3. Conclude with the final numerical answer on a new line in the format `#### [Answer]`, replacing `[Answer]` with "
    "the actual answer.",
]
_AS_PRINTED = [_MATHEMATICIAN, f"{_GIVEN} {_TASK}", 'Problem: "{question}"', *_REQUIREMENTS, "Solution:"]
_ABOVE = [f"{_MATHEMATICIAN} ", _GIVEN, _TASK]
_MARGIN = 20 * " "
"""The published code indents what it sends, blank lines but two included."""


def _with_margin(lines: list[str]) -> str:
    return "\n".join(_MARGIN + line for line in lines)


TEMPLATES = {
    "paper": "\n".join(_AS_PRINTED),
    "paper-code": "\n"
    + "\n\n".join(
        [
            _with_margin(_ABOVE),
            _with_margin(["# PROBLEM:", "{question}", "", *_REQUIREMENTS]),
            _with_margin(["# SOLUTION:", ""]),
        ]
    ),
}
"""Name to template. ``paper``: appendix B.4 as printed; ``paper-code``: what the published code sends, blank for blank."""


def template_text(template: str) -> str:
    """Return a template's text, given that or the name of one.

    Raises:
        ValueError: nothing in it stands for the question.
    """
    text = TEMPLATES.get(template, template)
    if "{question}" not in text:
        raise ValueError(
            f"must contain {{question}} or be one of {', '.join(TEMPLATES)}, got {template!r}; put "
            f"{{question}} where the problem's text belongs.{did_you_mean(template, TEMPLATES)}"
        )
    return text
