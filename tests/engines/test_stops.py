"""Stop strings end a completion, and its text before them, in every engine alike."""

from __future__ import annotations

import pytest

from tpt.config import RunConfig
from tpt.engines import Request, Sampling
from tpt.engines.scripted import STOP_ID, ScriptedEngine, ids_of, text_of
from tpt.engines.stops import ended_by_text, stop_in
from tpt.sampling.open import sampling_of

QUESTION = "\nQuestion:"


def request(*stops: str) -> Request:
    return Request(("p", 0), (1, 2), 0, Sampling(1.0, 1.0, 0, 200, stop_strings=stops))


@pytest.mark.parametrize(
    ("text", "stops", "at"),
    [
        ("#### 18", (), -1),
        ("#### 18", (QUESTION,), -1),
        ("#### 18\nQuestion: next", (QUESTION,), 7),
        ("a END b STOP", ("STOP", "END"), 2),
        ("STOP", ("STOP",), 0),
        ("STO", ("STOP",), -1),
    ],
)
def test_where_the_first_stop_string_begins(text: str, stops: tuple[str, ...], at: int) -> None:
    assert stop_in(text, stops) == at


def test_tokens_go_as_far_as_the_stop_string_and_text_ends_before_it() -> None:
    ended = ended_by_text(request(QUESTION), ids_of("#### 18\nQuestion: more\n#### 3"), text_of)
    assert ended is not None
    assert (ended.text, ended.finish_reason) == ("#### 18", "stop")
    assert text_of(ended.token_ids) == "#### 18\nQuestion:"
    assert ended_by_text(request(), ids_of("#### 18\nQuestion: more"), text_of) is None
    assert ended_by_text(request("never"), ids_of("#### 18"), text_of) is None


def test_a_scripted_engine_cuts_its_script() -> None:
    engine = ScriptedEngine(lambda _: "#### 18\nQuestion: 2 + 1?\n#### 3", slots=1)
    engine.add(request(QUESTION))
    done = []
    while not done:
        done = engine.step()
    assert (done[0].text, done[0].finish_reason, STOP_ID in done[0].token_ids) == ("#### 18", "stop", False)


def test_both_sections_hand_them_on_and_record_them() -> None:
    config = RunConfig.model_validate({"think": {"stop": [QUESTION]}, "evaluate": {"stop": ["a", "b"]}})
    assert sampling_of(config.think).stop_strings == (QUESTION,)
    assert sampling_of(config.evaluate).stop_strings == ("a", "b")
    assert config.think.model_dump()["stop"] == [QUESTION]
    with pytest.raises(ValueError, match="at least 1 character"):
        RunConfig.model_validate({"think": {"stop": [""]}})
