"""Keeps a run on its store while it is being written: the lease, the upload of what is finished and of what is under way."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from tpt.config import load_config
from tpt.errors import RunError, RunLockedError
from tpt.run.directory import RoundDir, RunDir
from tpt.start_model import start_round_of
from tpt.store.lease import Lease
from tpt.store.parts import Parts, prefix_of
from tpt.store.place import Timing, bound_to
from tpt.store.sync import Copy


class Keeper(Protocol):
    """What a run tells of its progress."""

    def prepared(self) -> None:
        """The run directory is made."""

    def stop_by(self, stop: Callable[[], None]) -> None:
        """``stop``, called in another thread, ends the stage under way; without it, the main thread is interrupted."""

    def before(self, stage: str, place: RoundDir) -> None:
        """A stage is about to begin."""

    def after(self, stage: str, place: RoundDir) -> None:
        """A stage is finished."""

    def recorded(self, place: RoundDir) -> None:
        """A round's record is written."""


class _NoStore:
    """A run that is on this machine's file systems alone."""

    def prepared(self) -> None: ...

    def stop_by(self, stop: Callable[[], None]) -> None: ...

    def before(self, stage: str, place: RoundDir) -> None: ...

    def after(self, stage: str, place: RoundDir) -> None: ...

    def recorded(self, place: RoundDir) -> None: ...


class _OnStore:
    def __init__(self, copy: Copy, lease: Lease, timing: Timing) -> None:
        self.lost: RunLockedError | None = None
        """What to tell once another process has taken over."""
        self._copy = copy
        self._lease = lease
        self._timing = timing
        self._stop: Callable[[], None] = _interrupt
        self._pulled = False
        self._parts: tuple[Parts, Parts] | None = None
        self._busy = threading.Lock()
        """Held while parts are uploaded."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> None:
        try:
            self._lease.take()
        except BaseException:
            self._copy.store.hurry()
            with contextlib.suppress(RunError):
                self._lease.give_back()
            raise
        self._thread.start()

    def pull(self) -> None:
        self._copy.pull()
        self._pulled = True

    def prepared(self) -> None:
        self._copy.push_frozen()

    def stop_by(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def before(self, stage: str, place: RoundDir) -> None:
        self._check()
        if place.manifest(stage).exists():
            return
        if (model := _model_read(self._copy.run, place, stage)) is not None:
            self._copy.bring_checkpoint(model)
        if stage in ("think", "evaluate"):
            there = self._copy.store.list()
            folder, prefix = (place.evaluate if stage == "evaluate" else place.path), prefix_of(place, stage)
            names = ("traces.jsonl", "verdicts.jsonl")
            traces, verdicts = (Parts(self._copy.store, folder / name, f"{prefix}/{name}", there) for name in names)
            with self._busy:
                self._parts = (traces, verdicts)

    def after(self, stage: str, place: RoundDir) -> None:
        self._end_parts()
        self._check()
        if not self._copy.has_stage(place, stage):
            self._copy.push_stage(place, stage, check=self._check)

    def recorded(self, place: RoundDir) -> None:
        self._check()
        self._copy.push_files([place.record, self._copy.run.best, self._copy.run.logs / "events.jsonl"])

    def stop(self, *, finished: bool) -> None:
        self._ended.set()
        if not finished:
            self._copy.store.hurry()
        self._thread.join()
        try:
            if self.lost is None:
                if self._pulled:
                    self._upload()
                    self._copy.push_files([self._copy.run.logs / "events.jsonl"])
                self._lease.give_back()
        except RunError as error:
            # What ended the run is the error to report.
            if finished:
                raise
            print(error, file=sys.stderr)
        finally:
            self._end_parts()

    def _check(self) -> None:
        if self.lost is None:
            try:
                self._lease.check()
            except RunLockedError as error:
                self.lost = error
        if self.lost is not None:
            raise self.lost

    def _keep(self) -> None:
        while not self._ended.wait(self._timing.tick_s):
            try:
                self._lease.renew()
                self._upload()
            except RunLockedError as error:
                self.lost = error
                if not self._ended.is_set():
                    self._stop()
                return
            except RunError as error:
                print(error, file=sys.stderr)

    def _upload(self) -> None:
        """Upload what was appended; RunLockedError when another process took over while there was much of it."""
        with self._busy:
            if self._parts is None:
                return
            traces, verdicts = self._parts
            # Measured in this order, every verdict's trace is among the traces.
            judged = verdicts.end()
            for parts, end in ((traces, traces.end()), (verdicts, judged)):
                while parts.upload(end):
                    self._lease.renew()

    def _end_parts(self) -> None:
        with self._busy:
            for each in self._parts or ():
                each.close()
            self._parts = None


@contextlib.contextmanager
def keeping(run: RunDir) -> Iterator[Keeper]:
    """Keep a run on its store, if it has one, while it is being written; the run's lock must be held.

    Raises:
        RunLockedError: another machine is writing this run, or took over.
        RunError: the store cannot be read or written.
    """
    bound = bound_to(run.path)
    if bound is None:
        yield _NoStore()
        return
    timing = Timing.read()
    store = bound.open(timing)
    keeper = _OnStore(Copy(run, store), Lease(store, bound.copy_id, timing.lease_s, timing.settle_s), timing)
    print(f"{store.url}: working copy at {run.path}", file=sys.stderr)
    keeper.take()
    try:
        try:
            # Bringing a large run takes longer than a lease counts, so the lease is renewed meanwhile.
            keeper.pull()
            yield keeper
        except BaseException:
            keeper.stop(finished=False)
            raise
        keeper.stop(finished=True)
    except (RunError, KeyboardInterrupt):
        # Of a stage that was ended because of it, the error says less.
        if keeper.lost is None:
            raise
        raise keeper.lost from None


def _interrupt() -> None:
    main = threading.main_thread().ident
    if main is not None:
        # As Ctrl-C does; a flag alone would be seen only when a call that waits comes back.
        signal.pthread_kill(main, signal.SIGINT)


def _model_read(run: RunDir, place: RoundDir, stage: str) -> RoundDir | None:
    """Return the round whose checkpoint a stage reads; None when it needs the base model alone."""
    if stage != "evaluate" and place.index < 1:
        return None
    index = place.index if stage == "evaluate" else start_round_of(run, place, load_config(run.config))
    return run.round(index) if index else None
