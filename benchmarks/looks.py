"""People who look again and again at the same held-out problems, until a look is good: how many claim a gain that is not there.

    python benchmarks/looks.py [--analysts 1000] [--looks 20]

Every model is as good as the base model, with a change of its own on every problem; the test is the product's own. Prints
Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np
from significance_words import World, models

from tpt.evidence.looks import any_time_p
from tpt.scoring.paired_tests import sign_flip_p

LEVEL = 0.05
DRAWS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--analysts", type=int, default=1000)
    parser.add_argument("--looks", type=int, default=20)
    given = parser.parse_args()
    rng, world = np.random.default_rng(7), World(problems=200)
    naive, careful = np.zeros(given.looks), np.zeros(given.looks)
    for analyst in range(given.analysts):
        base, *later = models(world, rng, [0.0] * (given.looks + 1))
        before = base.strict / base.samples
        changes = np.stack([each.strict / each.samples - before for each in later], axis=1)
        p_values = sign_flip_p(changes, draws=DRAWS, seed=analyst)
        gains = changes.mean(axis=0) > 0
        for total, wanted in ((naive, p_values), (careful, [any_time_p(p, k + 1) for k, p in enumerate(p_values)])):
            good = np.flatnonzero(gains & (np.asarray(wanted) <= LEVEL))
            if len(good):
                total[good[0] :] += 1
    print(f"| looks | claim a gain by p <= {LEVEL} | by the p-value for any time |\n|---:|---:|---:|")
    for look in sorted({1, 2, 5, 10, given.looks} & set(range(1, given.looks + 1))):
        print(f"| {look} | {naive[look - 1] / given.analysts:.1%} | {careful[look - 1] / given.analysts:.1%} |")


if __name__ == "__main__":
    main()
