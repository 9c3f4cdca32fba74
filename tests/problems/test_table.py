"""The user's own files, well-formed and hostile."""

import csv
import json
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tpt.errors import ProblemError
from tpt.problems import load_problems
from tpt.records import Problem
from tpt.system.jsonl import replace_records, to_line

ALPHABET = "aZ9 \t\n\r\\\"'{}[],:é漢😀\u2028\u0085\u200b\ufeff\x1f#$<>&"


def write(path: Path, *rows: object, end: str = "\n") -> str:
    path.write_bytes("".join(json.dumps(row) + end for row in rows).encode())
    return str(path)


def random_text(rng: random.Random) -> str:
    return "q" + "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(40)))


def random_problem(rng: random.Random, index: int) -> Problem:
    tests = rng.choice([None, [], [{"input": [1, -2.5, 10**30], "output": None}, [True, "é"]]])
    return Problem(
        id=f"{index}/{random_text(rng)}",
        question=random_text(rng),
        answer="" if tests and rng.random() < 0.5 else random_text(rng),
        kind=rng.choice(["number", "math", "code"]),
        tests=tests,
        solution=rng.choice([None, "", random_text(rng)]),
        source=rng.choice(["", "gsm8k"]),
    )


@pytest.mark.parametrize("seed", range(20))
def test_frozen_problems_read_back_as_they_were(tmp_path, seed):
    rng = random.Random(seed)
    problems = [random_problem(rng, index) for index in range(15)]
    replace_records(tmp_path / "problems.jsonl", problems)
    assert load_problems(str(tmp_path / "problems.jsonl")) == problems


@pytest.mark.parametrize("seed", range(10))
def test_every_format_reads_the_same_problems(tmp_path, seed):
    rng = random.Random(seed)
    rows = [
        # Carriage returns are left out: CSV cannot tell them from line ends in every dialect.
        {"id": str(i), "question": random_text(rng), "answer": str(rng.randrange(-(10**6), 10**6)), "source": "s"}
        for i in range(12)
    ]
    paths = [tmp_path / f"mine.{suffix}" for suffix in ("jsonl", "json", "csv", "tsv", "parquet")]
    write(paths[0], *rows)
    paths[1].write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    for path, delimiter in ((paths[2], ","), (paths[3], "\t")):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), paths[4])
    expected = [Problem(**row, kind="math") for row in rows]
    for path in paths:
        assert load_problems(str(path), kind="math") == expected, path.name


@pytest.mark.parametrize("literal", ["18", "2125362.0", "-0", "1e400", "0.1000", "9" * 6000, "1E-7"])
def test_numbers_as_answers_keep_their_digits(tmp_path, literal):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"question": "q", "answer": {literal}}}')
    assert load_problems(str(path))[0].answer == literal


def test_parquet_numbers_become_text(tmp_path):
    table = pyarrow.table({"question": ["a", "b"], "answer": [2125362.0, -3.5], "n": [1, 2**62]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [p.answer for p in load_problems(str(tmp_path / "a.parquet"))] == ["2125362.0", "-3.5"]
    whole = load_problems(str(tmp_path / "a.parquet"), columns={"answer": "n"})
    assert [p.answer for p in whole] == ["1", str(2**62)]


def test_columns_are_mapped_and_ids_made_from_the_position(tmp_path):
    path = write(tmp_path / "svamp.json.jsonl", {"Body": "b", "Question": "How?", "Answer": 51.0})
    problem = load_problems(path, columns={"question": "Question", "answer": "Answer", "solution": "Body"})[0]
    assert problem == Problem("svamp.json/00000", "How?", "51.0", solution="b", source="svamp.json.jsonl")


def test_a_kind_column_wins_over_the_argument_and_tests_mean_code(tmp_path):
    rows = [
        {"question": "a", "answer": "1", "kind": "choice"},
        {"question": "b", "answer": "1"},
        {"question": "c", "tests": ["assert f() == 1"]},
    ]
    path = write(tmp_path / "a.jsonl", *rows)
    assert [p.kind for p in load_problems(path)] == ["choice", "number", "code"]
    assert [p.kind for p in load_problems(path, kind="math")] == ["choice", "math", "math"]


def test_tests_in_csv_stand_as_json(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('question,tests\nq,"[1, ""x""]"\n')
    assert load_problems(str(path))[0].tests == [1, "x"]


def test_bom_crlf_blank_lines_and_no_final_line_break(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "a", "answer": 1}\r\n\r\n  \n{"question": "b", "answer": 2}')
    assert [(p.id, p.answer) for p in load_problems(str(path))] == [("a/00000", "1"), ("a/00001", "2")]
    path = tmp_path / "b.csv"
    path.write_bytes(b'\xef\xbb\xbfquestion,answer\r\n"two\r\nlines",2\r\n\r\n')
    assert [(p.question, p.answer) for p in load_problems(str(path))] == [("two\r\nlines", "2")]


def test_megabyte_cells_are_read(tmp_path):
    long = "x" * 3_000_000
    assert load_problems(write(tmp_path / "a.jsonl", {"question": long, "answer": "1"}))[0].question == long
    (tmp_path / "a.csv").write_text(f"question,answer\n{long},1\n")
    before = csv.field_size_limit()
    assert load_problems(str(tmp_path / "a.csv"))[0].question == long
    assert csv.field_size_limit() == before


def test_nested_json_is_kept_in_tests_and_refused_in_text(tmp_path):
    nested = {"question": "q", "tests": [{"in": [[1], {"a": None}]}], "metadata": {"deep": [1]}}
    assert load_problems(write(tmp_path / "a.jsonl", nested))[0].tests == [{"in": [[1], {"a": None}]}]
    with pytest.raises(ProblemError, match="line 1: column 'answer' holds a list"):
        load_problems(write(tmp_path / "b.jsonl", {"question": "q", "answer": ["1", "2"]}))


GOOD = b'{"question": "q", "answer": "1"}\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.jsonl: the file is empty"),
        (b"\n \n", "a.jsonl: the file is empty"),
        (GOOD + b'{"question": }\n', r"line 2, column 14: not valid JSON: .*'\{\"question\": \}"),
        (
            GOOD + b'{"question": "q", "answer": "1", "answer": "2"}\n',
            "line 2: the key 'answer' stands twice in one object",
        ),
        (GOOD + b'{"question": "q", "answer": "1", "m": [{"a": 1, "a": 1}]}\n', "line 2: the key 'a' stands twice"),
        (GOOD + b'{"question": "q", "ans', "line 2, column 19: not valid JSON: Unterminated string"),
        (GOOD + b"[1, 2]\n", "line 2: expected a JSON object .*, got a list"),
        (GOOD + b"null\n", "line 2: expected a JSON object .*, got null"),
        (GOOD + b'{"question": "\xff"}\n', "line 2: not UTF-8: byte 0xff at offset 14"),
        ('{"question": "q"}'.encode("utf-16"), "line 1: not UTF-8: byte 0xff at offset 0"),
        (
            GOOD + b'{"question": "a\x00b", "answer": 1}\n',
            "line 2, column 16: not valid JSON: Invalid control character",
        ),
        (b'{"question": "a\\u0000b", "answer": 1}\n', "line 1: column 'question' holds a NUL"),
        (b'{"question": "\\ud800", "answer": 1}\n', "line 1: column 'question' holds half a surrogate pair"),
        (b"[" * 100_000, "line 1: JSON nested too deeply"),
        (b'{"question": "q", "tests": [' + b"9" * 5000 + b"]}", "line 1: the tests .* hold a number too large"),
        (b'{"question": "q", "tests": {"a": 1}}', "line 1: the tests .* must be a list"),
        (GOOD + b'{"question": " \\n", "answer": 1}\n', "line 2: the question .* is missing or empty"),
        (GOOD + b'{"question": null, "answer": 1}\n', "line 2: the question .* is missing or empty"),
        (GOOD + b'{"question": "q"}\n', "line 2: the answer .* is missing or empty"),
        (GOOD + b'{"question": "q", "answer": NaN}\n', "line 2: the answer .* is missing or empty"),
        (b'{"qestion": "q", "answer": 1}\n', "no column 'question' .* Did you mean 'qestion'.* there: qestion, answer"),
        (b'{"question": "q", "gold": 1}\n', "no column 'answer'.*problems.columns = { answer = \"...\" }"),
        (b'{"id": "x", "question": "q", "answer": 1}\n' * 2, "line 2: id 'x' is already that of .*line 1"),
        (b'{"id": "x", "question": "q", "answer": 1}\n' + GOOD, "line 2: the id .* is missing"),
    ],
)
def test_a_damaged_jsonl_file_is_explained(tmp_path, data, message):
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(ProblemError, match=f"a.jsonl.*{message}" if "a.jsonl" not in message else message):
        load_problems(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: the file is empty"),
        ("question,answer\n", "a.csv: the file is empty"),
        ("question,answer\nq,1,2\n", "line 2: 3 cells, but the header names 2 columns"),
        ("question,question\nq,1\n", "line 1: column 'question' is there twice"),
        ('question,answer\nq,1\n"open,2\nr,3\n', "from line 3 on: not valid CSV"),
        ('question,answer\n"two\nlines",1\nq\n', "line 4: the answer"),
        ("question,answer\nq\0,1\n", "line 2: column 'question' holds a NUL"),
        ("question;answer\nq;1\n", "the header is a single column, .question;answer."),
    ],
)
def test_a_damaged_csv_file_is_explained(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ProblemError, match=message):
        load_problems(str(tmp_path / "a.csv"))


def test_other_damage_is_explained(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ProblemError, match="not a readable Parquet file"):
        load_problems(str(tmp_path / "a.parquet"))
    (tmp_path / "a.json").write_text('[{"question": "q", "answer": 1}, 7]')
    with pytest.raises(ProblemError, match=r"a\.json, item 2: expected a JSON object"):
        load_problems(str(tmp_path / "a.json"))
    path = write(tmp_path / "mine.jsonl", {"question": "q", "answer": 1})
    with pytest.raises(ProblemError, match=r"no such file\. Did you mean 'mine\.jsonl'"):
        load_problems(str(tmp_path / "mien.jsonl"))
    with pytest.raises(ProblemError, match=r"the folder .*nowhere does not exist"):
        load_problems(str(tmp_path / "nowhere" / "mine.jsonl"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ProblemError, match="is a folder"):
        load_problems(str(tmp_path / "folder.jsonl"))
    with pytest.raises(ProblemError, match=r"'qestion' is unknown\. Did you mean 'question'"):
        load_problems(path, columns={"qestion": "q"})
    with pytest.raises(ProblemError, match="no column 'working' for the solution"):
        load_problems(path, columns={"solution": "working"})


def test_damaged_bytes_never_escape_as_another_error(tmp_path):
    rng = random.Random(0)
    problems = [random_problem(rng, index) for index in range(3)]
    replace_records(tmp_path / "fuzz.jsonl", problems)
    (tmp_path / "fuzz.json").write_text(json.dumps([json.loads(to_line(problem)) for problem in problems]))
    (tmp_path / "fuzz.csv").write_text("question,answer\n" + '"a, b",1\n"c ""d""",2\n' * 5)
    table = pyarrow.Table.from_pylist([{"question": f"q{i}", "answer": i / 3} for i in range(20)])
    pyarrow.parquet.write_table(table, tmp_path / "fuzz.parquet")
    refused = 0
    for path in sorted(tmp_path.iterdir()):
        valid = path.read_bytes()
        for _ in range(100):
            data = bytearray(valid)
            for _ in range(rng.randint(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            try:
                load_problems(str(path))
            except ProblemError as error:
                refused += 1
                assert "fuzz." in str(error)
    assert refused > 100


def test_split_takes_disjoint_sides_that_make_the_whole(tmp_path):
    path = write(tmp_path / "a.jsonl", *({"question": f"What is {i}?", "answer": i} for i in range(200)))
    train, heldout = (load_problems(f"{path}?split={split}") for split in ("train", "heldout"))
    assert sorted(p.id for p in train + heldout) == [p.id for p in load_problems(path)]
    assert 20 <= len(heldout) <= 60
