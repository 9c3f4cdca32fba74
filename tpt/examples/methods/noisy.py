"""A verifier that errs at known rates: what would its mistakes cost? Scores are taken with the true one.

Objective: that of the plain loop for a reward that is flipped: with solve rate p, a kept trace is right with the chance
p (1 - FN) / (p (1 - FN) + (1 - p) FP). A trace is flipped the same way every time it is looked at.

    [prune]
    keep = "noisy.py:keep"

The rates are read from TPT_FALSE_POSITIVES and TPT_FALSE_NEGATIVES.
"""

import hashlib
import os

from tpt import Outcome, Problem, Trace, Verdict


def keep(problem: Problem, trace: Trace, verdict: Verdict) -> bool:
    right = verdict.outcome is Outcome.CORRECT and verdict.strict
    rate = os.environ.get("TPT_FALSE_NEGATIVES" if right else "TPT_FALSE_POSITIVES", "0")
    digest = hashlib.sha256(f"{problem.id}\0{trace.sample}\0{trace.seed}".encode()).digest()
    flipped = int.from_bytes(digest[:8], "big") / 2**64 < float(rate)
    return right != flipped
