"""A sane endpoint for the doctor, over a real connection, and what can be wrong with one, one behaviour at a time.

async with Endpoint(shape="null") as server: ...
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from llm.server import Body, ChatServer, Wire, error, words
from robustft.doctor.probes import COUNTING, RANDOM, SENTENCE, STONES

HEADERS = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499"}


@dataclass
class Endpoint(ChatServer):
    """Answers as a small, able model would; its tokens are words."""

    stated: int | None = None
    """The context that /models states."""
    lists: bool = True
    """Whether there is /models."""
    unlisted: tuple[str, ...] = ()
    """Models that /models doesn't list."""
    constrains: tuple[str, ...] = ("response_format",)
    """The constraints that are honoured."""
    reads: int = 10**9
    """Words of a prompt that are read: of a longer one only the last."""
    counts_all: bool = False
    """Whether usage counts the words that weren't read, too."""
    weak: bool = False
    """Whether it repeats no password."""
    steady: bool = True
    """Whether temperature 0 always gives the same."""
    warm: bool = True
    """Whether temperature 1 gives something else each time, unless there is a seed."""
    seeds: bool = True
    limits: bool = True
    """Whether the length limit is kept."""
    headers: dict[str, str] = field(default_factory=dict)
    think: str = "{text}"
    """How a text is wrapped."""
    echoes: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.pieces = words
        self.answer = self._say

    def _add_routes(self, app: web.Application) -> None:
        super()._add_routes(app)
        app.router.add_post("/v1/completions", self._echo)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Wire(request.path, {}, request.headers.get("Authorization", ""), time.monotonic()))
        if not self.lists:
            return error(404, "Not Found")
        listed = [name for name in self.models if name not in self.unlisted]
        return web.json_response({"data": [{"id": name, "max_model_len": self.stated} for name in listed]})

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        body, failure = await self._receive(request)
        if not self.echoes:
            return failure or error(404, "Not Found")
        return web.json_response({"choices": [{"text": body["prompt"] + "!", "logprobs": {}}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = await super()._answer(request)
        response.headers.update(self.headers)
        return response

    def _refusal(self, body: Body) -> web.Response | None:
        if self.stated is not None and len(_words(body)) > self.stated:
            return error(400, f"This model's maximum context length is {self.stated} tokens.")
        if "temperature" in self.refused and body["temperature"] == 1.0:
            return None
        return super()._refusal(body)

    def _complete(self, body: Body) -> Body:
        reply = super()._complete(body)
        choice, limit = reply["choices"][0], body.get("max_tokens") or body["max_completion_tokens"]
        said = words(choice["message"]["content"] or "")
        if self.limits and len(said) > limit:
            choice["message"]["content"], choice["finish_reason"] = "".join(said[:limit]), "length"
            reply["usage"]["completion_tokens"] = limit
        read = len(_words(body))
        reply["usage"]["prompt_tokens"] = read if self.counts_all else min(read, self.reads)
        return reply

    def _say(self, body: Body) -> str:
        self.asked += 1
        return self.think.format(text=self._text(body))

    def _text(self, body: Body) -> str:
        text = " ".join(_words(body)[-self.reads :])
        if any(form in body for form in self.constrains):
            return json.dumps({"answer": STONES[0]})
        if "password" in text:
            found = re.search(r"password is (\w+)", text)
            return found.group(1) if found and not self.weak else "Which password?"
        if COUNTING in text:
            return " ".join(["one"] * 200)
        if SENTENCE in text:
            return "The sea is wide." if self.steady else f"The sea has {self.asked} waves."
        if RANDOM in text and body["temperature"] > 0 and self.warm:
            return f"Ada {body['seed'] if self.seeds and 'seed' in body else self.asked}"
        return "Answer: B" if "LETTER" in text else "Paris"


def _words(body: Body) -> list[str]:
    return [word for turn in body["messages"] for word in str(turn["content"]).split()]


Changes = dict[str, Any]
