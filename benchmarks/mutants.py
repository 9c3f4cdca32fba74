"""How many small changes the tests notice: ``python benchmarks/mutants.py GROUP [--each N] [--seed N] [--found FILE]``.

The changes are those of mutmut (``pip install mutmut>=3.8`` into an environment of its own that sees this one's packages): one
thing in one function at a time; functions with decorators and what stands outside of functions are left alone. Of each module a
sample is tried, picked by a hash of the function and the place in it. The tests, but for those on a finished run of the embedded
model, are run once to see which functions each calls; then each change is tried in a fork, by the tests that call its function,
until one fails or takes 15 times as long as without the change. What fails in a fork without a change kills nothing. Formulas are
compared in the fork itself, and not again where the tests asked for the same before.
Prints a row for every module, and the difference of every change that no test noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from libcst import FunctionDef, Module
from mutmut.mutation import trampoline
from mutmut.mutation.file_mutation import Mutation, combine_mutations_to_source, create_mutations

ROOT = Path(__file__).parents[1]
RUN_TESTS = ("before_a_stage", "directory", "journal", "kept_checkpoints", "outputs")
SLOW = "goes_on_and_reports or killed_at_any_moment"
NOISE = "one_time_in_twenty or rarely_get or clear_gain_is_found or move_as_one or same_model_raise"
SIMULATED = "percent_of_the_time or 8_times_in_10 or takes_seconds or hold_the_truth or drawn_ones"
KILLED = ("killed", "timeout")
RUN = (
    "directory",
    "journal",
    "lock",
    "manifest",
    "outputs",
    "stage",
    "kept_checkpoints",
    "resumed_config",
    "problem_order",
)
EVIDENCE = (
    "alarms",
    "best_round",
    "cards",
    "groups",
    "looks",
    "paired",
    "round_numbers",
    "rounds",
    "runs",
    "scored",
    "telling",
)
MATH = ("final_answer", "latex", "magnitude", "scalars", "spelling", "units", "verify")
TEXT = ("answer_format", "arithmetic", "boxes", "completion", "multiple_choice", "paper_rule", "steps", "text")


def tests_of(folder: str, *names: str, without: str = "real_data") -> list[str]:
    return [*(f"tests/{folder}/test_{name}.py" for name in names), "-k", f"not ({without})"]


GROUPS = {
    "run": (
        ["records", *(f"run/{name}" for name in RUN)],
        ["tests/system/test_jsonl.py", *tests_of("run", *RUN_TESTS, without=SLOW)],
    ),
    "scoring": (
        [f"scoring/{name}" for name in ("estimates", "paired_tests", "score", "solve_rates", "pick")],
        [
            "tests/test_prune.py",
            *tests_of(
                "scoring", "closed_forms", "estimates", "score", "score_intervals", "solve_rates", without=SIMULATED
            ),
        ],
    ),
    "evidence": (
        [f"evidence/{name}" for name in EVIDENCE],
        ["tests/report/test_text.py", "tests/report/test_compared.py", "tests/evidence", "-k", f"not ({NOISE})"],
    ),
    "number": (
        [f"verifiers/number/{name}" for name in ("numerals", "spelled", "verify")],
        tests_of(
            "verifiers", "number", "answer_tables", "paper_rule", without="quickly or real_data or math or choice"
        ),
    ),
    "math": (
        [f"verifiers/math/{name}" for name in MATH],
        tests_of("verifiers", "math", "math_parts", "judge", "answer_tables", "answer_format"),
    ),
    "symbolic": (["verifiers/math/symbolic"], tests_of("verifiers", "math", "symbolic")),
    "text": (
        [f"verifiers/{name}" for name in TEXT],
        tests_of(
            "verifiers",
            "answer_format",
            "answer_tables",
            "exact",
            "multiple_choice",
            "paper_rule",
            "steps",
            without="bounded_time",
        ),
    ),
    "code": (
        [f"verifiers/code/{name}" for name in ("extract", "fences", "tests", "verify")],
        tests_of(
            "verifiers", "code", "code_python", "programs", "answer_tables", without="verdicts or numpy or package"
        ),
    ),
}


class Change(NamedTuple):
    module: str
    function: str
    """As mutmut writes it."""
    diff: str


def changed_copy(work: Path, modules: list[str], each: int, seed: int) -> tuple[dict[str, Change], dict[str, int]]:
    """Copy the checkout and put a sample of changes into its modules; return them by name, and how many there are of a module."""
    for name in ("tpt", "tests", "benchmarks", "tools", "docs"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "examples").symlink_to("tpt/examples")
    for name in ("README.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, work)
    (work / "setup.cfg").write_text("[mutmut]\nsource_paths=tpt\n")
    os.chdir(work)
    changes, counts = {}, {}
    for module in modules:
        path = work / "tpt" / f"{module}.py"
        tree, possible, *_ = create_mutations(str(path), path.read_text())
        possible = [each for each in possible if isinstance(each.contained_by_top_level_function, FunctionDef)]
        counts[module] = len(possible)
        made = combine_mutations_to_source(tree, sample(module, possible, each, seed))
        path.write_text(made.code)
        lines = made.code.splitlines()
        spans = {name: lines[span.start - 1 : span.end] for name, span in made.line_span_by_function_name.items()}
        for name in made.mutant_names:
            function = name.rpartition("__mutmut_")[0]
            rows = difflib.unified_diff(spans[f"{function}__mutmut_orig"], spans[name], n=0, lineterm="")
            told = [row for row in rows if row[:2] not in ("--", "++", "@@") and "mutmut_" not in row]
            where = f"tpt.{module.replace('/', '.')}"
            changes[f"{where}.{name}"] = Change(module, f"{where}.{function}", "\n".join(told))
    return changes, counts


def sample(module: str, possible: list[Mutation], count: int, seed: int) -> list[Mutation]:
    """Pick changes by a hash of their function's text and of their place in it: those of other functions stay the same."""
    keys, seen = {}, Counter()
    for number, change in enumerate(possible):
        function = Module([]).code_for_node(change.contained_by_top_level_function)
        seen[function] += 1
        keys[number] = hashlib.sha256(f"{seed} {module} {function} {seen[function]}".encode()).digest()
    picked = set(sorted(keys, key=keys.__getitem__)[:count])
    return [change for number, change in enumerate(possible) if number in picked]


class Took(NamedTuple):
    """Seconds of one test without a change."""

    processor: float
    wall: float


class Trial:
    """A pytest plugin: runs every test once, then a sample of the changes."""

    def __init__(self, changes: dict[str, Change], found: Path | None) -> None:
        self.changes, self.found = changes, found
        self.failed = False
        self.rows: list[dict[str, str]] = []
        self.sound: dict[pytest.Item, bool] = {}
        rows = map(json.loads, found.read_text().splitlines() if found and found.exists() else ())
        self.killed = {(row["function"], row["diff"]): row for row in rows if row["outcome"] in KILLED}

    def pytest_configure(self) -> None:
        from hypothesis import settings

        settings.register_profile("mutants", deadline=None, derandomize=True)
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        called: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: called.add(name)
        os.environ["MUTANT_UNDER_TEST"] = "stats"
        tests_of, took = defaultdict(list), dict[pytest.Item, Took]()
        for item in session.items:
            if "finished" in item.fixturenames:
                continue  # a whole run, made anew for each of them here
            called.clear()
            begun = Took(time.process_time(), time.monotonic())
            passed = self.passes(item)
            took[item] = Took(time.process_time() - begun.processor, time.monotonic() - begun.wall)
            if not passed:
                print(f"left out, as it fails without a change: {item.nodeid}", file=sys.stderr)
            for function in called if passed else ():
                tests_of[function].append(item)
        self.memories = remembered()
        gc.freeze()  # forks copy less of what they do not touch
        killers: dict[str, pytest.Item] = {}
        for name, (module, function, diff) in self.changes.items():
            if (function, diff) in self.killed:
                self.rows.append(self.killed[function, diff])
                continue
            tests = sorted(tests_of[function], key=lambda item: (item is not killers.get(function), took[item]))
            outcome, test = self.killer_of(name, tests, took)
            killers |= {function: test} if test else {}
            row = {"module": module, "function": function, "name": name, "outcome": outcome, "diff": diff}
            self.rows.append({**row, "by": test.nodeid if test else ""})
            if self.found:
                with self.found.open("a") as file:
                    file.write(json.dumps(self.rows[-1]) + "\n")
        return True

    def passes(self, item: pytest.Item) -> bool:
        self.failed = False
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def killer_of(
        self, name: str, tests: list[pytest.Item], took: dict[pytest.Item, Took]
    ) -> tuple[str, pytest.Item | None]:
        """Try one change by tests that pass in a fork without it."""
        while tests := [item for item in tests if self.sound.get(item, True)]:
            outcome, test = self.tried(name, tests, took)
            if test is None or self.sound.get(test):
                return outcome, test
            self.sound[test] = self.tried("", [test], took)[0] == "survived"
            if self.sound[test]:
                return outcome, test
            print(f"left out, as it fails in a fork without a change: {test.nodeid}", file=sys.stderr)
        return "no test", None

    def tried(
        self, name: str, tests: list[pytest.Item], took: dict[pytest.Item, Took]
    ) -> tuple[str, pytest.Item | None]:
        """Try one change in a fork; return what became of it, and the test that killed it."""
        hears, tells = os.pipe()
        child = os.fork()
        if not child:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(1, 2)
            os.environ["MUTANT_UNDER_TEST"] = name
            for forget in self.memories:
                forget()
            if ".symbolic." in name:
                sys.modules["tpt.verifiers.judge"]._results.clear()
            for test in tests:
                os.write(tells, b".")
                until = int(time.process_time() + 10 + 15 * took[test].processor)
                resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
                signal.setitimer(signal.ITIMER_REAL, 60 + 15 * took[test].wall)  # what waits takes no processor time
                if not self.passes(test):
                    os._exit(1)
            os._exit(0)
        os.close(tells)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what the tests left running
        test = tests[len(os.read(hears, 1 << 16)) - 1]
        os.close(hears)
        if os.WIFSIGNALED(status):
            return "timeout", test
        return ("killed", test) if os.WEXITSTATUS(status) else ("survived", None)


def remembered() -> list[Callable[[], None]]:
    """Return what empties the package's memories of earlier calls, but for comparisons by computer algebra."""
    caches = [each for each in gc.get_objects() if isinstance(each, functools._lru_cache_wrapper)]
    return [each.cache_clear for each in caches if str(getattr(each, "__module__", "")).startswith("tpt.")]


def compare_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons of formulas be made in this process: a pool's workers would be started anew for every change."""
    from tpt.verifiers.math import symbolic
    from tpt.verifiers.pool import call, pool

    def here(self: pool.Pool, items: list[tuple[str, list[str]]]) -> list[call.PoolResult]:
        if self._target != "tpt.verifiers.math.symbolic:equal":
            return there(self, items)
        return [call.PoolResult(value=symbolic.equal(*item)) for item in items]

    there = pool.Pool.map
    monkeypatch.setattr(pool.Pool, "map", here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--each", type=int, default=40, help="changes tried of each module (40)")
    parser.add_argument("--seed", type=int, default=0, help="another sample")
    parser.add_argument(
        "--found", type=Path, help="append a line of JSON for every change; those killed in it are not tried again"
    )
    asked = parser.parse_args()
    found = asked.found and asked.found.resolve()
    modules, tests = GROUPS[asked.group]
    with tempfile.TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patch:
        changes, counts = changed_copy(Path(work), modules, asked.each, asked.seed)
        sys.path.insert(0, work)
        patch.setenv("PYTHONPATH", work)
        if modules[0].startswith("verifiers"):
            compare_here(patch)
        trial = Trial(changes, found)
        options = ["-s", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0"]
        pytest.main([*options, *tests], plugins=[trial])
        os.chdir(ROOT)
    print("| module | mutants | tried | killed | % |\n|---|---:|---:|---:|---:|")
    for module, count in counts.items():
        rows = [row for row in trial.rows if row["module"] == module]
        killed = sum(row["outcome"] in KILLED for row in rows)
        print(f"| {module} | {count} | {len(rows)} | {killed} | {100 * killed / max(1, len(rows)):.0f} |")
    for row in trial.rows:
        if row["outcome"] not in KILLED:
            print(f"\n{row['name']} {row['outcome']}\n{row['diff']}")


if __name__ == "__main__":
    main()
