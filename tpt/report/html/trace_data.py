"""The problems and traces behind the trace browser, packed: a small index, and chunks that are unpacked when looked at.

Traces are untrusted text. They enter the page as compressed data in base64, which no text can break out of, and the
page's script shows them as text. The files of a run are read side by side in the order of their keys, so that one
problem's traces are held at a time.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from tpt.config import load_config
from tpt.errors import RunError
from tpt.records import Example, Outcome, Problem, RoundRecord, Trace, Verdict
from tpt.run.directory import RoundDir, RunDir, ScoredDir
from tpt.system.jsonl import iterate_records

_CHUNK = 400_000
"""Characters of JSON in a chunk, about: small enough to be unpacked in a moment, large enough to pack well."""
_SEARCHED = 2_000
"""Characters of a question that the search looks at."""
_OUTCOMES = [str(outcome) for outcome in Outcome]

Kept = TypeVar("Kept", Trace, Verdict)
Trained = dict[tuple[int, str], set[int]]
"""(round the traces are of, problem id) to the samples that were trained on."""


@dataclass(slots=True)
class TraceData:
    """What the trace browser is given."""

    index: dict[str, Any]
    chunks: list[str] = field(default_factory=list)
    """Packed; ``index["starts"]`` has the index of each chunk's first problem."""
    shown: int = 0
    left_out: int = 0
    """Traces beyond the most that a problem was to have."""


def trace_data(run: RunDir, records: Sequence[RoundRecord], *, most: int) -> TraceData:
    """Read and pack the problems and traces of finished rounds.

    Of each problem in each round ``most`` traces are shown, besides those that were trained on; 0: all.

    Raises:
        RunError: a file is missing or damaged, or its records are not in the order of their keys.
    """
    rounds = [record.index for record in records]
    sets = _problem_sets(run, rounds)
    problems = [problem for each in sets for problem in each.problems]
    examples, trained = _examples(run, records)
    heldout, train, *_ = sets
    index_of = {problem.id: index for index, problem in enumerate(train.problems, start=len(heldout.problems))}
    index = {
        "ids": _unlike(sets),
        "sets": [[each.name, len(each.problems)] for each in sets],
        "questions": [problem.question[:_SEARCHED] for problem in problems],
        "rounds": rounds,
        "best": 0,
        "outcomes": _OUTCOMES,
        "tallies": {str(each): [] for each in rounds},
        "starts": [],
        "examples": {
            str(each): [
                [index_of[problem_id], sample, origin] for problem_id, sample, origin in rows if problem_id in index_of
            ]
            for each, rows in examples.items()
        },
        "messages": {str(each): _first_messages(run.round(each).examples) for each in examples},
    }
    packing = _Packing(TraceData(index), trained, most)
    for each in sets:
        packing.add(each.problems, each.files)
    packing.close()
    return packing.data


class _ProblemSet(NamedTuple):
    """Problems that a run samples traces of."""

    name: str
    problems: list[Problem]
    """By id."""
    files: dict[int, tuple[Path, Path]]
    """Round to its traces and verdicts."""


def _problem_sets(run: RunDir, rounds: Sequence[int]) -> list[_ProblemSet]:
    """Return the held-out problems, those to learn from, and further sets that were scored, each by its name."""
    scored = {each: run.round(each).scored for each in rounds}
    learned = {each: run.round(each) for each in rounds if each}
    sets: list[tuple[str, Path, Mapping[int, ScoredDir | RoundDir]]] = [
        ("held out", run.heldout, scored),
        ("training", run.problems, learned),
    ]
    for source in load_config(run.config).evaluate.also:
        if not run.also(source.stage).exists():
            continue
        done = [each for each in rounds if run.round(each).manifest(source.stage).exists()]
        sets.append((source.label, run.also(source.stage), {each: run.round(each).also(source.stage) for each in done}))
    return [
        _ProblemSet(
            name,
            # A run that has only begun has no problems yet.
            sorted(iterate_records(path, Problem), key=lambda problem: problem.id) if path.exists() or rounds else [],
            {each: (place.traces, place.verdicts) for each, place in places.items()},
        )
        for name, path, places in sets
    ]


def _unlike(sets: Sequence[_ProblemSet]) -> list[str]:
    """Return the ids of all problems; where a further set has one that was there before, with the set's name in front."""
    ids: dict[str, None] = {}
    for each in sets:
        for problem in each.problems:
            name = problem.id
            while name in ids:
                name = f"{each.name}/{name}"
            ids[name] = None
    return list(ids)


def packed(value: Any) -> str:
    """Return plain values as compressed JSON in base64; the same bytes every time."""
    return _packed(_as_json(value))


class _Packing:
    """Collects problems until a chunk is full."""

    def __init__(self, data: TraceData, trained: Trained, most: int) -> None:
        self.data = data
        self.trained = trained
        self.most = most
        self._texts: list[str] = []
        self._size = 0
        self._problems = 0

    def add(self, problems: Sequence[Problem], files: dict[int, tuple[Path, Path]]) -> None:
        """Add problems, in the order of their ids, with the traces and verdicts of each round."""
        there = {each: paths for each, paths in files.items() if paths[0].exists()}
        sources = {each: (_Grouped(paths[0], Trace), _Grouped(paths[1], Verdict)) for each, paths in there.items()}
        for problem in problems:
            attempts = {}
            for each, tallies in self.data.index["tallies"].items():
                source = sources.get(int(each))
                traces = source[0].take(problem.id) if source else []
                verdicts = source[1].take(problem.id) if source else []
                tallies.append([len(verdicts), *_right(verdicts)] if traces else 0)
                if traces:
                    attempts[each] = self._rows(int(each), traces, verdicts)
            self._append([problem.question, problem.answer, problem.solution, attempts])
        for read, judged in sources.values():
            read.require_end()
            judged.require_end()

    def close(self) -> None:
        """Pack what has been collected."""
        if self._texts:
            self.data.index["starts"].append(self._problems - len(self._texts))
            self.data.chunks.append(_packed(f"[{','.join(self._texts)}]"))
        self._texts, self._size = [], 0

    def _append(self, entry: list[Any]) -> None:
        self._texts.append(_as_json(entry))
        self._size += len(self._texts[-1])
        self._problems += 1
        if self._size >= _CHUNK:
            self.close()

    def _rows(self, index: int, traces: list[Trace], verdicts: list[Verdict]) -> list[list[Any]]:
        judged = {verdict.sample: verdict for verdict in verdicts}
        trained = self.trained.get((index, traces[0].problem_id), set())
        kept = [
            trace
            for number, trace in enumerate(traces)
            if not self.most or number < self.most or trace.sample in trained
        ]
        self.data.shown += len(kept)
        self.data.left_out += len(traces) - len(kept)
        return [_row(trace, judged.get(trace.sample)) for trace in kept]


class _Grouped(Generic[Kept]):
    """A record file that is read problem by problem, in the order of the ids."""

    def __init__(self, path: Path, kind: type[Kept]) -> None:
        self._path = path
        self._groups: Iterator[tuple[str, Iterator[Kept]]] = groupby(
            iterate_records(path, kind), key=lambda record: record.problem_id
        )
        self._next: tuple[str, Iterator[Kept]] | None = next(self._groups, None)

    def take(self, problem_id: str) -> list[Kept]:
        """Return the records of a problem; of none when it is not its turn."""
        if self._next is None or self._next[0] != problem_id:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found

    def require_end(self) -> None:
        """Raise RunError unless every record was taken."""
        if self._next is not None:
            raise RunError(
                f"{self._path}: the records of {self._next[0]!r} are out of order, or no problem of this run. A finished stage "
                "writes its records in the order of problem_id and sample: delete the stage's manifest to have it made again"
            )


def _right(verdicts: list[Verdict]) -> tuple[int, int]:
    return sum(verdict.strict for verdict in verdicts), sum(verdict.outcome is Outcome.CORRECT for verdict in verdicts)


def _row(trace: Trace, verdict: Verdict | None) -> list[Any]:
    judged: list[Any] = [-1, 0, None, ""]
    if verdict:
        judged = [_OUTCOMES.index(verdict.outcome), int(verdict.strict), verdict.extracted, verdict.detail]
    ended = [int(trace.finish_reason == "length"), trace.completion_tokens]
    return [trace.sample, *judged, *ended, trace.completion, *([] if trace.answer is None else [trace.answer])]


def _examples(run: RunDir, records: Sequence[RoundRecord]) -> tuple[dict[int, list[tuple[str, int, int]]], Trained]:
    """Return (problem id, sample, round of the trace) of each round's examples, and the same by trace.

    Where rounds accumulate, a round's examples are those of the round before and then its own.
    """
    found: dict[int, list[tuple[str, int, int]]] = {}
    trained: Trained = defaultdict(set)
    before: list[tuple[str, int, int]] = []
    for record in records:
        path = run.round(record.index).examples
        if record.prune is None or not path.exists():
            continue
        keys = [(example.problem_id, example.sample) for example in iterate_records(path, Example)]
        earlier = len(keys) - record.prune.get("new_examples", len(keys))
        rows = before[:earlier] + [(*key, record.index) for key in keys[earlier:]]
        for problem_id, sample, origin in rows:
            trained[origin, problem_id].add(sample)
        found[record.index] = before = rows
    return found, trained


def _first_messages(path: Path) -> list[list[str]]:
    first = next(iterate_records(path, Example), None)
    return [[message["role"], message["content"]] for message in first.messages] if first else []


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
