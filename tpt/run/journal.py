"""The trace file of a sampling and the verdict file beside it: written side by side, read back, sorted at the end.

Both are read and sorted record by record, so that memory does not grow with them. Traces are appended before their
verdicts and in the same order, so record n of one file belongs to record n of the other; only a process killed while
the finished files were being put in place leaves it otherwise, and then both are sorted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from pathlib import Path

from msgspec.structs import replace

from tpt.errors import RunError
from tpt.records import Outcome, Trace, Verdict
from tpt.system.external_sort import Row, sorted_rows
from tpt.system.jsonl import (
    append_records,
    drop_unwritten,
    iterate_lines,
    iterate_records,
    open_append,
    replace_lines,
    replace_records,
    to_line,
)

Pair = tuple[Trace, Verdict]
Key = tuple[str, int]
"""``(problem_id, sample)``."""
JUDGED_AT_ONCE = 1000
"""Traces that are judged together, so that every worker has some."""


def solve_rate(pairs: Sequence[Pair]) -> float:
    """Return the share of a problem's samples that is right, in whichever format."""
    return sum(verdict.outcome is Outcome.CORRECT for _, verdict in pairs) / len(pairs)


@dataclass(frozen=True, slots=True)
class Journal:
    """Where a sampling writes; iterating gives each trace with its verdict, any number of times."""

    traces: Path
    verdicts: Path

    def __iter__(self) -> Iterator[Pair]:
        """Yield the pairs of finished files.

        Raises:
            RunError: a trace has no verdict or a verdict no trace.
        """
        for trace, verdict in zip_longest(iterate_records(self.traces, Trace), iterate_records(self.verdicts, Verdict)):
            if trace is None or verdict is None or _key(trace) != _key(verdict):
                raise _apart(trace, verdict)
            yield trace, verdict

    def problems(self) -> Iterator[tuple[str, list[Pair]]]:
        """Yield each problem's pairs; RunError unless the files are sorted by key and fit each other."""
        before = ""
        for problem_id, pairs in groupby(self, key=lambda pair: pair[0].problem_id):
            if problem_id < before:
                raise RunError(f"{self.traces}: not sorted: problem {problem_id!r} comes after {before!r}")
            before = problem_id
            yield problem_id, list(pairs)

    def recovered(self, judge: Callable[[list[Trace]], list[Verdict]]) -> Iterator[Pair]:
        """Yield what an interrupted attempt left, judging what was sampled but not judged."""
        if not self.traces.exists():
            self.verdicts.unlink(missing_ok=True)
            return
        # What was appended was not synced: after a power failure, samples in a page that is missing are still owed.
        for path in filter(Path.exists, (self.traces, self.verdicts)):
            drop_unwritten(path)
        if not self._side_by_side():
            self._align(judge)
        traces = iterate_records(self.traces, Trace)
        # The verdict is taken first: where there is none left, no trace is lost.
        for verdict, trace in zip(self._verdicts(), traces, strict=False):
            yield trace, verdict
        with open_append(self.verdicts) as file:
            while batch := list(islice(traces, JUDGED_AT_ONCE)):
                verdicts = judge(batch)
                append_records(file, verdicts)
                yield from zip(batch, verdicts, strict=True)

    def finish(self, belongs: Callable[[Key], bool], surplus_path: Path) -> Finished:
        """Sort both files by key and move the traces that do not belong to the result to the surplus file."""
        finished = Finished()
        surplus: dict[Key, Trace] = {}

        def kept_traces() -> Iterator[Row]:
            for trace, line in iterate_lines(self.traces, Trace):
                if belongs(_key(trace)):
                    finished.traces += 1
                    finished.tokens += trace.completion_tokens
                    yield trace.problem_id, trace.sample, line
                else:
                    surplus[_key(trace)] = trace
            # All are read before the first is written, so the surplus is on disk before the new file takes its place.
            _add_surplus(surplus, surplus_path)

        kept_verdicts = (row for row in _rows(self.verdicts, Verdict) if belongs((row[0], row[1])))
        _replace_sorted(self.verdicts, kept_verdicts)
        _replace_sorted(self.traces, kept_traces())
        finished.surplus_traces = len(surplus)
        finished.surplus_tokens = sum(trace.completion_tokens for trace in surplus.values())
        return finished

    def _verdicts(self) -> Iterator[Verdict]:
        return iterate_records(self.verdicts, Verdict) if self.verdicts.exists() else iter(())

    def _side_by_side(self) -> bool:
        """Tell whether every verdict is of the trace with its number."""
        both = zip_longest(self._verdicts(), iterate_records(self.traces, Trace))
        return all(verdict is None or (trace is not None and _key(trace) == _key(verdict)) for verdict, trace in both)

    def _align(self, judge: Callable[[list[Trace]], list[Verdict]]) -> None:
        """Sort the traces, and the verdicts that belong to one of them; the others are judged again."""
        _replace_sorted(self.traces, _rows(self.traces, Trace))
        rows = sorted_rows(_rows(self.verdicts, Verdict), self.verdicts.parent)
        replace_lines(self.verdicts, _matching(iterate_records(self.traces, Trace), rows, judge))


@dataclass(slots=True)
class Finished:
    """What the finished files hold."""

    traces: int = 0
    tokens: int = 0
    """Of the completions."""
    surplus_traces: int = 0
    surplus_tokens: int = 0


def checksum_of(trace: Trace, verdict: Verdict) -> str:
    """Return the short digest that a verdict carries of its trace and of what it says."""
    return hashlib.sha256(to_line(trace) + to_line(replace(verdict, checksum=""))).hexdigest()[:8]


def _matching(
    traces: Iterable[Trace], rows: Iterator[Row], judge: Callable[[list[Trace]], list[Verdict]]
) -> Iterator[bytes]:
    """Yield the verdict line of each trace; both come sorted by key."""
    row = next(rows, None)
    for trace in traces:
        while row is not None and row[:2] < _key(trace):
            row = next(rows, None)
        if row is not None and row[:2] == _key(trace):
            yield row[2]
        else:
            yield to_line(judge([trace])[0])


def _add_surplus(surplus: dict[Key, Trace], path: Path) -> None:
    """Write the surplus by key, and after it, in the order they have there, the traces of an earlier one."""
    earlier = {_key(trace): trace for trace in iterate_records(path, Trace)} if path.exists() else {}
    for key in sorted(surplus):
        surplus[key] = surplus.pop(key)
    surplus |= earlier
    if surplus:
        replace_records(path, surplus.values())


def _replace_sorted(path: Path, rows: Iterable[Row]) -> None:
    replace_lines(path, (line for _, _, line in sorted_rows(rows, path.parent)))


def _rows(path: Path, kind: type[Trace] | type[Verdict]) -> Iterator[Row]:
    return ((record.problem_id, record.sample, line) for record, line in iterate_lines(path, kind))


def _key(record: Trace | Verdict) -> Key:
    return record.problem_id, record.sample


def _apart(trace: Trace | None, verdict: Verdict | None) -> RunError:
    if trace is not None and (verdict is None or _key(trace) < _key(verdict)):
        return RunError(
            f"problem {trace.problem_id!r}, sample {trace.sample}: the trace has no verdict; judge it first"
        )
    assert verdict is not None
    return RunError(f"problem {verdict.problem_id!r}, sample {verdict.sample}: a verdict without its trace")
