"""The lease under contention: processes and threads that want it at the same moment, on a real S3 server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from s3_control import Server

from tpt.errors import RunError, RunLockedError
from tpt.store.lease import Lease
from tpt.store.objects import ChangedError, Store, open_store

if TYPE_CHECKING:
    from obstore import ObjectMeta

URL = "s3://runs/tests/run"
TRIES = 20


@pytest.fixture
def store(server: Server) -> Store:
    return open_store(URL, patience_s=5)


def leases(count: int, expires_s: float) -> list[Lease]:
    return [Lease(open_store(URL, patience_s=5), f"copy {index}", expires_s) for index in range(count)]


def at_once(*calls: Callable[[], object]) -> list[bool]:
    """Make the calls at the same moment; return which were not refused."""
    allowed, start = [False] * len(calls), threading.Barrier(len(calls))

    def attempt(index: int) -> None:
        start.wait()
        try:
            calls[index]()
            allowed[index] = True
        except RunLockedError:
            pass

    threads = [threading.Thread(target=attempt, args=(index,)) for index in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return allowed


def holders(several: list[Lease]) -> list[bool]:
    found = []
    for each in several:
        try:
            each.check()
            found.append(True)
        except RunLockedError:
            found.append(False)
    return found


def test_of_processes_that_begin_at_once_one_holds_it(server: Server, store: Store) -> None:
    command = [sys.executable, str(Path(__file__).parent / "contend.py"), URL, str(TRIES)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen([*command, str(n)], stdin=pipe, stdout=pipe, text=True) for n in range(2)]
    for process in processes:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
    for _ in range(TRIES):
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in processes if process.stdout]
        assert sorted(said) == ["refused\n", "taken\n"]
        store.put("lease.json", b"{}")
    assert [process.communicate()[0] for process in processes] == ["", ""]


@pytest.mark.parametrize("before", ["none", "given back", "expired"])
def test_of_threads_that_claim_at_once_one_holds_it(server: Server, store: Store, before: str) -> None:
    for _ in range(TRIES // 4):
        store.delete("lease.json")
        if before != "none":
            dead = Lease(store, "dead", expires_s=0.1)
            dead.take()
            if before == "given back":
                dead.give_back()
            else:
                time.sleep(1.1)
        several = leases(4, expires_s=60)
        taken = at_once(*(each.take for each in several))
        assert sum(taken) == 1 and holders(several) == taken


def test_a_late_renewal_and_a_takeover_exclude_each_other(server: Server, store: Store) -> None:
    """Who slept past the end of its lease may wake at the very moment at which another takes it."""
    outcomes = set()
    for attempt in range(TRIES):
        store.delete("lease.json")
        sleeper, heir = leases(2, expires_s=60)
        sleeper.take()
        # To the heir, this version has expired.
        _, expired = store.read("lease.json")

        def take_over(
            heir: Lease = heir, expired: ObjectMeta = expired, after_s: float = 0.1 * attempt / TRIES
        ) -> None:
            time.sleep(after_s)
            try:
                heir.store.swap("lease.json", heir._claim(), expired)
            except ChangedError:
                raise RunLockedError("renewed meanwhile") from None

        renewed, taken = at_once(sleeper.renew, take_over)
        assert renewed != taken and holders([sleeper, heir]) == [renewed, taken]
        outcomes.add(taken)
    assert outcomes == {True, False}


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_a_store_without_conditions_is_refused(server: Server, how: str) -> None:
    server.faults(unconditional=how)
    with pytest.raises(RunError, match=r"the store does not write on the condition .* Use a store that does"):
        Lease(open_store(URL, patience_s=2), "copy", 60).take()
    assert open_store(URL, patience_s=5).list() == {}


def test_a_claim_whose_answer_was_lost_is_known_again(server: Server, store: Store) -> None:
    lease = Lease(store, "copy", 60)
    lease.take()
    _, before = store.read("lease.json")
    lease.renew()
    # As if the answer to that renewal had not come: what it replaced is gone, and what is there is its own.
    with pytest.raises(ChangedError):
        store.swap("lease.json", lease._claim(), before)
    lease.renew()
    lease.give_back()
    assert store.get("lease.json") == b"{}"
