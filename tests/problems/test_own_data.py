"""Own data as people have it: nested, as chats, compressed, in several files, with row numbers for ids."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tpt.errors import ProblemError
from tpt.problems import check_disjoint, load_problems, told_apart
from tpt.problems.cells import cell_at
from tpt.records import Problem
from tpt.sandbox import bubblewrap

NESTED = {"a": {"b": [{"c": "x"}, {"c": "y"}]}, "a.b": "literal", "list": [["p", "q"]], "text": "t"}


def write(path: Path, *rows: object) -> str:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def chat(*turns: tuple[str, Any], role: str = "role", text: str = "content") -> list[dict[str, Any]]:
    return [{role: speaker, text: said} for speaker, said in turns]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b[0].c", "x"),
        ("a.b[-1].c", "y"),
        ("a.b", "literal"),
        ("list[0][1]", "q"),
        ("a.b[2].c", None),
        ("a.b[-3]", None),
        ("text[0]", None),
        ("text.x", None),
        ("a.b[x]", None),
        ("a..b", None),
        ("", None),
        ("[0]", None),
        ("a[999999999999999]", None),
    ],
)
def test_a_path_names_a_part_of_a_row(path: str, found: object) -> None:
    assert cell_at(NESTED, path) == found


def test_nested_columns_of_every_field(tmp_path: Path) -> None:
    row = {"item": {"q": ["What?"], "meta": {"gold": 12.50, "n": 7}}, "tests": {"all": [["assert f()"]]}}
    columns = {"question": "item.q[0]", "answer": "item.meta.gold", "id": "item.meta.n", "tests": "tests.all[0]"}
    problem = load_problems(write(tmp_path / "a.jsonl", row), columns=columns)[0]
    assert problem == Problem("7", "What?", "12.5", "code", ["assert f()"], source="a.jsonl")
    with pytest.raises(ProblemError, match=r"no column 'item\.w' for the question.*--column question="):
        load_problems(write(tmp_path / "a.jsonl", row), columns=columns | {"question": "item.w"})


@pytest.mark.parametrize(
    ("chatted", "question", "solution", "answer"),
    [
        (chat(("system", "s"), ("user", "1+1?"), ("assistant", "so\n#### 2")), "1+1?", "so\n#### 2", "2"),
        (
            chat(("user", "a?"), ("assistant", "b"), ("user", "c?"), ("assistant", "\\boxed{3}")),
            "c?",
            "\\boxed{3}",
            "3",
        ),
        (chat(("human", "q?"), ("gpt", "#### 4"), role="from", text="value"), "q?", "#### 4", "4"),
        (
            chat(("user", [{"type": "text", "text": "q"}, {"type": "text", "text": "?"}]), ("assistant", "#### 5")),
            "q?",
            "#### 5",
            "5",
        ),
    ],
)
@pytest.mark.parametrize("name", ["messages", "conversations"])
def test_a_chat_is_a_question_and_its_solution(
    tmp_path: Path, name: str, chatted: list[dict[str, Any]], question: str, solution: str, answer: str
) -> None:
    path = write(tmp_path / "chats.jsonl", {name: chatted})
    assert load_problems(path) == [Problem("chats/00000", question, answer, solution=solution, source="chats.jsonl")]


def test_a_chat_beside_an_answer_and_one_that_is_mapped(tmp_path: Path) -> None:
    row = {"messages": chat(("user", "q?"), ("assistant", "words")), "answer": "yes"}
    assert load_problems(write(tmp_path / "a.jsonl", row), kind="exact")[0].answer == "yes"
    prompt = {"prompt": chat(("system", "s"), ("user", "q?")), "reward_model": {"ground_truth": "6"}}
    columns = {"question": "prompt", "answer": "reward_model.ground_truth"}
    assert load_problems(write(tmp_path / "b.jsonl", prompt), columns=columns)[0].question == "q?"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": chat(("user", "q?"), ("assistant", "words"))}, "neither #### N nor .*--column answer="),
        ({"messages": chat(("user", "q?"), ("assistant", "#### 2"), ("user", "and?"))}, "neither #### N nor"),
        ({"messages": chat(("assistant", "#### 2"))}, "the question .column 'messages'. is missing"),
        ({"messages": [{"role": "user", "content": {"x": 1}}]}, "column 'messages' holds a list"),
        ({"messages": []}, "column 'messages' holds a list"),
        ({"messages": chat(("user", "\ud800"), ("assistant", "#### 2"))}, "half a surrogate pair"),
        ({"question": "q", "answer": "so ####"}, "has nothing after its ####"),
    ],
)
def test_a_chat_that_is_none_is_explained(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ProblemError, match=f"line 1: .*{said}"):
        load_problems(write(tmp_path / "a.jsonl", row))


def test_an_answer_may_end_a_solution(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "1 + 1 = 2\n#### 2"}
    assert load_problems(write(tmp_path / "a.jsonl", row)) == [
        Problem("a/00000", "q", "2", solution="1 + 1 = 2\n#### 2", source="a.jsonl")
    ]
    assert load_problems(str(tmp_path / "a.jsonl"), kind="exact")[0].answer == row["answer"]


def test_compressed_files_read_as_the_plain_ones(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "answer": n} for n in range(3)]
    plain = load_problems(write(tmp_path / "a.jsonl", *rows))
    packed = load_problems(write(tmp_path / "a.jsonl.gz", *rows))
    assert [(each.id, each.question, each.answer) for each in packed] == [
        (each.id, each.question, each.answer) for each in plain
    ]
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"question,answer\n1+1?,2\n"))
    assert load_problems(f"{tmp_path}/b.csv.gz?split=all")[0].id == "b/00000"
    with pytest.raises(ProblemError, match=r"c\.jsonl\.gz: cannot be read: .*[Nn]ot a gzipped"):
        (tmp_path / "c.jsonl.gz").write_bytes(b"plain")
        load_problems(str(tmp_path / "c.jsonl.gz"))
    whole = (tmp_path / "a.jsonl.gz").read_bytes()
    for cut in (len(whole) // 2, 12):
        (tmp_path / "c.jsonl.gz").write_bytes(whole[:cut])
        with pytest.raises(ProblemError, match=r"c\.jsonl\.gz: cannot be read"):
            load_problems(str(tmp_path / "c.jsonl.gz"))


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpt.problems.rows.LONGEST_LINE", 1000)
    monkeypatch.setattr("tpt.problems.rows._MOST_BYTES", 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" " * 10_000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b" " * 10_000))
    with pytest.raises(ProblemError, match="line 1: longer than 1,000 bytes, so this is no file of rows"):
        load_problems(str(tmp_path / "a.jsonl.gz"))
    with pytest.raises(ProblemError, match="more than 1,000 bytes to be read as a whole"):
        load_problems(str(tmp_path / "a.csv.gz"))


def test_json_documents_that_people_have(tmp_path: Path) -> None:
    row = {"question": "q?", "answer": 3}
    for text in (
        json.dumps([row], indent=2),
        json.dumps({"version": 1, "data": [row]}),
        json.dumps({"problems": [row], "authors": [{"name": "x"}]}, indent=2),
        json.dumps(row, indent=2),
        json.dumps(row),
    ):
        (tmp_path / "a.json").write_text(text)
        assert load_problems(str(tmp_path / "a.json"))[0].answer == "3", text
    tested = {"question": "q?", "tests": [{"input": "1"}]}
    (tmp_path / "a.json").write_text(json.dumps(tested, indent=2))
    assert load_problems(str(tmp_path / "a.json"))[0].tests == [{"input": "1"}]


def test_several_files_are_one_source(tmp_path: Path) -> None:
    for name in ("part-1", "part-2"):
        write(tmp_path / f"{name}.jsonl", *({"id": n, "question": f"{name} {n}?", "answer": n} for n in range(2)))
    ids = ["part-1/0", "part-1/1", "part-2/0", "part-2/1"]
    for spec in (f"{tmp_path}/part-*.jsonl", str(tmp_path), f"{tmp_path}/*.jsonl?split=all"):
        assert [each.id for each in load_problems(spec)] == ids
    write(tmp_path / "part-3.jsonl", {"id": "named", "question": "x?", "answer": 1})
    assert load_problems(str(tmp_path))[-1].id == "named"
    write(tmp_path / "part-4.jsonl", {"id": "named", "question": "y?", "answer": 1})
    with pytest.raises(ProblemError, match=r"part-4\.jsonl, line 1: id 'named' is already that of .*part-3\.jsonl"):
        load_problems(str(tmp_path))
    with pytest.raises(ProblemError, match="matches nothing; expected files ending in"):
        load_problems(f"{tmp_path}/none-*.jsonl")


def test_the_files_of_a_pattern_are_hidden_from_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_HIDDEN", set())
    write(tmp_path / "part-1.jsonl", {})
    bubblewrap.hide_source(f"{tmp_path}/part-*.jsonl?split=train")
    assert {tmp_path / "part-1.jsonl"} == bubblewrap._HIDDEN


@pytest.mark.parametrize("ids", [True, False])
def test_equal_row_numbers_of_two_files_are_no_leak_but_equal_questions_are(tmp_path: Path, ids: bool) -> None:
    def rows(*questions: str) -> list[dict[str, Any]]:
        return [{**({"id": n} if ids else {}), "question": each, "answer": 1} for n, each in enumerate(questions)]

    train = load_problems(write(tmp_path / "train" / "data.jsonl", *rows("a?", "b?")))
    other = load_problems(write(tmp_path / "test" / "data.jsonl", *rows("c?", "d?")))
    heldout = told_apart(train, other, "heldout")
    check_disjoint(train, heldout)
    assert [each.id for each in heldout] == [f"heldout/{each.id}" for each in other]
    assert told_apart(train[:1], other[1:], "heldout") == other[1:]
    with pytest.raises(ProblemError, match="share the question"):
        leaked = load_problems(write(tmp_path / "test" / "data.jsonl", *rows("x?", "a?")))
        check_disjoint(train, told_apart(train, leaked, "heldout"))


def test_an_id_that_was_given_to_a_problem_is_a_leak(tmp_path: Path) -> None:
    train = load_problems(write(tmp_path / "a.jsonl", {"id": "algebra-17", "question": "a?", "answer": 1}))
    other = load_problems(write(tmp_path / "b.jsonl", {"id": "algebra-17", "question": "reworded?", "answer": 1}))
    with pytest.raises(ProblemError, match="share the id"):
        check_disjoint(train, told_apart(train, other, "heldout"))
