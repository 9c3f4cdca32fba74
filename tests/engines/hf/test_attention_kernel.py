"""The compiled attention against the plain formula."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from tpt.engines.hf.cpu_kernel.attention import RowProgress, RowTable, attend
from tpt.engines.hf.cpu_kernel.threads import ThreadTeam

ROWS, PREFIX, PROMPT_BLOCKS, SLOTS = 5, 3, 2, 6
LENGTHS, ROW_BLOCKS, COUNTS = (4, 0, 6, 4, 6), (0, 0, 1, 0, 1), (7, 0, 3, 15, 1)


def random_blocks(heads: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return prefix, prompt blocks and decode blocks."""
    torch.manual_seed(0)
    shapes = [(2, 1, heads, PREFIX, width), (2, PROMPT_BLOCKS, heads, 8, width), (2, SLOTS, heads, 16, width)]
    return [torch.randn(shape).to(dtype) for shape in shapes]


def memory(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def compiled(
    queries: torch.Tensor, newest: torch.Tensor, blocks: list[torch.Tensor], first_seen: list[int], **terms: float
) -> torch.Tensor:
    threads = int(terms.pop("threads", 1))
    cuts = np.linspace(0, ROWS, threads + 1).astype(np.int64)
    table = RowTable(np.array([1, 0, 3, 2, 4]), cuts, np.array(ROW_BLOCKS), np.array(LENGTHS))
    mixed = attend(
        memory(queries),
        (memory(newest[0]), memory(newest[1])),
        tuple(map(memory, blocks)),
        table,
        RowProgress(np.array(LENGTHS) + PREFIX, np.array(COUNTS)),
        ThreadTeam(threads - 1),
        first_seen=np.array(first_seen),
        scaling=terms["scaling"],
        softcap=terms["softcap"],
    )
    return torch.from_numpy(mixed)


def by_formula(
    queries: torch.Tensor, newest: torch.Tensor, blocks: list[torch.Tensor], first_seen: list[int], **terms: float
) -> torch.Tensor:
    """Softmax over what a row sees, in float64."""
    prefix, prompt_blocks, decode_blocks = blocks
    rows = []
    for row in range(ROWS):
        parts = [
            prefix[:, 0],
            prompt_blocks[:, ROW_BLOCKS[row], :, : LENGTHS[row]],
            decode_blocks[:, row, :, : COUNTS[row]],
        ]
        keys, values = torch.cat([*parts, newest[:, row, :, None]], dim=2)[:, :, first_seen[row] :].double()
        scores = queries[row].double() @ keys.transpose(1, 2) * terms["scaling"]
        if terms["softcap"]:
            scores = terms["softcap"] * torch.tanh(scores / terms["softcap"])
        rows.append(torch.softmax(scores, -1) @ values)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("heads", "group", "width", "dtype"),
    [
        (3, 3, 64, torch.float32),
        (3, 3, 64, torch.bfloat16),
        (1, 8, 256, torch.bfloat16),
        (2, 1, 80, torch.float32),
        (4, 1, 8, torch.float32),
    ],
)
def test_is_softmax_attention(heads: int, group: int, width: int, dtype: torch.dtype) -> None:
    """Prefix, prompt blocks of several lengths, decode blocks and windows that begin in each of them."""
    blocks = random_blocks(heads, width, dtype)
    queries = torch.randn(ROWS, heads, group, width).to(dtype)
    newest = torch.randn(2, ROWS, heads, width).to(dtype)
    for first_seen, softcap in product(([0, 0, 0, 0, 0], [8, 3, 5, 20, 2]), (0.0, 2.0)):
        terms = {"scaling": 1 / math.sqrt(width), "softcap": softcap}
        expected = by_formula(queries, newest, blocks, first_seen, **terms)
        found = compiled(queries, newest, blocks, first_seen, **terms)
        assert (found - expected).abs().max() < 5e-6
        assert torch.equal(compiled(queries, newest, blocks, first_seen, threads=3, **terms), found)
    for row, count in enumerate(COUNTS):
        assert torch.equal(blocks[2][:, row, :, count], newest[:, row])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damage_is_not_hidden(bad: float) -> None:
    """A number that is none shows in the rows that see it, and in no others."""
    blocks = random_blocks(2, 16, torch.float32)
    blocks[1][0, 1, 0, 2, 5] = bad
    queries, newest = torch.ones(ROWS, 2, 1, 16), torch.randn(2, ROWS, 2, 16)
    found = compiled(queries, newest, blocks, [0] * ROWS, scaling=1.0, softcap=0.0)
    assert found.isnan().flatten(1).any(1).tolist() == [block == 1 for block in ROW_BLOCKS]


def test_scores_far_apart() -> None:
    """The weight of all but the best position underflows to nothing."""
    blocks = random_blocks(1, 16, torch.float32)
    newest = torch.full((2, ROWS, 1, 16), 50.0)
    found = compiled(torch.full((ROWS, 1, 1, 16), 50.0), newest, blocks, [0] * ROWS, scaling=1.0, softcap=0.0)
    assert torch.equal(found, torch.full((ROWS, 1, 1, 16), 50.0))
