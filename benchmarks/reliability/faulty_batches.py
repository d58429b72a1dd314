"""A Batch API that hands results back, with a seed, in all the ways in which they go wrong.

Each request of a batch draws whether its result gets a fault, and which; the others are answered as by the live server.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from aiohttp import web

from benchmarks.speed.server import reply

Result = dict[str, Any]
OUT_OF_ORDER = "a result out of order"
ANSWERED = {OUT_OF_ORDER, "a result twice", "a result for nobody"}
"""Faults beside which the answer is there."""


def _failed(status: int, message: str) -> Result:
    return {"response": {"status_code": status, "request_id": "r", "body": {"error": {"message": message}}}}


def _expired(message: str) -> Result:
    return {"response": None, "error": {"code": "batch_expired", "message": message}}


# what is written for a request in place of its result
BATCH_FAULTS: dict[str, Callable[[Result], Sequence[bytes]]] = {
    OUT_OF_ORDER: lambda result: [orjson.dumps(result)],
    "a result twice": lambda result: [orjson.dumps(result)] * 2,
    "a result for nobody": lambda result: [orjson.dumps(result), orjson.dumps(result | {"custom_id": "nobody"})],
    "a result that breaks off": lambda result: [orjson.dumps(result)[:40]],
    "no result": lambda result: [],
    "a 500 for a result": lambda result: [orjson.dumps(result | _failed(500, "the server had an error"))],
    "a result that came too late": lambda result: [orjson.dumps(result | _expired("not in time"))],
}


class FaultyBatches:
    """Counts the requests that came in batches and what it did; `share` of them get one of `faults`."""

    lane = "openai-batch"

    def __init__(self, share: float, seed: int = 0, faults: Sequence[str] = tuple(BATCH_FAULTS)) -> None:
        self.share, self._faults, self._random = share, faults, random.Random(seed)  # noqa: S311 - no secret
        self.requests = 0
        self.made: Counter[str] = Counter()
        self.repeated = 0
        """Requests that had been answered before."""
        self._answered: set[bytes] = set()
        self._files: dict[str, bytes] = {}
        self._batches: list[dict[str, Any]] = []

    @property
    def routes(self) -> Iterable[web.RouteDef]:
        """What is served under /v1."""
        return (
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._download),
            web.post("/v1/batches", self._create),
            web.get("/v1/batches", self._list),
            web.get("/v1/batches/{id}", self._look),
        )

    async def _upload(self, request: web.Request) -> web.Response:
        upload = (await request.post())["file"]
        assert isinstance(upload, web.FileField)
        made = {"id": self._store(upload.file.read()), "object": "file", "bytes": 1, "created_at": 1}
        return web.json_response(made | {"filename": upload.filename, "purpose": "batch", "status": "processed"})

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files[request.match_info["id"]])

    async def _create(self, request: web.Request) -> web.Response:
        """Answer the whole batch at once."""
        asked = await request.json()
        entries = [orjson.loads(line) for line in self._files[asked["input_file_id"]].splitlines()]
        count = {"total": len(entries), "completed": len(entries), "failed": 0}
        made = {"id": f"batch_{len(self._batches)}", "object": "batch", "status": "completed", "created_at": 2**31}
        made |= asked | {"output_file_id": self._store(self._results(entries)), "request_counts": count}
        self._batches.append(made)
        return web.json_response(made)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self._batches[::-1], "has_more": False})

    async def _look(self, request: web.Request) -> web.Response:
        return web.json_response(self._batches[int(request.match_info["id"].removeprefix("batch_"))])

    def _store(self, content: bytes) -> str:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        return name

    def _results(self, entries: Sequence[dict[str, Any]]) -> bytes:
        written: list[bytes] = []
        for entry in entries:
            digest = hashlib.sha256(orjson.dumps(entry["body"])).digest()
            self.requests += 1
            self.repeated += digest in self._answered
            response = {"status_code": 200, "request_id": "r", "body": orjson.loads(reply(entry["body"]))}
            result = {"id": "r", "custom_id": entry["custom_id"], "response": response, "error": None}
            if self._random.random() >= self.share:
                self._answered.add(digest)
                written.append(orjson.dumps(result))
                continue
            name = self._random.choice(self._faults)
            self.made[name] += 1
            if name in ANSWERED:
                self._answered.add(digest)
            place = self._random.randrange(len(written) + 1) if name == OUT_OF_ORDER else len(written)
            written[place:place] = BATCH_FAULTS[name](result)
        return b"\n".join(written)
