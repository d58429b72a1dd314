"""What is kept of an endpoint, who starts from it, and that a server that has changed is asked as it wants anyway."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from llm.server import ChatServer
from robustft.config import LLMConfig
from robustft.llm.client import Sampling
from robustft.llm.models import Models
from robustft.llm.openai.capabilities import FRESH, Capabilities, keep, place, recall
from robustft.llm.openai.dialect import Dialect
from robustft.records import Message
from robustft.tasks import make_task
from support import MakeConfig, Notes

MESSAGES = [Message(role="user", content="Which?")]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustft.llm.openai.capabilities.user_cache_path", lambda name: tmp_path / "cache")


def found(url: str = "http://h/v1", **changes: Any) -> Capabilities:
    return Capabilities.model_validate({"endpoint": url, "model": "m", "found": date.today()} | changes)


def test_what_is_kept_is_recalled_for_its_endpoint_and_model_alone() -> None:
    known = found(gives_scores=False, length="max_completion_tokens")
    file = keep(known)
    assert recall("http://h/v1", "m") == known
    assert recall("http://h/v1", "n") is None
    assert recall("http://g/v1", "m") is None
    keep(found())
    assert recall("http://h/v1", "m") == found()
    assert list(file.parent.iterdir()) == [file]


def test_what_is_old_or_damaged_counts_for_nothing() -> None:
    keep(found())
    assert recall("http://h/v1", "m", date.today() + FRESH) == found()
    assert recall("http://h/v1", "m", date.today() + FRESH + timedelta(days=1)) is None
    for damage in (b"", b"[]", b'{"endpoint": 1}', b"\xff"):
        place("http://h/v1", "m").write_bytes(damage)
        assert recall("http://h/v1", "m") is None


def test_the_users_choice_goes_over_what_is_known() -> None:
    known = found(length="max_completion_tokens", takes_logprobs=False, takes_alternatives=3)
    begun = Dialect.of(LLMConfig(), known)
    assert (begun.length, begun.logprobs, begun.alternatives) == ("max_completion_tokens", False, 3)
    assert Dialect.of(LLMConfig(token_parameter="max_tokens"), known).length == "max_tokens"
    assert Dialect.of(LLMConfig(), found()) == Dialect()
    assert (found().lesson, known.lesson) == ("", "with max_completion_tokens and without logprobs")


async def ask(make: MakeConfig, tmp_path: Path, chat: ChatServer, notes: Notes) -> str:
    config = make(tmp_path / "d.csv", llm={"backend": "openai", "model": "m", "base_url": chat.url})
    async with Models(config, make_task(config.task), list, say=notes.note) as models:
        return (await (await models.llm()).complete(MESSAGES, Sampling(top_logprobs=20))).text


async def test_a_run_wastes_no_call_on_what_is_known_to_be_refused(make: MakeConfig, tmp_path: Path) -> None:
    notes = Notes()
    async with ChatServer(refused=("max_tokens",), most_logprobs=5) as chat:
        keep(found(chat.url, length="max_completion_tokens", takes_alternatives=5))
        assert await ask(make, tmp_path, chat, notes) == "Answer: A"
        assert chat.calls == 1
        assert chat.seen[0].body["top_logprobs"] == 5
    assert notes.lines == [
        f"{chat.url} is asked with max_completion_tokens and for 5 alternatives a token at most, "
        f"as `robustft doctor` found on {date.today()}"
    ]


async def test_a_server_that_has_changed_since_is_followed(make: MakeConfig, tmp_path: Path) -> None:
    async with ChatServer(refused=("max_completion_tokens", "logprobs")) as chat:
        keep(found(chat.url, length="max_completion_tokens"))
        assert await ask(make, tmp_path, chat, Notes()) == "Answer: A"
        assert "max_tokens" in chat.seen[-1].body
        assert "logprobs" not in chat.seen[-1].body
