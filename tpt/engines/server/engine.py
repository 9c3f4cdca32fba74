"""The engine that asks an OpenAI-compatible completions server: vLLM, SGLang, llama.cpp, Ollama, TGI.

Requests run as tasks of an event loop that turns only inside ``step``: no thread, and nothing goes on behind the
sampler's back. One request is one completion; the server does the batching.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tpt.config import EngineConfig
from tpt.engines import Completion, Guarantee, Request, RequestId, Sampling
from tpt.engines.requests import check_request
from tpt.engines.server.api import CompletionsAPI, FailedRequestError, Served
from tpt.engines.server.prompts import completion_of, prompt_text
from tpt.engines.server.reload import run_reload
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.records import Problem

_STEP_S = 0.2
_FEWEST_COUNTED = 200
"""Requests that a share of errors is taken of, at least."""
_SEEDS = 2**31
"""llama.cpp's seeds have 32 bits, and the largest of them means chance."""
_PROBE = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_tokens=12)
_PLAIN_SAMPLING: dict[str, Any] = {
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
    "min_p": 0.0,
    # llama.cpp would take the temperature last; vLLM, SGLang and the hf engine take it first.
    "samplers": ["temperature", "top_k", "top_p"],
}
_STOPS_BY_ID = ("vllm", "sglang")
_T = TypeVar("_T")


class ServerEngine:
    """An Engine on a server; see ``tpt.engines.Engine``.

    The guarantee is measured: three short requests, two of them with one seed, show whether the server honours seeds.
    """

    guarantee: Guarantee
    slots: int

    def __init__(self, spec: str, chat: Chat, settings: EngineConfig, *, max_length: int, is_base: bool) -> None:
        """Have the server serve the model, find it there and try it out.

        ``max_length`` is that of prompt and completion together. ``is_base``: the model is the config's own; a trained
        checkpoint must be seen to be served.

        Raises:
            EngineError: the server is not there, wants another key, or does not serve the model.
        """
        self.slots = settings.concurrency
        self._spec = spec
        self._chat = chat
        self._settings = settings
        self._max_length = max_length
        self._is_base = is_base
        self._known: set[RequestId] = set()
        self._queue: deque[Request] = deque()
        self._tasks: dict[RequestId, asyncio.Task[Completion]] = {}
        self._failure: BaseException | None = None
        self._exact_ids = True
        self._answered = self._failed = 0
        self._api = CompletionsAPI(
            settings.url,
            key_env=settings.api_key_env,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            connections=settings.concurrency,
        )
        self._loop = asyncio.new_event_loop()
        try:
            self._served = self._find_model()
            self.guarantee = "seeded" if self._run(self._honours_seeds()) else "neither"
        except BaseException:
            self.close()
            raise

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        is_known, vocabulary = request.id in self._known, len(self._chat.tokenizer)
        check_request(request, is_known=is_known, max_length=self._max_length, vocabulary=vocabulary)
        if self._settings.prompt == "text":
            prompt_text(request, self._chat)
        self._known.add(request.id)
        self._queue.append(request)

    def step(self) -> list[Completion]:
        """Wait until a request is through, but only briefly, and return those that are.

        Raises:
            EngineError: no request would get through, or more failed than are allowed; what finished besides was returned before.
        """
        if self._failure is not None:
            raise self._failure
        while self._queue and len(self._tasks) < self.slots:
            request = self._queue.popleft()
            self._tasks[request.id] = self._loop.create_task(self._complete(request))
        if not self._tasks:
            return []
        self._run(asyncio.wait(self._tasks.values(), timeout=_STEP_S, return_when=asyncio.FIRST_COMPLETED))
        finished = []
        for key in [key for key, task in self._tasks.items() if task.done()]:
            task = self._tasks.pop(key)
            self._known.discard(key)
            if task.exception() is None:
                finished.append(task.result())
            else:
                self._failure = task.exception()
        if self._failure is not None and not finished:
            raise self._failure
        return finished

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and close their connections; what they had sampled only the server knows, so 0."""
        self._queue = deque(request for request in self._queue if request.id not in ids)
        self._known -= ids
        self._drop([self._tasks.pop(key) for key in ids & self._tasks.keys()])
        return 0

    def under_way(self) -> int:
        """Return 0: how many tokens its requests have sampled only the server knows."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return where completions came from, for the stage manifest; never the key."""
        return {
            "engine": "server",
            "url": self._api.url,
            "model": self._spec,
            "served_model": self._api.quote(self._served.id),
            "served_root": self._api.quote(self._served.root),
            "server": self._api.quote(self._served.owner),
            "reload": self._api.quote(self._settings.reload),
            "httpx2": httpx2.__version__,
            "prompt": self._settings.prompt,
            "token_ids": "the server's" if self._exact_ids else "the text's, tokenised again",
            "max_length": self._max_length,
            "concurrency": self.slots,
            "retried": self._api.retried,
            "failed": self._failed,
            "guarantee": self.guarantee,
            "chat_template": self._chat.template_name,
            "chat_fingerprint": self._chat.fingerprint(),
            "stop_ids": sorted(self._chat.stop_ids),
        }

    def close(self) -> None:
        """Close every request and connection; the engine cannot be used again."""
        if self._loop.is_closed():
            return
        self._queue.clear()
        self._tasks.clear()
        self._drop(list(asyncio.all_tasks(self._loop)))
        self._run(self._api.close())
        self._run(self._loop.shutdown_asyncgens())
        self._run(self._loop.shutdown_default_executor())  # the threads that looked up the server's name
        self._loop.close()

    def _find_model(self) -> Served:
        """Return what the server calls the model, after having had it loaded if there is a command for that."""
        settings = self._settings
        if settings.reload:
            run_reload(settings.reload, model=self._spec, api=self._api, timeout_s=settings.timeout_s)
            listed = self._run(self._api.await_models(settings.served_model))
        else:
            listed = self._run(self._api.models())
        served = self._pick(listed)
        if served.context is not None and served.context < self._max_length:
            raise EngineError(
                f"{self._api.url} serves {self._api.quote(served.id)!r} with room for {served.context} tokens, but prompt "
                f"and completion need up to {self._max_length}: start it with a longer context, or lower max_tokens"
            )
        return served

    def _pick(self, listed: list[Served]) -> Served:
        settings, names = self._settings, [self._api.quote(served.id) for served in listed]
        wanted = settings.served_model
        paths = {self._spec, str(Path(self._spec).resolve())}
        same = [served for served in listed if paths & {served.id, served.root}]
        chosen = [served for served in listed if served.id == wanted] if wanted else same or listed
        if not self._is_base and not settings.reload and not any(served in same for served in chosen):
            raise EngineError(
                f"this stage samples from {self._spec}, but {self._api.url} serves {names}, none of them from there. Set "
                "engine.reload to a command that has the server serve {model}, or have it serve that folder and run the "
                "same command again; docs/engines.md shows how"
            )
        if len(chosen) != 1:
            problem = f"has no {wanted!r}" if wanted else f"lists {len(listed)} models"
            raise EngineError(f"{self._api.url} {problem}; set engine.served_model to one of {names}")
        return chosen[0]

    async def _honours_seeds(self) -> bool:
        """Return whether one seed gives one completion and another seed another."""
        ids = self._chat.prompt_ids(Problem("probe", "Say anything.", ""))
        requests = [Request(("probe", sample), ids, seed, _PROBE) for sample, seed in enumerate((11, 12, 11))]
        first, other, again = [done.text for done in await asyncio.gather(*map(self._ask, requests))]
        return first == again != other

    async def _complete(self, request: Request) -> Completion:
        """Return the completion of a request, or the error of one that fails where others do not."""
        try:
            completion = await self._ask(request)
        except FailedRequestError as error:
            await self._require_alive(error)
            self._failed += 1
            self._require_few_errors(error)
            return Completion(request.id, (), "", "error", error=str(error))
        self._answered += 1
        self._exact_ids &= completion.exact
        return completion

    async def _ask(self, request: Request) -> Completion:
        read = partial(completion_of, request, chat=self._chat, quote=self._api.quote)
        return await self._api.complete(self._body(request), read)

    async def _require_alive(self, error: FailedRequestError) -> None:
        """Raise the error of a request unless the server still completes a plain one: then the request is to blame."""
        ids = self._chat.prompt_ids(Problem("probe", "Say anything.", ""))
        try:
            await self._ask(Request(("probe", 0), ids, 11, _PROBE))
        except FailedRequestError:
            raise error from None

    def _require_few_errors(self, error: FailedRequestError) -> None:
        """Raise EngineError where more requests have failed than are allowed."""
        share, counted = self._settings.max_errors, max(_FEWEST_COUNTED, self._answered + self._failed)
        if self._failed > share * counted:
            raise EngineError(
                f"{error}\n{self._failed} requests have failed for good, more than engine.max_errors = {share:g} of {counted}. "
                "See to the server, or raise engine.max_errors and run the same command again"
            )

    def _body(self, request: Request) -> dict[str, Any]:
        sampling, stop_ids = request.sampling, sorted(self._chat.stop_ids)
        as_text = self._settings.prompt == "text"
        return {
            "model": self._served.id,
            "prompt": prompt_text(request, self._chat) if as_text else list(request.prompt_ids),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "seed": request.seed % _SEEDS,
            "n": 1,
            "stream": False,
            "stop_token_ids": stop_ids,
            "stop": [*self._stop_texts(), *sampling.stop_strings],
            "skip_special_tokens": True,
            "return_token_ids": True,
            **_PLAIN_SAMPLING,
            **self._settings.options,
        }

    def _stop_texts(self) -> list[str]:
        """Return the stop tokens' texts for a server that knows no stop_token_ids."""
        if self._served.owner in _STOPS_BY_ID:
            return []
        return [
            self._chat.tokenizer.decode([token], skip_special_tokens=False) for token in sorted(self._chat.stop_ids)
        ]

    def _drop(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        self._run(_settled(tasks))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._loop.run_until_complete(work)


async def _settled(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait until cancelled tasks have closed what they held; an error that came first is no longer anybody's."""
    await asyncio.gather(*tasks, return_exceptions=True)
