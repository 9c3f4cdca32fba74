"""The judgement of numeric answers: a table of forms, hostile completions, and real solutions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import DATA

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.number.spelled import spelled_at
from tpt.verifiers.number.verify import canonical_answer, gold_number, verify_number

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER

# gold, completion: the value is right and the format was kept
STRICT = [
    ("18", "**#### 18**"),
    ("18", "#### 18 dollars"),
    ("18", "#### 18."),
    ("18", "#### 18 (because 9 * 2 = 18)"),
    ("18", "#### 18 eggs per day for 7 days"),
    ("18", "#### 18\n\nLet me know if you have another problem!"),
    ("18", "The result is #### 18"),
    ("50", "#### 50 percent"),
    ("18", "#### 18 cm^2"),
    ("18", "#### 18 m²"),
    ("18", "#### 18€"),
    ("18", "#### 18 eggs/day"),
    ("18", "#### 18"),
    ("18", "9 * 2 = 18\n#### 18"),
    ("18", "9 * 2 = 18\n#### 18\n\n  \n"),
    ("18", "9 * 2 = 18\r\n#### 18\r\n"),
    ("18", "9 * 2 = 18\n  ####\t18  "),
    ("18", "####18"),
    ("18", "#### 18.00"),
    ("2,125", "#### 2125"),
    ("2125", "#### 2,125"),
    ("1234567.5", "#### 1,234,567.5"),
    ("-3", "#### -3"),
    ("50%", "#### 0.5"),
    ("50%", "#### 50"),
    ("2125", "#### 2,125.00"),
    ("20", "#### 18\nNo, one more.\n#### 20"),
]

# gold, completion: the value is right, the format was not kept
LENIENT = [
    ("18", "#### $18"),
    ("18", "#### **18**"),
    ("18", "#### [18]"),
    ("18", "#### +18"),
    ("18", "#### `18`"),
    ("18", "#### Answer: $18"),
    ("18", "#### **Answer:** 18"),
    ("18", "#### x = 18"),
    ("18", "#### 9 * 2 = 18"),
    ("18", "#### 9*2=18"),
    ("18", "#### Janet makes $18."),
    ("18", "#### 18 #### "),
    ("18", "#### 18\n\n#### Explanation\nShe sells what is left."),
    ("18", "#### Step 1: Count the eggs\n16 - 7 = 9\n#### Step 2: Sell them\nShe makes 18"),
    ("18", "#### 1. Count\n#### 2. Sell\nSo \\boxed{18}"),
    ("18", "So 17\n####\n18"),
    ("1234.5", "#### $1,234.50"),
    ("130000", "#### 1,30,000"),
    ("-3", "#### −3"),
    ("-3", "#### -$3"),
    ("-3", "#### $-3"),
    ("-3", "#### –3"),
    ("18", "#### １８"),
    ("1234", "#### １，２３４"),
    ("1/2", "#### 1/2"),
    ("0.5", "#### 1/2"),
    ("0.5", "#### ½"),
    ("0.5", "#### .5"),
    ("1.5", "#### 1 1/2"),
    ("1.5", "#### 1½"),
    ("1.5", "#### 3 / 2"),
    ("1000", "#### 1e3"),
    ("0.00000016", "#### 1.6 \\times 10^{-7}"),
    ("0.00000016", "#### 1.6 × 10^-7"),
    ("50", "#### 50%"),
    ("50", "#### 50\\%"),
    ("0.5", "#### 50%"),
    ("0.125", "#### 12.5 %"),
    ("50%", "#### 50%"),
    ("1500000", "#### $1.5 million"),
    ("18000", "#### 18k"),
    ("24", "#### 2 dozen"),
    ("18", "#### 18km"),
    ("18", "#### £18"),
    ("18", "#### USD 18"),
    ("18", "#### Rs. 18"),
    ("18", "#### 18th"),
    ("2", "#### 2:00 PM"),
    ("18", "\\boxed{18}"),
    ("18", "So the answer is $\\boxed{18}$."),
    ("18", "\\boxed{17} is wrong, so \\boxed{18}"),
    ("18", "\\boxed{x = 18}"),
    ("18", "\\boxed{18 \\text{ dollars}}"),
    ("18", "\\boxed{\\text{18}}"),
    ("18", "\\boxed{\\$18}"),
    ("18", "\\[\\boxed{18}\\]"),
    ("32349", "\\boxed{32,\\! 349}"),
    ("32349", "\\boxed{32{,}349}"),
    ("0.5", "\\boxed{\\frac{1}{2}}"),
    ("0.5", "\\boxed{\\dfrac12}"),
    ("-0.75", "\\boxed{-\\frac{3}{4}}"),
    ("1.5", "\\boxed{1\\frac{1}{2}}"),
    ("28", "$\\boxed{28}$ pct"),
    ("30", "\\boxed{30^\\circ}"),
    ("18", "The answer is 18."),
    ("18", "The answer is 18. Check: 9 * 2 is 18 and 7 + 2 is 9."),
    ("18", "The answer is 18. The other answers took 3 steps."),
    ("18", "The final answer is: **18**\n\nI used 2 steps."),
    ("18", "the answer is $18 per day over 2 days"),
    ("18", "ANSWER: 18\nTook 3 steps."),
    ("18", "**Answer:**\n\n18 eggs\n\nThat took 3 steps."),
    ("18", "The answer to the question is 18, of 20."),
    ("18", "<answer>18</answer> in 2 steps"),
    ("18", '{"answer": 18, "steps": 3}'),
    ("18", "9 * 2 = 18\nA: 18"),
    ("18", "A: 18"),
    ("18", "Answer $$ \n 18 \n $$"),
    ("18", "9 * 2 = 18"),
    ("18", "9 * 2 = $<<9*2=18>>18"),
    ("18", "She makes 18 dollars."),
    ("18", "She makes **$18**!"),
    ("18", "So $16 - 3 + 5 = 18$ cm^2"),
    ("18", "We find:\n- 17 hens\n- 18 eggs"),
    ("18", "It is 18 as step B2 shows"),
    ("18", "the temperature is\n18"),
]

# gold, completion: not the gold value, however tempting
REFUSED = [
    ("18", "#### 17"),
    ("18", "#### 18\n#### 17"),
    ("18", "#### -18"),
    ("18", "#### 180"),
    ("18", "#### 1.8"),
    ("18", "#### 18.01"),
    ("3", "#### 3-4"),
    ("4", "#### 3-4"),
    ("-4", "#### 3-4"),
    ("3", "#### 3–4"),
    ("10", "#### 10 to 12"),
    ("12", "So it takes 10 to 12"),
    ("12", "So it takes between 10 and 12 days."),
    ("2", "#### 2:30"),
    ("30", "It starts at 2:30"),
    ("12", "#### 12/25/2023"),
    ("2023", "It was on January 5, 2023"),
    ("2023", "It was on 2023-01-05"),
    ("5", "It was on 2023-01-05"),
    ("3", "#### 3, 4 and 5"),
    ("5", "They are 3, 4, 5"),
    ("2", "#### 2 hours 30 minutes"),
    ("30", "It takes 2 hours and 30 minutes"),
    ("5", "#### 5 feet 6 inches"),
    ("18", "#### 18 eggs and 3 ducks"),
    ("18", "#### 18 or 20"),
    ("9", "#### 9 * 2"),
    ("2", "So she makes 9 * 2"),
    ("3", "She has 16 - 3"),
    ("3", "She has 16 -3"),
    ("9", "#### 9**9**9"),
    ("999", "#### 9**9**9"),
    ("10", "#### 10^6"),
    ("6", "That is 10^6"),
    ("3", "#### 3x"),
    ("4", "\\boxed{4\\sqrt{2}}"),
    ("7", "\\boxed{7\\pi}"),
    ("18", "\\boxed{\\sqrt{18}}"),
    ("18", "That is \\sqrt{18}"),
    ("18", "That is sqrt(18)"),
    ("5", "\\boxed{5!}"),
    ("3", "\\boxed{(3, 4)}"),
    ("0", "\\boxed{[0,1)}"),
    ("18", "\\boxed{18x}"),
    ("18", "\\boxed{n \\ge 18}"),
    ("2", "AZYUK2A is 3"),
    ("12", "#### 12.5.3"),
    ("274", "#### 2,74"),
    ("1234", "#### 12,34"),
    ("111", "#### 0,111"),
    ("18", "#### 180%"),
    ("1", "#### 1\x008"),
    ("18", "#### 1\x008"),
    ("8", "#### 1\x008"),
    ("0", "#### 0x12"),
    ("1", "#### 1/0"),
    ("50", "#### 0.5"),
    ("50", "#### 5000%"),
    ("5000", "#### 5e1"),
    ("0.5", "#### 50 cents"),
    ("1", "#### 1e999999999"),
    ("1", "#### 1e-999999999"),
    ("1.5", "#### 1.5 million"),
    ("10", "#### 10 12"),
    ("18", "#### 18 = 17"),
    ("18", "#### 18 + 2 = twenty"),
]

SILENT = ["", " \n", "####", "#### dollars", "I do not know.", "\\boxed{}", "The answer is unclear", "#" * 50]


def judge(gold: str, completion: str, question: str = "") -> Judgement:
    return verify_number(Problem("p", question, gold), completion)


@pytest.mark.parametrize(("gold", "completion"), STRICT)
def test_right_in_the_asked_format(gold: str, completion: str) -> None:
    judgement = judge(gold, completion)
    assert (judgement.outcome, judgement.strict) == (RIGHT, True), judgement


@pytest.mark.parametrize(("gold", "completion"), LENIENT)
def test_right_in_another_form(gold: str, completion: str) -> None:
    judgement = judge(gold, completion)
    assert (judgement.outcome, judgement.strict) == (RIGHT, False), judgement


@pytest.mark.parametrize(("gold", "completion"), REFUSED)
def test_not_the_gold_value(gold: str, completion: str) -> None:
    judgement = judge(gold, completion)
    assert (judgement.outcome, judgement.strict) == (WRONG, False), judgement
    assert judgement.extracted and judgement.detail in ("", "the final answer is not one number")


def test_a_number_that_only_continues_something_is_told_with_what_it_continues() -> None:
    told = "the final answer is not one number"
    assert judge("3", "She has 16 - 3") == Judgement(WRONG, False, "She has 16 - 3", told)
    assert judge("8", "So it cannot be 10, and it is not 8").extracted == "e 10, and it is not 8"


@pytest.mark.parametrize("completion", SILENT)
def test_no_answer(completion: str) -> None:
    assert judge("18", completion) == Judgement(NONE, False, None)


@pytest.mark.parametrize(
    "gold", ["", "eighteen", "3-4", "2:30", "18 eggs", "x", "1e999999999", "9" * 1000, "1/0", "4\\pi"]
)
def test_a_gold_that_is_no_number_is_an_error(gold: str) -> None:
    judgement = judge(gold, "#### 18")
    assert judgement == Judgement(Outcome.ERROR, False, None, judgement.detail)
    assert "the gold answer" in judgement.detail
    assert "problem p is not a number" in judgement.detail
    assert gold_number(gold) is None


def test_gold_values() -> None:
    assert gold_number("2,125") == 2125
    assert gold_number(" -1/3 ") == Fraction(-1, 3)
    assert gold_number("$18.50") == Fraction(37, 2)
    assert gold_number("1.6e-07") == Fraction(16, 10**8)
    assert gold_number("2125362.0") == 2125362


def test_a_float_gold_leaves_room_for_its_rounding_and_a_whole_one_none() -> None:
    assert judge("14053029.666666666", "#### 14053029.67").outcome is RIGHT
    assert judge("3244047.0999999996", "#### 3,244,047.10").outcome is RIGHT
    assert judge("1.6e-07", "#### 0.00000016").outcome is RIGHT
    assert judge("5.3333333333", "#### 16/3").outcome is RIGHT
    assert judge("3813434.5", "#### 3813434").outcome is WRONG
    assert judge("0.0016791648", "#### 0.00168").outcome is WRONG
    assert judge("2125362.0", "#### 2125361").outcome is WRONG


def test_a_scale_the_question_asks_for_may_be_the_unit() -> None:
    assert judge("1.5", "#### 1.5 million", "How many million dollars?").outcome is RIGHT
    assert judge("5", "#### 5 dozen", "How many dozens of eggs?").outcome is RIGHT
    assert judge("5", "#### 5 dozen", "How many eggs?").outcome is WRONG
    assert judge("18", "#### $18k", "How many thousand dollars?").outcome is RIGHT
    assert judge("25", "#### 25万", "有多少万元？").outcome is RIGHT
    assert judge("18", "#### 18k", "How many ducks does Jack take?").outcome is WRONG
    assert judge("18", "#### 18 million", "How many millionaires are there?").outcome is WRONG


def test_a_point_groups_thousands_where_the_question_writes_so() -> None:
    for question in ("Er hat 2,5 kg zu 1 Euro.", "Es waren 1.000 und 2.000 Hennen."):
        assert judge("1234", "#### 1.234", question).outcome is RIGHT
        assert judge("1.234", "#### 1.234", question).outcome is RIGHT
    assert judge("1234", "#### 1.234", "Es waren 1.000 Hennen.").outcome is WRONG


def test_percent_of_a_gold_that_counts_percent_is_not_divided() -> None:
    assert judge("1.5", "#### 150%").outcome is RIGHT
    for question in ("What percent is it?", "What is the final percentage?", "How many per cent?"):
        assert judge("12.5", "#### 12.5%", question).outcome is RIGHT
        assert judge("0.5", "#### 50%", question).outcome is RIGHT
        assert judge("12.5", "#### 1250%", question).outcome is WRONG


def test_votes_for_one_value_have_one_spelling() -> None:
    assert {canonical_answer(text) for text in ("18", "18.00", "$18", "36/2")} == {"18"}
    assert canonical_answer("2:30") == "2:30"


def test_words_are_read_from_the_beginning() -> None:
    assert spelled_at("eighteen eggs") == (18, "eighteen", len("eighteen eggs"))
    assert spelled_at("the eighteen", 4) == (18, "eighteen", 12)
    assert spelled_at("the eighteen") is None


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.00"]))
def test_every_spelling_of_an_integer_is_read_exactly(value: int, spelling: str) -> None:
    text = spelling.format(value)
    for completion in (f"#### {text}", f"The answer is {text}.", f"\\boxed{{{text}}}", f"It makes {text} eggs."):
        assert judge(str(value), completion).outcome is RIGHT
        assert judge(str(value + 1), completion).outcome is WRONG


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set TPT_DATA to the folder of real data")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "problems"), [("train", 7473), ("test", 1319)])
def test_every_gsm8k_gold_passes_its_own_verifier(split: str, problems: int) -> None:
    judged = [
        judge(row["answer"].rsplit("####", 1)[1].strip(), row["answer"], row["question"])
        for row in rows(f"math/gsm8k_{split}.jsonl")
    ]
    assert len(judged) == problems
    assert all(judgement.outcome is RIGHT and judgement.strict for judgement in judged)


@pytest.mark.real_data
def test_the_published_judgements_of_5276_model_solutions_are_reproduced() -> None:
    models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    solutions = 0
    for row in rows("model_outputs/gsm8k_example_model_solutions.jsonl"):
        gold = row["ground_truth"].rsplit("A:", 1)[1].strip()
        for model in models:
            judgement = judge(gold, row[model]["solution"], row["question"])
            assert (judgement.outcome is RIGHT) == row[model]["is_correct"], (gold, row[model]["solution"])
            assert not judgement.strict
            solutions += 1
    assert solutions == 5276


@pytest.mark.real_data
def test_every_gsm_hard_gold_is_a_number_and_verifies_itself() -> None:
    golds = [repr(row["target"]) for row in rows("math/gsm_hard.jsonl")]
    assert len(golds) == 1319
    assert all(judge(gold, f"The answer is {gold}.").outcome is RIGHT for gold in golds)
