"""The test server with a Batch API: files up and down, batches whose states advance as they are looked at.

A batch runs when it is looked at for the `looks`-th time; until then it is validating, then in progress. What becomes
of each request is drawn from `seed` and the shares, anew in every batch.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from aiohttp import web

from llm.server import Body, ChatServer, Fault, error

Lines = list[dict[str, Any]]
End = Literal["completed", "expired", "cancelled"]


@dataclass
class Job:
    """One batch."""

    id: str
    file_id: str
    created_at: int
    size: int
    looks: int = 0
    status: str = "validating"
    ids: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    output: str | None = None
    failures: str | None = None


@dataclass
class BatchServer(ChatServer):
    """A server that answers requests one by one and as batches, with the same answers."""

    looks: int = 3
    seed: int = 0
    ends: Iterator[End] = field(default_factory=lambda: iter(()))
    """How the batches end, one after another; then: completed. An end but this answers a random half."""
    lost: float = 0.0
    """Share of the requests that neither file mentions."""
    busy: float = 0.0
    """Share of the requests that get a 500."""
    strange: bool = False
    """Output files also hold replies to nobody, each reply twice, and a line that breaks off."""
    refuse: str | None = None
    """Requests whose body holds this get a 400."""
    room: int | None = None
    """Requests that may be under way in all batches together."""
    most: int = 50_000
    batch_faults: Iterator[Fault | None] = field(default_factory=lambda: iter(()))
    """Taken one a request to the Batch API."""
    lose_reply: bool = False
    """The first batch is created, but the connection breaks before the answer."""
    files: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    carried_out: Counter[str] = field(default_factory=Counter)
    """How often each custom_id was answered."""
    said: list[str] = field(default_factory=list)
    """Method and path of every request to the Batch API."""

    def _add_routes(self, app: web.Application) -> None:
        super()._add_routes(app)
        self._random = random.Random(self.seed)  # noqa: S311
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches/{id}", self._look)
        app.router.add_post("/v1/batches/{id}/cancel", self._cancel)

    @property
    def sizes(self) -> list[int]:
        """How many requests each batch has, in the order of creation."""
        return [job.size for job in self.jobs.values()]

    async def _met(self, request: web.Request) -> web.StreamResponse | None:
        """Note a request; return the failure that it is to meet."""
        self.said.append(f"{request.method} {request.path}")
        if (fault := next(self.batch_faults, None)) is not None:
            return await fault(request, {})
        authorization = request.headers.get("Authorization", "")
        if self.key is not None and authorization != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {authorization}")
        return None

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        if failure := await self._met(request):
            return failure
        form = await request.post()
        assert form["purpose"] == "batch"
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        file_id = self._store(upload.file.read())
        return web.json_response(
            {
                "id": file_id,
                "object": "file",
                "bytes": len(self.files[file_id]),
                "created_at": 1,
                "filename": upload.filename,
                "purpose": "batch",
                "status": "processed",
            }
        )

    def _store(self, content: bytes) -> str:
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return file_id

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if failure := await self._met(request):
            return failure
        return web.Response(body=self.files[request.match_info["id"]])

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if failure := await self._met(request):
            return failure
        body = await request.json()
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        lines = self.files[body["input_file_id"]].splitlines()
        created = 2**31 + len(self.jobs)
        job = Job(f"batch_{len(self.jobs)}", body["input_file_id"], created, len(lines))
        under_way = sum(other.size for other in self.jobs.values() if other.status in ("validating", "in_progress"))
        self.jobs[job.id] = job
        self._validate(job, lines)
        if self.room is not None and under_way + job.size > self.room:
            job.status = "failed"
            message = "Enqueued token limit reached for m."
            job.errors = [{"code": "token_limit_exceeded", "message": message, "line": None}]
        if self.lose_reply:
            self.lose_reply = False
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self._shown(job))

    def _validate(self, job: Job, lines: list[bytes]) -> None:
        if len(lines) > self.most:
            job.errors.append({"code": "too_many_requests", "message": "Too many requests in the file.", "line": None})
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            entry = orjson.loads(line)
            assert set(entry) == {"custom_id", "method", "url", "body"}
            if entry["custom_id"] in seen:
                job.errors.append({"code": "duplicate_custom_id", "message": "Given twice.", "line": number})
            if entry["body"]["model"] not in self.models:
                job.errors.append({"code": "model_not_found", "message": "No such model.", "line": number})
            seen.add(entry["custom_id"])
        job.ids = list(seen)
        if job.errors:
            job.status = "failed"

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if failure := await self._met(request):
            return failure
        jobs, after = [*reversed(self.jobs.values())], request.query.get("after")
        first = next((place + 1 for place, job in enumerate(jobs) if job.id == after), 0)
        page = jobs[first : first + 2]
        return web.json_response(
            {"object": "list", "data": [self._shown(job) for job in page], "has_more": first + 2 < len(jobs)}
        )

    async def _look(self, request: web.Request) -> web.StreamResponse:
        if failure := await self._met(request):
            return failure
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return error(404, "No batch found.")
        job.looks += 1
        if job.status in ("validating", "in_progress"):
            job.status = "in_progress"
            if job.looks >= self.looks:
                await self._run(job, next(self.ends, "completed"))
        return web.json_response(self._shown(job))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs[request.match_info["id"]]
        await self._run(job, "cancelled")
        return web.json_response(self._shown(job))

    def _shown(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": job.created_at,
            "input_file_id": job.file_id,
            "status": job.status,
            "output_file_id": job.output,
            "error_file_id": job.failures,
            "errors": {"object": "list", "data": job.errors} if job.errors else None,
            "request_counts": {"total": job.size, "completed": job.counts["good"], "failed": job.counts["bad"]},
        }

    async def _run(self, job: Job, end: End) -> None:
        good, bad = Lines(), Lines()
        for number, line in enumerate(self.files[job.file_id].splitlines()):
            entry = orjson.loads(line)
            outcome = self._outcome(entry, end)
            if outcome is None:
                continue
            reply = {"id": f"batch_req_{number}", "custom_id": entry["custom_id"], **outcome}
            (good if outcome["response"] and outcome["response"]["status_code"] == 200 else bad).append(reply)
        job.counts = Counter(good=len(good), bad=len(bad))
        self.carried_out.update(reply["custom_id"] for reply in good)
        job.output = self._stored(good) if good else None
        job.failures = self._stored(bad) if bad else None
        job.status = end
        await asyncio.sleep(0)

    def _stored(self, lines: Lines) -> str:
        if self.strange:
            lines = lines * 2 + [lines[0] | {"custom_id": "nobody"}]
        self._random.shuffle(lines)
        written = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return self._store(written + b'{"custom_id": "brok' if self.strange else written)

    def _outcome(self, entry: dict[str, Any], end: End) -> dict[str, Any] | None:
        """Return a reply's `response` and `error`, None for a request that is lost."""
        body: Body = entry["body"]
        if end != "completed" and self._random.random() < 0.5:
            message = f"This request could not be executed before the batch was {end}."
            return {"response": None, "error": {"code": f"batch_{end}", "message": message}}
        if self._random.random() < self.lost:
            return None
        if self._random.random() < self.busy:
            return _response(500, {"error": {"message": "The server had an error."}})
        refusal = self._refusal(body)
        if refusal is not None:
            assert isinstance(refusal.body, bytes)
            return _response(400, orjson.loads(refusal.body))
        if self.refuse is not None and self.refuse in str(body):
            return _response(400, {"error": {"message": f"{self.refuse} is not allowed"}})
        return _response(200, self._complete(body))


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"response": {"status_code": status, "request_id": "r", "body": body}, "error": None}
