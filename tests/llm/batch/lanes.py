"""A ledgered model on a batch lane, as a run opens it, with waits that tests can afford."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustft.config import LLMConfig
from robustft.llm.batch.carrier import Pace
from robustft.llm.batch.lane import BatchLane
from robustft.llm.calls import Calls
from robustft.llm.client import LLM
from robustft.llm.ledger import Ledger, LedgeredLLM
from robustft.llm.openai.model import OpenAILLM
from robustft.llm.split import SplitScores
from robustft.records import Message

QUICK = Pace(quiet=0.05, first=0.01, longest=0.02)


@dataclass
class Bench:
    """An open model, what its calls came to, and what the lane said."""

    llm: LLM
    calls: Calls
    ledger: Ledger
    home: Path
    notes: list[str] = field(default_factory=list)


@asynccontextmanager
async def opened(folder: Path, **llm: Any) -> AsyncIterator[Bench]:
    """Open the lane that `llm` names, with its ledger and batches in the folder."""
    config = LLMConfig.model_validate({"backend": "openai", "model": "m", "lane": "openai-batch"} | llm)
    ledger, notes, home = Ledger(folder / "ledger.sqlite"), list[str](), folder / "batches"
    if config.lane == "live":
        model = OpenAILLM.open(config)
    else:
        lane = BatchLane.open(config, home, ledger.__contains__, notes.append, QUICK)
        model = OpenAILLM(lane, config)
    calls = Calls()
    bench = Bench(SplitScores(LedgeredLLM(model, ledger, model.identity, calls)), calls, ledger, home, notes)
    try:
        yield bench
    finally:
        await bench.llm.aclose()
        ledger.close()


def question(n: int) -> list[Message]:
    """Return the n-th of many different prompts."""
    return [Message(role="user", content=f"Which is number {n}?")]
