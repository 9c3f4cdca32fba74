"""Which problems, and what the model is asked."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from tpt.config.prompt_templates import template_text
from tpt.config.section import Section


class ProblemsConfig(Section):
    """Where the problems come from."""

    train: str = Field(
        "word_problems?split=train&size=800",
        description='source of the problems to learn from; "": none, with rounds = 0',
    )
    heldout: str = Field(
        "word_problems?split=heldout&size=200", description="source of the problems to score on; never trained on"
    )
    max_train: int = Field(0, ge=0, description="use only the first so many training problems; 0: all")
    max_heldout: int = Field(0, ge=0, description="use only the first so many held-out problems; 0: all")
    kind: str = Field(
        "",
        description='verifier for problems that name none: "number", "math", "choice", "exact", "regex", "code", "paper" '
        "(the paper's own rule, which misses right answers: for comparison with it alone), or your own as "
        '"FILE.py:FUNCTION"; "": by the source',
    )
    drop_bad: bool = Field(
        False, description="leave out training problems whose known answer or solution fails its own verifier"
    )
    drop_bad_heldout: bool = Field(
        False, description="leave out such held-out problems too; false: with drop_bad, they stay and count as unsolved"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="your own files: our field = your column, for id, question, answer, solution, cluster, level",
    )


OUR_TEMPLATE_ARGS = frozenset(
    {
        *(
            "add_generation_prompt",
            "chat_template",
            "continue_final_message",
            "conversation",
            "date_string",
            "messages",
        ),
        *("padding", "return_dict", "return_tensors", "sanitize_control_tokens", "strftime_now", "tokenize"),
    }
)
"""What decides how a prompt is rendered and tokenised: no variables of a template."""


class Shot(Section):
    """One worked example shown before the question."""

    question: str
    answer: str


class PromptConfig(Section):
    """What the model is asked; the same for training, sampling and evaluation."""

    system: str = Field("", description='system message; "": none')
    template: str = Field(
        "{question}",
        description="the user's message; {question} stands for the problem. Or the name of one: paper, for the words of the "
        "paper's appendix B.4, or paper-code, as its published code lays them out",
    )
    few_shot: list[Shot] = Field(default_factory=list, description="worked examples, as earlier turns of the chat")
    template_args: dict[str, Any] = Field(
        default_factory=dict,
        description="variables for the model's own chat template, such as { enable_thinking = false }",
    )

    @field_validator("template_args")
    @classmethod
    def _not_ours(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name in OUR_TEMPLATE_ARGS:
                raise ValueError(f"{name} is set by the loop itself; leave it out")
        return given

    @field_validator("template")
    @classmethod
    def _named_or_with_question(cls, template: str) -> str:
        """Put the text in place of a name, so that a run's config says what was asked."""
        return template_text(template)

    @property
    def is_own(self) -> bool:
        """Whether the template is more than the question: then it alone says what is asked."""
        return self.template.strip() != "{question}"

    @property
    def texts(self) -> list[str]:
        """What the model reads besides the question, and what it is shown as answers."""
        return [self.system, self.template, *(shot.answer for shot in self.few_shot)]

    def user(self, question: str) -> str:
        """Return the user's turn for a question; questions hold braces, so nothing is formatted."""
        return self.template.replace("{question}", question)
