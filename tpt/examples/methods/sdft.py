"""SDFT: the model that has seen the solution teaches the one that has not: every sample is taken with it in the prompt.

Objective: with q for the model shown the solution, (1 - (1 - q_right)^N) times the gradient of E log p(y) over right traces y
of q: cross-entropy from the model's own words to the plain question, so what is learnt stays near what it would say, unlike
the human solutions themselves. After arXiv 2402.13669 and 2601.19897, of which the abstracts were read: the second takes the
learner's samples and the teacher's distribution at every token, this the teacher's samples, verified. Needs solutions.

    [think]
    hint_by = "sdft.py:solution"
"""

from tpt import Problem


def solution(problem: Problem, sample: int) -> str:
    return f"Here is a solution:\n{problem.solution}\nSay it in your own words." if problem.solution else ""
