"""What may be concluded from scores: estimates, paired comparisons, and how many distinct solutions there are.

Problems are the unit everywhere. The samples of one problem are not independent evidence about a model, so a standard
error is taken over problems, and rounds are compared problem by problem.
"""

from __future__ import annotations

from tpt.scoring.estimates import (
    FloatArray,
    IntArray,
    answer_entropy,
    cluster_sums,
    crossing_k,
    maj_at_k,
    mean_and_stderr,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_values,
    rarefied,
    stderr_over,
    wilson,
)
from tpt.scoring.paired_tests import (
    SignFlips,
    expected_detectable,
    fewest_units,
    holm,
    mcnemar_p,
    minimal_detectable_difference,
    sign_flip_p,
    sign_flips,
)

__all__ = [
    "FloatArray",
    "IntArray",
    "SignFlips",
    "answer_entropy",
    "cluster_sums",
    "crossing_k",
    "expected_detectable",
    "fewest_units",
    "holm",
    "maj_at_k",
    "mcnemar_p",
    "mean_and_stderr",
    "minimal_detectable_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_values",
    "rarefied",
    "sign_flip_p",
    "sign_flips",
    "stderr_over",
    "wilson",
]
