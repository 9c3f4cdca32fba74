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
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tpt.records import Outcome, Problem
from tpt.sandbox import Limits, Task
from tpt.sandbox.bubblewrap import container, interpreter
from tpt.sandbox.inside.compare import same_output
from tpt.sandbox.worker import Sandbox
from tpt.verifiers import Judgement
from tpt.verifiers.code import judge_programs

DATA = Path(os.environ.get("TPT_DATA", Path(__file__).parents[2] / "shared" / "data"))
Pairs = list[tuple[Problem, str]]


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def problem(name: str, tests: list[Any]) -> Problem:
    return Problem(id=name, question="", answer="", kind="code", tests=tests)


def code_contests(column: str, longest_input: int = 10**9) -> Pairs:
    """Return the programs of a column with their tests; outputs with decimal numbers get a tolerance."""
    pairs = []
    for row in rows("code/codecontests_sample.jsonl"):
        both = [row["public_tests"], row["private_tests"]]
        given = [pair for tests in both for pair in zip(tests["input"], tests["output"], strict=True)]
        mode = "float" if any("." in output for _, output in given) else "tokens"
        tests = [
            {"type": "stdin", "input": a, "output": b, "compare": mode, "time_limit_s": 10}
            for a, b in given
            if len(a) <= longest_input
        ]
        if tests:
            pairs += [(problem(row["name"], tests), program) for program in row[column]["solution"]]
    return pairs


def called(row: dict[str, Any]) -> str | None:
    """Return the builtin name that an MBPP reference redefines and its tests call."""
    return next((name for name in ("sum",) if f"def {name}(" in row["code"]), None)


def references() -> dict[str, Pairs]:
    """Return the reference programs of HumanEval and MBPP."""
    human_eval: Pairs = []
    for row in rows("code/humaneval.jsonl"):
        code = f"{row['test']}\ncheck({row['entry_point']})"
        test = {"type": "assert", "code": code, "setup": row["prompt"], "entry_point": row["entry_point"]}
        human_eval.append((problem(row["task_id"], [test]), row["prompt"] + row["canonical_solution"]))
    mbpp: Pairs = []
    for row in rows("code/mbpp.jsonl"):
        common = {"type": "assert", "setup": row["test_setup_code"], "entry_point": called(row)}
        tests = [{**common, "code": code} for code in row["test_list"] + row["challenge_test_list"]]
        mbpp.append((problem(str(row["task_id"]), tests), row["code"]))
    return {"HumanEval": human_eval, "MBPP": mbpp}


def labelled(name: str) -> tuple[Pairs, list[bool]]:
    """Return model programs and whether their publisher found them right."""
    pairs, labels = [], []
    for row in rows(f"model_outputs/ldb_{name}_seeds.jsonl"):
        human_eval = name == "humaneval"
        test = {
            "type": "assert",
            "code": row["test"] + (f"\ncheck({row['entry_point']})" if human_eval else ""),
            "setup": row["prompt"] if human_eval else "",
            "entry_point": row["entry_point"],
            "time_limit_s": 3,
        }
        pairs.append((problem(row["task_id"], [test]), row["solution"]))
        labels.append(row["is_solved"])
    return pairs, labels


def one_container_per_test(pair: tuple[Problem, str]) -> bool:
    """Judge a program the plain way: a container and an interpreter for every test, stop at the first failure."""
    tests = sorted(pair[0].tests or [], key=lambda test: len(test["input"]))
    for test in tests:
        command = [*container(), interpreter(), "-s", "-B", "-c", pair[1]]
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


def light(pairs: Pairs, most_cpu_s: float = 0.02) -> Pairs:
    """Keep the programs that compute little on their first test: what is measured is the running, not they."""
    sandbox = Sandbox()
    kept = []
    for each, program in pairs:
        stdin = (each.tests or [])[0]["input"].encode()
        (ended,) = sandbox.run(Task({"role": "whole", "program": program}, Limits(10, 1024), stdin))
        if ended.cpu_s <= most_cpu_s:
            kept.append((each, program))
    sandbox.close()
    return kept


def speed() -> None:
    pairs = light((code_contests("solutions", 200) + code_contests("incorrect_solutions", 200))[::10])
    tests = sum(len(pair[0].tests or []) for pair in pairs)
    print(f"speed: {len(pairs)} programs, {tests} tests with inputs up to 200 characters, {os.cpu_count()} processors")
    judge_programs(pairs[:8])
    ours, baseline = [], []
    for _ in range(3):
        ours_s, found = timed(lambda: right(judge_programs(pairs)))
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            plain_s, plain = timed(lambda: list(threads.map(one_container_per_test, pairs)))
        ours.append(ours_s)
        baseline.append(plain_s)
        different = [pair[0].id for pair, a, b in zip(pairs, found, plain, strict=True) if a != b]
        print(
            f"  ours {ours_s:.2f} s, a container per test {plain_s:.2f} s: {plain_s / ours_s:.1f} x; different: {different}"
        )
    ratio = statistics.median(b / a for a, b in zip(ours, baseline, strict=True))
    print(f"  median {ratio:.1f} x; {len(pairs) / statistics.median(ours):.0f} programs a second")


def bare_fork(program: str) -> float:
    """Return the seconds that a fork, the program and its end take without any confinement."""
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        exec(compile(program, "program.py", "exec"), {})
        os._exit(0)
    os.waitpid(pid, 0)
    return time.perf_counter() - began


def overhead(repeats: int = 300) -> None:
    program = "x = 1"
    limits = Limits(cpu_s=5, memory_mb=256)
    whole = [Task({"role": "whole", "program": program}, limits)]
    calls = Task({"role": "calls", "program": "def f(): return 1", "setup": ""}, limits)
    tester = {
        "role": "function",
        "name": "f",
        "args": [],
        "expected": 1,
        "compare": "exact",
        "tolerance": 0.0,
        "setup": "",
    }
    jobs = {"standard input": whole, "function": [calls, Task(tester, limits)]}
    sandbox = Sandbox()
    times: dict[str, list[float]] = {name: [] for name in ("bare fork", *jobs)}
    sandbox.run(*whole)
    for _ in range(repeats):  # in turns, so that a busy machine is busy for all of them
        times["bare fork"].append(bare_fork(program))
        for name, job in jobs.items():
            began = time.perf_counter()
            sandbox.run(*job)
            times[name].append(time.perf_counter() - began)
    sandbox.close()
    bare = statistics.median(times["bare fork"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"overhead: {name}: median {1000 * median:.2f} ms, {1000 * (median - bare):+.2f} ms")


def labels() -> None:
    for name, pairs in references().items():
        found = judge_programs(pairs)
        print(f"{name}: {sum(right(found))} of {len(found)} references pass")
        for (each, _), judgement in zip(pairs, found, strict=True):
            if judgement.outcome is not Outcome.CORRECT:
                print(f"  {each.id}: {judgement.detail}")
    for name in ("humaneval", "mbpp"):
        pairs, known = labelled(name)
        found = judge_programs(pairs)
        agree = sum(a == b for a, b in zip(right(found), known, strict=True))
        print(f"labelled programs, {name}: {agree} of {len(known)} agree ({agree / len(known):.2%})")
        for (each, _), judgement, label in zip(pairs, found, known, strict=True):
            if (judgement.outcome is Outcome.CORRECT) != label:
                print(f"  {each.id}: label {label}, {judgement.outcome}: {judgement.detail[:160]}")
    for column in ("solutions", "incorrect_solutions"):
        pairs = code_contests(column)
        found = judge_programs(pairs)
        print(
            f"CodeContests {column}: {sum(right(found))} of {len(found)} pass; {dict(Counter(str(j.outcome) for j in found))}"
        )
        for (each, _), judgement in zip(pairs, found, strict=True):
            if (judgement.outcome is Outcome.CORRECT) != (column == "solutions"):
                print(f"  {each.id}: {judgement.detail[:160]!r}")


def load() -> None:
    """Judge the same programs on the machine as it is, and with four workers and four busy loops on top."""
    pairs = (code_contests("solutions") + code_contests("incorrect_solutions"))[::9]
    calm = judge_programs(pairs)
    loops = [subprocess.Popen(["python3", "-c", "while True: pass"]) for _ in range(4)]
    try:
        busy = judge_programs(pairs, workers=2 * len(os.sched_getaffinity(0)))
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
