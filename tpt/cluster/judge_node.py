"""What runs on a node that judges: the same verifiers, pools and sandboxes as in a stage's own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata

from tpt.config import VerifyConfig
from tpt.errors import OwnCodeError, TPTError, VerifierError
from tpt.records import Problem, Trace, Verdict
from tpt.sandbox import bubblewrap
from tpt.system.own_code import is_own_code
from tpt.verifiers.judge import formats_of, judge

_DECIDING = {"math": ("math-verify", "latex2sympy2_extended", "sympy"), "code": ("numpy",)}
"""Kind to the packages, beside this one, that a verdict may depend on."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What judging goes by, on every node the same."""

    limits: VerifyConfig
    """Its ``workers`` are those of each node."""
    every_test: bool
    kinds: frozenset[str]
    basis: dict[str, str]
    """See ``basis_of``; that of the stage's own machine."""

    def with_workers(self, workers: int) -> Rules:
        """Return the same rules for a node with so many workers."""
        return replace(self, limits=self.limits.model_copy(update={"workers": workers}))


def basis_of(kinds: frozenset[str]) -> dict[str, str]:
    """Return what verdicts on these kinds follow from: formats, digests of own verifiers, versions of packages.

    Raises:
        VerifierError: there is no such kind, or the file of an own verifier is not here.
    """
    names = [name for kind in sorted(kinds) for name in _DECIDING.get(kind, ())]
    return {**formats_of(set(kinds)), **{name: _version(name) for name in names}}


def unfit(rules: Rules) -> str:
    """Return why this machine cannot judge by the rules, or an empty string when it can."""
    own = [kind for kind in sorted(rules.kinds) if is_own_code(kind)]
    try:
        basis = basis_of(rules.kinds)
    except (OwnCodeError, VerifierError) as error:
        return f"{error}. Every node must see your own verifiers under the same path: put them on a shared file system"
    differs = [name for name, here in rules.basis.items() if basis[name] != here]
    if differs and differs[0] in own:
        return f"{differs[0]} is another file there ({basis[differs[0]]}) than here ({rules.basis[differs[0]]})"
    if differs:
        return (
            f"it would judge by other rules: {differs[0]} is {basis[differs[0]]} there, {rules.basis[differs[0]]} here; "
            "install the same versions"
        )
    if "code" in rules.kinds:
        try:
            bubblewrap.require(rules.limits.sandbox)
        except VerifierError as error:
            return str(error)
    return ""


class NodeJudge:
    """A node's verifiers behind calls."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def open(self) -> int | str:
        """Return how many workers judge here, or why this node cannot judge."""
        return unfit(self._rules) or self._rules.limits.workers

    def judge(self, traces: Mapping[int, Trace], problems: Mapping[str, Problem]) -> dict[int, Verdict] | str:
        """Judge traces, by row; returns a message for the user when that cannot be done."""
        rules = self._rules
        try:
            verdicts = judge(list(traces.values()), problems, limits=rules.limits, every_test=rules.every_test)
        except TPTError as error:
            return str(error)
        return dict(zip(traces, verdicts, strict=True))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
