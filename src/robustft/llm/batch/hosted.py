"""Batches at a server that speaks the OpenAI Batch API, over the official client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from robustft.config import LLMConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.batch.carrier import Pace, QueueFullError, Say
from robustft.llm.batch.record import Record, settle
from robustft.llm.openai.address import api_key, base_url
from robustft.llm.openai.endpoint import TransientError
from robustft.llm.openai.payloads import passes, reason

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from openai.types import Batch

Value = TypeVar("Value")

_ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
_NO_ROOM = "token_limit_exceeded"
_MISSES = 60
"""Looks at a batch that may fail one after another: at the longest interval, an hour of outage."""
_CLOCKS = 3600
"""Seconds by which the server's clock may be behind ours."""


class HostedBatches:
    """Uploads, submits, polls and fetches; implements `robustft.llm.batch.carrier.Carrier`.

    Each step is written down before the next, and a batch of which it isn't known whether the server took it is looked
    for there first, so that none is submitted twice. Raises ConfigError for no usable address, key or client.
    """

    name = "openai-batch"
    at_once = 8

    def __init__(self, config: LLMConfig, pace: Pace) -> None:
        self.base_url = base_url(config)
        self._attempts, self._pace = config.attempts, pace
        self._variable, self._key = config.api_key_env, api_key(config.api_key_env)
        self._client = _open_client(self.base_url, self._key)

    async def carry(self, record: Record, say: Say) -> None:
        """See `Carrier`. A batch that somebody has cancelled ends the run; what it has answered is kept."""
        batch_id: str | None = record.facts.get("batch_id")
        if batch_id is None:
            batch_id = await self._submit(record)
            say(f"batch {batch_id}: {len(record.names)} requests submitted to {self.base_url}")
        else:
            say(f"batch {batch_id}: submitted by an earlier run, waiting for it")
        batch = await self._end_of(batch_id, record, say)
        if batch.status == "failed":
            raise _failure(batch, record)
        for file_id, path in ((batch.output_file_id, record.output), (batch.error_file_id, record.errors)):
            if file_id:
                await self._insist(partial(self._fetch, file_id, path))
        record.note(ended=True)
        if batch.status == "cancelled":
            way_out = "the same command again submits what it has not answered"
            raise ModelError(f"batch {batch_id} was cancelled: {way_out}", fatal=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _submit(self, record: Record) -> str:
        """Have the server take the batch, unless it has; return its id."""
        doubtful = "input_file_id" in record.facts
        if not doubtful:
            record.note(input_file_id=await self._insist(lambda: self._upload(record)))
        file_id: str = record.facts["input_file_id"]

        async def taken() -> Batch:
            nonlocal doubtful
            batch = await self._find(file_id, record) if doubtful else None
            # from here on it may be the answer alone that gets lost
            doubtful = True
            return batch or await self._client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"robustft": record.folder.name},
            )

        batch = await self._insist(taken)
        record.note(batch_id=batch.id)
        return batch.id

    async def _upload(self, record: Record) -> str:
        with record.requests.open("rb") as file:
            return (await self._client.files.create(file=(f"{record.folder.name}.jsonl", file), purpose="batch")).id

    async def _find(self, file_id: str, record: Record) -> Batch | None:
        """Return the server's batch of a file, if it has taken one; it lists the newest first."""
        async for batch in self._client.batches.list(limit=100):
            if batch.input_file_id == file_id and batch.status != "failed":
                return batch
            if batch.created_at < record.facts["created"] - _CLOCKS:
                return None
        return None

    async def _end_of(self, batch_id: str, record: Record, say: Say) -> Batch:
        """Look at the batch until it has ended; say when its state changes, and with each further tenth."""
        pause, misses, said = self._pace.first, 0, ""
        gone = f"batch {batch_id} is unknown there; delete {record.folder} to have its requests submitted anew"
        while True:
            try:
                batch = await self._tried(lambda: self._client.batches.retrieve(batch_id), gone)
            except TransientError as error:
                misses += 1
                if misses > _MISSES:
                    raise self._gave_up(error, misses) from None
            else:
                misses = 0
                counts = batch.request_counts
                done = 0 if counts is None else counts.completed + counts.failed
                tenth = 10 * done // len(record.names)
                if said != (said := f"{batch.status} {tenth}"):
                    say(f"batch {batch_id}: {batch.status}, {done} of {len(record.names)} requests done")
                if batch.status in _ENDED:
                    return batch
            await asyncio.sleep(pause)
            pause = self._pace.after(pause)

    async def _fetch(self, file_id: str, path: Path) -> None:
        part = path.with_suffix(".part")
        async with self._client.files.with_streaming_response.content(file_id) as response:
            try:
                await response.stream_to_file(part)
            except Exception as error:  # which one it is depends on the HTTP library under the client
                raise TransientError(f"the download broke off ({type(error).__name__})") from None
        settle(part, path)

    async def _insist(self, call: Callable[[], Awaitable[Value]]) -> Value:
        """Call as often as the config says. Raises ModelError, which ends the run."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(self._pace.first, self._pace.longest),
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return await retrying(self._tried, call)
        except TransientError as error:
            raise self._gave_up(error, self._attempts) from None

    async def _tried(self, call: Callable[[], Awaitable[Value]], gone: str = "does it have the Batch API?") -> Value:
        """Call once. Raises TransientError, and a fatal ModelError, which says `gone` for 404."""
        from openai import APIConnectionError, APIError, APIStatusError

        try:
            return await call()
        except APIConnectionError as error:
            cause = error.__cause__
            raise TransientError(f"no connection ({self._clean(str(cause) or type(cause).__name__)})") from None
        except APIStatusError as error:
            raise self._refusal(error, gone) from None
        except APIError as error:
            raise TransientError(self._clean(str(error))) from None

    def _refusal(self, error: APIStatusError, gone: str) -> Exception:
        status, said = error.status_code, self._clean(reason(error.response.content))[:300]
        if status in (401, 403):
            way_out = f"check the key in {self._variable}" if self._key else f"set {self._variable}, which is not set"
        elif status == 402 or "insufficient_quota" in said:
            way_out = "top up the account"
        elif status == 404:
            way_out = gone
        elif passes(status):
            return TransientError(f"{status} {said}")
        else:
            way_out = "mend what it names in the config"
        return ModelError(f"{self.base_url} answers {status} to a batch ({said}): {way_out}", fatal=True)

    def _gave_up(self, error: TransientError, tries: int) -> ModelError:
        resume = "batches go on there, the same command again picks them up"
        return ModelError(f"{self.base_url}: {error} ({tries} attempts); {resume}", fatal=True)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _failure(batch: Batch, record: Record) -> Exception:
    """Return why the server has taken none of a batch's requests."""
    errors = (batch.errors.data if batch.errors else None) or []
    if any(error.code == _NO_ROOM for error in errors):
        record.note(batch_id=None)
        return QueueFullError(f"batch {batch.id}: {errors[0].message}")
    record.note(failed=True)
    if not errors:
        return ModelError(f"batch {batch.id} failed, and the server doesn't say why", fatal=True)
    first, more = errors[0], f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    place = record.requests if first.line is None else f"{record.requests}, line {first.line}"
    message = f"batch {batch.id} failed: {place}: {first.message} [{first.code}]{more}"
    return ModelError(f"{message}; mend llm.model or llm.extra_body and run the same command again", fatal=True)


def _open_client(address: str, key: str | None) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI
    except ImportError:
        raise ConfigError('llm.lane: openai-batch needs the official client: pip install "robustft[batch]"') from None
    # every retry is ours: the client's own would submit a batch twice when an answer gets lost
    return AsyncOpenAI(base_url=address, api_key=key or "EMPTY", max_retries=0)
