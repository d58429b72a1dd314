"""A real chat-completions server for tests: settable delay, faults and logprobs, and a record of every wire request.

    async with ChatServer(faults=[status(429, {"Retry-After": "0.2"})]) as server:
        llm = OpenAILLM.open(LLMConfig(backend="openai", model="m", base_url=server.url))

`faults` are taken one a request, None for none; then `fault` rules, and after that requests are answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import orjson
from aiohttp import web

Body = dict[str, Any]
Fault = Callable[[web.Request, Body], Awaitable[web.StreamResponse]]
Shape = Literal["chat", "plain", "none", "null", "empty", "nan", "null-number"]


@dataclass
class Wire:
    """One request as it came over the wire; `at` is time.monotonic() at its arrival."""

    path: str
    body: Body
    authorization: str
    at: float


@dataclass
class ChatServer:
    """An OpenAI-compatible server on 127.0.0.1; port 0: a free one."""

    answer: Callable[[Body], str] = lambda body: "Answer: A"
    message: Body = field(default_factory=dict)
    """Further keys of the reply's message, such as reasoning_content; they go over its content too."""
    finish: str | None = "stop"
    shape: Shape = "chat"
    delay: float = 0.0
    models: tuple[str, ...] = ("m",)
    key: str | None = None
    """The key that must be sent; None: any."""
    refused: tuple[str, ...] = ()
    """Parameters that get a 400 as 'Unsupported parameter'."""
    most_logprobs: int = 20
    prompt_logprobs: bool = True
    pieces: Callable[[str], list[str]] = list
    """How a text is cut into tokens: by characters."""
    faults: Iterable[Fault | None] = ()
    fault: Fault | None = None
    seen: list[Wire] = field(default_factory=list)
    flying: int = 0
    most_flying: int = 0
    port: int = 0

    async def __aenter__(self) -> Self:
        self.faults = iter(self.faults)
        app = web.Application(client_max_size=2**28)
        self._add_routes(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    def _add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/embeddings", self._embed)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def calls(self) -> int:
        """How many requests for completions or embeddings came over the wire."""
        return sum(wire.path != "/v1/models" for wire in self.seen)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Wire(request.path, {}, request.headers.get("Authorization", ""), time.monotonic()))
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.models]})

    async def _receive(self, request: web.Request) -> tuple[Body, web.StreamResponse | None]:
        body = orjson.loads(await request.read())
        authorization = request.headers.get("Authorization", "")
        self.seen.append(Wire(request.path, body, authorization, time.monotonic()))
        if self.delay:
            await asyncio.sleep(self.delay)
        if (fault := next(iter(self.faults), None) or self.fault) is not None:
            return body, await fault(request, body)
        if self.key is not None and authorization != f"Bearer {self.key}":
            return body, error(401, f"Incorrect API key provided: {authorization}")
        if body["model"] not in self.models:
            return body, error(404, f"The model `{body['model']}` does not exist.", "model_not_found")
        return body, None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            body, failure = await self._receive(request)
        finally:
            self.flying -= 1
        return (
            failure
            or self._refusal(body)
            or web.Response(body=dumps(self._complete(body)), content_type="application/json")
        )

    def _refusal(self, body: Body) -> web.Response | None:
        for name in self.refused:
            if name in body:
                hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                return error(
                    400, f"Unsupported parameter: '{name}' is not supported with this model.{hint}", "unsupported"
                )
        if body.get("top_logprobs", 0) > self.most_logprobs:
            return error(400, f"top_logprobs must be less than or equal to {self.most_logprobs}")
        return None

    def _complete(self, body: Body) -> Body:
        text = self.answer(body)
        prompt = self._prompt(body)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text} | self.message,
            "finish_reason": self.finish,
        }
        if body.get("logprobs") and self.shape != "none":
            choice["logprobs"] = self._logprobs(self.pieces(text), body.get("top_logprobs", 0))
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(self.pieces(text))},
        }
        if self.prompt_logprobs and body.get("prompt_logprobs") is not None:
            reply["prompt_logprobs"] = [None] + [
                {str(100 + n): {"logprob": logprob(piece), "rank": 1, "decoded_token": piece}}
                for n, piece in enumerate(prompt[1:])
            ]
        return reply

    def _prompt(self, body: Body) -> list[str]:
        opened = [piece for turn in body["messages"] for piece in ("<s>", *self.pieces(turn["content"]), "</s>")]
        if body.get("continue_final_message"):
            return opened[:-1]
        return [*opened, "<s>"]

    def _logprobs(self, pieces: list[str], alternatives: int) -> Body | None:
        numbers: list[float | None] = [logprob(piece) for piece in pieces]
        if self.shape in ("nan", "null-number"):
            numbers[0] = math.nan if self.shape == "nan" else None
        if self.shape == "null":
            return None
        if self.shape == "empty":
            return {"content": []}
        if self.shape == "plain":
            return {"tokens": pieces, "token_logprobs": numbers, "top_logprobs": None}
        return {
            "content": [
                {
                    "token": piece,
                    "logprob": number,
                    "bytes": list(piece.encode()),
                    "top_logprobs": [
                        {"token": piece if rank == 0 else f"{piece}{rank}", "logprob": (number or 0.0) - rank}
                        for rank in range(alternatives)
                    ],
                }
                for piece, number in zip(pieces, numbers, strict=True)
            ]
        }

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        body, failure = await self._receive(request)
        data = [{"index": index, "embedding": vector(text)} for index, text in enumerate(body["input"])]
        # the order of the rows is the index's, not the list's
        return failure or web.json_response({"data": data[::-1], "usage": {"prompt_tokens": len(data)}})


def words(text: str) -> list[str]:
    """Cut before each space."""
    return re.findall(r" ?[^ ]+| ", text)


def utf8(text: str) -> list[str]:
    """Cut into bytes, each character shown with its last one, as vLLM does."""
    return [piece for char in text for piece in [""] * (len(char.encode()) - 1) + [char]]


def broken(text: str) -> list[str]:
    """Cut into bytes, each shown by itself, as older vLLM does."""
    return [chr(byte) if byte < 128 else "\ufffd" for byte in text.encode()]


def logprob(piece: str) -> float:
    """Return the log p that the server gives a token, wherever it stands."""
    return -0.01 * (1 + sum(piece.encode()))


def vector(text: str) -> list[float]:
    """Return the server's embedding of a text: eight numbers, not of unit length."""
    return [byte / 16 for byte in hashlib.sha256(text.encode()).digest()[:8]]


def dumps(reply: Body) -> bytes:
    """Return JSON in which NaN is written as Python's own json module writes it, which is not JSON."""
    return json.dumps(reply).encode()


def error(status: int, message: str, code: str | None = None) -> web.Response:
    """Return an error in OpenAI's form."""
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


def status(number: int, headers: dict[str, str] | None = None, message: str = "busy") -> Fault:
    """Answer with this status."""

    async def fault(request: web.Request, body: Body) -> web.StreamResponse:
        return web.json_response({"error": {"message": message}}, status=number, headers=headers)

    return fault


def raw(payload: bytes, number: int = 200, content_type: str = "application/json") -> Fault:
    """Answer with these bytes."""

    async def fault(request: web.Request, body: Body) -> web.StreamResponse:
        return web.Response(body=payload, status=number, content_type=content_type)

    return fault


async def reset(request: web.Request, body: Body) -> web.StreamResponse:
    """Drop the connection in place of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def broken_off(request: web.Request, body: Body) -> web.StreamResponse:
    """Promise more bytes than are sent."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    return await reset(request, body)


async def silence(request: web.Request, body: Body) -> web.StreamResponse:
    """Never answer."""
    await asyncio.sleep(3600)
    return web.Response()
