"""Batches handed to `vllm run-batch`, a child process that loads the model, answers a file and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
from pathlib import Path

from robustft.config import LLMConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.batch.carrier import Say
from robustft.llm.batch.record import Record
from robustft.llm.openai.address import base_url

_GRACE = 10.0
"""Seconds in which an interrupted run-batch may end by itself."""


class RunBatch:
    """Runs `llm.batch.command` on one file after another; implements `robustft.llm.batch.carrier.Carrier`.

    Where no address is named, the model's identity has none: then a live server's answers are another model's. Raises
    ConfigError where there is no such command.
    """

    name = "vllm-batch"
    at_once = 1

    def __init__(self, config: LLMConfig) -> None:
        self.base_url = base_url(config, default="vllm run-batch")
        self._command = shlex.split(config.batch.command)
        if not self._command or shutil.which(self._command[0]) is None:
            named = self._command[0] if self._command else ""
            raise ConfigError(f"llm.batch.command: there is no program '{named}'; install vLLM, or name its path")
        if not any(part.split("=")[0] == "--model" for part in self._command):
            self._command += ["--model", config.model]

    async def carry(self, record: Record, say: Say) -> None:
        """See `Carrier`. The child keeps the record's lock: where this process is killed, the next one waits for it."""
        if not _written(record.output):
            # it stays when the batch goes, which may have ended well and slowly
            program, log = self._command[0], record.folder.parent / "run-batch.log"
            said = log.stat().st_size if log.exists() else 0
            say(f"batch {record.title}: {len(record.names)} requests to {program}, which writes to {log}")
            code = await self._run(record, log)
            if not _written(record.output):
                record.note(failed=True)
                message = f"llm.batch.command: {program} ended with {code} and no output: {_tail(log, said)}"
                raise ModelError(f"{message}; all it said is in {log}", fatal=True)
            if code:
                say(f"batch {record.title}: {program} wrote its output, then ended with {code}; see {log}")
        record.note(ended=True)

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def _run(self, record: Record, log: Path) -> int:
        held = (record.lock.handle,) if record.lock is not None else ()
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *("-i", str(record.requests), "-o", str(record.output)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=held,
                start_new_session=True,
            )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the child and its own children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _tail(log: Path, start: int) -> str:
    """Return the last three lines after byte `start` of the log as one."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4000))
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [" ".join(line.split()) for line in lines if line.strip()][-3:]
    return " | ".join(line[:200] for line in said) or "its log is empty"
