"""DFT: a token's loss times its own probability, held fixed: -sg(p) log p (arXiv 2508.05629).

Objective: cross-entropy's gradient -∇log p is 1/p times that of -p; the factor p takes this off, so unlikely tokens of a
trace pull no harder than likely ones, as in the expected reward of a policy that has just sampled the token.

    [train]
    loss = "dft.py:loss"
"""

from torch import Tensor


def loss(log_p: Tensor, weight: Tensor) -> Tensor:
    return -weight * log_p.detach().exp() * log_p
