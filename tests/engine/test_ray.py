"""The cluster's results are those of one machine, also where a worker is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.test_servers import SERVING, there
from llm.server import ChatServer
from robustft.config import Config
from robustft.errors import DataError, ModelError
from robustft.pipeline import denoise
from robustft.records import Answer, Decision, Example
from robustft.run import RunDir
from support import MakeConfig, write_moods

ray = pytest.importorskip("ray", reason="needs robustft[ray]")

FILES = ("decisions.parquet", "answers.parquet", "relabels.parquet")


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
        {
            "method": "posterior",
            "experts": ["direct", "reasoning", "context", "review"],
            "export": {"formats": ["alpaca", "messages", "prompt-completion"], "preferences": True},
        },
    ],
    ids=["paper", "posterior"],
)
async def test_its_results_are_those_of_one_machine_row_by_row(
    sections: dict[str, Any], make: MakeConfig, tmp_path: Path
) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=90), **sections)
    here = await run(config, tmp_path / "here")
    there = await run(config, tmp_path / "there", **on_ray(config))
    exports = [f"export/{path.name}" for path in (tmp_path / "here" / "export").glob("*.json*")]
    for name in (*FILES, *exports):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name
    assert here["calls"] | {"wall_s": 0} == there["calls"] | {"wall_s": 0}
    assert not list((tmp_path / "there").glob("shards/*/*"))
    finished = (tmp_path / "there" / "stages.json").read_bytes()
    await run(config, tmp_path / "there")  # where it was computed makes no difference
    assert (tmp_path / "there" / "stages.json").read_bytes() == finished


async def test_a_folder_is_read_and_texts_are_embedded_by_the_workers(make: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    lines = write_moods(tmp_path / "all.csv", n=40).read_text().splitlines(keepends=True)
    for number in range(4):
        part = lines[1 + 10 * number : 11 + 10 * number]
        (tmp_path / "d" / f"{number}.csv").write_text("".join([lines[0], *part]))
    config = make(tmp_path / "d", method="posterior", experts=["direct", "probe"], embedder="minilm")
    await run(config, tmp_path / "here")
    await run(config, tmp_path / "there", **on_ray(config))
    runs = [RunDir(tmp_path / name) for name in ("here", "there")]
    read = [list(run.load(Example)) for run in runs]
    assert read[0] == read[1]
    decided = [[(d.id, d.decision, d.response_final) for d in run.load(Decision)] for run in runs]
    assert decided[0] == decided[1]
    probs = [np.array([answer.probs for answer in run.load(Answer)]) for run in runs]
    assert probs[0] == pytest.approx(probs[1], abs=1e-3)  # other texts share a batch: numeric noise
    assert len(list((tmp_path / "there" / "shards" / "read").glob("*.done"))) == 4
    assert len(list((tmp_path / "there" / "shards" / "embed").glob("*.done"))) == 3


@pytest.mark.parametrize("fault", ["the same id", "no label"])
async def test_files_that_are_at_fault_are_read_in_turn_so_that_the_fault_is_named(
    fault: str, make: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    lines = write_moods(tmp_path / "all.csv", n=4).read_text().splitlines(keepends=True)
    (tmp_path / "d" / "0.csv").write_text("".join(lines[:3]))
    second = lines[1] if fault == "the same id" else re.sub(",[ABC],", ",Q,", lines[3], count=1)
    (tmp_path / "d" / "1.csv").write_text(lines[0] + second)
    config = make(tmp_path / "d")
    said = []
    for name, sections in (("here", {}), ("there", on_ray(config))):
        with pytest.raises(DataError, match=r"1\.csv, row 1") as raised:
            await run(config, tmp_path / name, **sections)
        said.append(str(raised.value))
    assert said[0] == said[1]


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


async def test_the_model_is_served_by_the_cluster_itself(make: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    llm = {"backend": "openai", "model": "m"}
    config = make(write_moods(tmp_path / "d.csv", n=40), llm=llm, experts=["direct"], method="self-label")
    served = {"serve": f"{sys.executable} {SERVING} {{port}} {tmp_path / 'pids'}", "cpus": 0.5}
    metrics = await run(config, tmp_path / "there", **on_ray(config, **served))
    assert metrics["calls"]["requests"] == 40
    pids = [int(file.read_text()) for file in (tmp_path / "pids").iterdir()]
    assert len(pids) == 2
    assert not any(there(pid) for pid in pids)
    assert {answer.value for answer in RunDir(tmp_path / "there").load(Answer)} == {"B"}
    # other ports, the same ledger: nothing is asked again
    (tmp_path / "there" / "stages.json").unlink()
    metrics = await run(config, tmp_path / "there", **on_ray(config, **served))
    assert (metrics["calls"]["requests"], metrics["calls"]["cached"]) == (0, 40)


async def test_a_server_that_does_not_start_ends_the_run(make: MakeConfig, tmp_path: Path) -> None:
    config = make(write_moods(tmp_path / "d.csv", n=8), llm={"backend": "openai", "model": "m"}, experts=["direct"])
    with pytest.raises(ModelError, match=r"ray.serve: the server has ended; .*servers/\d.log holds what it said"):
        await run(config, tmp_path / "there", **on_ray(config, serve="false {port}"))


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
