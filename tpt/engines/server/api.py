"""The HTTP side of an OpenAI-compatible completions server: requests, retries, and answers that are not believed.

What fails in passing (no connection, no answer in time, 408, 425, 429, 5xx, as status or in the answer) is tried again, each
time after a longer wait, and never before the server's own Retry-After; an answer that is no completion, twice more. What then
still fails is a FailedRequestError, one request's, or an EngineError, every request's, that says what to change. The key
goes into one header and nowhere else: every message is cleared of it, whoever wrote the text.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from tpt.errors import EngineError

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529))
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_CONNECT_S = 10.0
_OPENING_RETRIES = 2
_LONGEST_ANSWER = 16 * 2**20
_QUOTED = 300
_T = TypeVar("_T")


_ODD_RETRIES = 2
"""Further tries of a request whose answer is no completion: the next one often is."""
_PASSING_WORDS = (
    "rate_limit",
    "rate limit",
    "overloaded",
    "server_error",
    "timeout",
    "timed out",
    "unavailable",
    "busy",
)


class PassingError(Exception):
    """Raised for a failure that may be over at the next try."""

    def __init__(self, said: str, wait_s: float = 0.0, *, most: int | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s
        """The wait that the server asks for."""
        self.most = most
        """Most further tries; None: as many as are allowed."""


def odd_answer(said: str) -> PassingError:
    """Return the error of an answer that should have been a completion."""
    return PassingError(said, most=_ODD_RETRIES)


class FailedRequestError(EngineError):
    """Raised for a request that failed for good, whatever becomes of others."""


@dataclass(frozen=True, slots=True)
class Served:
    """One model that a server lists."""

    id: str
    root: str
    """Where the server has it from, where it says so."""
    owner: str
    """What kind of server it is, where it says so: vllm, sglang, llamacpp."""
    context: int | None
    """Most tokens of prompt and completion together, where it says so."""


class CompletionsAPI:
    """One server, seen through ``GET models`` and ``POST completions``."""

    def __init__(self, url: str, *, key_env: str, timeout_s: float, retries: int, connections: int) -> None:
        """Connect to nothing yet.

        ``/v1`` is added to the URL of a bare host. ``key_env`` names the environment variable that holds the key; it
        may be unset. ``timeout_s`` is the longest wait for one answer, ``retries`` counts further tries of a request
        that failed in passing.

        Raises:
            EngineError: the key cannot be sent in a header.
        """
        self.url = url.rstrip("/") + ("" if httpx2.URL(url).path.strip("/") else "/v1")
        self.retried = 0
        self._key_env = key_env
        self._key = os.environ.get(key_env, "") if key_env else ""
        if not all("!" <= character <= "~" for character in self._key):
            raise EngineError(
                f"the environment variable {key_env} holds a space, a line break or another character that no key has; "
                "set it again"
            )
        self._timeout_s = timeout_s
        self._retries = retries
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        self._client = httpx2.AsyncClient(
            headers=headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def models(self) -> list[Served]:
        """Return what the server lists; EngineError when it is no OpenAI-compatible server, or not there."""
        # Whoever mistyped the address should not wait through all the retries to be told.
        return self._listed(await self._send("GET", "models", None, retries=min(self._retries, _OPENING_RETRIES)))

    async def await_models(self, name: str) -> list[Served]:
        """Return what the server lists as soon as it answers and lists a name; any model will do for an empty one."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            said = f"it does not list {name!r}" if name else "it lists no model"
            try:
                listed = self._listed(await self._send_once("GET", "models", None))
                if any(name in ("", served.id) for served in listed):
                    return listed
            except PassingError as error:
                said = str(error)
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{self.url}/models: engine.reload was through, but the server was not ready after "
                    f"engine.timeout_s = {self._timeout_s:g} s: {said}"
                )
            await asyncio.sleep(_FIRST_WAIT_S)

    def _listed(self, listed: Any) -> list[Served]:
        rows = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows
        ):
            raise EngineError(
                f"{self.url}/models did not list models as an OpenAI-compatible server does, but answered "
                f"{self.quote(json.dumps(listed))}; check engine.url, which usually ends in /v1"
            )
        return [_served(row) for row in rows]

    async def complete(self, body: dict[str, Any], read: Callable[[Any], _T]) -> _T:
        """Return what ``read`` makes of the server's answer to one completions request.

        Raises:
            FailedRequestError: it failed for good.
            EngineError: no request would get through.
        """
        found: _T = await self._send("POST", "completions", body, retries=self._retries, read=read)
        return found

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def quote(self, text: str) -> str:
        """Return what somebody else wrote, fit for a message: one short line, printable, without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        line = "".join(character if character.isprintable() else " " for character in text[: 10 * _QUOTED])
        line = " ".join(line.split())
        return line if len(line) <= _QUOTED else line[:_QUOTED] + " ..."

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        retries: int,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        for attempt in range(retries + 1):
            try:
                answer = await self._send_once(method, path, body)
                self._look_for_error(answer)
                return read(answer)
            except PassingError as error:
                failure = error
            if attempt >= (retries if failure.most is None else min(failure.most, retries)):
                break
            self.retried += 1
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt)
            await asyncio.sleep(max(failure.wait_s, wait * random.uniform(0.5, 1.0)))
        raise FailedRequestError(
            f"{self.url}/{path}: {failure} (tried {attempt + 1} times). Finished records are kept: see to the server, or "
            "to engine.url, engine.timeout_s and engine.retries, and run the same command again"
        )

    def _look_for_error(self, answer: Any) -> None:
        """Raise for an error in an answer with status 200, by its own code or words, as gateways send it."""
        error = answer.get("error") if isinstance(answer, dict) else None
        if not error or answer.get("choices"):
            return
        told = error if isinstance(error, dict) else {"message": error}
        codes = {str(told.get(name, answer.get(name))) for name in ("code", "status", "status_code", "type")}
        said = f"the server answered 200 with an error: {self._said(json.dumps(answer).encode())}"
        words = f"{' '.join(codes)} {told.get('message', '')}".lower()
        if codes & set(map(str, _PASSING)) or any(word in words for word in _PASSING_WORDS):
            raise PassingError(said)
        if codes & {"401", "403"}:
            raise EngineError(f"{self.url}: {said}; {self._key_advice()}")
        raise FailedRequestError(f"{self.url}: {said}")

    async def _send_once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """Return the parsed JSON of one answer.

        Raises:
            PassingError: it may be worth another try.
            EngineError: it is not.
        """
        content = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(method, f"{self.url}/{path}", content=content) as response,
            ):
                answer = await self._read(response)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise PassingError(f"no answer within {self._timeout_s:g} s") from error
        except httpx2.RequestError as error:
            raise PassingError(f"no connection: {type(error).__name__}: {self.quote(str(error))}") from error
        if response.status_code in _PASSING:
            said = f"the server answered {response.status_code}: {self._said(answer)}"
            raise PassingError(said, min(_retry_after(response.headers.get("Retry-After", "")), self._timeout_s))
        if response.status_code != 200:
            of_all = path == "models" or response.status_code in (401, 403) or response.status_code < 400
            raise (EngineError if of_all else FailedRequestError)(self._refusal(response, path, answer))
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise odd_answer(
                f"{self.url}/{path} answered something that is not JSON: {self.quote(answer.decode(errors='replace'))!r}; "
                "check engine.url, which usually ends in /v1"
            ) from None

    async def _read(self, response: httpx2.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > _LONGEST_ANSWER:
                raise FailedRequestError(
                    f"{self.url} sent an answer of more than {_LONGEST_ANSWER // 2**20} MiB; no completion is that long. "
                    "Is engine.url the address of a completions server?"
                )
            parts.append(part)
        return b"".join(parts)

    def _refusal(self, response: httpx2.Response, path: str, answer: bytes) -> str:
        """Return what to say of an answer that another try would not change."""
        status, said = response.status_code, self._said(answer)
        if status in (401, 403):
            advice = self._key_advice()
        elif status in (404, 405) and path == "completions":
            advice = (
                "check engine.url, which usually ends in /v1, and engine.served_model. A server for chats alone has no "
                "/completions, which tpt needs, as it makes the prompts itself, id for id those it trains on: take one that has "
                'it (vLLM, SGLang, llama.cpp, Ollama), or engine.name = "hf" or "vllm"'
            )
        elif status in (404, 405):
            advice = "check engine.url, which usually ends in /v1, and engine.served_model"
        elif 300 <= status < 400:
            advice = f"it points to {self.quote(response.headers.get('Location', '')) or 'nowhere'}; correct engine.url"
        else:
            advice = (
                'check engine.served_model; where it takes no token ids as prompt, set engine.prompt = "text"; and its '
                "context must hold prompt and completion"
            )
        return f"{self.url}/{path}: the server answered {status}: {said}; {advice}"

    def _key_advice(self) -> str:
        wanted = f"it wants a key other than that in {self._key_env}" if self._key else "it wants a key"
        return f"{wanted}: set the environment variable {self._key_env or 'that engine.api_key_env is to name'}"

    def _said(self, answer: bytes) -> str:
        """Return the message in an error's body, or the body."""
        text = answer.decode(errors="replace")
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            return repr(self.quote(text))
        found = found.get("error", found) if isinstance(found, dict) else found
        found = found.get("message", found) if isinstance(found, dict) else found
        return repr(self.quote(found if isinstance(found, str) else text))


def _served(row: dict[str, Any]) -> Served:
    meta = row.get("meta")
    context = row.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    return Served(
        id=row["id"],
        root=str(row.get("root") or ""),
        owner=str(row.get("owned_by") or ""),
        context=context if isinstance(context, int) and context > 0 else None,
    )


def _retry_after(text: str) -> float:
    """Return the seconds that a Retry-After header asks for: a number, or a date; 0 when it is neither."""
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        parsed = email.utils.parsedate_tz(text)
        return 0.0 if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - time.time())
