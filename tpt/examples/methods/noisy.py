"""A verifier that errs at a known rate: what would its mistakes cost? Scores are taken with the true one.

Objective: that of the plain loop for a reward that is flipped: with solve rate p, a kept trace is right with the chance
p (1 - FN) / (p (1 - FN) + (1 - p) FP). A trace is flipped the same way every time it is looked at.

    [prune]
    keep = "noisy.py:fp_10"

fp_10 takes 10 % of the wrong traces for right, fn_10 misses 10 % of the right ones; there are 1, 3, 10 and 30.
"""

import hashlib
from collections.abc import Callable

from tpt import Outcome, Problem, Trace, Verdict

Keep = Callable[[Problem, Trace, Verdict], bool]


def _errs(false_positives: float, false_negatives: float) -> Keep:
    def keep(problem: Problem, trace: Trace, verdict: Verdict) -> bool:
        right = verdict.outcome is Outcome.CORRECT and verdict.strict
        digest = hashlib.sha256(f"{problem.id}\0{trace.sample}\0{trace.seed}".encode()).digest()
        drawn = int.from_bytes(digest[:8], "big") / 2**64
        return right != (drawn < (false_negatives if right else false_positives))

    return keep


fp_1, fp_3, fp_10, fp_30 = (_errs(rate, 0.0) for rate in (0.01, 0.03, 0.1, 0.3))
fn_1, fn_3, fn_10, fn_30 = (_errs(0.0, rate) for rate in (0.01, 0.03, 0.1, 0.3))
