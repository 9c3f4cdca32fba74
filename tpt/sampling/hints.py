"""Hints: a text that is added to a question when it is sampled, and that the prompt trained on does not have.

With ``think.sampler = "until_full"`` a further sample of a problem is taken only while it is unsolved, so a hint from the
n-th sample on is a hint for problems that n samples did not solve: STaR's rationalisation (arXiv 2203.14465).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from tpt.engines import RequestId
from tpt.errors import OwnCodeError
from tpt.model.chat import Chat
from tpt.records import Problem, well_formed
from tpt.system.own_code import call_own_code


@dataclass(frozen=True, slots=True)
class Hints:
    """What ``think.hint_by`` adds to which samples."""

    function: str
    """Its name; empty: there are no hints."""
    problems: Mapping[str, Problem]
    samples: int
    """Of a problem, at most."""
    _known: dict[RequestId, str] = field(default_factory=dict, init=False)
    """Each is asked for once: a prompt, the request and the trace are of the same one."""

    def of(self, key: RequestId) -> str:
        """Return the hint of a sample; empty: it has none.

        Raises:
            OwnCodeError: the function raises, or returns no text.
        """
        if not self.function:
            return ""
        if key not in self._known:
            self._known[key] = self._asked(key)
        return self._known[key]

    def _asked(self, key: RequestId) -> str:
        hint = call_own_code(self.function, self.problems[key[0]], key[1])
        if not isinstance(hint, str):
            raise OwnCodeError(
                f"think.hint_by = {self.function}: it returned {hint!r:.100} for problem {key[0]!r}, sample {key[1]}; "
                "expected a str"
            )
        return well_formed(hint)

    def prompt_key(self, key: RequestId) -> str:
        """Return what the sample's prompt goes by."""
        return _prompt_key(key[0], self.of(key))

    def prompts(self, chat: Chat) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield every prompt's key with its ids, hinted ones after their problem's own."""
        for problem_id, problem in self.problems.items():
            yield problem_id, chat.prompt_ids(problem)
            hints = {self.of((problem_id, sample)) for sample in range(self.samples)} if self.function else set()
            for hint in sorted(hints - {""}):
                asked = replace(problem, question=f"{problem.question}\n\n{hint}")
                yield _prompt_key(problem_id, hint), chat.prompt_ids(asked)


def _prompt_key(problem_id: str, hint: str) -> str:
    return f"{problem_id}\0{hint}" if hint else problem_id
