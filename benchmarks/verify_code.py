"""Measures the code verifier: speed, cost of a test, agreement with labels, and whether load changes verdicts.

    python benchmarks/verify_code.py [speed] [overhead] [labels] [load]

Reads HumanEval, MBPP, a sample of CodeContests and labelled model programs from the folder TPT_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tpt.config import VerifyConfig
from tpt.problems import load_problems, load_wrong_programs
from tpt.records import Outcome, Problem
from tpt.sandbox import Ended, Limits, Task
from tpt.sandbox.bubblewrap import container, interpreter
from tpt.sandbox.inside.compare import same_output
from tpt.sandbox.inside.server import WARM
from tpt.sandbox.worker import Sandbox
from tpt.verifiers import Judgement
from tpt.verifiers.code.verify import judge_completions
from tpt.verifiers.gold import fenced

DATA = Path(os.environ.get("TPT_DATA", "data"))
CONTESTS = f"code_contests:{DATA}/code/codecontests_sample.jsonl?images=keep"
REFERENCES = {"HumanEval": f"human_eval:{DATA}/code/humaneval.jsonl", "MBPP": f"mbpp:{DATA}/code/mbpp.jsonl"}
CORES = len(os.sched_getaffinity(0))
Pairs = list[tuple[Problem, str]]


def references(spec: str) -> Pairs:
    """Return the problems of a source, each with the source's own right program."""
    return [(each, each.solution) for each in load_problems(spec) if each.solution]


def judge_programs(pairs: Pairs, *, workers: int = 0) -> list[Judgement]:
    """Judge programs as completions in the asked format."""
    return judge_completions([(each, fenced(program)) for each, program in pairs], limits=VerifyConfig(workers=workers))


def wrong_contest_programs() -> Pairs:
    """Return problems of CodeContests with programs that were rejected there."""
    wrong = load_wrong_programs(CONTESTS)
    return [(each, program) for each in load_problems(CONTESTS) for program in wrong.get(each.id, ())]


def labelled(name: str) -> tuple[Pairs, list[bool]]:
    """Return model programs and whether their publisher found them right; the files have HumanEval's columns."""
    path = DATA / "model_outputs" / f"ldb_{name}_seeds.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = []
    for each, row in zip(load_problems(f"human_eval:{path}"), rows, strict=True):
        # The prompts of MBPP were made for this file; their publisher ran the programs without them.
        setup = row["prompt"] if name == "humaneval" else ""
        tests = [{**test, "setup": setup} for test in each.tests or []]
        pairs.append((replace(each, tests=tests), row["solution"]))
    return pairs, [row["is_solved"] for row in rows]


def labelled_apps() -> tuple[Pairs, list[bool]]:
    """Return programs for problems of APPS: people's, which are right, and models' with their labels."""
    path = DATA / "code" / "apps_train5_coderl.jsonl"
    pairs: Pairs = []
    known = []
    for line, each in zip(path.read_text(encoding="utf-8").splitlines(), load_problems(f"apps:{path}"), strict=True):
        row = json.loads(line)
        made = row["gen_solutions"] + row["baseline_solutions"]
        pairs += [(each, program) for program in row["solutions"]] + [(each, one["code"]) for one in made]
        known += [True] * len(row["solutions"]) + [one["result"] is True for one in made]
    return pairs, known


def with_short_inputs(pairs: Pairs, longest: int) -> Pairs:
    """Keep the tests with inputs of at most so many characters, and the problems that have any."""
    kept = []
    for each, program in pairs:
        tests = [test for test in each.tests or [] if len(test["input"]) <= longest]
        kept += [(replace(each, tests=tests), program)] if tests else []
    return kept


def in_order(problem: Problem) -> list[Any]:
    """Return a problem's tests in the order in which they are run."""
    return sorted(problem.tests or [], key=lambda test: len(test["input"]))


def one_container_per_test(pair: tuple[Problem, str]) -> bool:
    """Judge a program the plain way: a container and an interpreter for every test, stop at the first failure."""
    command = [*container(), "--setenv", "PYTHONHASHSEED", "0", interpreter(), "-s", "-B", "-c", pair[1]]
    for test in in_order(pair[0]):
        ran = subprocess.run(command, input=test["input"], capture_output=True, text=True, timeout=100, check=False)
        if ran.returncode or not same_output(test["output"], ran.stdout, test["compare"]):
            return False
    return True


def right(judgements: list[Judgement]) -> list[bool]:
    return [judgement.outcome is Outcome.CORRECT for judgement in judgements]


def timed(work: Callable[[], list[bool]]) -> tuple[float, list[bool]]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def ends(sandbox: Sandbox, problem: Problem, program: str) -> Iterator[Ended]:
    """Run a program's tests up to the first failure."""
    for test in in_order(problem):
        task = Task({"role": "whole", "program": program}, Limits(10, 1024), test["input"].encode())
        (ended,) = sandbox.run(task)
        yield ended
        if ended.exit_code or not same_output(test["output"], ended.stdout.decode(), test["compare"]):
            return


def speed() -> None:
    """Compare with a container and an interpreter per test: programs that compute little, and all of them."""
    pairs = with_short_inputs(references(CONTESTS) + wrong_contest_programs(), 200)[::10]
    sandbox = Sandbox("bubblewrap")
    idle = statistics.median(ended.cpu_s for _ in range(30) for ended in sandbox.run(whole("x = 1")))
    own = [[max(0.0, ended.cpu_s - idle) for ended in ends(sandbox, *pair)] for pair in pairs]
    sandbox.close()
    light = [index for index, times in enumerate(own) if max(times) <= 0.02]
    for name, chosen in (("programs that compute little", light), ("all programs", list(range(len(pairs))))):
        print(f"speed, {name}:")
        compare([pairs[index] for index in chosen], [own[index] for index in chosen])


def compare(pairs: Pairs, own: list[list[float]]) -> None:
    """Time both ways in turns; ``own`` is the processor time of the programs themselves on each of their tests."""
    tests, own_s = sum(map(len, own)), sum(map(sum, own))
    print(f"  {len(pairs)} programs, {tests} tests run, {own_s:.2f} s of their own computing, {CORES} processors")
    judge_programs(pairs[:8])
    ours, plain = [], []
    for _ in range(5):
        ours_s, found = timed(lambda: right(judge_programs(pairs)))
        with ThreadPoolExecutor(CORES) as threads:
            plain_s, expected = timed(lambda: list(threads.map(one_container_per_test, pairs)))
        ours.append(ours_s)
        plain.append(plain_s)
        different = [pair[0].id for pair, a, b in zip(pairs, found, expected, strict=True) if a != b]
        print(f"  ours {ours_s:.2f} s, a container per test {plain_s:.2f} s; different verdicts: {different}")
    ratios = sorted(b / a for a, b in zip(ours, plain, strict=True))
    added = [(statistics.median(wall) * CORES - own_s) / tests * 1000 for wall in (ours, plain)]
    print(
        f"  {statistics.median(ratios):.1f} times as fast (from {ratios[0]:.1f} to {ratios[-1]:.1f}); processor time on top of "
        f"the programs' own: {added[0]:.1f} ms a test against {added[1]:.1f} ms, {added[1] / added[0]:.1f} times"
    )


BARE = """
import gc, os, sys, time
sys.path.insert(0, sys.argv[1])
from importlib import import_module
for name in sys.argv[2].split(): import_module(name)
gc.collect(); gc.freeze()
for line in sys.stdin:
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        exec(compile("x = 1", "program.py", "exec"), {})
        os._exit(0)
    os.waitpid(pid, 0)
    print(time.perf_counter() - began, flush=True)
"""
"""Forks without any confinement, from a server as large as the sandbox's."""


def whole(program: str) -> Task:
    return Task({"role": "whole", "program": program}, Limits(cpu_s=5, memory_mb=256))


def linked(tester: dict[str, Any]) -> list[Task]:
    limits = Limits(cpu_s=5, memory_mb=256)
    return [Task({"role": "calls", "program": "def f(): return 1", "setup": ""}, limits), Task(tester, limits)]


def overhead(repeats: int = 400) -> None:
    """Time a test of each sort against a bare fork, in turns, so that a busy machine is busy for all of them."""
    function = {"role": "function", "name": "f", "args": [], "expected": 1, "compare": "exact", "tolerance": 0.0}
    asserting = {"role": "assert", "code": "assert f() == 1", "setup": "", "entry_point": "f"}
    jobs = {"standard input": [whole("x = 1")], "function": linked(function), "assertion": linked(asserting)}
    command = [sys.executable, "-s", "-S", "-c", BARE, os.path.dirname(os.__file__), WARM]
    bare = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert bare.stdin is not None and bare.stdout is not None
    sandbox = Sandbox("bubblewrap")
    sandbox.run(whole("x = 1"))
    times: dict[str, list[float]] = {name: [] for name in ("bare fork", *jobs)}
    for _ in range(repeats):
        bare.stdin.write("\n")
        times["bare fork"].append(float(bare.stdout.readline()))
        for name, job in jobs.items():
            began = time.perf_counter()
            sandbox.run(*job)
            times[name].append(time.perf_counter() - began)
    sandbox.close()
    bare.stdin.close()
    bare.wait()
    least = statistics.median(times["bare fork"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"overhead: {name}: median {1000 * median:.2f} ms, {1000 * (median - least):+.2f} ms")


def labels() -> None:
    """Compare verdicts with what is known of the programs, and list every difference."""
    for name, spec in REFERENCES.items():
        report(f"{name} references", references(spec), None)
    for name in ("humaneval", "mbpp"):
        report(f"labelled programs, {name}", *labelled(name))
    report("APPS, people's and models' programs", *labelled_apps())
    report("CodeContests, accepted programs", references(CONTESTS), None)
    wrong = wrong_contest_programs()
    report("CodeContests, rejected programs", wrong, [False] * len(wrong))


def report(name: str, pairs: Pairs, known: list[bool] | None) -> None:
    """Judge programs and print how many verdicts are as known; None: all are right."""
    began = time.perf_counter()
    found = judge_programs(pairs)
    known = known or [True] * len(pairs)
    agree = sum(a == b for a, b in zip(right(found), known, strict=True))
    counts = dict(Counter(str(judgement.outcome) for judgement in found))
    print(
        f"{name}: {agree} of {len(known)} as known ({agree / len(known):.2%}), {time.perf_counter() - began:.0f} s; {counts}"
    )
    for (each, _), judgement, label in zip(pairs, found, known, strict=True):
        if (judgement.outcome is Outcome.CORRECT) != label:
            print(f"  {each.id}: {judgement.outcome}: {judgement.detail[:160]!r}")


def load() -> None:
    """Judge the same programs on the machine as it is, and with four workers and four busy loops on top."""
    pairs = (references(CONTESTS) + wrong_contest_programs())[::9]
    pairs += labelled("mbpp")[0][::15] + labelled("humaneval")[0][::15]
    calm = judge_programs(pairs)
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(2 * CORES)]
    try:
        busy = judge_programs(pairs, limits=VerifyConfig(workers=2 * CORES))
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    different = [(pair[0].id, a.detail, b.detail) for pair, a, b in zip(pairs, calm, busy, strict=True) if a != b]
    print(f"load: {len(pairs)} programs judged twice, {len(different)} judgements differ: {different}")


def main() -> None:
    parts = {"overhead": overhead, "speed": speed, "labels": labels, "load": load}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="what to measure; all without it")
    for name in parser.parse_args().parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
