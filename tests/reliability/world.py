"""A whole run in this process: real stages, records and manifests; a scripted model, disk and clock.

The model's completions follow from its weights and the request alone, and its weights from what it was trained on: a
stage that reads another file than it ought to leaves other bytes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import os
import random
import shutil
import sys
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import tpt.evaluate
import tpt.prune
import tpt.rounds
import tpt.run.manifest
import tpt.sampling.sample
import tpt.stage_process
import tpt.train
from tests.reliability.disk import Disk, Fault, Killed
from tpt.config import PromptConfig, RunConfig, parse_config
from tpt.engines import Completion, Request
from tpt.engines.scripted import STOP_ID, ScriptedEngine, ids_of, text_of
from tpt.errors import EngineError, TPTError
from tpt.model.reasoning import ReasoningMarks
from tpt.records import Message, Problem
from tpt.report.verified import verified_text, verify_run
from tpt.rounds import Run
from tpt.run import outputs
from tpt.run.directory import RunDir
from tpt.seeds import seed_for
from tpt.stage_process import do_stage
from tpt.system.folders import beside, take_place
from tpt.system.jsonl import read_records, to_line
from tpt.train import Training

EXPLAINED = (TPTError, OSError)
"""What the command line ends with a sentence for, and no traceback."""
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
_RECORDS = ("traces", "verdicts", "examples", "diversity", "problems", "heldout")
_RESULTS = ("weights.bin", *(f"{name}.jsonl" for name in _RECORDS))
_VERSIONS = functools.cache(tpt.run.manifest.versions)
_TOML = functools.lru_cache(64)(tomllib.loads)


@dataclass(frozen=True, slots=True)
class Setting:
    """What two runs must have in common to end with the same bytes."""

    sampler: str = "until_full"
    rounds: int = 1
    greedy: bool = True
    mode: str = "replace"
    rollback: bool = False
    also: bool = False
    seed: int = 0
    heldout: int = 4
    problems: int = 8

    def config(self, **changes: Any) -> RunConfig:
        """Return the run's config; ``changes``: of keys that no result depends on."""
        table: dict[str, Any] = {
            "rounds": self.rounds,
            "seed": self.seed,
            "threads": 1,
            "problems": {
                "train": f"word_problems?split=train&size={self.problems}",
                "heldout": f"word_problems?split=heldout&size={self.heldout}",
            },
            "engine": {"batch_invariant": True, "slots": 4},
            "think": {"sampler": self.sampler, "samples": 3, "max_tokens": 80},
            "prune": {"size": self.problems // 2},
            "data": {"mode": self.mode},
            "evaluate": {"samples": 2, "max_tokens": 80, "greedy": self.greedy, "probe": 0},
            "stop": {"gate": "off", "rollback": self.rollback, "patience": 0},
        }
        if self.also:
            table["evaluate"] |= {"also": ["word_problems?split=heldout&size=3&seed=9"]}
        for name, value in changes.items():
            section, _, key = name.partition("__")
            table[section] = {**table[section], key: value} if key else value
        return parse_config(table, [], where="the simulated world")


class ScriptedModel(ScriptedEngine):
    """Right about as often as its weights say, in words that follow from the request."""

    def __init__(
        self, weights: bytes, answers: Mapping[str, str], *, order_seed: int, slots: int, breaks_at: int
    ) -> None:
        self._weights = weights.hex()
        self._answers = answers
        self._steps_left = breaks_at
        super().__init__(self._said, slots=slots, order_seed=order_seed)

    def _said(self, request: Request) -> str:
        source = random.Random(seed_for(request.seed, self._weights, request.sampling.temperature > 0, *request.id))
        right = self._answers[request.id[0]]
        if source.random() < 0.1:
            return "I cannot tell. " * 9  # cut off
        answer = right if source.random() < 0.6 else str(source.randint(1000, 2000))
        return f"Step {source.randint(1, 9)} — one plus the other.\n#### {answer}"

    def step(self) -> list[Completion]:
        self._steps_left -= 1
        if self._steps_left == 0:
            raise EngineError("the scripted engine breaks down here")
        return super().step()


@dataclass(frozen=True, slots=True)
class _Chat:
    """Tokens are bytes."""

    prompt: PromptConfig
    end_of_turn_id = STOP_ID
    stop_ids = frozenset([STOP_ID])
    special_ids = frozenset[int]()
    reasoning = ReasoningMarks("", "")

    def messages(self, problem: Problem) -> list[Message]:
        return [{"role": "user", "content": self.prompt.user(problem.question)}]

    def prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        return ids_of(self.prompt.user(problem.question))

    def completion_ids(self, text: str) -> list[int]:
        return [*ids_of(text), STOP_ID]

    def decode(self, token_ids: Sequence[int]) -> str:
        return text_of(tuple(token_ids))

    def fingerprint(self) -> str:
        return "bytes"


class _Stages:
    """Does stages where the real thing has a process for each."""

    def __init__(self, path: Path, *, lock_descriptor: int, progress: bool) -> None:
        self._path = path

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def do(self, stage: str, index: int) -> None:
        do_stage(self._path, stage, index)

    def check_lengths(self, run: RunDir) -> None:
        pass

    def kill(self) -> None:
        pass


def _train(training: Training, *unused: Any, **more: Any) -> dict[str, Any]:
    """Train the scripted model: its weights follow from what it starts from, the examples and the seed."""
    learned = hashlib.sha256(_weights_of(training.start.model) + str(training.seed).encode())
    for each in training.examples:
        learned.update(to_line(each))

    partial = beside(training.out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "weights.bin").write_bytes(learned.digest())
    (partial / "config.json").write_text("{}")
    take_place(partial, training.out)
    return {"examples": len(training.examples), "loss_first": 1.0, "loss_last": 0.5}


def _weights_of(model: str) -> bytes:
    return b"base" if model == "embedded" else (Path(model) / "weights.bin").read_bytes()


@contextlib.contextmanager
def scripted(*, order: int = 0, breaks_at: int = 0, slots: int = 4) -> Iterator[None]:
    """Have a script in place of the model: engine, tokenizer, training. The libraries of the real ones are not imported."""

    def open_model(config: RunConfig, model: str, *, cache: Path, **unused: Any) -> ScriptedEngine:
        run = RunDir(cache.parent)
        answers = {
            each.id: each.answer for path in run.problem_files().values() for each in read_records(path, Problem)
        }
        return ScriptedModel(_weights_of(model), answers, order_seed=order, slots=slots, breaks_at=breaks_at)

    heavy = types.SimpleNamespace(use_threads=lambda count: None, hub_commit=None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, {"tpt.model.load": heavy}))
        for place, value in (
            ("tpt.sampling.sample.open_engine", open_model),
            ("tpt.train._do", _train),
            ("tpt.stage_process.check_run_lengths", lambda run: None),
            *(
                (f"{name}.open_chat", lambda prompt, *unused: _Chat(prompt))
                for name in ("tpt.sampling.sample", "tpt.prune")
            ),
        ):
            stack.enter_context(mock.patch(place, value))
        yield


@dataclass(slots=True)
class Clock:
    """Time that passes only when somebody waits, or when the world says so."""

    now: float = 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


@dataclass(slots=True)
class World:
    """One run directory and everything around it."""

    setting: Setting
    path: Path
    clock: Clock = field(default_factory=Clock)

    def attempt(
        self, faults: Mapping[int, Fault] | None = None, *, order: int = 0, breaks_at: int = 0, **changes: Any
    ) -> tuple[str, Disk]:
        """Run the command once; return how it ended ("" for well) and the disk it wrote to.

        Raises whatever error the command line would not explain.
        """
        outputs._TAKEN.clear()  # a new process knows nothing
        disk = Disk(self.path, dict(faults or {}))
        with self._simulated(order, breaks_at, changes), disk:
            try:
                for _ in Run(self.path, self.setting.config(**changes)).rounds():
                    pass
            except Killed:
                return "killed", disk
            except EXPLAINED as error:
                if disk.is_dead:
                    return "killed", disk
                return f"{type(error).__name__}: {error}", disk
        return "", disk

    @contextlib.contextmanager
    def _simulated(self, order: int, breaks_at: int, changes: Mapping[str, Any]) -> Iterator[None]:
        slots = int(changes.get("engine__slots", 4))
        clock = ((f"time.{name}", getattr(self.clock, name)) for name in ("sleep", "time", "monotonic"))
        with scripted(order=order, breaks_at=breaks_at, slots=slots), contextlib.ExitStack() as stack:
            for place, value in (
                ("tpt.rounds.StageServer", _Stages),
                ("tpt.run.manifest.versions", _VERSIONS),
                ("tomllib.loads", lambda text: copy.deepcopy(_TOML(text))),
                ("tpt.rounds.check_elsewhere", lambda *unused: None),
                *clock,
            ):
                stack.enter_context(mock.patch(place, value))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield

    def results(self) -> dict[str, bytes]:
        """Return what must be the same, byte for byte, however often the run was interrupted."""
        found = {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in self.path.rglob("*")
            if path.name in _RESULTS and not _is_aside(path)
        }
        return found | {"best": (self.path / "best").read_bytes()}

    def check_finished(self, wanted: Mapping[str, bytes]) -> None:
        """Raise AssertionError unless the run is finished, whole, and what an undisturbed one is."""
        got = self.results()
        assert got.keys() == wanted.keys(), sorted(got.keys() ^ wanted.keys())
        assert got == wanted, [name for name in wanted if got[name] != wanted[name]]
        ends = (".partial", ".coming")  # a replaced checkpoint that the disk fails to delete may stay
        left = [path for path in self.path.rglob("*") if path.name.endswith(ends) and not _is_aside(path)]
        assert not left, left
        outputs._TAKEN.clear()
        verified = verify_run(RunDir(self.path))
        assert verified.ok, verified_text(verified)

    def check_whole(self) -> None:
        """Raise AssertionError where something unfinished passes for finished: every manifest's files must be what it says."""
        if not (self.path / "config.toml").exists():
            return
        outputs._TAKEN.clear()
        verified = verify_run(RunDir(self.path))
        assert not verified.changed, verified_text(verified)


def _is_aside(path: Path) -> bool:
    """Return whether a file is a log, or of samples of another config that were set aside."""
    return path.parent.name == "logs" or ".other-config-" in str(path)


@functools.cache
def undisturbed(setting: Setting) -> tuple[dict[str, bytes], tuple[Any, ...]]:
    """Return the results of a run that nothing disturbs, and the calls that it made."""
    world = fresh(setting, "undisturbed")
    ended, disk = world.attempt()
    assert not ended, ended
    results = world.results()
    world.check_finished(results)
    shutil.rmtree(world.path.parent)
    return results, tuple(disk.log)


def fresh(setting: Setting, name: str = "world") -> World:
    """Return a world whose run is yet to begin, in a folder of its own: what runs leave beside them differs too."""
    folder = MEMORY / f"tpt-{os.getpid()}" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return World(setting, folder / "run")
