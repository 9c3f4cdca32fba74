"""Syncs a run with its store while it is being written: the lease, the upload of what is finished and of what is under way."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from tpt.config import load_config
from tpt.errors import RunError, RunLockedError
from tpt.run.directory import RoundDir, RunDir
from tpt.start_model import start_round_of
from tpt.store.binding import Timing, bound_to
from tpt.store.lease import Lease
from tpt.store.part_uploads import PartUploads, sampled_into, samples, scores
from tpt.store.working_copy import WorkingCopy


class StoreSync:
    """What a run tells of its progress; by itself it does nothing, for runs on this machine's file systems alone."""

    def prepared(self) -> None:
        """Hear that the run directory is made."""

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Take ``stop``, to be called in another thread to end the stage; without it, the main thread is interrupted."""

    def before(self, stage: str, round_dir: RoundDir) -> None:
        """Hear that a stage is about to begin."""

    def after(self, stage: str, round_dir: RoundDir) -> None:
        """Hear that a stage is finished."""

    def recorded(self, round_dir: RoundDir) -> None:
        """Hear that a round's record is written."""


class _OnStore(StoreSync):
    def __init__(self, copy: WorkingCopy, lease: Lease, timing: Timing) -> None:
        self.lost: RunLockedError | None = None
        """What to tell once another process has taken over."""
        self._copy = copy
        self._lease = lease
        self._timing = timing
        self._stop: Callable[[], None] = _interrupt
        self._downloaded = False
        self._parts: tuple[PartUploads, PartUploads] | None = None
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

    def download(self) -> None:
        self._copy.download()
        self._downloaded = True

    def prepared(self) -> None:
        self._copy.upload_frozen()

    def stop_by(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def before(self, stage: str, round_dir: RoundDir) -> None:
        self._check()
        if round_dir.manifest(stage).exists():
            return
        if (model := _model_read(self._copy.run, round_dir, stage)) is not None:
            self._copy.download_checkpoint(model)
        if samples(stage):
            there = self._copy.store.list()
            paths = (sampled_into(round_dir, stage) / name for name in ("traces.jsonl", "verdicts.jsonl"))
            traces, verdicts = (PartUploads(self._copy.store, path, self._copy.name(path), there) for path in paths)
            with self._busy:
                self._parts = (traces, verdicts)

    def after(self, stage: str, round_dir: RoundDir) -> None:
        self._end_parts()
        self._check()
        if not self._copy.has_stage(round_dir, stage):
            self._copy.upload_stage(round_dir, stage, check=self._check)

    def recorded(self, round_dir: RoundDir) -> None:
        self._check()
        self._copy.upload_files([round_dir.record, self._copy.run.best, self._copy.run.events, self._copy.run.log])

    def stop(self, *, finished: bool) -> None:
        self._ended.set()
        if not finished:
            self._copy.store.hurry()
        self._thread.join()
        try:
            if self.lost is None:
                if self._downloaded:
                    self._upload()
                    self._copy.upload_files([self._copy.run.events, self._copy.run.log])
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
                if self._ended.is_set():
                    return
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
def synced(run: RunDir) -> Iterator[StoreSync]:
    """Sync a run with its store, if it has one, while it is being written; the run's lock must be held.

    Raises:
        RunLockedError: another machine is writing this run, or took over.
        RunError: the store cannot be read or written.
    """
    bound = bound_to(run.path)
    if bound is None:
        yield StoreSync()
        return
    timing = Timing.read()
    store = bound.open(timing)
    sync = _OnStore(WorkingCopy(run, store), Lease(store, bound.copy_id, timing.lease_s), timing)
    print(f"{store.url}: working copy at {run.path}", file=sys.stderr)
    sync.take()
    try:
        try:
            # Downloading a large run takes longer than a lease counts, so the lease is renewed meanwhile.
            sync.download()
            yield sync
        except BaseException:
            sync.stop(finished=False)
            raise
        sync.stop(finished=True)
    except (RunError, KeyboardInterrupt):
        # Of a stage that was ended because of it, the error says less.
        if sync.lost is None:
            raise
        raise sync.lost from None


def _interrupt() -> None:
    main = threading.main_thread().ident
    if main is not None:
        # As Ctrl-C does; a flag alone would be seen only when a call that waits comes back.
        signal.pthread_kill(main, signal.SIGINT)


def _model_read(run: RunDir, round_dir: RoundDir, stage: str) -> RoundDir | None:
    """Return the round whose checkpoint a stage reads; None when it needs the base model alone."""
    if not scores(stage) and round_dir.index < 1:
        return None
    index = round_dir.index if scores(stage) else start_round_of(run, round_dir, load_config(run.config))
    return run.round(index) if index else None
