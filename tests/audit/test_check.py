"""The check before a run: golds against their verifiers, duplicates, both sides against each other."""

import pytest

from tpt.audit.check import WeakTests, check, check_problems
from tpt.errors import ProblemError, VerifierError
from tpt.problems import load_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.verifiers.gold import gold_completion
from tpt.verifiers.judge import judge


def test_generated_problems_pass_their_verifier():
    train = load_problems("word_problems?split=train&size=100")
    heldout = load_problems("reasoning_gym:gsm_symbolic?size=100&split=heldout")
    found = check(train, heldout, judge=judge)
    found.require()
    assert (found.train.problems, found.train.kinds, found.train.duplicates) == (100, {"number": 100}, [])
    assert found.heldout is not None
    assert (found.heldout.problems, found.heldout.unchecked) == (100, [])


def test_golds_that_fail_are_named():
    problems = [Problem("a", "q", "18"), Problem("b", "r", "p - q"), Problem("c", "Q?", "-1,200.5")]
    report = check_problems(problems, judge)
    assert [(each.problem_id, each.outcome) for each in report.gold_failures] == [("b", Outcome.ERROR)]
    assert report.duplicates == [["a", "c"]]
    with pytest.raises(ProblemError, match=r"1 gold answers do not pass .*\n  b: 'p - q' is ERROR: .*not a number"):
        check(problems, judge=judge).require()


def test_a_pattern_that_is_none_is_named_though_nothing_shows_a_right_one():
    problems = [
        Problem(key, key, pattern, kind="regex") for key, pattern in (("a", r"1[89]"), ("b", "("), ("c", "a**"))
    ]
    report = check_problems(problems, judge)
    assert [(each.problem_id, each.outcome) for each in report.gold_failures] == [
        ("b", Outcome.ERROR),
        ("c", Outcome.ERROR),
    ]
    assert "no regular expression" in report.gold_failures[0].detail


def test_a_failing_heldout_gold_fails_the_check():
    found = check([Problem("a", "q", "1")], [Problem("b", "r", "x")], judge=judge)
    assert found.train.ok
    assert not found.ok


def test_the_sides_must_be_disjoint():
    with pytest.raises(ProblemError, match="share the question"):
        check([Problem("a", "q", "1")], [Problem("b", "Q", "1")], judge=judge)


def test_an_unknown_kind_is_the_verifiers_error():
    with pytest.raises(VerifierError, match="'numbr'"):
        check([Problem("a", "q", "1", kind="numbr")], judge=judge)


def test_golds_come_in_the_format_of_their_kind():
    shown: list[Trace] = []

    def noting(traces, problems):
        shown.extend(traces)
        return [Verdict(each.problem_id, each.sample, Outcome.CORRECT, True, None) for each in traces]

    problems = [
        Problem("a", "q", "1"),
        Problem("c", "s", "\\pi", kind="math"),
        Problem("d", "t", "", kind="code", tests=["assert f()"], solution="def f(): return 1"),
        Problem("e", "u", "", kind="code", tests=["assert f()"]),
    ]
    found = check(problems, judge=noting)
    assert [each.completion for each in shown] == ["#### 1", "\\boxed{\\pi}", "```python\ndef f(): return 1\n```"]
    assert found.train.unchecked == ["e"]
    assert gold_completion(problems[3]) is None


def test_a_wrong_program_that_passes_shows_weak_tests():
    weak = [{"type": "function", "name": "square", "args": [2], "expected": 4}]
    strong = [*weak, {"type": "function", "name": "square", "args": [3], "expected": 9}]
    right, wrong = "def square(x):\n    return x * x", "def square(x):\n    return x + x"
    problems = [
        Problem("weak", "Square x.", "", kind="code", tests=weak, solution=right),
        Problem("strong", "Square x again.", "", kind="code", tests=strong, solution=right),
        Problem("bad", "Double x.", "", kind="code", tests=strong, solution=wrong),
    ]
    wrong_programs = {"weak": [wrong, "def square(x):\n    return 5"], "strong": [wrong], "elsewhere": [wrong]}
    report = check_problems(problems, judge, wrong_programs)
    assert report.weak_tests == [WeakTests("weak", 1, 2)]
    assert report.wrong_programs == 3
    assert [(each.problem_id, each.outcome) for each in report.gold_failures] == [("bad", Outcome.WRONG)]
    with pytest.raises(ProblemError, match=r"(?s)bad: the known solution is WRONG: wrong answer.*problems\.drop_bad"):
        check(problems, judge=judge).require()
