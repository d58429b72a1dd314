"""A chat-completions server of a set speed that knows how busy it was: what the client's own work is measured against.

    python -m benchmarks.speed.server --delay 0.2 --slots 256

Prints its address and serves until it is ended. Replies are those of a vLLM server for `Answer: X`, log-probabilities
and alternatives included where they are asked for; X is drawn by the prompt. GET /v1/load lists, every 20 ms since the
first request, how many slots were taken and how many requests waited for one.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import web

SAMPLING_SECONDS = 0.02
THOUGHT = "Each figure is higher than a year before, which is good news, and nothing speaks against it.\n"

Load = list[tuple[float, int, int]]
"""(seconds since the first request, slots taken, requests that wait)."""


class SlotServer:
    """Answers `slots` requests at once (0: any number), each after `delay` seconds; others wait in line."""

    def __init__(self, delay: float, slots: int) -> None:
        self._delay, self._slots = delay, asyncio.Semaphore(slots) if slots else None
        self._taken = self._present = 0
        self._load: Load = []
        self._sampler: asyncio.Task[None] | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        if request.method == "GET":
            return web.Response(body=orjson.dumps(self._load), content_type="application/json")
        if self._sampler is None:
            self._sampler = asyncio.create_task(self._sample())
        payload = await request.read()
        if self._delay:
            await self._serve()
        return web.Response(body=reply(orjson.loads(payload)), content_type="application/json")

    async def _serve(self) -> None:
        self._present += 1
        try:
            if self._slots is None:
                await self._work()
            else:
                async with self._slots:
                    await self._work()
        finally:
            self._present -= 1

    async def _work(self) -> None:
        self._taken += 1
        try:
            await asyncio.sleep(self._delay)
        finally:
            self._taken -= 1

    async def _sample(self) -> None:
        start = time.monotonic()
        while True:
            self._load.append((time.monotonic() - start, self._taken, self._present - self._taken))
            await asyncio.sleep(SAMPLING_SECONDS)


def reply(body: dict[str, Any]) -> bytes:
    """Return the JSON of a chat completion; one that is asked for steps reasons first."""
    prompt = body["messages"][-1]["content"]
    letter = "ABC"[hashlib.sha256(prompt.encode()).digest()[0] % 3]
    return _reply(letter, "step by step" in prompt, body.get("top_logprobs", 0) if body.get("logprobs") else None)


@lru_cache
def _reply(letter: str, reasons: bool, alternatives: int | None) -> bytes:
    text = THOUGHT * 4 * reasons + f"Answer: {letter}"
    tokens = [*text.replace(" ", "\0 ").split("\0"), ""]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []},
        "finish_reason": "stop",
        "stop_reason": None,
    }
    if alternatives is not None:
        listed = [_token(f" {chr(65 + rank)}", rank) for rank in range(alternatives)]
        choice["logprobs"] = {"content": [_token(token, 0) | {"top_logprobs": listed} for token in tokens]}
    usage = {"prompt_tokens": 60, "completion_tokens": len(tokens), "total_tokens": 60 + len(tokens)}
    made = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return orjson.dumps(made | {"usage": usage})


def _token(text: str, rank: int) -> dict[str, Any]:
    return {"token": text, "logprob": -0.123456789 - rank, "bytes": list(text.encode())}


@contextmanager
def serving(delay: float = 0.0, slots: int = 0) -> Iterator[str]:
    """Run a server in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "benchmarks.speed.server", "--delay", str(delay), "--slots", str(slots)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own command)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def load_of(base_url: str) -> Load:
    """Return how busy the server was so far."""
    with urllib.request.urlopen(f"{base_url}/load") as response:  # noqa: S310 (http, and our own server)
        return [(at, taken, waiting) for at, taken, waiting in orjson.loads(response.read())]


async def serve(delay: float, slots: int) -> None:
    """Serve on a free port until the process is ended."""
    runner = web.ServerRunner(web.Server(SlotServer(delay, slots).handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}/v1\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a request")
    parser.add_argument("--slots", type=int, default=0, help="requests that are served at once; 0: all")
    wanted = parser.parse_args(arguments)
    asyncio.run(serve(wanted.delay, wanted.slots))


if __name__ == "__main__":
    main()
