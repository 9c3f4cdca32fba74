"""Samples of any tool for problems that are known: which problem each is of, and which number it has."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tpt.audit.import_rows import ImportedRow, Reading, read_samples, sample_files
from tpt.errors import ProblemError, did_you_mean
from tpt.problems.overlap import normalised
from tpt.records import Problem, Trace

Key = tuple[str, int]

_LONGEST_NAME = 1000
_NUMBERED = re.compile(r"(.+?)[-_.:/#@ ]+(?:sample|seed|rs|run|epoch)?[-_.]?(\d{1,9})")
"""A problem's id and a sample's number, as the names of files and requests join them."""


class KnownProblems:
    """Problems of a source, found by what a sample says of its own."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.by_id = {each.id: each for each in problems}
        self._by_question = {normalised(each.question): each for each in reversed(self.by_id.values())}

    def find(self, each: ImportedRow) -> tuple[Problem | None, int | None]:
        """Return the problem that a sample is of, and its number where its name says one."""
        by_id = self.by_id.get(each.problem_id)
        if each.question and (by_id is None or normalised(by_id.question) != normalised(each.question)):
            by_question = self._by_question.get(normalised(each.question))
            # A prompt holds the question and more: then the id must do.
            by_id = by_question or (None if each.problem_id.isdigit() else by_id)
        if by_id is not None:
            return by_id, each.sample
        numbered = _NUMBERED.fullmatch(each.problem_id) if len(each.problem_id) < _LONGEST_NAME else None
        if numbered and numbered[1] in self.by_id:
            return self.by_id[numbered[1]], int(numbered[2])
        return None, None


class SampleKeys:
    """Gives samples their keys: the number that a file says, or the next free one; of several files, all are free at first."""

    def __init__(self) -> None:
        self._all, self._of_file = _Numbers(), _Numbers()

    def begin_file(self) -> None:
        """Say that what follows is another file's."""
        self._of_file = _Numbers()

    def key(self, where: str, problem_id: str, number: int | None) -> Key:
        """Return a sample's key; ProblemError where a file says one twice."""
        if number is None:
            number = self._all.first_free(problem_id)
        elif (problem_id, number) in self._of_file:
            raise ProblemError(f"{where}: sample {number} of problem {problem_id!r} was there before")
        else:
            self._of_file.add(problem_id, number)
        while (problem_id, number) in self._all:
            number += 1
        self._all.add(problem_id, number)
        return problem_id, number


class _Numbers:
    """Whole numbers by problem; those that follow each other from 0 on take no room."""

    def __init__(self) -> None:
        self._below: dict[str, int] = defaultdict(int)
        self._beyond: dict[str, set[int]] = {}

    def __contains__(self, key: Key) -> bool:
        return key[1] < self._below.get(key[0], 0) or key[1] in self._beyond.get(key[0], ())

    def add(self, problem_id: str, number: int) -> None:
        """Add a number that is not there yet."""
        below = self._below[problem_id]
        if number > below:
            self._beyond.setdefault(problem_id, set()).add(number)
            return
        beyond = self._beyond.get(problem_id, set())
        while below + 1 in beyond:
            below += 1
            beyond.remove(below)
        self._below[problem_id] = below + 1

    def first_free(self, problem_id: str) -> int:
        return self._below[problem_id]


class SamplesOfProblems:
    """The samples in a file or folder, as traces of known problems, read as they are asked for."""

    def __init__(self, path: Path, problems: Mapping[str, Problem], *, source: str, reading: Reading) -> None:
        self.problems = problems
        self.failed = 0
        """Requests that failed, as far as the files have been read."""
        self._path = path
        self._source = source
        self._reading = reading

    def __iter__(self) -> Iterator[Trace]:
        """Yield a trace for each sample.

        Raises:
            ProblemError: a file cannot be read, or a sample is of no problem of the source.
        """
        known, keys = KnownProblems(self.problems.values()), SampleKeys()
        root = self._path if self._path.is_dir() else self._path.parent
        for file in sample_files(self._path):
            keys.begin_file()
            for each in read_samples(file, root, self._reading):
                if each.completion is None:
                    self.failed += 1
                    continue
                problem, number = self._problem_of(each, known)
                key = keys.key(each.where, problem.id, number)
                yield Trace(*key, each.completion, each.finish_reason, each.completion_tokens, 0)

    def _problem_of(self, each: ImportedRow, known: KnownProblems) -> tuple[Problem, int | None]:
        found, number = known.find(each)
        if each.has_id and each.problem_id in known.by_id:
            found, number = known.by_id[each.problem_id], each.sample
        if found is None:
            named = each.problem_id or f"{each.question:.60}"
            raise ProblemError(
                f"{each.where}: no problem {named!r:.80} in {self._source}.{did_you_mean(named, known.by_id)} Leave its samples "
                "out, or have tpt import do so, which counts them"
            )
        return found, number
