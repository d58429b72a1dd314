"""The cluster's results are those of one machine, also where a worker is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm.server import ChatServer
from robustft.config import Config
from robustft.errors import ModelError
from robustft.pipeline import denoise
from support import MakeConfig, write_moods

ray = pytest.importorskip("ray", reason="needs robustft[ray]")

FILES = ("decisions.parquet", "answers.parquet", "relabels.parquet", "export/train_messages.jsonl")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    yield
    ray.shutdown()


async def run(config: Config, folder: Path, **sections: Any) -> dict[str, Any]:
    changed = config.model_copy(update={"ledger": folder.with_suffix(".sqlite"), **sections})
    return await denoise(changed, folder)


def on_ray(config: Config, **settings: Any) -> dict[str, Any]:
    return {"engine": "ray", "ray": config.ray.model_copy(update={"workers": 2, "shard": 16, **settings})}


@pytest.mark.parametrize(
    "sections",
    [
        {"method": "paper", "experts": ["direct", "reasoning", "agent"]},
        {"method": "posterior", "experts": ["direct", "reasoning", "context", "review"]},
    ],
    ids=["paper", "posterior"],
)
async def test_its_results_are_those_of_one_machine_row_by_row(
    sections: dict[str, Any], make: MakeConfig, tmp_path: Path
) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=90), **sections)
    here = await run(config, tmp_path / "here")
    there = await run(config, tmp_path / "there", **on_ray(config))
    for name in FILES:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name
    assert here["calls"] | {"wall_s": 0} == there["calls"] | {"wall_s": 0}
    assert not list((tmp_path / "there").glob("shards/*/*"))
    finished = (tmp_path / "there" / "stages.json").read_bytes()
    await run(config, tmp_path / "there")  # where it was computed makes no difference
    assert (tmp_path / "there" / "stages.json").read_bytes() == finished


async def test_a_worker_that_is_killed_loses_only_the_calls_in_flight(make: MakeConfig, tmp_path: Path) -> None:
    concurrency = 4
    async with ChatServer(answer=lambda body: "Answer: B", delay=0.02) as server:
        llm = {"backend": "openai", "base_url": server.url, "model": "m", "concurrency": concurrency}
        config = make(write_moods(tmp_path / "d.csv", n=120), llm=llm, experts=["direct"], method="self-label")
        running = asyncio.create_task(run(config, tmp_path / "there", **on_ray(config, shard=60)))
        while server.calls < 30:
            await asyncio.sleep(0.01)
        assert not running.done()
        os.kill(_a_worker(), signal.SIGKILL)
        await running
        bodies = [str(wire.body) for wire in server.seen if wire.path.endswith("completions")]
        await run(config, tmp_path / "here")
    assert len(set(bodies)) == 120
    assert len(bodies) - 120 <= 2 * concurrency  # in flight, or answered and not yet in the ledger
    for name in ("decisions.parquet", "answers.parquet"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


async def test_what_no_worker_can_do_ends_the_run_with_its_own_line(make: MakeConfig, tmp_path: Path) -> None:
    async with ChatServer(key="secret") as server:
        llm = {"backend": "openai", "base_url": server.url, "model": "m"}
        config = make(write_moods(tmp_path / "d.csv", n=20), llm=llm, experts=["direct"])
        with pytest.raises(ModelError, match="answers 401 for model m") as raised:
            await run(config, tmp_path / "there", **on_ray(config))
    assert raised.value.fatal


def _a_worker() -> int:
    """Return the process id of a worker of Ray Data's."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::") and b"MapWorker" in command:
                return int(folder.name)
    raise AssertionError("no worker is there")
