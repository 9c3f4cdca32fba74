"""Records on disk: what is written comes back, and nothing that happens in between leaves half a file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.errors import RunError
from tpt.records import Estimate, EvalReport, Example, Outcome, Problem, RoundRecord, Trace, Verdict, well_formed
from tpt.system.jsonl import (
    append_record,
    from_table,
    iterate_records,
    open_append,
    read_json,
    read_records,
    read_table,
    replace_records,
    to_line,
    to_table,
    write_json,
    write_text,
)

# Any string that Python can hold, halves of surrogate pairs included.
ANY_TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["\u2028", "\x85\x0b\x0c", "\ud800", "a\r\nb", "\x00"]
)
COUNTS = st.integers(-(2**70), 2**70)
JSON = st.recursive(
    st.none() | st.booleans() | COUNTS | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
PROBLEMS = st.builds(
    Problem,
    ANY_TEXT,
    ANY_TEXT,
    ANY_TEXT,
    ANY_TEXT,
    st.none() | st.lists(JSON, max_size=2),
    st.none() | ANY_TEXT,
    ANY_TEXT,
)
TRACES = st.builds(Trace, ANY_TEXT, COUNTS, ANY_TEXT, st.sampled_from(["stop", "length"]), COUNTS, COUNTS)
VERDICTS = st.builds(Verdict, ANY_TEXT, COUNTS, st.sampled_from(Outcome), st.booleans(), st.none() | ANY_TEXT, ANY_TEXT)
MESSAGES = st.lists(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2), max_size=3)
EXAMPLES = st.builds(Example, ANY_TEXT, COUNTS, MESSAGES)
FLOATS = st.floats(allow_nan=False)
ESTIMATES = st.builds(Estimate, FLOATS, FLOATS)
BY_K = st.dictionaries(st.integers(1, 99), ESTIMATES, max_size=3)
NAMED = st.dictionaries(ANY_TEXT, FLOATS, max_size=2)
REPORTS = st.builds(
    EvalReport, COUNTS, COUNTS, st.dictionaries(ANY_TEXT, COUNTS, max_size=2), BY_K, BY_K, BY_K, NAMED, NAMED
)
ROUNDS = st.builds(RoundRecord, COUNTS, ANY_TEXT, REPORTS, st.none() | st.dictionaries(ANY_TEXT, JSON, max_size=2))


def trace(sample: int, completion: str = "text") -> Trace:
    return Trace("p/1", sample, completion, "stop", 3, 7)


GOOD = to_table(trace(0))


@settings(deadline=None, max_examples=40)
@given(records=st.one_of(*(st.lists(each, max_size=4) for each in (PROBLEMS, TRACES, VERDICTS, EXAMPLES, ROUNDS))))
def test_records_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    replace_records(path, records)
    kind = type(records[0]) if records else Trace
    assert read_records(path, kind) == records
    assert path.read_bytes().count(b"\n") == len(records), "one record is one line"


@settings(deadline=None, max_examples=60)
@given(record=st.one_of(PROBLEMS, TRACES, VERDICTS, EXAMPLES), change=JSON, at=st.integers(0, 6), how=st.integers(0, 3))
def test_a_line_and_its_table_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, record: Any, change: Any, at: int, how: int
) -> None:
    """Whole, without a field, with one more or a wrong one: the same record, or a fault that is told."""
    table = to_table(record)
    name = list(table)[at % len(table)]
    if how == 1:
        del table[name]
    elif how == 2:
        table[name] = change
    elif how == 3:
        table["another"] = change
    path = tmp_path_factory.mktemp("lines") / "records.jsonl"
    path.write_text(json.dumps(table) + "\n")
    try:
        read = from_table(type(record), json.loads(json.dumps(table)))
    except ValueError as error:
        assert how and str(error)
        with pytest.raises(RunError, match=r"line 1: not a"):
            read_records(path, type(record))
    else:
        assert read_records(path, type(record)) == [read]


@settings(deadline=None, max_examples=40)
@given(record=st.one_of(PROBLEMS, TRACES, VERDICTS, EXAMPLES, REPORTS))
def test_a_line_is_the_json_of_the_fields_in_their_order(record: Any) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            values = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            optional = {"low", "high"} if isinstance(value, Estimate) else set()
            optional |= {name for name in values if name.startswith("tests_") or name in ("checksum", "hint")}
            optional |= (
                {"answer", "token_ids", "error", "token_digest"} if isinstance(value, Trace | Example) else set()
            )
            if isinstance(value, Example) and value.weight == 1:
                del values["weight"]
            return {name: each for name, each in values.items() if each not in (None, "") or name not in optional}
        if isinstance(value, dict):
            return {str(key): plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(plain(record), ensure_ascii=False)
    halves = any("\ud800" <= character <= "\udfff" for character in text)
    assert to_line(record).decode() == (json.dumps(plain(record)) if halves else text) + "\n"


def test_separators_that_are_no_line_breaks_stay_within_their_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    path = tmp_path / "t.jsonl"
    replace_records(path, [trace(0, text), trace(1)])
    assert [each.completion for each in iterate_records(path, Trace)] == [text, "text"]


def test_half_a_surrogate_pair_is_written_as_an_escape_and_other_text_as_it_is(tmp_path: Path) -> None:
    assert "漢".encode() in to_line(trace(0, "漢"))
    assert b"\\ud800" in to_line(trace(0, "漢\ud800"))
    write_json(tmp_path / "a.json", {"text": "\ud800"})
    assert read_json(tmp_path / "a.json") == {"text": "\ud800"}


def test_older_files_are_read_as_they_are(tmp_path: Path) -> None:
    """With halves of surrogate pairs, whole numbers among floats, NaN, and verdicts that count no tests."""
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({**GOOD, "completion": "\ud83d"}) + "\n")
    assert read_records(path, Trace) == [trace(0, "\ud83d")]
    path.write_text('{"mean": 64, "stderr": NaN}\n')
    (estimate,) = read_records(path, Estimate)
    assert to_line(estimate) == path.read_bytes()
    path.write_text('{"problem_id": "p", "sample": 0, "outcome": "WRONG", "strict": false, "extracted": null}\n')
    assert read_records(path, Verdict) == [Verdict("p", 0, Outcome.WRONG, False, None)]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_left_out_and_cut_off_before_the_next_record(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    replace_records(path, [trace(0), trace(1)])
    os.truncate(path, path.stat().st_size - cut)
    assert read_records(path, Trace) == [trace(0)]
    with open_append(path) as file:
        append_record(file, trace(2))
    assert read_records(path, Trace) == [trace(0), trace(2)]


def test_a_file_without_a_single_whole_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("x" * 200_000)
    assert read_records(path, Trace) == []
    open_append(path).close()
    assert path.read_bytes() == b""


def test_a_torn_line_longer_than_one_look_back_is_found(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    replace_records(path, [trace(0)])
    with path.open("a") as file:
        file.write("y" * 150_000)
    open_append(path).close()
    assert read_records(path, Trace) == [trace(0)]


def test_an_appended_record_is_on_its_way_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "t.jsonl"
    with open_append(path) as file:
        append_record(file, trace(0))
        assert read_records(path, Trace) == [trace(0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Expecting value"),
        ("nope", "Expecting value"),
        ("[1]", r"expected an object, got \[1\]"),
        ("null", "expected an object, got None"),
        ("[" * 200_000, "recursion"),
        (json.dumps({**GOOD, "extra": 1}), "unknown field 'extra'; Trace has problem_id, sample"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "seed"}), "Trace missing 1 required .*'seed'"),
        (json.dumps({**GOOD, "sample": "0"}), "expected int, got '0'"),
        (json.dumps({**GOOD, "sample": True}), "expected int, got True"),
        (json.dumps({**GOOD, "sample": 1.0}), "expected int, got 1.0"),
        (json.dumps({**GOOD, "completion": None}), "expected str, got None"),
        (json.dumps({**GOOD, "finish_reason": "eos"}), "'eos' is none of 'stop', 'length'"),
    ],
)
def test_a_line_that_is_no_record_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(to_line(trace(0)).decode() + line + "\n")
    with pytest.raises(RunError, match=rf"t.jsonl, line 2: not a Trace record: .*{message}"):
        read_records(path, Trace)


@pytest.mark.parametrize(
    ("kind", "table", "message"),
    [
        (
            Verdict,
            {"problem_id": "p", "sample": 0, "outcome": "FINE", "strict": True, "extracted": None},
            "'FINE' is none of 'CORRECT', 'WRONG'",
        ),
        (
            Verdict,
            {"problem_id": "p", "sample": 0, "outcome": "WRONG", "strict": 1, "extracted": None},
            "expected bool, got 1",
        ),
        (Example, {"problem_id": "p", "sample": 0, "messages": "hello"}, "expected list, got 'hello'"),
        (Example, {"problem_id": "p", "sample": 0, "messages": {"role": "user"}}, "expected list, got {'role'"),
        (Example, {"problem_id": "p", "sample": 0, "messages": [["role", "user"]]}, "expected dict, got ['role'"),
        (Example, {"problem_id": "p", "sample": 0, "messages": [{"role": 5}]}, "expected str, got 5"),
        (Problem, {"id": "p", "question": "q", "answer": "a", "tests": "assert"}, "expected list, got 'assert'"),
        (Estimate, {"mean": "0.5", "stderr": 0.1}, "expected float, got '0.5'"),
        (Estimate, {"mean": None, "stderr": 0.1}, "expected float, got None"),
        (Estimate, {"mean": True, "stderr": 0.1}, "expected float, got True"),
        (Estimate, {}, "Estimate missing 2 required fields: 'mean', 'stderr'"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(kind: type, table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        from_table(kind, table)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file"):
        read_records(tmp_path / "none.jsonl", Trace)
    with pytest.raises(RunError, match="no such file"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 200_000, b'{"mean": 1}', b"[]"])
def test_damaged_json_is_told_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a.json: .*Delete it to have it made again"):
        read_table(tmp_path / "a.json", Estimate)


def test_a_failing_source_of_records_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    replace_records(path, [trace(0)])

    def half() -> Any:
        yield trace(1)
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        replace_records(path, half())
    assert read_records(path, Trace) == [trace(0)]
    assert [each.name for each in tmp_path.iterdir()] == ["t.jsonl"]


def test_a_partial_file_of_a_killed_process_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".t.jsonl.partial").write_text("rubbish")
    replace_records(tmp_path / "t.jsonl", [trace(0)])
    assert [each.name for each in tmp_path.iterdir()] == ["t.jsonl"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from tpt.system.jsonl import append_record, open_append, replace_records, write_json, write_text
from tpt.records import Trace
path, how, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
# Past this size every write fails, like on a full disk; Python ignores the signal that comes with it.
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
traces = [Trace("p", n, "x" * size, "stop", 1, 1) for n in range(20)]
try:
    if how == "replace":
        replace_records(path, traces)
    elif how == "json":
        write_json(path, traces)
    elif how == "text":
        write_text(path, "x" * (20 * size))
    else:
        with open_append(path) as file:
            for trace in traces:
                append_record(file, trace)
except OSError as error:
    print(error.strerror)
"""


def on_a_full_disk(path: Path, how: str, size: int) -> str:
    command = [sys.executable, "-c", FULL_DISK, str(path), how, str(size)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


# 60: the text fails when the buffer is flushed at the end; 5000: while it is written.
@pytest.mark.parametrize(("how", "size"), [("replace", 60), ("replace", 5000), ("json", 60), ("text", 5000)])
def test_a_full_disk_leaves_the_old_file_whole_and_nothing_half_written(how: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_text(path, "the old one\n")
    assert on_a_full_disk(path, how, size) == os.strerror(27)
    assert path.read_text() == "the old one\n"
    assert [each.name for each in tmp_path.iterdir()] == ["t.jsonl"]


def test_records_appended_before_the_disk_was_full_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    assert on_a_full_disk(path, "append", 60) == os.strerror(27)
    kept = read_records(path, Trace)
    assert len(kept) >= 5 and path.stat().st_size == 1000
    with open_append(path) as file:
        append_record(file, trace(99))
    assert [each.sample for each in read_records(path, Trace)] == [*range(len(kept)), 99]


def test_halves_of_pairs_are_replaced_and_nothing_else() -> None:
    assert well_formed("a\ud800é\udc00") == "a\ufffdé\ufffd"
    assert (well_formed("plain"), well_formed("\U0001f600é")) == ("plain", "\U0001f600é")
