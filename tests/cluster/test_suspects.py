"""Which replica gets which request, and how the one that replicas die of is found."""

from __future__ import annotations

import random

from ray_openers import requests

from tpt.cluster.suspects import Ledger


def ledger_of(count: int, replicas: int = 1) -> Ledger:
    ledger = Ledger()
    for request in requests(count):
        ledger.add(request)
    for replica in range(replicas):
        ledger.join(replica)
    return ledger


def test_a_replica_gets_what_it_has_room_for_and_no_request_twice() -> None:
    ledger = ledger_of(10, replicas=2)
    first, second = ledger.take(0, 4), ledger.take(1, 4)
    assert [request.id[0] for request in first + second] == [f"p{index}" for index in range(8)]
    assert ledger.take(0, 4) == []
    assert ledger.complete(0, first[0].id) and not ledger.complete(0, first[0].id)
    assert not ledger.complete(1, first[1].id), "it is another replica's"
    assert [request.id[0] for request in ledger.take(0, 4)] == ["p8"]
    assert len(ledger) == 9


def test_what_a_lost_machine_held_is_served_first_and_suspected_of_nothing() -> None:
    ledger = ledger_of(6, replicas=2)
    held = ledger.take(0, 4)
    assert ledger.lose(0, blame=False) is None
    assert ledger.take(1, 6)[:4] == held


def test_a_cancelled_request_is_forgotten_wherever_it_is() -> None:
    ledger = ledger_of(6, replicas=2)
    running, waiting = ledger.take(0, 2), requests(6)[4]
    ids = {running[1].id, waiting.id}
    assert ledger.cancel(ids) == {0: {running[1].id}}
    assert not ledger.complete(0, running[1].id)
    assert waiting.id not in ledger and len(ledger) == 4
    ledger.add(running[1])


def test_the_request_that_processes_die_of_is_found_and_no_other_is_accused() -> None:
    for seed in range(30):
        order = random.Random(seed)
        ledger = ledger_of(200, replicas=3)
        fatal = order.choice(requests(200)).id
        served, deaths, replicas, newest, guilty = 0, 0, [0, 1, 2], 2, None
        for _ in range(5000):
            replica = order.choice(replicas)
            held = {request.id for request in ledger.take(replica, 36)} | ledger._held[replica].keys()
            if fatal in held:
                guilty = ledger.lose(replica, blame=True)
                deaths, newest = deaths + 1, newest + 1
                replicas[replicas.index(replica)] = newest
                ledger.join(newest)
                if guilty:
                    break
            for key in order.sample(sorted(held - {fatal}), min(len(held - {fatal}), 5)):
                served += ledger.complete(replica, key)
        assert guilty is not None and guilty.id == fatal
        assert deaths == 3 and served < 200


def test_the_others_are_served_though_machines_are_lost_all_the_time() -> None:
    order = random.Random(5)
    ledger = ledger_of(300, replicas=3)
    done: set[tuple[str, int]] = set()
    replicas, newest = [0, 1, 2], 2
    while len(ledger):
        replica = order.choice(replicas)
        ledger.take(replica, 20)
        if order.random() < 0.2:
            assert ledger.lose(replica, blame=order.random() < 0.05) is None or ledger.holds(replica) == 1
            newest += 1
            replicas[replicas.index(replica)] = newest
            ledger.join(newest)
            continue
        held = sorted(ledger._held[replica])
        for key in order.sample(held, min(3, len(held))):
            assert ledger.complete(replica, key) and key not in done
            done.add(key)
    assert len(done) == 300
