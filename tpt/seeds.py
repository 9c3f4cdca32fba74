"""Every random choice of a run follows from its seed and from what the choice is about."""

from __future__ import annotations

import hashlib
import random


def seed_for(seed: int, *about: str | int) -> int:
    """Return a seed in [0, 2**63) for one choice, independent of every other choice."""
    text = "\0".join([str(seed), *map(str, about)])
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def shuffled(items: list[str], seed: int, *about: str | int) -> list[str]:
    """Return the items in a random order that does not depend on the order they came in."""
    order = sorted(items)
    random.Random(seed_for(seed, *about)).shuffle(order)
    return order
