"""Sorting on disk: the order of a stable sort in memory, in little memory, with nothing left behind."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.system.external_sort import Row, sorted_rows

ROWS = st.lists(st.tuples(st.text(max_size=4) | st.just("\ud800"), st.integers(0, 2**70), st.binary(max_size=20)))


@settings(deadline=None, max_examples=25)
@given(rows=ROWS, part_bytes=st.sampled_from([1, 600, 10**6]))
def test_rows_come_in_the_order_of_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], part_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("sort")
    assert list(sorted_rows(iter(rows), folder, part_bytes=part_bytes)) == sorted(rows, key=lambda row: row[:2])
    assert not list(folder.iterdir())


def test_rows_of_equal_keys_keep_their_order_across_parts(tmp_path: Path) -> None:
    rows = [("p", 0, str(number).encode()) for number in range(50)]
    assert list(sorted_rows(rows, tmp_path, part_bytes=1000)) == rows


def test_a_line_longer_than_a_part_is_sorted_too(tmp_path: Path) -> None:
    rows = [("b", 0, b"x" * 300_000), ("a", 1, b"y" * 300_000), ("a", 0, b"z")]
    assert [row[:2] for row in sorted_rows(rows, tmp_path, part_bytes=100)] == [("a", 0), ("a", 1), ("b", 0)]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    source = random.Random(0)

    def peak(count: int) -> int:
        rows = ((f"p{source.randrange(10**6)}", number, b"x" * 2000) for number in range(count))
        tracemalloc.start()
        assert sum(1 for _ in sorted_rows(rows, tmp_path, part_bytes=2**20)) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(3_000) < 4 * 2**20 < 3_000 * 2000
