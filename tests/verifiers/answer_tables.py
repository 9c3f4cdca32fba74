"""Answers that are right or wrong by construction, kind of fault by kind of fault: gold, completion, whether it is right."""

from __future__ import annotations

Row = tuple[str, str, bool]


def boxed(rows: list[Row]) -> list[Row]:
    return [(gold, f"Adding up, we find $\\boxed{{{answer}}}$.", right) for gold, answer, right in rows]


QUESTION = "Which one flies?\n(A) a stone\n(B) a swan\n(C) a table\n(D) none of these"
CHOICE: dict[str, list[Row]] = {
    "two": [
        (gold, text, False)
        for gold in "BC"
        for text in (
            "The answer is B and C.",
            "The answer is B or C.",
            "B, C",
            "B and C",
            r"\boxed{B, C}",
            r"\boxed{\text{B and C}}",
            r"\boxed{B} and \boxed{C}",
            "#### B, C",
            "#### B and C",
            "#### B/C",
            "(B) and (C)",
            "The answer is (B), (C).",
            "Answer: B & C",
            "The answer is both B and C.",
        )
    ],
    "lists": [
        ("D", "(A) a stone\n(B) a swan\n(C) a table\n(D) none of these", False),
        ("A", "(A) a stone\n(B) a swan\n(C) a table\n(D) none of these", False),
        ("D", "A) a stone\nB) a swan\nC) a table\nD) none of these\n", False),
        ("B", "A. a stone\nB. a swan\nC. a table\nD. none of these\nThe answer is B.", True),
    ],
    "phrases": [
        ("B", "The answer is not A but B.", True),
        ("A", "The answer is not A but B.", False),
        ("B", "I would choose B.", True),
        ("B", "I'd go with option B", True),
        ("B", "We select (B).", True),
        ("A", "I would choose B.", False),
        ("B", "Antwort: B", True),
        ("B", "Die Antwort ist B.", True),
        ("B", "Respuesta: B", True),
        ("B", "La réponse est B.", True),
        ("B", "答案是B", True),
        ("B", "所以选B。", True),
        ("B", "#### Ｂ", True),
        ("C", "答案是B", False),
        ("B", "b) a swan", True),
        ("B", "b) a table", False),
        ("B", "It is a swan.", True),
        ("C", "It is a swan.", False),
        ("B", "A is wrong, C is wrong and D is wrong. So B.", True),
        ("A", "A is wrong, C is wrong and D is wrong. So B.", False),
        ("B", "<answer>B</answer>", True),
        ("B", "<think>A?</think>\n<answer>B</answer>", True),
        ("A", "<think>A?</think>\n<answer>B</answer>", False),
        ("B", '{"answer": "B"}', True),
        ("B", "The answer is B.<end_of_turn>", True),
        ("B", "The answer is B.\n\nQuestion: Which one sinks?\nThe answer is A.", True),
        ("A", "The answer is B.\n\nQuestion: Which one sinks?\nThe answer is A.", False),
        ("A", "A swan flies.", False),
        ("B", "B is wrong.", False),
        ("B", "#### B is wrong", False),
        ("B", "The answer isn't B.", False),
    ],
}

EXACT: list[Row] = [
    ("blue", "<answer>blue</answer>", True),
    ("blue", "<think>red?</think><answer>\nblue\n</answer>", True),
    ("red", "<think>red?</think><answer>\nblue\n</answer>", False),
    ("blue", '{"answer": "blue"}', True),
    ("blue", "{'why': 'red', 'answer': 'blue'}", True),
    ("red", "{'answer': 'blue', 'why': 'red'}", False),
    ("blue", r"\boxed{\text{blue}}", True),
    ("blue", r"\boxed{\textbf{blue}}", True),
    ("I hope this helps", "\nI hope this helps", False),
    ("blue", "#### blue<eos>", True),
    ("blue", "#### blue<|im_end|>\n<|im_start|>user", True),
    ("blue", "The answer is blue.</s>", True),
    ("blue", "#### blue\n\nQuestion: and the sea?\n#### red", True),
    ("red", "#### blue\n\nQuestion: and the sea?\n#### red", False),
    ("na\u00efve", "#### nai\u0308ve", True),
    ("nai\u0308ve", "#### na\u00efve", True),
    ("naive", "#### na\u00efve", False),
    ("it's", "#### it\u2019s", True),
    ('"so"', "#### \u201cso\u201d", True),
    ("1-2", "#### 1\u20132", True),
    ("1-2", "#### 12", False),
    ("blue sky", "#### blue\u00a0sky", True),
    ("blue", "#### not blue", False),
    ("blue", "#### blue or red", False),
    ("</s>", "#### </s>", True),
    ("no, it is 9", "Answer:\nNo, it is 9", True),
    ("yes", "#### yes\nNo, sorry.\n#### no", False),
    ("no", "#### yes\nThat is wrong.\nno", True),
]
