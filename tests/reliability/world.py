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
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.reliability.disk import Disk, Fault, Killed

import tpt.evaluate
import tpt.prune
import tpt.rounds
import tpt.run.manifest
import tpt.sampling.sample
import tpt.train
from tpt.config import RunConfig, parse_config
from tpt.engines import Completion, Request
from tpt.engines.scripted import ScriptedEngine
from tpt.errors import TPTError
from tpt.model.chat import open_chat
from tpt.records import Example, Problem
from tpt.report.verified import verify_run, verified_text
from tpt.rounds import Run
from tpt.run import outputs
from tpt.run.directory import RunDir
from tpt.seeds import seed_for
from tpt.sft.checkpoint import save_folder
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_records, to_line

EXPLAINED = (TPTError, OSError)
"""What the command line ends with a sentence for, and no traceback."""
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
_RESULTS = ("traces.jsonl", "verdicts.jsonl", "examples.jsonl", "diversity.jsonl", "weights.bin", "problems.jsonl", "heldout.jsonl")
_CHAT = functools.cache(lambda text, model: open_chat(parse_config({"prompt": {"template": text}}, [], where="").prompt, model))
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


class _Model(ScriptedEngine):
    """Right about as often as its weights say, in words that follow from the request."""

    def __init__(self, weights: bytes, answers: Mapping[str, str], *, order_seed: int, slots: int) -> None:
        self._weights = weights.hex()
        self._answers = answers
        super().__init__(self._said, slots=slots, order_seed=order_seed)

    def _said(self, request: Request) -> str:
        source = random.Random(seed_for(request.seed, self._weights, request.sampling.temperature > 0, *request.id))
        right = self._answers[request.id[0]]
        if source.random() < 0.1:
            return "I cannot tell. " * 9  # cut off
        answer = right if source.random() < 0.6 else str(source.randint(1000, 2000))
        return f"Step {source.randint(1, 9)} — one plus the other.\n#### {answer}"

    def step(self) -> list[Completion]:
        """The embedded tokenizer's ids aren't bytes, so these are not what was sampled."""
        kept = ("id", "token_ids", "text", "finish_reason")
        return [Completion(**{name: getattr(each, name) for name in kept}, exact=False) for each in super().step()]


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


def _train(examples: Sequence[Example], problems: Mapping[str, Problem], **given: Any) -> dict[str, Any]:
    """Train the scripted model: its weights follow from what it starts from, the examples and the seed."""
    learned = hashlib.sha256(_weights_of(given["start"].model) + str(given["seed"]).encode())
    for each in examples:
        learned.update(to_line(each))

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(learned.digest())
        (folder / "config.json").write_text("{}")

    save_folder(write, given["out"])
    return {"examples": len(examples), "loss_first": 1.0, "loss_last": 0.5}


def _weights_of(model: str) -> bytes:
    return b"base" if model == "embedded" else (Path(model) / "weights.bin").read_bytes()


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

        def open_model(config: RunConfig, model: str, *, cache: Path, **unused: Any) -> ScriptedEngine:
            run = RunDir(cache.parent)
            files = [run.problems, run.heldout, *(run.path / "also").glob("*.jsonl")]
            answers = {each.id: each.answer for path in files for each in read_records(path, Problem)}
            return _Model(_weights_of(model), answers, order_seed=order, slots=slots)

        def chat(prompt: Any, model: str, cache: Path | None = None) -> Any:
            return _CHAT(prompt.template, "embedded")

        with contextlib.ExitStack() as stack:
            for place, value in (
                ("tpt.rounds.StageServer", _Stages),
                ("tpt.sampling.sample.open_engine", open_model),
                ("tpt.train.train", _train),
                ("tpt.run.manifest.versions", _VERSIONS),
                ("tomllib.loads", lambda text: copy.deepcopy(_TOML(text))),
                ("tempfile.tempdir", str(MEMORY)),
                *((f"{name}.open_chat", chat) for name in ("tpt.sampling.sample", "tpt.prune")),
                *((f"time.{name}", getattr(self.clock, name)) for name in ("sleep", "time", "monotonic")),
            ):
                stack.enter_context(mock.patch(place, value))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield

    def results(self) -> dict[str, bytes]:
        """Return what must be the same, byte for byte, however often the run was interrupted."""
        found = {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in self.path.rglob("*")
            if path.name in _RESULTS
        }
        return found | {"best": (self.path / "best").read_bytes()}

    def check_finished(self, wanted: Mapping[str, bytes]) -> None:
        """Raise AssertionError unless the run is finished, whole, and what an undisturbed one is."""
        got = self.results()
        assert got.keys() == wanted.keys(), sorted(got.keys() ^ wanted.keys())
        assert got == wanted, [name for name in wanted if got[name] != wanted[name]]
        ends = (".partial", ".replaced", ".coming")
        left = [path for path in self.path.rglob("*") if path.name.endswith(ends) and path.parent.name != "logs"]
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


@functools.cache
def undisturbed(setting: Setting) -> tuple[dict[str, bytes], tuple[Any, ...]]:
    """Return the results of a run that nothing disturbs, and the calls that it made."""
    world = fresh(setting, "undisturbed")
    ended, disk = world.attempt()
    assert not ended, ended
    results = world.results()
    world.check_finished(results)
    shutil.rmtree(world.path)
    return results, tuple(disk.log)


def fresh(setting: Setting, name: str = "world") -> World:
    """Return a world whose run is yet to begin."""
    path = MEMORY / f"tpt-{os.getpid()}" / name
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(exist_ok=True)
    return World(setting, path)
