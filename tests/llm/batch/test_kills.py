"""A run that is killed while a batch is on its way: the next one waits for the same batch and sends nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from llm import server
from llm.batch.lanes import opened, question
from llm.batch.server import BatchServer
from llm.server import Body
from robustft.llm.client import Sampling
from robustft.llm.ledger import Ledger

N = 400

ASK = """
import asyncio, sys
from pathlib import Path
from llm.batch.lanes import opened, question
from robustft.llm.client import Sampling

async def main(folder, url, n):
    async with opened(Path(folder), base_url=url) as bench:
        await asyncio.gather(*(bench.llm.complete(question(i), Sampling()) for i in range(int(n))))

asyncio.run(main(*sys.argv[1:]))
"""


async def start(folder: Path, url: str) -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK, str(folder), url, str(N), env=environment, stderr=asyncio.subprocess.PIPE
    )


async def reach(process: asyncio.subprocess.Process, moment: Callable[[], bool]) -> None:
    """Return when the moment has come; the process must live until then."""
    while not moment():
        await asyncio.sleep(0.001)
        if process.returncode is not None:
            assert process.stderr is not None
            raise AssertionError((await process.stderr.read()).decode())


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.communicate()


def posts(chat: BatchServer) -> list[str]:
    return [said for said in chat.said if said.startswith("POST")]


async def after_the_upload(request: web.Request, body: Body) -> web.StreamResponse:
    """Let whoever asks wait for ever."""
    return await server.silence(request, body)


MOMENTS: dict[str, Callable[[BatchServer], bool]] = {
    "its file is up": lambda chat: "POST /v1/batches" in chat.said,
    "it is created": lambda chat: bool(chat.jobs),
    "it is waited for": lambda chat: any(job.looks > 2 for job in chat.jobs.values()),
    "it has ended": lambda chat: any(job.status == "completed" for job in chat.jobs.values()),
    "its replies are fetched": lambda chat: any(said.endswith("/content") for said in chat.said),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_kill_9_while_a_batch_is_on_its_way(tmp_path: Path, moment: str) -> None:
    async with BatchServer(looks=6) as chat:
        if moment == "its file is up":
            # the server goes silent before it takes the batch
            chat.batch_faults = iter([None, after_the_upload])
        process = await start(tmp_path, chat.url)
        await reach(process, lambda: MOMENTS[moment](chat))
        await kill(process)
        sent = posts(chat)
        async with opened(tmp_path, base_url=chat.url) as bench:
            calls = (bench.llm.complete(question(n), Sampling()) for n in range(N))
            assert {reply.text for reply in await asyncio.gather(*calls)} == {"Answer: A"}
        assert chat.sizes == [N]
        assert set(chat.carried_out.values()) == {1}
        assert posts(chat) in (sent, [*sent, "POST /v1/batches"])
        assert list(bench.home.iterdir()) == []


async def test_kill_9_between_the_replies(tmp_path: Path) -> None:
    async with BatchServer(looks=1) as chat:
        process = await start(tmp_path, chat.url)
        ledger = Ledger(tmp_path / "ledger.sqlite")
        await reach(process, lambda: len(ledger) > 0)
        await kill(process)
        kept, said = len(ledger), len(chat.said)
        ledger.close()
        assert 0 < kept < N
        async with opened(tmp_path, base_url=chat.url) as bench:
            # another order, and fewer of them
            calls = (bench.llm.complete(question(n), Sampling()) for n in reversed(range(N - 10)))
            await asyncio.gather(*calls)
        assert posts(chat) == ["POST /v1/files", "POST /v1/batches"]
        async with opened(tmp_path, base_url=chat.url) as bench:
            await asyncio.gather(*(bench.llm.complete(question(n), Sampling()) for n in range(N)))
        assert posts(chat) == ["POST /v1/files", "POST /v1/batches"]
        # nothing is fetched again either
        assert len(chat.said) == said
        assert list(bench.home.iterdir()) == []


async def test_two_runs_that_share_a_ledger_share_the_batch_that_one_has_sent(tmp_path: Path) -> None:
    async with BatchServer(looks=10) as chat:
        process = await start(tmp_path, chat.url)
        await reach(process, lambda: bool(chat.jobs))
        async with opened(tmp_path, base_url=chat.url) as bench:
            asking = asyncio.gather(*(bench.llm.complete(question(n), Sampling()) for n in range(N)))
            while not bench.notes:
                await asyncio.sleep(0.001)
            assert "another process is at work on" in bench.notes[0]
            await kill(process)
            assert len(await asking) == N
        assert chat.sizes == [N]
