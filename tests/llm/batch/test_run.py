"""Whole runs on a batch lane: the decisions of the live lane, with few batches, and no call repeated on switching."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm.batch.server import BatchServer
from robustft.config import LLMConfig
from robustft.errors import ConfigError
from robustft.loading import make_config
from robustft.pipeline import denoise
from support import MakeConfig, Notes, write_moods


def mood(body: dict[str, Any]) -> str:
    """Answer by the question alone."""
    return f"Answer: {'ABC'[sum(str(body['messages'][0]['content']).encode()) % 3]}"


async def test_a_run_decides_as_on_the_live_lane_and_each_round_is_one_batch(tmp_path: Path, make: MakeConfig) -> None:
    rows = write_moods(tmp_path / "d.csv", n=60)
    notes = Notes()
    async with BatchServer(answer=mood, looks=1) as chat:

        async def run(lane: str, ledger: str) -> dict[str, Any]:
            llm = {"backend": "openai", "base_url": chat.url, "model": "m", "lane": lane, "concurrency": 4}
            config = make(rows, llm=llm, experts=["direct", "likelihood"], ledger=str(tmp_path / f"{ledger}.sqlite"))
            return await denoise(config, tmp_path / f"{lane} {ledger}", progress=notes)

        live = await run("live", "a")
        batch = await run("openai-batch", "b")
        noisy = sum(live["decisions"].values()) - live["decisions"]["keep"]
        assert noisy > 0
        # detect: a direct answer and three scores a row; then context, then review
        assert chat.sizes[0] == 60 * 4
        assert len(chat.sizes) == 3
        sent = chat.calls
        again = await run("live", "b")
        assert (again["calls"]["requests"], again["calls"]["failed"]) == (0, 0)
        assert (chat.calls, len(chat.jobs)) == (sent, 3)
    assert batch["decisions"] == live["decisions"]
    assert batch["calls"] | {"wall_s": 0} == live["calls"] | {"wall_s": 0}
    files = [(tmp_path / name / "decisions.parquet").read_bytes() for name in ("live a", "openai-batch b", "live b")]
    assert files[0] == files[1] == files[2]
    assert any(note.startswith("batch batch_0: 240 requests submitted to") for note in notes.lines)
    assert list((tmp_path / "b.sqlite.batches").iterdir()) == []


def test_a_batch_counts_where_it_decides_how_many_rows_are_under_way() -> None:
    assert LLMConfig(concurrency=7).rows_at_once == 7
    assert LLMConfig(backend="openai", concurrency=7).rows_at_once == 14
    batch = {"backend": "openai", "lane": "vllm-batch", "concurrency": 7, "batch": {"requests": 900}}
    assert LLMConfig.model_validate(batch).rows_at_once == 900


@pytest.mark.parametrize(
    ("llm", "said"),
    [
        ({"lane": "openai-batch"}, "lane openai-batch carries the requests of backend openai; set llm.backend: openai"),
        ({"lane": "batch", "backend": "openai"}, "llm.lane"),
        ({"batch": {"requests": 50_001}}, "llm.batch.requests"),
    ],
)
def test_a_wrong_lane_is_named(llm: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make_config({"llm": llm})
    assert "\n" not in str(caught.value)
