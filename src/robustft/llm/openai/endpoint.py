"""One HTTP endpoint: who may call when, who tries again, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.openai.address import api_key, base_url, proxy
from robustft.llm.openai.limit import Limit, Slot
from robustft.llm.openai.pauses import Backoff, Cooldown, retry_after
from robustft.llm.openai.payloads import parse, passes, reason
from robustft.llm.openai.replies import work_of

Reply = TypeVar("Reply")

_DUMMY_KEY = "EMPTY"
# uvicorn, and so vLLM, closes a connection that idles for 5 s: let go of it first
_KEEP_ALIVE = 4.0
_CONNECT_SECONDS = 15.0
_UNKNOWN_MODEL = re.compile(r"model_not_found|\bmodel:?\s+\S+\s+(was )?(not found|does not exist)", re.IGNORECASE)


class TransientError(Exception):
    """An attempt failed in a way that another one may not. `unreachable`: no connection came about at all."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class RefusedError(ModelError):
    """The server refuses this request and would refuse it again; `said` is its reason, in one line."""

    def __init__(self, url: str, status: int, said: str) -> None:
        super().__init__(f"{url} refuses the request ({status}): {said}")
        self.status, self.said = status, said


class Endpoint:
    """An OpenAI-compatible server: as many requests in flight as it is good at, `config.concurrency` at most.

    Each is tried `config.attempts` times. The key is read from the environment here and is in no message, log or repr.
    Raises ConfigError where there is no usable address or key. Opens its connections with the first request.
    """

    def __init__(self, config: LLMConfig, backoff: Backoff | None = None) -> None:
        self.base_url = base_url(config)
        self.model = config.model
        self.timeout = config.timeout
        self._attempts = config.attempts
        self._concurrency = config.concurrency
        self._backoff = backoff or Backoff()
        self._key_env = config.api_key_env
        self._key = api_key(config.api_key_env)
        self._proxy = proxy(self.base_url)
        self._limit = Limit(config.concurrency)
        self._cooldown = Cooldown(self._backoff.first)
        self._session: aiohttp.ClientSession | None = None
        self._answers = 0
        self._stop = stop_after_attempt(config.attempts)
        self._wait = wait_exponential(self._backoff.first, self._backoff.longest) + wait_random(0, self._backoff.first)
        self._retry = retry_if_exception_type(TransientError)

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Reply]) -> Reply:
        """Send `body` as JSON and return what `read` makes of the JSON that comes back.

        An attempt in which `read` fails counts as failed. Raises RefusedError where the server refuses this request, a
        fatal ModelError where it would refuse every request, and ModelError after the last attempt.
        """
        try:
            data = orjson.dumps(body)
        except TypeError as error:
            raise ModelError(f"the request can't be written as JSON: {error}") from None
        url, before = self.base_url + path, self._answers
        try:
            try:
                return await self._attempt("POST", url, data, read)
            except TransientError as error:
                return await self._again(error, url, data, read)
        except TransientError as error:
            raise self._exhausted(path, error, absent=self._answers == before) from None
        except RefusedError as refusal:
            if refusal.status == 404 or _UNKNOWN_MODEL.search(refusal.said):
                raise await self._not_found(path, refusal) from None
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _again(self, first: TransientError, url: str, data: bytes, read: Callable[[Any], Reply]) -> Reply:
        """Go on after a first attempt that failed; tenacity, which owns all waits and counts, is shown that one too.

        Calls that succeed at once, nearly all, are spared its bookkeeping, which costs as much as the request.
        """
        over = iter([first])

        async def attempt() -> Reply:
            for error in over:
                raise error
            return await self._attempt("POST", url, data, read)

        retrying = AsyncRetrying(stop=self._stop, wait=self._wait, retry=self._retry, reraise=True)
        reply: Reply = await retrying(attempt)
        return reply

    async def _attempt(self, method: str, url: str, data: bytes | None, read: Callable[[Any], Reply]) -> Reply:
        async with self._limit.slot() as slot:
            await self._cooldown.over()
            try:
                async with self._open_session().request(
                    method, url, data=data, proxy=self._proxy, allow_redirects=False
                ) as response:
                    payload = await response.read()
                    self._answers += 1
            except aiohttp.ConnectionTimeoutError:
                self._limit.overloaded(slot)
                raise TransientError("no connection came about in time", unreachable=True) from None
            except TimeoutError:
                self._limit.overloaded(slot)
                raise TransientError(f"no answer within {self.timeout:g} s") from None
            except aiohttp.ClientConnectorError as error:
                raise TransientError(error.strerror or str(error.os_error), unreachable=True) from None
            except (aiohttp.ClientError, OSError) as error:
                raise TransientError(f"the connection broke ({type(error).__name__})") from None
            if passes(response.status):
                self._limit.overloaded(slot)
            if not 200 <= response.status < 300:
                raise self._failure(url, response.status, response.headers, self._said(payload))
            return self._understood(url, payload, read, slot)

    def _understood(self, url: str, payload: bytes, read: Callable[[Any], Reply], slot: Slot) -> Reply:
        """Parse and read a reply of status 2xx; some gateways send their upstream's errors with it."""
        try:
            reply = parse(payload)
        except (ValueError, RecursionError):
            raise TransientError(f"the reply is not JSON: {self._said(payload)}") from None
        if isinstance(reply, dict) and isinstance(error := reply.get("error"), dict):
            status = error.get("code")
            raise self._failure(url, status if isinstance(status, int) else 500, {}, self._said(payload))
        self._limit.succeeded(slot, work_of(reply))
        try:
            return read(reply)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise TransientError(f"the reply is not of the expected form: {self._said(payload)}") from None

    def _failure(self, url: str, status: int, headers: Mapping[str, str], said: str) -> Exception:
        """Return the error that a status stands for; 429 and 503 make every caller wait."""
        if status in (401, 403):
            way_out = f"check the key in {self._key_env}" if self._key else f"set {self._key_env}, which is not set"
            return ModelError(f"{url} answers {status} for model {self.model} ({said}): {way_out}", fatal=True)
        if status == 402 or (status == 429 and "insufficient_quota" in said):
            return ModelError(f"{url} answers {status} for model {self.model} ({said}): top up the account", fatal=True)
        if 300 <= status < 400:
            target = self._clean(headers.get("Location", "elsewhere"))
            return ModelError(f"{url} redirects to {target}: put the final address into llm.base_url", fatal=True)
        if not passes(status):
            return RefusedError(url, status, said)
        if status in (429, 503):
            pause = retry_after(headers.get("Retry-After"), datetime.now(UTC))
            if pause is not None and pause > self._backoff.patience:
                message = f"{url} answers {status} and asks to wait {pause:.0f} s: run the same command again then"
                return ModelError(message, fatal=True)
            self._cooldown.extend(self._backoff.first if pause is None else pause)
        return TransientError(f"{status} {said}")

    def _exhausted(self, path: str, error: TransientError, *, absent: bool) -> ModelError:
        """Return what a call ends with; that no other was answered meanwhile either tells a server that is `absent`."""
        tries = f"{self._attempts} attempt{'s' if self._attempts > 1 else ''}"
        if error.unreachable and absent:
            message = (
                f"can't connect to {self.base_url} ({error}; {tries}): is the server running, and llm.base_url right?"
            )
            return ModelError(message, fatal=True)
        return ModelError(f"{self.base_url}{path}: {error} ({tries})")

    async def _not_found(self, path: str, refusal: RefusedError) -> ModelError:
        """Tell a wrong model from a wrong address, by what the server lists under /models."""
        try:
            names = await self._attempt(
                "GET", f"{self.base_url}/models", None, lambda reply: [m["id"] for m in reply["data"]]
            )
        except (TransientError, ModelError):
            message = f"nothing answers under {self.base_url}{path} ({refusal.said}): does llm.base_url end in /v1?"
            return ModelError(message, fatal=True)
        if refusal.status != 404 and self.model in names:
            return refusal
        if self.model in names:
            message = f"{self.base_url} has no {path} for model {self.model}: {refusal.said}"
            return ModelError(message, fatal=True)
        known = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
        return ModelError(f"{self.base_url} has no model {self.model}; set llm.model to one of: {known}", fatal=True)

    def _said(self, payload: bytes) -> str:
        # the key goes before the cut, else a part of it could stay
        return self._clean(reason(payload))[:300]

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency, keepalive_timeout=_KEEP_ALIVE),
                timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, _CONNECT_SECONDS)),
                headers={"Authorization": f"Bearer {self._key or _DUMMY_KEY}", "Content-Type": "application/json"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
