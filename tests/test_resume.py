"""A run that is killed in the middle repeats no finished call: counted at a real server."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import yaml

from llm.server import ChatServer
from support import write_moods

CONCURRENCY = 4
UNDER_WAY = CONCURRENCY * 4
"""Calls that a kill can lose: of each row under way the direct answer and three scores, sent or not yet committed."""


async def start(config: Path, run: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "robustft",
        "run",
        str(config),
        "-o",
        str(run),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_kill_9_loses_at_most_the_calls_in_flight(tmp_path: Path) -> None:
    write_moods(tmp_path / "d.csv", n=80)
    async with ChatServer(answer=lambda body: "Answer: B", delay=0.01) as server:
        tree = {
            "task": {"instruction": "Mood?"},
            "data": {"path": "d.csv"},
            "llm": {"backend": "openai", "base_url": server.url, "model": "m", "concurrency": CONCURRENCY},
            "embedder": "tfidf",
            "method": "paper",
            "experts": ["direct", "likelihood"],
            "ledger": "ledger.sqlite",
        }
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(tree))
        kills = 0
        for wanted in (60, 150, 300):
            process = await start(config, tmp_path / "run")
            while server.calls < wanted and process.returncode is None:
                await asyncio.sleep(0.005)
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            await process.wait()
        process = await start(config, tmp_path / "run")
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert kills == 3
        bodies = [str(wire.body) for wire in server.seen if wire.path.endswith("completions")]
        assert len(bodies) - len(set(bodies)) <= kills * UNDER_WAY
        assert len(set(bodies)) > 10 * UNDER_WAY
        calls = server.calls
        process = await start(config, tmp_path / "again")
        await process.wait()
        assert server.calls == calls
    first, again = (tmp_path / name / "decisions.parquet" for name in ("run", "again"))
    assert first.read_bytes() == again.read_bytes()
