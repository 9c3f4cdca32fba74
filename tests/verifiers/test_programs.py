import pytest

from tpt.verifiers.code.extract import extract_program

FENCE = "```"
PROGRAM = "n = int(input())\nprint(n + 1)\n"


def block(program: str = PROGRAM, info: str = "python", mark: str = FENCE) -> str:
    return f"{mark}{info}\n{program}{mark}"


STRICT = [
    block(),
    f"First we read n, then add one.\n\n{block()}",
    f"Use `int`.\n{block()}\n\n  \n",
    block().replace("\n", "\r\n"),
]
LENIENT = [
    ("prose behind", f"{block()}\nIt prints n + 1."),
    ("no language", block(info="")),
    ("another name of the language", block(info="py")),
    ("tildes", block(mark="~~~")),
    ("two blocks, the last counts", f"{block('print(0)' + chr(10))}\nBetter:\n{block()}"),
    ("a block of output behind the program", f"{block()}\nOutput:\n{block('3' + chr(10), info='')}"),
    ("a block of another language behind", f"{block()}\n{block('int main() {}' + chr(10), info='cpp')}"),
    ("never closed", f"Here:\n{FENCE}python\n{PROGRAM}"),
    ("opened twice", f"{FENCE}python\nprint(0)\n{block()}"),
    ("a complete block before a cut one", f"{block()}\n{FENCE}python\nprint("),
    ("indented in a list", "1. So:\n" + "\n".join("   " + line for line in block().splitlines())),
    ("no fence at all", PROGRAM),
]
NONE = [
    "",
    "The answer is 7.",
    "42",
    "Sorry",
    block("", info="python"),
    block("int main() {}\n", info="cpp"),
    block("some words\n", info="text"),
]


@pytest.mark.parametrize("completion", STRICT)
def test_the_asked_format(completion):
    found = extract_program(completion)
    assert (found.program, found.strict) == (PROGRAM, True)


@pytest.mark.parametrize(("what", "completion"), LENIENT, ids=[what for what, _ in LENIENT])
def test_other_forms_are_read_but_not_strict(what, completion):
    found = extract_program(completion)
    assert found.program is not None and found.program.rstrip() == PROGRAM.rstrip()
    assert not found.strict


@pytest.mark.parametrize("completion", NONE)
def test_no_program(completion):
    found = extract_program(completion)
    assert found.program is None and found.detail


def test_a_block_that_defines_the_function_goes_before_an_example_of_its_use():
    completion = (
        f"{block('def f(x):' + chr(10) + '    return x' + chr(10))}\nFor example:\n{block('print(f(3))' + chr(10))}"
    )
    assert extract_program(completion, entry_point="f").program == "def f(x):\n    return x\n"
    assert extract_program(completion).program == "print(f(3))\n"


def test_a_definition_without_a_fence_between_prose():
    completion = (
        "Here is the function:\n\nimport math\n\ndef area(r):\n    return math.pi * r * r\n\nIt squares the radius."
    )
    assert extract_program(completion, entry_point="area").program == (
        "import math\n\ndef area(r):\n    return math.pi * r * r\n\n"
    )
    assert extract_program(completion).program is None


def test_a_body_that_goes_on_where_the_prompt_ended():
    body = "    total = sum(xs)\n    return total\n"
    assert extract_program(body, entry_point="add").program == body
    assert extract_program("    just words here", entry_point="add").program is None


@pytest.mark.parametrize(
    "completion", ["(" * 100_000, "def f(): " + "[" * 5000, "\0", "x=" + "9" * 10_000, "```" * 10_000]
)
def test_hostile_text_is_no_program_and_no_crash(completion):
    assert extract_program(completion, entry_point="f").program is None or "f" in completion
    extract_program(completion)
