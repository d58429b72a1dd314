"""A chat-completions server that does, with a seed, everything that servers do wrong.

Each wire request draws whether it gets a fault, and which; the others are answered as in `benchmarks.speed.server`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from benchmarks.speed.server import reply

Made = Awaitable[web.StreamResponse]
Fault = Callable[[web.Request, dict[str, Any]], Made]


def _json(value: object, status: int = 200, **headers: str) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


def _changed(body: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> web.Response:
    """Return a proper reply with one thing changed."""
    found = orjson.loads(reply(body))
    change(found)
    return _json(found)


async def _reset(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _refuse(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Break this connection, and for a moment let nobody open another: that is refused."""
    broken = await _reset(request, body)
    await request.app[DOOR].shut(REFUSING)
    return broken


async def _hang_up(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
    """Close the connection after half of the reply."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    if request.transport is not None:
        request.transport.abort()
    return response


async def _too_late(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(TIMEOUT * 1.5)
    return web.Response(body=reply(body), content_type="application/json")


async def _trickle(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Send the reply piece by piece, more slowly than anyone waits."""
    payload = reply(body)
    response = web.StreamResponse(headers={"Content-Length": str(len(payload)), "Content-Type": "application/json"})
    await response.prepare(request)
    for start in range(0, len(payload), 40):
        await response.write(payload[start : start + 40])
        await asyncio.sleep(0.2)
    return response


def _status(status: int, **headers: str) -> Fault:
    async def fault(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return _json({"error": {"message": f"injected {status}"}}, status, **headers)

    return fault


async def _html(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    return web.Response(text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")


async def _truncated(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    payload = reply(body)
    return web.Response(body=payload[: len(payload) // 2], content_type="application/json")


async def _nan(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Give log-probabilities that are no number, as a model that overflows does."""
    text = reply(body).decode()
    head, mark, tail = text.partition('"logprob":')
    end = next(place for place, char in enumerate(tail) if char in ",}")
    return web.Response(text=f"{head}{mark}NaN{tail[end:]}", content_type="application/json")


def _in_reply(change: Callable[[dict[str, Any]], object]) -> Fault:
    async def fault(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return _changed(body, change)

    return fault


def _unclosed(found: dict[str, Any]) -> None:
    found["choices"][0]["message"]["content"] = "<think>Is it A? Then again it may be B, which"
    found["choices"][0] |= {"finish_reason": "length", "logprobs": None}


TIMEOUT = 2.0
"""Seconds that the client of the benchmark waits."""
REFUSING = 0.1
"""Seconds in which nobody listens."""

# the first group fails the attempt, the second gives an answer that is worth less, or nothing
FAULTS: dict[str, Fault] = {
    "connection reset": _reset,
    "connections refused": _refuse,
    "connection closed in the middle": _hang_up,
    "no answer in time": _too_late,
    "slow trickle": _trickle,
    "429 with Retry-After": _status(429, **{"Retry-After": "0.1"}),
    "429 without": _status(429),
    "500": _status(500),
    "502": _status(502),
    "503": _status(503),
    "HTML in place of JSON": _html,
    "truncated JSON": _truncated,
    "empty choices": _in_reply(lambda found: found.update(choices=[])),
    "no choices": _in_reply(lambda found: found.pop("choices")),
    "NaN log-probabilities": _nan,
    "null log-probabilities": _in_reply(lambda found: found["choices"][0].update(logprobs=None)),
    "null content": _in_reply(lambda found: found["choices"][0]["message"].update(content=None)),
    "another model's name": _in_reply(lambda found: found.update(model="another")),
    "finish_reason length": _in_reply(lambda found: found["choices"][0].update(finish_reason="length")),
    "finish_reason content_filter": _in_reply(
        lambda found: found["choices"][0].update(finish_reason="content_filter", message={"content": ""})
    ),
    "reasoning that never closes": _in_reply(_unclosed),
}


def _bound(port: int) -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", port))
    return held


class Door:
    """Where connections are opened, which can be shut for a moment; those that are open stay so."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._site: web.SockSite | None = None
        # bound as long as the door is there, and never listening: while it is shut nobody else can come by the port
        self._held = _bound(0)

    @property
    def port(self) -> int:
        """The port, which stays the same."""
        return int(self._held.getsockname()[1])

    async def open(self) -> None:
        """Listen."""
        self._site = web.SockSite(self._runner, _bound(self.port), backlog=4096)
        await self._site.start()

    def close(self) -> None:
        """Let go of the port."""
        self._held.close()

    async def shut(self, seconds: float) -> None:
        """Listen no more for so long; does nothing where it is shut already."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
            await asyncio.sleep(seconds)
            await self.open()


DOOR = web.AppKey("door", Door)


class FaultyServer:
    """Counts what came and what it did; `share` of the requests get one of `faults`."""

    lane = "live"

    def __init__(self, share: float, seed: int = 0, faults: Sequence[str] = tuple(FAULTS)) -> None:
        self.share, self._faults, self._random = share, faults, random.Random(seed)  # noqa: S311 - no secret
        self.requests = 0
        self.made: Counter[str] = Counter()
        self.repeated = 0
        """Requests that had been answered before, without a fault."""
        self._answered: set[bytes] = set()

    @property
    def routes(self) -> Iterable[web.RouteDef]:
        """What is served under /v1."""
        return (web.post("/v1/chat/completions", self._handle),)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or not."""
        payload = await request.read()
        self.requests += 1
        body, digest = orjson.loads(payload), hashlib.sha256(payload).digest()
        self.repeated += digest in self._answered
        if self._random.random() < self.share:
            name = self._random.choice(self._faults)
            self.made[name] += 1
            try:
                return await FAULTS[name](request, body)
            except ConnectionResetError:  # the client has gone, as it should
                return web.Response()
        self._answered.add(digest)
        return web.Response(body=reply(body), content_type="application/json")


@asynccontextmanager
async def serving(routes: Iterable[web.RouteDef]) -> AsyncIterator[str]:
    """Serve on a free port of this machine; the address is such as `llm.base_url` takes."""
    app = web.Application(client_max_size=2**28)
    app.router.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    app[DOOR] = door = Door(runner)
    await runner.setup()
    try:
        await door.open()
        yield f"http://127.0.0.1:{door.port}/v1"
    finally:
        await runner.cleanup()
        door.close()
