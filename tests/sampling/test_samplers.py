"""The sampler: the same training sets as sampling everything, whatever order completions come back in."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.scoring.solve_rates import Rates
from tpt.seeds import shuffled

Marks = dict[tuple[str, int], int | None]
"""What each sample of each problem would be: equal marks are duplicates, None may not be kept."""


def drive(sampler: Sampler, marks: Marks, *, room: int, order: random.Random) -> None:
    """Answer the sampler's requests from a table, several in flight, finishing in a random order.

    Those that are not needed any more are dropped, but for one in three, which comes in before that can be done.
    """
    in_flight: list[tuple[str, int]] = []
    while not sampler.finished():
        in_flight += sampler.next_requests(room - len(in_flight))
        assert len(in_flight) <= room
        key = in_flight.pop(order.randrange(len(in_flight)))
        sampler.record(key, marks[key])
        needless = sampler.needless()
        assert needless <= set(in_flight)
        for key in sorted(needless):
            in_flight.remove(key)
            if order.randrange(3) == 0:
                sampler.record(key, marks[key])
            if sampler.finished():
                assert not sampler.belongs(key)


KNOWN = (Rates.of_mean(0.0), Rates.of_mean(0.3), Rates.of_mean(1.0), Rates(50.0, 50.0))
"""What may be thought of the solve rates before: too little, too much, whatever; it decides nothing."""


def chosen_by_until_full(
    marks: Marks,
    problems: list[str],
    *,
    samples: int,
    size: int,
    room: int,
    finishing: int,
    per_problem: int = 1,
    expected: Rates = KNOWN[1],
    first: tuple[int, int] = (0, 0),
) -> tuple[tuple[str, int], ...]:
    """Return what pruning takes of what was sampled: the first keepable traces of each problem, one of each mark."""
    asked: Marks = {}

    class Recording(UntilFull):
        def record(self, key: tuple[str, int], mark: int | None) -> None:
            assert key not in asked, "asked for twice"
            asked[key] = mark
            super().record(key, mark)

    sampler = Recording(problems, samples=samples, size=size, per_problem=per_problem, expected=expected, first=first)
    drive(sampler, marks, room=room, order=random.Random(finishing))
    return first_of({key: mark for key, mark in asked.items() if sampler.belongs(key)}, problems, size, per_problem)


def first_of(marks: Marks, order: list[str], size: int, per_problem: int) -> tuple[tuple[str, int], ...]:
    """Return the first different keepable samples of the first solved problems: ``prune.pick = "first"``."""
    chosen: list[tuple[str, int]] = []
    solved = 0
    for problem in order:
        seen: dict[int, tuple[str, int]] = {}
        for key in sorted(key for key in marks if key[0] == problem):
            mark = marks[key]
            if mark is not None:
                seen.setdefault(mark, key)
        solved += bool(seen)
        if seen and solved <= size:
            chosen += list(seen.values())[:per_problem]
    return tuple(sorted(chosen))


@pytest.mark.parametrize(("room", "expected"), [(4, KNOWN[1]), (16, KNOWN[0]), (16, KNOWN[2])])
@pytest.mark.parametrize("per_problem", [1, 2, 3])
def test_until_full_draws_the_distribution_of_sampling_everything_and_picking(
    per_problem: int, room: int, expected: Rates
) -> None:
    """Enumerate every outcome of 2 problems x 3 samples: both ways give each training set the same probability.

    With much room several samples of a problem are in flight at once, and of more problems than are needed. A sample is
    wrong, or one of two right texts; no two count as one, as with ``prune.dedupe = "none"``.
    """
    chances = {
        "a": {None: Fraction(1, 2), "short": Fraction(1, 8), "long": Fraction(3, 8)},
        "b": {None: Fraction(1, 3), "short": Fraction(1, 2), "long": Fraction(1, 6)},
    }
    samples, size = 3, 1
    keys = [(problem, sample) for problem in chances for sample in range(samples)]
    orders = list(itertools.permutations(chances))
    until_full: Counter[tuple[object, ...]] = Counter()
    everything: Counter[tuple[object, ...]] = Counter()
    for texts in itertools.product([None, "short", "long"], repeat=len(keys)):
        table = dict(zip(keys, texts, strict=True))
        chance = Fraction(1)
        for (problem, _), text in table.items():
            chance *= chances[problem][text]
        marks: Marks = {key: None if text is None else key[1] for key, text in table.items()}
        for order in orders:
            share = chance / len(orders)
            picked = chosen_by_until_full(
                marks,
                list(order),
                samples=samples,
                size=size,
                room=room,
                finishing=7,
                per_problem=per_problem,
                expected=expected,
            )
            until_full[tuple(sorted((problem, str(table[problem, sample])) for problem, sample in picked))] += share
            right = {problem: [table[problem, each] for each in range(samples)] for problem in order}
            kept = {problem: [text for text in texts if text] for problem, texts in right.items()}
            solved = [problem for problem in order if kept[problem]][:size]
            sets = [
                tuple(sorted((problem, text) for text in chosen))
                for problem in solved
                for chosen in itertools.combinations(kept[problem], min(per_problem, len(kept[problem])))
            ]
            for each in sets or [()]:
                everything[each] += share / max(1, len(sets))
    assert until_full == everything
    assert sum(until_full.values()) == 1


@given(
    st.integers(1, 6).flatmap(
        lambda problems: st.tuples(
            *[st.lists(st.sampled_from([None, 0, 1, 2]), min_size=4, max_size=4) for _ in range(problems)]
        )
    ),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 2, 5, 9, 40]),
    st.integers(0, 9),
    st.sampled_from(KNOWN),
    st.tuples(st.integers(0, 7), st.integers(0, 5)),
)
def test_until_full_takes_what_sampling_everything_and_picking_the_first_takes(
    drawn: tuple[list[int | None], ...],
    per_problem: int,
    size: int,
    room: int,
    finishing: int,
    expected: Rates,
    first: tuple[int, int],
) -> None:
    marks: Marks = {(f"p{at}", sample): row[sample] for at, row in enumerate(drawn) for sample in range(4)}
    order = [f"p{at}" for at in range(len(drawn))]
    taken = chosen_by_until_full(
        marks,
        order,
        samples=4,
        size=size,
        room=room,
        finishing=finishing,
        per_problem=per_problem,
        expected=expected,
        first=first,
    )
    assert taken == first_of(marks, order, size, per_problem)


@given(st.data())
def test_until_full_goes_on_from_any_samples_in_any_order(data: st.DataObject) -> None:
    """An interrupted attempt leaves samples on disk in the order that they came in, or with gaps where lines were torn."""
    order = ["a", "b", "c"]
    marks: Marks = {
        (problem, sample): data.draw(st.sampled_from([None, 0, 1])) for problem in order for sample in range(3)
    }
    left = data.draw(st.lists(st.sampled_from(sorted(marks)), unique=True))
    room, expected = data.draw(st.sampled_from([1, 2, 20])), data.draw(st.sampled_from(KNOWN))
    first = data.draw(st.sampled_from([(0, 0), (1, 3), (2, 2), (3, 1)]))
    sampler = UntilFull(order, samples=3, size=2, per_problem=2, expected=expected, first=first)
    sampler.restore([(key, marks[key]) for key in left])
    known = {key: marks[key] for key in left}
    while not sampler.finished():
        asked = sampler.next_requests(room)
        assert asked, "nothing in flight, and nothing asked for"
        for key in asked:
            assert key not in known, "asked for twice"
            known[key] = marks[key]
            sampler.record(key, marks[key])
            sampler.needless()
    belonging = {key: mark for key, mark in known.items() if sampler.belongs(key)}
    assert first_of(belonging, order, 2, 2) == first_of(marks, order, 2, 2)


@pytest.mark.parametrize("room", [1, 3, 16, 100])
def test_finishing_order_cannot_leak_into_the_selection(room: int) -> None:
    problems = [f"p{number}" for number in range(12)]
    source = random.Random(1)
    table: Marks = {
        (problem, sample): 0 if source.random() < 0.35 else None for problem in problems for sample in range(3)
    }
    picked = {
        chosen_by_until_full(table, problems, samples=3, size=5, room=room, finishing=finishing)
        for finishing in range(60)
    }
    assert len(picked) == 1
    assert picked == {chosen_by_until_full(table, problems, samples=3, size=5, room=1, finishing=0)}


def test_until_full_stops_at_the_first_solved_problems_and_never_asks_beyond_need() -> None:
    sampler = UntilFull(["a", "b", "c", "d"], samples=3, size=2, per_problem=1)
    assert sampler.next_requests(2) == [("a", 0), ("b", 0)], "sure to be needed"
    sampler.record(("b", 0), 0)
    # More likely than not a will be solved, and an engine of two slots has no idle ones to spend on guesses.
    assert sampler.next_requests(1) == []
    sampler.record(("a", 0), None)
    assert sampler.next_requests(1) == [("a", 1)]
    assert set(sampler.next_requests(40)) == {("a", 2), ("c", 0), ("c", 1), ("c", 2)}
    sampler.record(("c", 0), 0)
    # b and c would do, but a comes before them and may yet be solved; nothing behind c can be needed.
    assert not sampler.finished()
    assert (sampler.reached(), sampler.undecided()) == (2, 1)
    assert sampler.needless() == {("c", 1), ("c", 2)}
    assert sampler.next_requests(38) == []
    sampler.record(("a", 1), 0)
    assert sampler.finished()
    assert (sampler.needless(), sampler.undecided()) == ({("a", 2)}, 0)
    assert [sampler.belongs((problem, 0)) for problem in "abcd"] == [True, True, False, False]


def test_no_more_problems_are_opened_than_the_solve_rates_say_will_be_needed() -> None:
    """A set of 24 of 300 problems in 288 slots: by what is known before, then by what the round's own samples say."""

    def opened(rates: Rates, right: float) -> tuple[int, int]:
        sampler = UntilFull([f"p{n}" for n in range(300)], samples=4, size=24, per_problem=1, expected=rates)
        source = random.Random(3)
        in_flight = sampler.next_requests(288)
        first, problems = len({key[0] for key in in_flight}), {key[0] for key in in_flight}
        while not sampler.finished():
            key = in_flight.pop(source.randrange(len(in_flight)))
            sampler.record(key, 0 if random.Random(f"{key}").random() < right else None)
            gone = sampler.needless()
            in_flight = [each for each in in_flight if each not in gone]
            in_flight += sampler.next_requests(288 - len(in_flight))
            problems |= {key[0] for key in in_flight}
        return first, len(problems)

    often, rarely = (opened(Rates.of_mean(rate), rate) for rate in (0.9, 0.1))
    assert 24 <= often[0] <= often[1] < 40
    assert 50 < rarely[0] < 120
    # Wrongly believed to be hard or easy: too many at first, or more later.
    assert opened(Rates.of_mean(0.1), 0.9)[0] == rarely[0]
    mistaken = opened(Rates.of_mean(0.9), 0.1)
    assert mistaken[0] == often[0] and mistaken[1] > 2 * often[1]


def test_in_the_tail_idle_slots_try_what_is_still_needed_several_times_at_once() -> None:
    sampler = UntilFull(["a", "b"], samples=10, size=1, per_problem=1, expected=Rates.of_mean(0.1))
    sampler.restore([(("a", 0), None), (("b", 0), 0)])
    asked = sampler.next_requests(64)
    assert asked == [("a", sample) for sample in range(1, 10)]
    assert sampler.undecided() == 1
    sampler.record(("a", 7), 0)
    assert sampler.needless() == {("a", 8), ("a", 9)}
    sampler.record(("a", 2), 0)
    assert sampler.needless() == {("a", sample) for sample in (3, 4, 5, 6)}
    assert not sampler.finished(), "the first may be keepable too, and then it is taken"
    sampler.record(("a", 1), None)
    assert sampler.finished()
    assert [sampler.belongs(("a", sample)) for sample in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("slots", [8, 300, 1000])
def test_where_nothing_is_keepable_the_first_problems_are_tried_out_before_all_else(slots: int) -> None:
    """Whoever gives up after ten tries of 40 problems has paid for those and one wave of the slots, not for ten."""
    order = [f"p{n}" for n in range(3000)]
    sampler = UntilFull(order, samples=20, size=1000, per_problem=1, expected=Rates.of_mean(0.2), first=(40, 10))
    decides = {(problem, sample) for problem in order[:40] for sample in range(10)}
    in_flight, source, asked = sampler.next_requests(slots), random.Random(1), slots
    while decides:
        key = in_flight.pop(source.randrange(len(in_flight)))
        sampler.record(key, None)
        decides.discard(key)
        further = sampler.next_requests(slots - len(in_flight)) if decides else []
        in_flight += further
        asked += len(further)
    assert asked <= 400 + 40 + slots
    # If it does not give up, or something is to be kept at last, the others' turn comes.
    if slots > 8:
        assert {key[0] for key in sampler.next_requests(slots - len(in_flight))} - set(order[:40])


def test_a_sample_to_keep_ends_the_first_problems_precedence() -> None:
    sampler = UntilFull([f"p{n}" for n in range(100)], samples=4, size=50, per_problem=1, first=(10, 4))
    asked = sampler.next_requests(12)
    assert [sample for _, sample in asked] == [0] * 12
    for key in asked[:11]:
        sampler.record(key, None)
    assert {key[0] for key in sampler.next_requests(8)} <= {f"p{n}" for n in range(10)}
    sampler.record(asked[11], 0)
    assert ("p12", 0) in sampler.next_requests(40)


def test_until_full_ends_when_every_problem_is_used_up() -> None:
    sampler = UntilFull(["a", "b"], samples=2, size=None, per_problem=1)
    drive(sampler, {(p, s): None for p in "ab" for s in range(2)}, room=4, order=random.Random(0))
    assert sampler.finished()
    assert sampler.reached() == 0


def test_fixed_takes_every_sample_once() -> None:
    sampler = Fixed(["a", "b"], samples=3)
    asked = sampler.next_requests(100)
    assert asked == [(problem, sample) for problem in "ab" for sample in range(3)]
    assert sampler.next_requests(100) == []
    for key in asked:
        sampler.record(key, None)
    assert sampler.finished()


def test_the_problem_order_does_not_depend_on_the_order_given() -> None:
    assert shuffled(["a", "b", "c", "d"], 3, "x") == shuffled(["d", "c", "b", "a"], 3, "x")
    assert len({tuple(shuffled(list("abcd"), seed, "x")) for seed in range(200)}) == 24
