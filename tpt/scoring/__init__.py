"""What may be concluded from scores: estimates, paired comparisons, and how many distinct solutions there are.

Problems are the unit everywhere. The samples of one problem are not independent evidence about a model, so a standard
error is taken over problems, and rounds are compared problem by problem.
"""

from __future__ import annotations

from tpt.scoring.estimates import (
    FloatArray,
    IntArray,
    answer_entropy,
    crossing_k,
    maj_at_k,
    mean_and_stderr,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_values,
    rarefied,
)
from tpt.scoring.paired_tests import (
    bootstrap_means,
    holm,
    minimal_detectable_difference,
    sign_flip_p,
    split_gains,
    wilson,
)

__all__ = [
    "FloatArray",
    "IntArray",
    "answer_entropy",
    "bootstrap_means",
    "crossing_k",
    "holm",
    "maj_at_k",
    "mean_and_stderr",
    "minimal_detectable_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_values",
    "rarefied",
    "sign_flip_p",
    "split_gains",
    "wilson",
]
