"""Which worker gets which item, and how the one that workers die of is found."""

from __future__ import annotations

import random

import pytest

from tpt.cluster.judges import share
from tpt.cluster.suspects import MAX_CRASHES, SuspectQueue


def queue_of(count: int) -> SuspectQueue[int]:
    queue = SuspectQueue[int]()
    for item in range(count):
        queue.add(item)
    return queue


def test_a_worker_gets_what_it_has_room_for_and_no_item_twice() -> None:
    queue = queue_of(10)
    assert queue.take(0, 4) + queue.take(1, 4) == list(range(8))
    assert queue.take(0, 4) == []
    assert queue.complete(0, 0) and not queue.complete(0, 0)
    assert not queue.complete(1, 1), "it is another worker's"
    assert queue.take(0, 4) == [8]
    assert queue.held(0) == [1, 2, 3, 8] and queue.waiting == 1


def test_what_a_lost_machine_held_is_taken_first_and_suspected_of_nothing() -> None:
    queue = queue_of(6)
    held = queue.take(0, 4)
    assert queue.lose(0, blame=False) is None
    assert queue.take(1, 6) == [*held, 4, 5]


def test_a_cancelled_item_is_forgotten_wherever_it_is() -> None:
    queue = queue_of(6)
    queue.take(0, 2)
    queue.take(1, 2)
    assert queue.cancel({1, 4}) == {0: {1}}
    assert not queue.complete(0, 1)
    queue.add(1)
    assert queue.take(0, 6) == [5, 1]


@pytest.mark.parametrize("capacity", [1, 4, 36])
def test_the_item_that_processes_die_of_is_found_and_no_other_is_accused(capacity: int) -> None:
    for seed in range(30):
        order = random.Random(seed)
        queue, fatal = queue_of(200), order.randrange(200)
        completed, deaths, workers, newest, guilty = set[int](), 0, [0, 1, 2], 2, None
        for _ in range(5000):
            worker = order.choice(workers)
            queue.take(worker, capacity)
            held = queue.held(worker)
            if fatal in held:
                guilty = queue.lose(worker, blame=True)
                deaths, newest = deaths + 1, newest + 1
                workers[workers.index(worker)] = newest
                if guilty is not None:
                    assert held == [fatal], "the last one has nothing else to do"
                    break
                continue
            for item in order.sample(held, min(len(held), 5)):
                assert queue.complete(worker, item)
                completed.add(item)
        assert guilty == fatal and deaths == MAX_CRASHES and fatal not in completed


def test_the_others_are_done_though_machines_are_lost_all_the_time() -> None:
    order = random.Random(5)
    queue, done = queue_of(300), set[int]()
    workers, newest = [0, 1, 2], 2
    while len(done) < 300:
        worker = order.choice(workers)
        queue.take(worker, 20)
        held = queue.held(worker)
        if order.random() < 0.2:
            assert queue.lose(worker, blame=order.random() < 0.05) is None or len(held) == 1
            newest += 1
            workers[workers.index(worker)] = newest
            continue
        for item in order.sample(held, min(3, len(held))):
            assert queue.complete(worker, item) and item not in done
            done.add(item)


def test_shares_of_a_batch_shrink_so_that_all_nodes_end_together() -> None:
    queue, shares = queue_of(100), list[int]()
    while queue.waiting:
        shares.append(len(queue.take(0, len(queue.held(0)) + share(queue.waiting, 2, 6))))
    assert sum(shares) == 100 and shares[:2] == [18, 14] and shares == sorted(shares, reverse=True) and shares[-1] <= 2
    assert share(10_000, 4, 4) == 64
