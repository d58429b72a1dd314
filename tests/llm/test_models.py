from __future__ import annotations

from pathlib import Path

from robustft.llm.client import Sampling, Tag
from robustft.llm.models import Models
from robustft.records import Example, Message
from robustft.tasks import make_task
from support import MakeConfig

ROW = Example("r", (Message(role="user", content="Mood?"),), "A", ("bad", "good"), "B")


async def test_what_is_released_is_opened_again(make: MakeConfig, tmp_path: Path) -> None:
    config = make(tmp_path / "d.csv", task={"options": ["bad", "good"]})
    async with Models(config, make_task(config.task), lambda: [ROW]) as models:
        first, embedder = await models.llm(), await models.embedder()
        said = await first.complete([*ROW.messages], Sampling(), Tag("r", "direct"))
        await models.release()
        second = await models.llm()
        assert second is not first
        assert await models.embedder() is not embedder
        assert await second.complete([*ROW.messages], Sampling(), Tag("r", "direct")) == said
        assert (models.calls.requests, models.calls.cached) == (1, 1)
        await models.release()
        await models.release()
