"""Worker processes with limits of processor time and memory, for verifiers that can hang or blow up.

A worker that exceeds a limit is killed from outside, its whole process group with it, and replaced; the items beside
it go on. There are no alarms and no threads, so it works from any thread, and workers are programs of their own
(never forks of this process), so it works whatever this process has open and whether or not its main module is
guarded. The workers end when this process does, however it ends.

A verdict does not depend on what else the machine does: the time limit is one of processor time (clock.py), and an item that
passes it on a busy machine is tried once more when all others are done, alone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tpt.config import VerifyConfig
from tpt.errors import VerifierError
from tpt.system import child_python
from tpt.verifiers.pool.call import PoolResult
from tpt.verifiers.pool.clock import ItemClock

START_LIMIT_S = 120.0
"""A worker that is not ready by then is a failure; imports can be slow on a busy machine."""
_CHUNK = 1 << 16
_LONGEST_ANSWER = 1 << 24
"""Bytes; a verifier that returns more is broken."""


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    outgoing: bytes = b""
    incoming: bytes = b""
    child: int | None = None
    """Process id of the judging child; None until it has said hello."""
    item: int | None = None
    clock: ItemClock | None = None
    """Runs from the moment at which the child has read the whole request."""
    deadline: float = 0.0
    """When to look at the clock, or to give up waiting where there is none."""
    request: int = -1


@dataclass(slots=True)
class _Batch:
    items: Sequence[Sequence[Any]]
    waiting: deque[int]
    results: dict[int, PoolResult] = field(default_factory=dict)
    again: set[int] = field(default_factory=set)
    """Items that ran out of time on a busy machine, to be tried once more."""
    last_try: bool = False


class Pool:
    """Workers that each call one function of this package with arguments that JSON can carry."""

    def __init__(self, target: str, limits: VerifyConfig, *, warm_up: str = "") -> None:
        """Describe the workers; they start when there is something to do.

        Args:
            target: ``module:function`` of this package.
            limits: processor time and memory of an item, and how many are worked on at once.
            warm_up: handed to the module's ``warm_up`` once in every worker, outside the time limit of the items.
        """
        self._target = target
        self._warm_up = warm_up
        self._limits = limits
        self._size = limits.workers or os.cpu_count() or 1
        self._workers: list[_Worker] = []
        self._requests = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def map(self, items: Sequence[Sequence[Any]]) -> list[PoolResult]:
        """Call the function once for each tuple of arguments; results come in the order of the items.

        Raises:
            VerifierError: the workers cannot start, or ``warm_up`` failed.
        """
        if not items:
            return []
        with self._lock:
            self._leave_to_parent()
            batch = _Batch(items, deque(range(len(items))))
            for worker in self._workers:
                worker.deadline = time.monotonic() + START_LIMIT_S
            try:
                while len(self._workers) < min(self._size, len(items)):
                    self._workers.append(self._start())
                while len(batch.results) < len(items):
                    self._turn(batch)
                for index in sorted(batch.again):
                    self._try_alone(index, batch)
            except BaseException:
                # Half-done items would answer into the next batch.
                self._end()
                raise
            return [batch.results[index] for index in range(len(items))]

    def _try_alone(self, index: int, batch: _Batch) -> None:
        del batch.results[index]
        batch.last_try = True
        batch.waiting.append(index)
        while index not in batch.results:
            self._turn(batch)

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            self._leave_to_parent()
            self._end()

    def child_pids(self) -> list[int]:
        """Return the process ids of the judging children that are ready."""
        return [worker.child for worker in self._workers if worker.child is not None]

    def _turn(self, batch: _Batch) -> None:
        """Hand out what can be handed out, wait for the next event, and take in what came."""
        for worker in self._workers:
            if worker.item is None and worker.child is not None and batch.waiting:
                self._hand_out(worker, batch)
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                assert worker.process.stdin is not None and worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
                if worker.outgoing:
                    selector.register(worker.process.stdin, selectors.EVENT_WRITE, worker)
            busy = [worker.deadline for worker in self._workers if worker.item is not None or worker.child is None]
            wait = max(0.0, min(busy, default=0.0) - time.monotonic())
            for key, event in selector.select(wait):
                if event & selectors.EVENT_WRITE:
                    _write(key.data)
                else:
                    self._read(key.data, batch)
        now = time.monotonic()
        for worker in list(self._workers):
            idle = worker.child is not None and worker.item is None
            if idle or now <= worker.deadline:
                continue
            if worker.child is None or worker.clock is None:
                raise VerifierError(f"the verifier {self._name()} was not ready after {START_LIMIT_S:.0f} s")
            passed = worker.clock.passed()
            if not passed:
                worker.deadline = worker.clock.next_look()
                continue
            if worker.item is not None and not batch.last_try and worker.clock.on_busy_machine():
                batch.again.add(worker.item)
            self._finish(worker, batch, PoolResult(problem="timeout", detail=passed))
            _kill_child(worker)

    def _hand_out(self, worker: _Worker, batch: _Batch) -> None:
        worker.item = batch.waiting.popleft()
        self._requests += 1
        worker.request = self._requests
        request = {"id": worker.request, "args": batch.items[worker.item]}
        worker.outgoing += json.dumps(request).encode() + b"\n"
        worker.clock = None
        worker.deadline = time.monotonic() + START_LIMIT_S
        _write(worker)

    def _read(self, worker: _Worker, batch: _Batch) -> None:
        assert worker.process.stdout is not None
        received = os.read(worker.process.stdout.fileno(), _CHUNK)
        if not received:
            self._replace(worker, batch)
            return
        worker.incoming += received
        *lines, worker.incoming = worker.incoming.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                self._take(worker, batch, json.loads(line))
        if len(worker.incoming) > _LONGEST_ANSWER:
            self._finish(worker, batch, PoolResult(problem="memory", detail="the verifier's answer is too large"))
            _kill_child(worker)

    def _take(self, worker: _Worker, batch: _Batch, answer: dict[str, Any]) -> None:
        if "hello" in answer:
            if answer["failed"]:
                raise VerifierError(f"the verifier {self._name()} cannot be used:\n{answer['failed']}")
            if worker.item is not None:
                # A child that died by itself has been replaced by the worker.
                self._finish(worker, batch, PoolResult(problem="died", detail="the verifier's process died"))
            worker.child = answer["hello"]
        elif answer.get("id") == worker.request and worker.item is not None:
            if "began" in answer:
                assert worker.child is not None
                worker.clock = ItemClock.start(worker.child, self._limits.timeout_s)
                worker.deadline = worker.clock.next_look()
            elif answer.get("memory"):
                detail = f"memory limit of {self._limits.memory_mb} MB"
                self._finish(worker, batch, PoolResult(problem="memory", detail=detail))
                _kill_child(worker)
            elif "error" in answer:
                self._finish(worker, batch, PoolResult(problem="error", detail=answer["error"]))
            else:
                self._finish(worker, batch, PoolResult(value=answer["value"]))

    def _finish(self, worker: _Worker, batch: _Batch, result: PoolResult) -> None:
        if worker.item is not None:
            batch.results[worker.item] = result
            worker.item = None

    def _replace(self, worker: _Worker, batch: _Batch) -> None:
        """Start a worker instead of one that ended as a whole."""
        self._workers.remove(worker)
        started = worker.child is not None
        _end_worker(worker)
        if not started:
            raise VerifierError(
                f"the verifier {self._name()}: its process ended with exit code {worker.process.returncode} while it "
                "started; see the messages above"
            )
        self._finish(worker, batch, PoolResult(problem="died", detail="the verifier's process died"))
        self._workers.append(self._start())

    def _start(self) -> _Worker:
        # The workers start no thread pools of their own.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            child_python.command("tpt.verifiers.pool.worker", self._target, self._warm_up, str(self._limits.memory_mb)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return _Worker(process, deadline=time.monotonic() + START_LIMIT_S)

    def _name(self) -> str:
        return self._warm_up or self._target

    def _end(self) -> None:
        for worker in self._workers:
            _end_worker(worker)
        self._workers.clear()

    def _leave_to_parent(self) -> None:
        """In a fork of the process that started the workers: let go of them."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for worker in self._workers:
                _close_pipes(worker)
                worker.process.returncode = 0  # not ours to wait for
            self._workers.clear()


def pool_for(target: str, limits: VerifyConfig, *, warm_up: str = "") -> Pool:
    """Return the process-wide pool of a function; its workers stay warm until this process ends."""
    with _POOLS_LOCK:
        key = (target, limits, warm_up)
        if key not in _POOLS:
            _POOLS[key] = Pool(target, limits, warm_up=warm_up)
        return _POOLS[key]


def close_pools() -> None:
    """End the workers of every process-wide pool."""
    for pool in list(_POOLS.values()):
        pool.close()


_POOLS: dict[tuple[str, VerifyConfig, str], Pool] = {}
_POOLS_LOCK = threading.Lock()
atexit.register(close_pools)


def _write(worker: _Worker) -> None:
    assert worker.process.stdin is not None
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        written = os.write(worker.process.stdin.fileno(), worker.outgoing)
        worker.outgoing = worker.outgoing[written:]
        return
    if worker.process.poll() is not None:
        worker.outgoing = b""


def _kill_child(worker: _Worker) -> None:
    """Kill the judging child and everything it started; the worker forks another."""
    if worker.child is not None:
        _kill_group(worker.child)
    worker.child = None
    worker.deadline = time.monotonic() + START_LIMIT_S


def _end_worker(worker: _Worker) -> None:
    child = worker.child
    _close_pipes(worker)
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.process.wait(timeout=0.2)
    if child is not None and worker.process.returncode is None:
        _kill_group(child)
    if worker.process.returncode is None:
        _kill_group(worker.process.pid)
    worker.process.wait()


def _close_pipes(worker: _Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        if pipe is not None:
            pipe.close()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
