"""Problems to tokens, made here alone: Problem to messages to prompt ids, and messages to training ids.

Sampling and training share ``Chat._render``, so a model is trained on the very prompt ids it was sampled with.

The token boundary between prompt and completion is fixed: the completion's text is tokenised by itself and put after
the prompt ids. Tokenising both in one string could merge characters across the boundary into one token, and then the
prompt trained on would not be the prompt sampled with. Several splits spell the same text, and marks are no text: where a
completion's text does not encode to the ids that were sampled, its trace keeps those (tpt/model/sampled.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tpt.config import PromptConfig
from tpt.errors import ModelError
from tpt.model.reasoning import ReasoningMarks, reasoning_marks
from tpt.records import Message, Problem

IGNORED_LABEL = -100
"""The label of a token that is not trained on."""

_PROBE_SYSTEM = "Probe of the system text."
_PROBE_QUESTION = "Probe of the question."
_PROBE_ANSWER = "Probe of the answer."
FIXED_TIME = datetime(2024, 7, 26)
"""What templates that write today's date get instead: a prompt must not change from one day to the next."""
_FIXED_DATE = FIXED_TIME.strftime("%d %b %Y")
"""What Llama 3's templates take as ``date_string``."""
_DIRECTIVES = "aAwdbBmyYHIpMSfzZjUWcxXGuV"


def _frozen_clock() -> str:
    """Return a macro that hides the renderer's clock and writes the fixed time in whatever format it is asked for.

    Templates are rendered in a sandbox that takes no functions, so it is put together from text.
    """
    written = [("%%", "\\0"), *((f"%{each}", FIXED_TIME.strftime(f"%{each}")) for each in _DIRECTIVES), ("\\0", "%")]
    replaced = "".join(f"|replace('{directive}', '{value}')" for directive, value in written)
    return f"{{% macro strftime_now(pattern) %}}{{{{ pattern{replaced} }}}}{{% endmacro %}}"


_CLOCK = _frozen_clock()


class Chat:
    """A tokenizer and a prompt: turns problems into prompt ids, examples into training ids, ids into text.

    Raises ModelError on construction when the tokenizer has no end-of-sequence token or its template cannot be used.
    """

    template_name: Literal["tokenizer", "plain"]
    """``tokenizer``: the tokenizer's own chat template. ``plain``: it has none; each turn is its text and a newline."""
    stop_ids: frozenset[int]
    """The tokens that end a completion: the template's end-of-turn, the tokenizer's end-of-sequence, and what the model's
    own files declare."""
    special_ids: frozenset[int]
    """Tokens that are marks, which ``decode`` writes out."""
    reasoning: ReasoningMarks
    """How the template marks reasoning."""
    end_of_turn_id: int
    """The stop token that training puts after a completion."""

    def __init__(self, tokenizer: Any, prompt: PromptConfig, declared_stops: Iterable[int] = ()) -> None:
        """Probe the tokenizer's template once; the tokenizer object is kept, not copied.

        ``declared_stops``: what the model's own files say to end a completion too.
        """
        self.tokenizer = tokenizer
        self.prompt = prompt
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token, so a completion could "
                "never end; set eos_token in its tokenizer_config.json"
            )
        self.template_name = "plain" if tokenizer.chat_template is None else "tokenizer"
        self._template = "" if tokenizer.chat_template is None else _CLOCK + tokenizer.get_chat_template()
        self._template_args = {**prompt.template_args, "date_string": _FIXED_DATE}
        self._has_system_role = self._probe_system_role()
        self._bos = self._probe_bos()
        self.end_of_turn_id = self._probe_end_of_turn()
        self.stop_ids = frozenset((self.end_of_turn_id, int(tokenizer.eos_token_id), *declared_stops))

        marked = (token for token, each in tokenizer.added_tokens_decoder.items() if each.special)
        self.special_ids = frozenset(map(int, (*tokenizer.all_special_ids, *marked)))
        self.reasoning = (
            ReasoningMarks("", "") if self.template_name == "plain" else reasoning_marks(self._template_text)
        )

    def messages(self, problem: Problem) -> list[Message]:
        """Return the turns that ask a problem: the system text, the worked examples, the question.

        A system text is folded into the first user turn where the template has no system role, so the messages can be
        rendered by any program that uses the model's own template.
        """
        turns: list[Message] = []
        if self.prompt.system:
            turns.append({"role": "system", "content": self.prompt.system})
        for shot in self.prompt.few_shot:
            turns.append({"role": "user", "content": self.prompt.user(shot.question)})
            turns.append({"role": "assistant", "content": shot.answer})
        turns.append({"role": "user", "content": self.prompt.user(problem.question)})
        return self._fold_system(turns)

    def prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        """Return the token ids that ask a problem, ending where the completion begins."""
        return tuple(self._render(self.messages(problem)))

    def training_ids(
        self, messages: Sequence[Message], token_ids: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """Return ``(input_ids, labels)`` of messages that end in an assistant turn, or in the ``token_ids`` sampled for it.

        Labels are -100 on the prompt; the completion and the end-of-turn token after it are trained. Text that the
        template puts after the end-of-turn, such as a newline, is left out: nothing is ever sampled there.
        """
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            roles = [message["role"] for message in messages]
            raise ModelError(f"training messages must be a prompt and then one assistant turn, got the roles {roles}")
        prompt = self._render(list(messages[:-1]))
        completion = self.completion_ids(messages[-1]["content"]) if token_ids is None else list(token_ids)
        return prompt + completion, [IGNORED_LABEL] * len(prompt) + completion

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of sampled ids up to the stop token, special tokens written out, spaces as they were sampled."""
        ends = (index for index, token in enumerate(token_ids) if token in self.stop_ids)
        kept = list(token_ids[: next(ends, len(token_ids))])
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def fingerprint(self) -> str:
        """Return the sha256 over everything that decides how a problem becomes tokens, the vocabulary apart."""
        parts = {
            "template": self._template,
            "template_args": self.prompt.template_args,
            "system": self.prompt.system or None,
            "user": self.prompt.template,
            "few_shot": [(shot.question, shot.answer) for shot in self.prompt.few_shot],
            "bos": self._bos,
            "end_of_turn": self.end_of_turn_id,
            "stop": sorted(self.stop_ids),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _render(self, messages: list[Message]) -> list[int]:
        """Return the ids of a prompt: the only tokenisation of a prompt there is."""
        turns = self._fold_system(messages)
        ids = self._tokenise(turns)
        if self._bos is None:
            return ids
        if ids[:1] != [self._bos]:
            ids = [self._bos, *ids]
        # Some templates open every user turn with a BOS; two in a row are the fault that this guards against.
        users = sum(turn["role"] == "user" for turn in turns)
        if self._bos in ids[1:2] or ids.count(self._bos) > users:
            raise ModelError(
                f"the prompt holds {ids.count(self._bos)} beginning-of-sequence tokens (id {self._bos}) and must hold "
                f"one; its first ids are {ids[:6]}; take the extra bos_token out of the chat template"
            )
        return ids

    def _tokenise(self, turns: list[Message]) -> list[int]:
        """Return a prompt's ids as the template gives them; control tokens spelt out in a turn's text stay text."""
        if self.template_name == "plain":
            text = self._plain_text(turns)
            return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
        ids = self.tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            sanitize_control_tokens=True,
            chat_template=self._template,
            **self._template_args,
        )
        return [int(token) for token in ids]

    def _template_text(self, turns: list[Message], *, add_generation_prompt: bool = False) -> str:
        """Return the template's text for probe turns."""
        text = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            chat_template=self._template,
            **self._template_args,
        )
        return str(text)

    @staticmethod
    def _plain_text(turns: list[Message]) -> str:
        # An answer shown before the question is set off by an empty line; the completion is not, it ends at EOS.
        return "".join(turn["content"] + ("\n\n" if turn["role"] == "assistant" else "\n") for turn in turns)

    def completion_ids(self, text: str) -> list[int]:
        """Return the ids of a completion's text and the end of turn after it; marks spelt out in it stay text."""
        # split_special_tokens: a completion that spells out a control token must not train the control token.
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return [*ids, self.end_of_turn_id]

    def _fold_system(self, turns: list[Message]) -> list[Message]:
        if self._has_system_role or not turns or turns[0]["role"] != "system":
            return turns
        system, first, *rest = turns
        return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def _probe_system_role(self) -> bool:
        """Return whether the template renders a system turn; some raise at one, others drop it in silence."""
        if self.template_name == "plain":
            return True
        user: Message = {"role": "user", "content": _PROBE_QUESTION}
        try:
            plain = self._template_text([user])
        except Exception as error:
            raise ModelError(
                f"the chat template of {self.tokenizer.name_or_path!r} cannot render one user turn: {error}"
            ) from error
        if _PROBE_QUESTION not in plain:
            raise ModelError(
                f"the chat template of {self.tokenizer.name_or_path!r} omits the user text; it rendered {plain!r}"
            )
        try:
            text = self._template_text([{"role": "system", "content": _PROBE_SYSTEM}, user])
        except Exception:  # a template refuses by whatever its Jinja code raises; the fold is the answer to all of it
            return False
        return _PROBE_SYSTEM in text

    def _probe_bos(self) -> int | None:
        """Return the BOS id when prompts begin with one, None when they do not.

        A template may use the token that the tokenizer calls BOS as the mark of every turn; that is no BOS.
        """
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return None
        written = self._tokenise([{"role": "user", "content": _PROBE_QUESTION}])
        added = list(self.tokenizer("a").input_ids[:1]) == [bos]
        opens_once = written[:1] == [bos] and (written.count(bos) == 1 or bos in written[1:2])
        return int(bos) if opens_once or (added and bos not in written) else None

    def _probe_end_of_turn(self) -> int:
        """Return the first control token that the template writes after an assistant's text, else EOS."""
        eos = int(self.tokenizer.eos_token_id)
        if self.template_name == "plain":
            return eos
        turns = [{"role": "user", "content": _PROBE_QUESTION}, {"role": "assistant", "content": _PROBE_ANSWER}]
        _, found, tail = self._template_text(turns).rpartition(_PROBE_ANSWER)
        if not found:
            raise ModelError(f"the chat template of {self.tokenizer.name_or_path!r} leaves the assistant's text out")
        control = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        ids = self.tokenizer(tail, add_special_tokens=False).input_ids
        return next((int(token) for token in ids if token in control), eos)


def open_chat(prompt: PromptConfig, model: str, cache: Path | None = None) -> Chat:
    """Load a model's tokenizer and the tokens that it declares to stop at, and put a prompt to it."""
    from tpt.model.load import load_stop_ids, load_tokenizer

    return Chat(load_tokenizer(model, cache=cache), prompt, load_stop_ids(model, cache=cache))
