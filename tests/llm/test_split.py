from __future__ import annotations

from pathlib import Path

import pytest

from llm.server import ChatServer
from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.calls import Calls
from robustft.llm.ledger import Ledger, LedgeredLLM
from robustft.llm.openai.model import OpenAILLM
from robustft.llm.split import SplitScores
from robustft.records import Message

ASK = [Message(role="user", content="Mood?")]


async def test_each_candidate_is_kept_and_counted(tmp_path: Path) -> None:
    calls, ledger = Calls(), Ledger(tmp_path / "ledger.sqlite")
    async with ChatServer() as server:
        model = OpenAILLM.open(LLMConfig(backend="openai", model="m", base_url=server.url))
        llm = SplitScores(LedgeredLLM(model, ledger, model.identity, calls))
        bad, fine = [await model.score(ASK, [candidate]) for candidate in ("bad", "fine")]
        both = await llm.score(ASK, ["bad", "fine"])
        assert (both.logprobs, both.tokens) == (bad.logprobs + fine.logprobs, bad.tokens + fine.tokens)
        assert both.usage.prompt_tokens == bad.usage.prompt_tokens + fine.usage.prompt_tokens
        assert (calls.requests, len(ledger)) == (2, 2)
        await llm.score(ASK, ["fine", "good"])
        assert (calls.requests, calls.cached) == (3, 1)
        assert server.calls == 5
        with pytest.raises(ModelError, match="empty candidate"):
            await llm.score(ASK, ["", "fine"])
        assert llm.identity == model.identity
        await llm.aclose()
    ledger.close()
