"""Samples of other tools, made into problems, traces and verdicts: for the statistics here, and for runs that start at Prune."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from tpt.audit.check import check_problems
from tpt.audit.import_rows import TEXTS, ImportedRow, Reading, name_of, read_samples, sample_files
from tpt.audit.known_problems import Key, KnownProblems, SampleKeys
from tpt.errors import ProblemError, RunError
from tpt.problems.overlap import normalised
from tpt.problems.spec import table_stem
from tpt.problems.table import answer_in
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.system.folders import beside
from tpt.system.jsonl import digest, replace_records, write_json
from tpt.verifiers.judge import judge

_SHOWN = 5


class ImportedDir:
    """Where imported samples lie."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.problems = self.path / "problems.jsonl"
        self.traces = self.path / "traces.jsonl"
        self.verdicts = self.path / "verdicts.jsonl"
        self.manifest = self.path / "import.json"
        self.begun = beside(self.manifest)
        """Tells what a killed import left from files of the user's own of the same names."""

    def exists(self) -> bool:
        """Return whether a finished import is there; its manifest is written last."""
        return self.manifest.is_file()


class Gold(NamedTuple):
    """Where problems and gold answers come from, where not from the samples."""

    problems: Sequence[Problem]
    """Empty: from the samples."""
    name: str
    """What the user calls them, for messages."""
    kind: str
    """The verifier of problems from the samples; empty: a problem's usual one."""


def import_samples(paths: Sequence[Path], to: Path, reading: Reading, gold: Gold) -> dict[str, Any]:
    """Read files of samples, judge them unless verdicts came along, and write the folder.

    Several files are several samples of the same problems. Problems are the same when their ids are, or, where ids are
    row numbers or missing, when their questions are.

    Returns:
        What was done, as it stands in import.json.

    Raises:
        ProblemError: a file is no file of samples, or most gold answers fail the verifier.
        RunError: the folder is taken.
    """
    out = ImportedDir(to)
    if out.path.exists() and not out.path.is_dir():
        raise RunError(f"{out.path}: a file, not a folder. Name another one with --to")
    if out.path.exists() and any(out.path.iterdir()) and not out.begun.exists():
        raise RunError(f"{out.path}: not an empty folder. Name another one with --to, or delete it")
    named = ", ".join(map(str, paths))
    files = [(path, each) for path in paths for each in sample_files(path)]
    read = _Pool(reading, gold)
    for path, file in files:
        read.add(file, read_samples(file, path if path.is_dir() else file.parent, reading))
    read.require_samples(named)
    bad = [] if read.is_judged else _bad_golds(read.problems, named)
    verdicts = read.verdicts() if read.is_judged else judge(read.in_order(), read.problems)
    out.path.mkdir(parents=True, exist_ok=True)
    out.begun.touch()
    replace_records(out.problems, (problem for _, problem in sorted(read.problems.items())))
    replace_records(out.traces, read.in_order())
    replace_records(out.verdicts, verdicts)
    told = {
        "files": [{"file": str(file.relative_to(path.parent)), "digest": digest(file)} for path, file in files],
        "columns": dict(reading.columns),
        "problems": len(read.problems),
        "traces": len(read.traces),
        **({"problems from": gold.name} if gold.name else {}),
        **({"failed requests left out": read.failed} if read.failed else {}),
        **({"samples of other problems left out": len(read.unknown)} if read.unknown else {}),
        "kinds": dict(sorted(Counter(each.kind for each in read.problems.values()).items())),
        "verdicts": "the file's own" if read.is_judged else "verified here",
        **read.agreement(verdicts),
        **solve_rates(verdicts),
        "golds that fail their own verifier": len(bad),
        "such as": bad[:_SHOWN],
    }
    write_json(out.manifest, told)
    return told


def solve_rates(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many problems no sample solved, some did, and all did: only those in between teach by selection."""
    rates: dict[str, list[bool]] = defaultdict(list)
    for each in verdicts:
        rates[each.problem_id].append(each.outcome is Outcome.CORRECT)
    never, always = (sum(test(each) for each in rates.values()) for test in (lambda each: not any(each), all))
    return {
        "problems never solved": never,
        "problems solved by some samples": len(rates) - never - always,
        "problems solved by all samples": always,
    }


class _Pool:
    """Samples of one or more files, each under its problem and the next free number."""

    def __init__(self, reading: Reading, gold: Gold) -> None:
        self.problems: dict[str, Problem] = {}
        self.traces: dict[Key, Trace] = {}
        self.told: dict[Key, tuple[bool, str | None]] = {}
        """What the files say of samples: whether right, and the answer read."""
        self.unknown: list[str] = []
        """Samples of problems that the source doesn't have."""
        self.failed = 0
        self._gold = gold
        self._known = KnownProblems(gold.problems)
        self._keys = SampleKeys()
        self._ids: dict[tuple[str, str], str] = {}
        """Question and answer to id, of problems whose id is a row number."""
        self._verdicts_stand = "correct" in reading.columns

    def add(self, file: Path, samples: Iterable[ImportedRow]) -> None:
        """Take the samples of one file."""
        self._keys.begin_file()
        for each in samples:
            if each.completion is None:
                self.failed += 1
                continue
            problem, number = self._known.find(each) if self._gold.problems else (self._own(each, file), each.sample)
            if problem is None:
                self.unknown.append(f"{each.where}: {each.problem_id or each.question!r:.80}")
                continue
            self._store(each, problem, number)

    def _store(self, each: ImportedRow, problem: Problem, number: int | None) -> None:
        self.problems.setdefault(problem.id, problem)
        key = self._keys.key(each.where, problem.id, number)
        self.traces[key] = Trace(*key, each.completion or "", each.finish_reason, each.completion_tokens, 0)
        if each.correct is not None:
            self.told[key] = (each.correct, each.extracted)

    def _own(self, each: ImportedRow, file: Path) -> Problem:
        """Return the problem of a sample that brings its own."""
        if file.suffix.lower() in TEXTS:
            raise ProblemError(f"{file}: a text says nothing of its gold answer. Name the problems: --problems SOURCE")
        problem = Problem(self._id_of(each, file), each.question, each.answer, solution=each.solution, source=file.name)
        if self._gold.kind:
            problem = replace(problem, kind=self._gold.kind)
        if problem.kind in ("number", "math") and "####" in each.answer:
            problem = replace(problem, answer=answer_in(each.answer) or "", solution=each.answer)
        known = self.problems.get(problem.id, problem)
        # Tools reword a question here and there; what a sample is judged by is the answer.
        if known.answer != problem.answer:
            raise ProblemError(
                f"{each.where}: problem {problem.id!r} has another answer than before, {problem.answer!r:.60} and not "
                f"{known.answer!r:.60}. Map a problem_id whose samples agree on it"
            )
        return known

    def _id_of(self, each: ImportedRow, file: Path) -> str:
        """Return a problem's id; a row number means its question, as other files count their own rows."""
        if each.problem_id and not (each.problem_id.isdigit() and each.question):
            return each.problem_id
        key = (normalised(each.question), each.answer)
        if key not in self._ids:
            free = each.problem_id or name_of(each.question)
            self._ids[key] = f"{table_stem(file)}/{free}" if free in self.problems else free
        return self._ids[key]

    @property
    def is_judged(self) -> bool:
        """Whether the files' own verdicts stand: the user says so, or there is nothing to judge by."""
        return self._verdicts_stand or (
            bool(self.told) and not any(each.answer or each.tests for each in self.problems.values())
        )

    def require_samples(self, named: str) -> None:
        """Raise ProblemError unless there are samples, all or none with verdicts where these stand."""
        if not self.traces and self.unknown:
            raise ProblemError(
                f"{named}: none of {len(self.unknown):,} samples is of a problem of {self._gold.name}, such as "
                f"{self.unknown[0]}. Ids there: {', '.join(list(self._known.by_id)[:3])}, …"
            )
        if not self.traces:
            raise ProblemError(f"{named}: no samples; {self.failed:,} requests failed")
        if self.is_judged and self.told.keys() != self.traces.keys():
            raise ProblemError(
                f"{named}: {len(self.told):,} of {len(self.traces):,} samples say whether they are correct. All or none must"
            )

    def in_order(self) -> list[Trace]:
        """Return the traces by problem and sample."""
        return [self.traces[key] for key in sorted(self.traces)]

    def verdicts(self) -> list[Verdict]:
        """Return the files' own verdicts by problem and sample."""
        outcome = {True: Outcome.CORRECT, False: Outcome.WRONG}
        return [Verdict(*key, outcome[right], right, read) for key, (right, read) in sorted(self.told.items())]

    def agreement(self, verdicts: Sequence[Verdict]) -> dict[str, str]:
        """Return in words how far the files' own verdicts agree with those made here, where there are both."""
        if self.is_judged or not self.told:
            return {}
        compared = [each for each in verdicts if (each.problem_id, each.sample) in self.told]
        other = [
            each for each in compared if self.told[each.problem_id, each.sample][0] != (each.outcome is Outcome.CORRECT)
        ]
        such = f", not on {other[0].problem_id}, sample {other[0].sample}" if other else ""
        return {"the file's own verdicts": f"agree on {len(compared) - len(other):,} of {len(compared):,}{such}"}


def _bad_golds(problems: Mapping[str, Problem], named: str) -> list[str]:
    failures = check_problems(list(problems.values()), judge).gold_failures
    if 2 * len(failures) > len(problems):
        first = failures[0]
        raise ProblemError(
            f"{named}: {len(failures):,} of {len(problems):,} gold answers fail their own verifier "
            f"({problems[first.problem_id].kind}), such as {first.answer!r:.80}: {first.outcome} {first.detail}. Take another "
            "--kind, map the answer to a column with nothing but the final answer, or keep the file's own verdicts with "
            "--column correct=COLUMN"
        )
    return [failure.problem_id for failure in failures]
