"""ServerEngine's requests against a real HTTP server in a thread, whose answers the test chooses."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest
from server_stub import (
    PROBLEM,
    SAMPLING,
    Behaviour,
    Handler,
    Stub,
    choice,
    complete,
    finish,
    hang,
    reply,
    requests_for,
    reset,
)
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from tpt.config import PromptConfig, PruneConfig
from tpt.engines import Completion, Request
from tpt.engines.server import api as completions_api
from tpt.engines.server.engine import ServerEngine
from tpt.engines.server.prompts import prompt_text
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.prune import is_keepable
from tpt.records import Outcome
from tpt.sampling.collect import trace_of
from tpt.verifiers.judge import judge


def test_completions_and_what_was_asked_for(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """More requests than go at once; every sampling field is in every body; text and ids agree."""
    engine = opened(options={"ignore_eos": False})
    done = finish(engine, requests_for(chat, 11))
    assert {sample: each.text for sample, each in done.items()} == {
        sample: f"3 + {(2**62 + sample) % 2**31 % 9} = 7" for sample in range(11)
    }
    assert all(each.token_ids[-1] == chat.end_of_turn_id for each in done.values())
    assert all(chat.decode(each.token_ids) == each.text and each.finish_reason == "stop" for each in done.values())
    body = next(body for body in stub.bodies if body["seed"] == 2**62 % 2**31 and body["temperature"] == 0.8)
    assert body["prompt"] == list(chat.prompt_ids(PROBLEM))
    assert (body["model"], body["max_tokens"], body["top_p"], body["top_k"]) == ("tiny", 30, 0.9, -1)
    assert (body["n"], body["stream"], body["ignore_eos"], body["min_p"], body["stop"]) == (1, False, False, 0.0, [])
    assert body["repetition_penalty"] == body["repeat_penalty"] == 1.0
    assert body["stop_token_ids"] == sorted(chat.stop_ids)
    described = json.loads(json.dumps(engine.describe()))
    assert described["engine"] == "server" and described["served_model"] == "tiny"
    assert engine.step() == [] and described["token_ids"] == "the text's, tokenised again"


def test_stop_strings_are_sent_and_held_to(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    engine = opened()
    (request,) = requests_for(chat, 1)
    stub.script.append(lambda _: reply(choice("3 + 4 = 7\nQuestion: 1 + 1?", "length")))
    asked = replace(request, sampling=replace(request.sampling, stop_strings=("\nQuestion:",)))
    (done,) = finish(engine, [asked]).values()
    assert "\nQuestion:" in stub.bodies[-1]["stop"]
    assert (done.text, done.finish_reason) == ("3 + 4 = 7", "stop")


def test_the_guarantee_is_what_the_server_was_seen_to_do(stub: Stub, opened: Callable[..., ServerEngine]) -> None:
    assert opened().guarantee == "seeded"
    stub.usual = lambda handler: reply(choice(f"3 + {len(handler.server.bodies)} = 7"))
    stub.bodies.clear()
    assert opened().guarantee == "neither"
    stub.usual = lambda handler: reply(choice("always the same"))
    assert opened().guarantee == "neither"


def test_the_server_s_own_token_ids_are_taken(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """Up to the stop token, which may be there or not; ids that cannot be are not."""
    ids = list(chat.tokenizer("3 + 4 = 7", add_special_tokens=False).input_ids)
    stop = chat.end_of_turn_id
    stub.script += [
        lambda handler: reply(choice("spelt otherwise", token_ids=[*ids, stop])),
        lambda handler: reply(choice("3 + 4", token_ids=[*ids, 10**6])),
    ]
    engine = opened(concurrency=1)
    done = finish(engine, requests_for(chat, 2))
    assert done[0] == Completion(done[0].id, (*ids, stop), "3 + 4 = 7", "stop")
    assert done[1].text == "3 + 4"


@pytest.mark.parametrize("trouble", ["429", "500", "503", "reset", "hang"])
def test_passing_trouble_is_waited_out(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, trouble: str
) -> None:
    behaviours: dict[str, Behaviour] = {"reset": reset, "hang": hang}
    error = {"error": {"message": "busy"}}
    failing = behaviours.get(trouble) or (lambda handler: reply(error, int(trouble)))
    stub.script += [failing] * 3
    engine = opened(timeout_s=0.5 if trouble == "hang" else 60.0)
    assert len(finish(engine, requests_for(chat, 5))) == 5
    assert engine.describe()["retried"] >= 3


def test_retry_after_is_heeded(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    stub.script.append(lambda handler: reply({}, 429, **{"Retry-After": "1"}))
    engine = opened()
    begun = time.monotonic()
    finish(engine, requests_for(chat, 1))
    assert time.monotonic() - begun >= 1
    assert completions_api._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert completions_api._retry_after("soon") == completions_api._retry_after("-5") == 0
    assert completions_api._retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 10**9


def test_a_request_that_keeps_failing_is_its_sample_s_error(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat
) -> None:
    """The others go on, and the record says what the server said."""
    engine = opened(retries=2)
    stub.usual = lambda handler: (
        reply({"error": "out of\x1b[31m memory"}, 500) if handler.body["seed"] % 2**31 == 3 else complete(handler)
    )
    done = finish(engine, requests_for(chat, 6))
    assert [each.finish_reason for _, each in sorted(done.items())] == ["stop"] * 3 + ["error"] + ["stop"] * 2
    assert "answered 500: 'out of [31m memory' (tried 3 times)" in done[3].error
    described = engine.describe()
    assert (described["retried"], described["failed"]) == (2, 1)
    traces = [trace_of(each, 0, chat) for _, each in sorted(done.items())]
    verdicts = judge(traces, {PROBLEM.id: PROBLEM})
    assert [each.outcome for each in verdicts].count(Outcome.ERROR) == 1
    assert verdicts[3].outcome is Outcome.ERROR and "the request failed: " in verdicts[3].detail
    assert not is_keepable(traces[3], verdicts[3], PROBLEM, PruneConfig(correct_only=False, require_format=False))


def test_a_server_that_is_gone_ends_the_stage_but_loses_nothing(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat
) -> None:
    """What finished is returned before the error is raised, again and again; no sample is to blame."""
    engine = opened(retries=1, concurrency=2)
    answered = iter(range(10))
    stub.usual = lambda handler: complete(handler) if next(answered, 99) < 2 else reply({"error": "gone"}, 503)
    for request in requests_for(chat, 6):
        engine.add(request)
    done: list[Completion] = []
    with pytest.raises(EngineError, match=r"answered 503: 'gone' \(tried 2 times\)\. Finished records"):
        while True:
            done += engine.step()
    assert {each.finish_reason for each in done} == {"stop"} and len(done) == 2
    with pytest.raises(EngineError, match="tried 2 times"):
        engine.step()


def test_more_errors_than_allowed_end_the_stage(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    refused: Behaviour = lambda h: reply(choice("", "content_filter"))  # noqa: E731
    stub.usual = lambda h: refused(h) if h.body["temperature"] == SAMPLING.temperature else complete(h)
    engine = opened(max_errors=0.05)
    with pytest.raises(EngineError, match=r"11 requests have failed.*engine\.max_errors = 0\.05 of 200"):
        finish(engine, requests_for(chat, 12))
    assert len(finish(opened(max_errors=0.05), requests_for(chat, 10))) == 10
    with pytest.raises(EngineError, match="1 requests have failed"):
        finish(opened(max_errors=0.0), requests_for(chat, 1))


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda h: reply({"error": {"code": 429, "message": "slow down"}}),
        lambda h: reply({"error": {"code": "503"}}),
        lambda h: reply({"error": {"type": "rate_limit_error"}}),
        lambda h: reply({"error": "The model is overloaded"}),
        lambda h: reply({"choices": []}),
        lambda h: reply({"choices": None}),
        lambda h: reply([]),
        lambda h: reply(None),
        lambda h: reply({"choices": [7]}),
        lambda h: reply(choice("x", None)),
        lambda h: reply(choice("x", "error")),
        lambda h: reply(choice(7)),
        lambda h: (200, {}, b"<html>hello</html>"),
        lambda h: (200, {}, b""),
        lambda h: (200, {}, b"[" * 200_000),
        lambda h: (200, {}, b'{"choices": [{"text": "\xff\xfe", "finish_reason": "stop"}]}'),
        lambda h: (200, {}, b'{"choices": [{"text": "4", "finish_re'),
        lambda h: (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Sign in</title>"),
        lambda h: (200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"choices": []}')),
        lambda h: (200, {"Content-Type": "text/event-stream"}, b'data: {"choices": []}\n\ndata: [DONE]\n\n'),
        lambda h: reply({"choices": [choice("x")["choices"][0]] * 2}),
        lambda h: reply({"choices": [None]}),
        lambda h: reply({"choices": {"0": choice("x")["choices"][0]}}),
        lambda h: reply({"choices": [{"text": None, "finish_reason": "stop"}]}),
        lambda h: reply({"choices": [{"text": ["x"], "finish_reason": "stop"}]}),
        lambda h: reply({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}),
        lambda h: reply({"choices": [{"text": "x", "finish_reason": ["stop"]}]}),
    ],
)
def test_an_odd_answer_is_asked_for_again(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, behaviour: Behaviour
) -> None:
    engine = opened()
    stub.script.append(behaviour)
    (done,) = finish(engine, requests_for(chat, 1)).values()
    assert done.finish_reason == "stop"
    assert (engine.describe()["retried"], engine.describe()["failed"]) == (1, 0)


@pytest.mark.parametrize(
    ("behaviour", "message", "retried"),
    [
        (lambda h: reply({"error": "prompt: str"}, 422), "422: 'prompt: str'", 0),
        (lambda h: reply({"error": {"message": "too long"}}, 400), "answered 400: 'too long'", 0),
        (lambda h: reply({"error": {"code": 400, "message": "bad"}}), "answered 200 with an error: 'bad'", 0),
        (lambda h: reply(choice("x", "content_filter")), "finish_reason 'content_filter'", 0),
        (lambda h: reply(choice("x", "length") | {"usage": {"completion_tokens": 9}}), "after 9 of max_tokens = 30", 0),
        (lambda h: (200, {}, b"x" * (17 * 2**20)), "more than 16 MiB", 0),
        (lambda h: reply({"choices": []}), "not one completion", 2),
        (lambda h: reply(choice("x", "cosmic ray")), "expected are stop", 2),
        (lambda h: reply({"error": {"code": 429}}), "answered 200 with an error", 3),
    ],
)
def test_what_no_other_try_would_change_is_one_sample_s_error(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, behaviour: Behaviour, message: str, retried: int
) -> None:
    engine = opened(retries=3)
    stub.usual = lambda h: behaviour(h) if h.body["seed"] % 2**31 == 1 else complete(h)
    done = finish(engine, requests_for(chat, 3))
    assert [done[n].finish_reason for n in range(3)] == ["stop", "error", "stop"]
    assert message in done[1].error
    assert engine.describe()["retried"] == retried


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            lambda h: reply({"detail": "who are you?"}, 401),
            r"401.*it wants a key: set the environment variable TPT_API_KEY",
        ),
        (lambda h: reply({"error": {"code": 401}}), r"it wants a key: set the environment variable TPT_API_KEY"),
        (lambda h: (302, {"Location": "http://b/"}, b""), r"302.*it points to http://b/; correct engine.url"),
        (
            lambda h: reply({"error": {"message": "no such model"}}, 404),
            r"answered 404: 'no such model'; check engine.url.*for chats alone has no /completions.*engine.name = \"hf\"",
        ),
    ],
)
def test_what_fails_for_every_request_ends_the_stage(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, behaviour: Behaviour, message: str
) -> None:
    engine = opened()
    stub.usual = behaviour
    with pytest.raises(EngineError, match=message):
        finish(engine, requests_for(chat, 2))
    assert engine.describe()["failed"] == 0


@pytest.mark.parametrize(
    "more",
    [
        {"usage": None},
        {"usage": {"completion_tokens": "9"}},
        {"usage": {"completion_tokens": None}},
        {"usage": [3]},
        {"error": None},
        {"choices": [{"text": "x", "finish_reason": "length", "token_ids": None, "index": 7, "logprobs": "none"}]},
        {"choices": [{"text": "x", "finish_reason": "length", "token_ids": [10**9]}]},
        {"choices": [{"text": "x", "finish_reason": "length", "token_ids": ["1"]}]},
    ],
)
def test_what_is_odd_beside_a_completion_is_not_minded(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, more: dict[str, Any]
) -> None:
    engine = opened()
    stub.script.append(lambda h: reply(choice("x", "length") | more))
    (done,) = finish(engine, requests_for(chat, 1)).values()
    assert (done.text, done.finish_reason) == ("x", "length")
    assert engine.describe()["retried"] == 0


@pytest.mark.parametrize("text", ["4 \ud83d", "\udc00", "a\ud800\ud800b"])
def test_half_a_surrogate_pair_is_a_character_that_nobody_knows(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, text: str
) -> None:
    engine = opened()
    stub.script.append(lambda h: reply(choice(text)))
    (done,) = finish(engine, requests_for(chat, 1)).values()
    assert "\ufffd" in done.text and done.finish_reason == "stop"


def test_prompts_as_text(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    engine = opened(prompt="text")
    request = requests_for(chat, 1)[0]
    finish(engine, [request])
    sent = stub.bodies[-1]["prompt"]
    assert isinstance(sent, str)
    assert tuple(chat.tokenizer(sent).input_ids) == request.prompt_ids


def test_a_prompt_as_text_has_no_bos_where_the_server_adds_one() -> None:
    """What no text can say is refused: here "a" and "b" side by side, which are read as one token."""
    tokenizer = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "<x>": 5}, unk_token="<x>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    chat = Chat(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"), PromptConfig())
    request = Request(("p", 0), (0, 4), 0, SAMPLING)
    assert prompt_text(request, chat) == "ab"
    for ids in ((0, 2, 3), (4,)):
        with pytest.raises(EngineError, match=r"'p': its prompt cannot travel as text"):
            prompt_text(replace(request, prompt_ids=ids), chat)


def test_requests_that_can_never_be_served(opened: Callable[..., ServerEngine], chat: Chat) -> None:
    engine = opened(max_length=80)
    good = requests_for(chat, 1)[0]
    with pytest.raises(EngineError, match=r"engine.max_length = 80"):
        engine.add(replace(good, sampling=replace(SAMPLING, max_tokens=79)))
    with pytest.raises(EngineError, match="empty prompt"):
        engine.add(replace(good, prompt_ids=()))
    engine.add(good)
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(good)


def test_cancelled_requests_are_hung_up_on(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """The server sees the connection end, and the others go on."""
    hung_up = threading.Event()

    def wait_for_hang_up(handler: Handler) -> None:
        if handler.connection.recv(1) == b"":
            hung_up.set()

    engine = opened(concurrency=2)
    stub.script.append(wait_for_hang_up)
    requests = requests_for(chat, 6)
    for request in requests:
        engine.add(request)
    done: list[Completion] = []
    while len(done) < 5:
        done += engine.step()
    [waiting] = {request.id for request in requests} - {completion.id for completion in done}
    assert engine.cancel({waiting, ("nobody", 0)}) == 0
    assert hung_up.wait(5)
    assert engine.step() == []
    assert finish(engine, [request for request in requests if request.id == waiting])


def test_close_leaves_no_thread_and_no_socket(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    process, port = psutil.Process(), stub.server_address[1]

    def ours() -> list[Any]:
        return [each for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port]

    before = {thread.ident for thread in threading.enumerate() if "Stub" not in repr(thread)}
    engine = opened(url=stub.url.replace("127.0.0.1", "localhost"))
    stub.usual = hang
    for request in requests_for(chat, 9):
        engine.add(request)
    assert engine.step() == [] and ours()
    engine.close()
    engine.close()
    assert ours() == []
    stub.released.set()
    left = [t for t in threading.enumerate() if t.ident not in before and "process_request_thread" not in t.name]
    assert left == []
