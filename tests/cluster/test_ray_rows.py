"""Which node gets which rows of a batch, and how the one that processes die of is found."""

from __future__ import annotations

import random

from tpt.cluster.suspects import STRIKES, Rows


def test_every_row_is_given_out_once_in_shares_that_shrink() -> None:
    rows = Rows(100)
    shares = []
    while given := rows.take(2, 6, idle=False):
        shares.append(given)
    assert [row for share in shares for row in share] == list(range(100))
    assert [len(share) for share in shares[:2]] == [18, 14] and len(shares[-1]) <= 2
    assert len(Rows(10_000).take(4, 4, idle=True)) == 64


def test_what_a_lost_machine_held_comes_next_and_is_suspected_of_nothing() -> None:
    rows = Rows(40)
    held = rows.take(1, 2, idle=True)
    assert rows.lose(held, blame=False) is None
    assert rows.take(1, 2, idle=False) == held
    assert not any(map(rows.is_suspect, held))


def test_the_row_that_processes_die_of_is_found_and_no_other_is_accused() -> None:
    for seed in range(30):
        order = random.Random(seed)
        fatal, deaths, done = order.randrange(60), 0, set[int]()
        rows = Rows(60)
        while given := rows.take(2, 4, idle=order.random() < 0.7) or rows.take(2, 4, idle=True):
            if fatal not in given:
                done |= set(given)
                continue
            deaths += 1
            if (guilty := rows.lose(given, blame=True)) is not None:
                assert guilty == fatal and deaths == STRIKES and given == [fatal]
                break
            assert all(map(rows.is_suspect, given))
        assert deaths == STRIKES and fatal not in done


def test_a_batch_is_judged_though_machines_are_lost_all_the_time() -> None:
    order = random.Random(3)
    rows, done = Rows(300), list[int]()
    while given := rows.take(3, 6, idle=order.random() < 0.5) or rows.take(3, 6, idle=True):
        if order.random() < 0.3:
            assert rows.lose(given, blame=order.random() < 0.05) is None
        else:
            done += given
    assert sorted(done) == list(range(300))
