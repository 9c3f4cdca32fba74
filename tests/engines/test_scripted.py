"""ScriptedEngine: completions by request alone, finishing order by seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tpt.engines import Completion, Request, Sampling, complete
from tpt.engines.scripted import STOP_ID, ScriptedEngine, ids_of, text_of
from tpt.errors import EngineError

SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=20)
REQUESTS = [Request((f"p{index}", sample), ids_of("?"), index, SAMPLING) for index in range(6) for sample in range(3)]


def script(request: Request) -> str:
    """Answer with the request's own name."""
    return f"{request.id[0]} sample {request.id[1]} é"


def finish(engine: ScriptedEngine, requests: list[Request]) -> list[Completion]:
    """Return the completions in the order in which they come out."""
    for request in requests:
        engine.add(request)
    done: list[Completion] = []
    for _ in range(200):
        done += engine.step()
    return done


def test_completions_depend_on_the_request_alone() -> None:
    """Other orders, seeds and slots give the same completions, in another order."""
    first = finish(ScriptedEngine(script, slots=4, order_seed=1), REQUESTS)
    second = finish(ScriptedEngine(script, slots=7, order_seed=2), REQUESTS[::-1])
    assert {c.id: c for c in first} == {c.id: c for c in second}
    assert len(first) == len(REQUESTS)
    assert [c.id for c in first] != [r.id for r in REQUESTS]
    assert [c.id for c in first] != [c.id for c in second]
    assert first == finish(ScriptedEngine(script, slots=4, order_seed=1), REQUESTS)


def test_completions_can_take_as_long_as_they_are() -> None:
    """With tokens_a_step a short completion overtakes a long one that began before it."""
    lengths = {"p0": 17, "p1": 2, "p2": 9}
    engine = ScriptedEngine(lambda request: "x" * (lengths[request.id[0]] - 1), slots=3, tokens_a_step=4)
    for request in REQUESTS[0:9:3]:
        engine.add(request)
    came = {completion.id[0]: step for step in range(1, 9) for completion in engine.step()}
    assert came == {"p1": 1, "p2": 3, "p0": 5}


def test_text_and_tokens_agree() -> None:
    """The stop token ends the ids and is not in the text; too long a text is cut."""
    (whole,) = finish(ScriptedEngine(lambda request: "é = 4"), REQUESTS[:1])
    assert (whole.text, whole.finish_reason, whole.token_ids[-1]) == ("é = 4", "stop", STOP_ID)
    assert text_of(whole.token_ids) == whole.text
    (cut,) = finish(ScriptedEngine(lambda request: "x" * 20), REQUESTS[:1])
    assert (cut.text, cut.finish_reason, len(cut.token_ids)) == ("x" * 20, "length", 20)


def test_no_more_run_than_there_are_slots_and_cancel_frees_them() -> None:
    """Cancelled requests never come out; others take their slots."""
    engine = ScriptedEngine(script, slots=2)
    for request in REQUESTS:
        engine.add(request)
    done = engine.step()
    assert len(done) <= 2
    gone = {request.id for request in REQUESTS[:10]}
    engine.cancel(gone)
    for _ in range(100):
        done += [completion for completion in engine.step() if completion.id not in gone or pytest.fail("came back")]
    assert {completion.id for completion in done} >= {request.id for request in REQUESTS[10:]}
    assert engine.cancel(gone) == 0


def test_complete_asks_for_no_more_than_there_are_slots() -> None:
    """Requests are taken as slots become free, each comes back once, and none are none."""
    asked = 0

    def ask() -> Iterator[Request]:
        nonlocal asked
        for request in REQUESTS:
            asked += 1
            yield request

    engine, done = ScriptedEngine(script, slots=3), []
    for completion in complete(engine, ask()):
        done.append(completion.id)
        assert asked <= len(done) + 3
    assert sorted(done) == sorted(request.id for request in REQUESTS)
    assert list(complete(engine, [])) == []


def test_refusals() -> None:
    """The same request twice, and an engine without slots."""
    engine = ScriptedEngine(script)
    engine.add(REQUESTS[0])
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(REQUESTS[0])
    engine.close()
    assert engine.step() == []
    with pytest.raises(EngineError, match="slots must be 1 or more"):
        ScriptedEngine(script, slots=0)
    assert ScriptedEngine(script).describe()["guarantee"] == "batch-invariant"
