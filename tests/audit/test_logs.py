"""Logs of the field's tools, as the tools wrote them: each is known by itself, and hostile ones end in a sentence."""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from command_line import Tpt

from tpt.audit.import_rows import Reading
from tpt.audit.import_samples import Gold, ImportedDir, import_samples
from tpt.errors import ProblemError, TPTError
from tpt.problems import load_problems
from tpt.records import Problem, Trace, Verdict
from tpt.system.jsonl import read_json, read_records

LOGS = Path(__file__).parents[1] / "data" / "logs"
OF_ITS_OWN = Gold((), "", "")
GOLDS = ["10", "38", "109"]
RIGHT_THEN_WRONG = {"10": "CW", "38": "WC", "109": "CW"}
"""What the two samples of each problem came to where the server's script began anew."""


def from_source() -> Gold:
    return Gold(load_problems(str(LOGS / "problems.jsonl")), "problems.jsonl", "")


def imported(to: Path, *files: Path, gold: Gold = OF_ITS_OWN, layout: str = "", **columns: str) -> dict[str, Any]:
    """Import files; return answer to the outcomes of its samples, a letter each, and what was told."""
    told = import_samples(files, to, Reading(columns, layout, has_problems=bool(gold.problems)), gold)
    folder = ImportedDir(to)
    answers = {each.id: each.answer for each in read_records(folder.problems, Problem)}
    outcomes: dict[str, str] = dict.fromkeys(answers.values(), "")
    for verdict in read_records(folder.verdicts, Verdict):
        outcomes[answers[verdict.problem_id]] += str(verdict.outcome)[0]
    assert told == read_json(folder.manifest)
    return {"outcomes": outcomes, "told": told}


@pytest.mark.parametrize(
    ("name", "outcomes", "own"),
    [
        ("lm_eval.jsonl", {"10": "WCCC", "38": "WCCC", "109": "CCCW"}, None),
        ("inspect.eval", RIGHT_THEN_WRONG, "agree on 6 of 6"),
        ("inspect.json", RIGHT_THEN_WRONG, "agree on 6 of 6"),
        ("verifiers.jsonl", {"10": "WC", "38": "WC", "109": "CC"}, "agree on 6 of 6"),
        ("rllm.jsonl", RIGHT_THEN_WRONG, "agree on 6 of 6"),
        ("output-rs0.jsonl", {"10": "C", "38": "W", "109": "C"}, "agree on 3 of 3"),
    ],
)
def test_a_log_is_known_by_itself(tmp_path: Path, name: str, outcomes: dict[str, str], own: str | None) -> None:
    found = imported(tmp_path / "in", LOGS / name)
    assert found["outcomes"] == outcomes and found["told"]["verdicts"] == "verified here"
    assert found["told"].get("the file's own verdicts") == own
    problems = read_records(ImportedDir(tmp_path / "in").problems, Problem)
    assert sorted(each.question.split()[0] for each in problems) == ["Finn", "Hugo", "Jack"]


def test_a_compressed_log_and_one_of_which_the_tool_is_said(tmp_path: Path) -> None:
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress((LOGS / "rllm.jsonl").read_bytes()))
    assert imported(tmp_path / "in", packed, layout="rllm")["outcomes"] == RIGHT_THEN_WRONG
    with pytest.raises(
        ProblemError, match=r"line 1: no row of batch, which has custom_id and response\. Columns there"
    ):
        imported(tmp_path / "a", packed, layout="batch")
    with pytest.raises(ProblemError, match=r"--from rlm: unknown\. Did you mean 'rllm'"):
        imported(tmp_path / "b", packed, layout="rlm")


def test_several_files_are_several_samples_whatever_tools_wrote_them(tmp_path: Path) -> None:
    found = imported(tmp_path / "in", LOGS / "output-rs0.jsonl", LOGS / "output-rs1.jsonl")
    assert found["outcomes"] == RIGHT_THEN_WRONG
    # Ids are row numbers from 0 in one log and from 1 in the other: questions say which problem it is.
    pooled = imported(tmp_path / "both", LOGS / "lm_eval.jsonl", LOGS / "inspect.eval")
    assert {answer: len(each) for answer, each in pooled["outcomes"].items()} == dict.fromkeys(GOLDS, 6)
    assert pooled["told"]["problems solved by some samples"] == 3


def test_row_numbers_of_two_files_that_ask_other_things_are_other_problems(tmp_path: Path) -> None:
    files = []
    for name, question in (("one", "1 + 1?"), ("two", "1 + 2?")):
        files.append(tmp_path / f"{name}.jsonl")
        row = {"id": 0, "question": question, "completion": "#### 2", "answer": 2 if name == "one" else 3}
        files[-1].write_text(json.dumps(row))
    assert imported(tmp_path / "in", *files)["outcomes"] == {"2": "C", "3": "W"}
    assert [each.id for each in read_records(ImportedDir(tmp_path / "in").problems, Problem)] == ["0", "two/0"]


def test_gold_comes_from_a_source_by_id_by_question_and_by_the_name_of_a_request(tmp_path: Path) -> None:
    found = imported(tmp_path / "batch", LOGS / "batch_output.jsonl", gold=from_source())
    assert found["outcomes"] == RIGHT_THEN_WRONG and found["told"]["failed requests left out"] == 1
    assert [each.id for each in read_records(ImportedDir(tmp_path / "batch").problems, Problem)] == [
        *("marbles-0", "marbles-1", "marbles-2")
    ]
    names = ("lm_eval.jsonl", "inspect.eval", "verifiers.jsonl", "rllm.jsonl", "harbor_sharegpt.jsonl")
    pooled = imported(tmp_path / "pool", *(LOGS / name for name in names), gold=from_source())
    assert pooled["told"]["problems"] == 3 and pooled["told"]["traces"] == 12 + 4 * 6
    with pytest.raises(
        ProblemError, match=r"line 1: the answer .* is missing or empty\. Take gold answers .*--problems"
    ):
        imported(tmp_path / "none", LOGS / "batch_output.jsonl")
    other = Gold([Problem("x", "What else?", "1")], "other.jsonl", "")
    with pytest.raises(ProblemError, match=r"none of 6 samples is of a problem of other\.jsonl, such as .*marbles-0#0"):
        imported(tmp_path / "other", LOGS / "batch_output.jsonl", gold=other)


def test_a_log_without_gold_answers_keeps_its_own_verdicts(tmp_path: Path) -> None:
    found = imported(tmp_path / "in", LOGS / "harbor_sharegpt.jsonl")
    assert found["told"]["verdicts"] == "the file's own" and found["outcomes"] == {"": "CWWCCW"}


def test_prompt_and_completion_as_chats(tmp_path: Path) -> None:
    def row(said: str, **more: Any) -> dict[str, Any]:
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many are 5 and 5?"}]
        return {"prompt": asked, "completion": [{"role": "assistant", "content": said}], **more}

    path = tmp_path / "trl.jsonl"
    rows = [row("#### 10", answer="10"), row("#### 9", answer="10")]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert imported(tmp_path / "in", path)["outcomes"] == {"10": "CW"}
    path.write_text("".join(json.dumps({**each, "prompt": "How many?"}) + "\n" for each in rows))
    assert imported(tmp_path / "text", path, layout="trl")["outcomes"] == {"10": "CW"}


@pytest.mark.parametrize(
    ("name", "emptied"),
    [
        ("lm_eval.jsonl", {"resps": []}),
        ("batch_output.jsonl", {"response": {"body": {"choices": []}}}),
        ("rllm.jsonl", {"trajectories": []}),
    ],
)
def test_a_row_without_a_sample_is_a_failed_one(tmp_path: Path, name: str, emptied: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in (LOGS / name).read_text().splitlines()]
    path = tmp_path / name
    path.write_text("".join(json.dumps(each) + "\n" for each in [*rows, {**rows[0], **emptied}]))
    gold = from_source() if name.startswith("batch") else OF_ITS_OWN
    told = [imported(tmp_path / str(index), each, gold=gold)["told"] for index, each in enumerate((LOGS / name, path))]
    failed = [each.get("failed requests left out", 0) for each in told]
    assert failed[1] == failed[0] + 1


def test_a_file_for_each_sample(tmp_path: Path) -> None:
    texts = {
        "marbles-0/0.txt": "#### 10",
        "marbles-0/1.txt": "#### 3",
        "marbles-1_sample2.txt": "#### 38",
        "marbles-2.md": "",
    }
    for name, text in texts.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret.txt").write_text("#### 109")
    (tmp_path / "texts" / "marbles-2.txt").symlink_to(tmp_path / "secret.txt")
    found = imported(tmp_path / "in", tmp_path / "texts", gold=from_source())
    assert found["outcomes"] == {"10": "CW", "38": "C", "109": "N"}
    assert [each.sample for each in read_records(ImportedDir(tmp_path / "in").traces, Trace)] == [0, 1, 2, 0]
    with pytest.raises(ProblemError, match="a text says nothing of its gold answer"):
        imported(tmp_path / "a", tmp_path / "texts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProblemError, match="is a folder without files of samples"):
        imported(tmp_path / "b", tmp_path / "empty")


def test_what_was_cut_off_and_how_long_it_was_is_kept(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (LOGS / "batch_output.jsonl").read_text().splitlines()[:2]]
    rows[0]["response"]["body"]["choices"][0]["finish_reason"] = "length"
    rows[1]["response"]["body"] = {
        "output": [{"type": "message", "role": "assistant", "content": [{"text": "#### 10"}]}]
    }
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    imported(tmp_path / "in", tmp_path / "a.jsonl", gold=from_source())
    traces = read_records(ImportedDir(tmp_path / "in").traces, Trace)
    assert [(each.finish_reason, each.completion_tokens, each.completion[-7:]) for each in traces] == [
        ("length", 9, "#### 10"),
        ("stop", 0, "#### 10"),
    ]


def test_rollouts_of_older_verifiers_and_tables_of_other_tools(tmp_path: Path) -> None:
    asked, said = {"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "#### 2"}
    rows: list[dict[str, Any]] = [
        {"example_id": 0, "prompt": [asked], "completion": [said], "answer": "2", "reward": 1.0},
        {"example_id": 0, "prompt": [asked], "completion": [said], "answer": "2", "reward": 0.5, "is_truncated": True},
        {"example_id": 0, "prompt": [asked], "completion": [], "answer": "2", "reward": 0.0, "error": "timed out"},
        {"example_id": 1, "prompt": "2 + 1?", "completion": "It is 4.", "answer": "3", "reward": 0},
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = imported(tmp_path / "in", tmp_path / "results.jsonl")
    assert found["outcomes"] == {"2": "CC", "3": "W"} and found["told"]["failed requests left out"] == 1
    assert found["told"]["the file's own verdicts"] == "agree on 2 of 2"
    ended = [each.finish_reason for each in read_records(ImportedDir(tmp_path / "in").traces, Trace)]
    assert ended == ["stop", "length", "stop"]
    harbor = [json.loads(line) for line in (LOGS / "harbor_sharegpt.jsonl").read_text().splitlines()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(harbor), tmp_path / "train.parquet")
    assert imported(tmp_path / "table", tmp_path / "train.parquet", gold=from_source())["outcomes"] == RIGHT_THEN_WRONG


def test_options_of_inspect_stand_under_the_question(tmp_path: Path) -> None:
    sample = json.loads((LOGS / "inspect.json").read_text())["samples"][0]
    sample |= {"input": "Which?", "choices": ["blue", "red"], "target": "B"}
    sample["output"]["completion"] = "ANSWER: B"
    (tmp_path / "log.json").write_text(json.dumps({"eval": {}, "samples": [sample]}))
    told = import_samples([tmp_path / "log.json"], tmp_path / "in", Reading({}), Gold((), "", "choice"))
    assert told["kinds"] == {"choice": 1} and told["problems solved by all samples"] == 1
    assert read_records(ImportedDir(tmp_path / "in").problems, Problem)[0].question == "Which?\nA) blue\nB) red"


def test_a_column_of_the_user_s_wins_over_what_the_tool_calls_it(tmp_path: Path) -> None:
    columns = {"completion": "resps[0][2]", "answer": "doc.answer"}
    found = imported(tmp_path / "in", LOGS / "lm_eval.jsonl", **columns)
    assert found["outcomes"] == {"10": "C", "38": "C", "109": "C"}
    own = imported(tmp_path / "own", LOGS / "inspect.eval", correct="scores.match.value")
    assert own["told"]["verdicts"] == "the file's own" and own["outcomes"] == RIGHT_THEN_WRONG


def eval_log(path: Path, method: int, *samples: bytes, name: str = "samples/1_epoch_1.json") -> Path:
    """Write an archive as inspect_ai does; method 93, Zstandard, is one that the library here cannot write."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if method == 93 else method) as archive:
        for number, sample in enumerate(samples):
            data = pyarrow.compress(sample, codec="zstd", asbytes=True) if method == 93 else sample
            archive.writestr(name.replace("1", str(number), 1), data)
    if method == 93:
        raw, at = bytearray(path.read_bytes()), 0
        for sample, (mark, kind, size) in zip(samples * 2, [(b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)], strict=True):
            at = raw.index(mark, at)
            raw[at + kind : at + kind + 2] = struct.pack("<H", 93)
            raw[at + size : at + size + 4] = struct.pack("<I", len(sample))
        path.write_bytes(raw)
    return path


def test_both_ways_that_inspect_packs_are_read(tmp_path: Path) -> None:
    sample = json.dumps(json.loads((LOGS / "inspect.json").read_text())["samples"][0]).encode()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 93):
        log = eval_log(tmp_path / f"{method}.eval", method, sample)
        assert imported(tmp_path / f"in{method}", log)["outcomes"] == {"10": "C"}


@pytest.mark.parametrize(
    ("method", "sample", "name", "said"),
    [
        (
            zipfile.ZIP_DEFLATED,
            b" " * (2**26 + 1),
            "samples/1.json",
            r"that unpack to 67,108,865, .* Allowed: 400 times",
        ),
        (zipfile.ZIP_DEFLATED, b" " * 2**24, "samples/1.json", "Allowed: 400 times its size"),
        (93, b" " * 2**24, "samples/1.json", "Allowed: 400 times its size"),
        (zipfile.ZIP_STORED, b"{}", "samples/../../1.json", "no samples in it"),
        (zipfile.ZIP_STORED, b"[" * 100_000, "samples/1.json", "JSON nested too deeply"),
        (zipfile.ZIP_STORED, b"[1]", "samples/1.json", "expected a JSON object with one sample"),
        (zipfile.ZIP_STORED, b'{"input": "\xff"}', "samples/1.json", "not UTF-8"),
        (zipfile.ZIP_LZMA, b"{}", "samples/1.json", r"packed in a way \(14\)"),
    ],
)
def test_a_hostile_archive_ends_in_a_sentence(tmp_path: Path, method: int, sample: bytes, name: str, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        imported(tmp_path / "in", eval_log(tmp_path / "bad.eval", method, sample, name=name))
    assert not (tmp_path / "in").exists()


def test_damaged_archives_never_end_in_a_traceback(tmp_path: Path) -> None:
    valid, rng, refused = (LOGS / "inspect.eval").read_bytes(), random.Random(0), 0
    for number in range(30):
        data = bytearray(valid)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / "x.eval"
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            imported(tmp_path / f"in{number}", path)
        except TPTError as error:
            refused += 1
            assert "x.eval" in str(error)
    assert refused > 10


WILD: list[Any] = [None, True, 0, -1, 1.5, 1e999, 10**400, "", "x", "\ud800", "\0", [], [[]], {}, [None], ["a", 1]]
WILD += [{"role": "user"}, [{"role": "user", "content": "q"}], [{"from": "gpt", "value": None}], "attachment://x"]


def changed(value: Any, rng: random.Random) -> None:
    """Put something else in the place of a part of a JSON value, anywhere."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[key], dict | list) or not value[key] or rng.random() < 0.3:
            value[key] = copy.deepcopy(rng.choice(WILD))
            return
        value = value[key]


@pytest.mark.parametrize("name", sorted(path.name for path in LOGS.glob("*.jsonl")))
def test_rows_of_other_shapes_never_end_in_a_traceback(tmp_path: Path, name: str) -> None:
    rng, refused = random.Random(name), 0
    for number in range(20):
        rows = [json.loads(line) for line in (LOGS / name).read_text().splitlines()]
        for _ in range(rng.randint(1, 3)):
            changed(rows, rng)
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        try:
            imported(tmp_path / f"in{number}", path)
        except TPTError as error:
            refused += 1
            assert str(error).count("\n") == 0
    assert refused > 0


def test_log_likelihoods_are_no_samples(tmp_path: Path) -> None:
    row = json.loads((LOGS / "lm_eval.jsonl").read_text().splitlines()[0])
    row |= {"arguments": {"gen_args_0": {"arg_0": "2 + 2 =", "arg_1": " 4"}}, "resps": [["-1.5", "False"]]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(ProblemError, match="line 1: log-likelihoods, and no text of a model's"):
        imported(tmp_path / "in", tmp_path / "x.jsonl")


def test_the_command_takes_several_files_a_source_and_its_columns(tpt: Tpt, tmp_path: Path) -> None:
    problems = [json.loads(line) for line in (LOGS / "problems.jsonl").read_text().splitlines()]
    nested = [{"meta": {"name": row["id"]}, "q": row["question"], "a": [row["answer"]]} for row in problems]
    (tmp_path / "mine.json").write_text(json.dumps({"data": nested}, indent=1))
    columns = [part for each in ("id=meta.name", "question=q", "answer=a[0]") for part in ("--column", each)]
    files = (LOGS / "batch_output.jsonl", LOGS / "output-rs0.jsonl")
    code, out, err = tpt("import", *files, "--to", tmp_path / "in", "--problems", tmp_path / "mine.json", *columns)
    assert (code, err) == (0, "") and "files: 2" in out and "traces: 9" in out
    assert json.loads(tpt("pass-at-k", tmp_path / "in", "--k", "1", "--format", "json").out)[0]["strict"] == 0.5556
