"""What becomes of each way in which a server can fail, with how many wire requests, and that the key stays secret."""

from __future__ import annotations

import asyncio
import socket
import traceback
from typing import Any

import pytest

from llm import server
from llm.server import ChatServer, Fault, raw, status
from robustft.config import LLMConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.client import Sampling
from robustft.llm.openai.endpoint import Endpoint, RefusedError, TransientError
from robustft.llm.openai.model import OpenAILLM
from robustft.llm.openai.pauses import Backoff
from robustft.records import Message

KEY = "sk-secret-0123456789abcdef"
ATTEMPTS = 3
QUICK = Backoff(first=0.001, longest=0.004)
MESSAGES = [Message(role="user", content="Which?")]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def config(url: str, **changes: Any) -> LLMConfig:
    known = {"backend": "openai", "model": "m", "base_url": url, "attempts": ATTEMPTS}
    return LLMConfig.model_validate(known | changes)


async def ask(url: str, backoff: Backoff = QUICK, **changes: Any) -> str:
    llm = OpenAILLM.open(config(url, **changes), backoff)
    try:
        return (await llm.complete(MESSAGES, Sampling())).text
    finally:
        await llm.aclose()


async def failure(url: str, backoff: Backoff = QUICK, **changes: Any) -> ModelError:
    """Ask in vain; the error must be one line and nowhere show the key."""
    with pytest.raises(ModelError) as caught:
        await ask(url, backoff, **changes)
    assert "\n" not in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    return caught.value


TRANSIENT: dict[str, Fault] = {
    "429": status(429),
    "429 with Retry-After": status(429, {"Retry-After": "0.01"}),
    "429 with nonsense in Retry-After": status(429, {"Retry-After": "soon"}),
    "500": status(500),
    "503": status(503, {"Retry-After": "0"}),
    "408": status(408),
    "html": raw(b"<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html"),
    "502 html": raw(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502, "text/html"),
    "truncated json": raw(b'{"choices": [{"message": {"content": "Answ'),
    "not utf-8": raw(b'{"choices": "\xff"}'),
    "too deep": raw(b"[" * 100_000),
    "empty": raw(b""),
    "empty choices": raw(b'{"choices": []}'),
    "null": raw(b"null"),
    "a list": raw(b"[]"),
    "no message": raw(b'{"choices": [{"finish_reason": "stop"}]}'),
    "finish error": raw(b'{"choices": [{"message": {"content": "A"}, "finish_reason": "error"}]}'),
    "upstream error with 200": raw(b'{"error": {"message": "upstream busy", "code": 502}}'),
    "reset": server.reset,
    "broken off": server.broken_off,
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_passing_fault_is_survived(fault: Fault) -> None:
    async with ChatServer(faults=[fault] * (ATTEMPTS - 1)) as chat:
        assert await ask(chat.url) == "Answer: A"
        assert chat.calls == ATTEMPTS


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_a_lasting_fault_ends_after_the_attempts(fault: Fault) -> None:
    async with ChatServer(fault=fault) as chat:
        error = await failure(chat.url)
        assert not error.fatal
        assert "3 attempts" in str(error)
        assert chat.calls == ATTEMPTS


async def test_a_timeout_is_tried_again() -> None:
    async with ChatServer(faults=[server.silence]) as chat:
        assert await ask(chat.url, timeout=0.3) == "Answer: A"
        assert chat.calls == 2
    async with ChatServer(fault=server.silence) as chat:
        error = await failure(chat.url, timeout=0.05)
        assert "no answer within 0.05 s" in str(error)
        assert chat.calls == ATTEMPTS


def test_a_call_that_finds_nobody_while_others_are_answered_fails_alone() -> None:
    endpoint, error = Endpoint(config("http://127.0.0.1:9/v1"), QUICK), TransientError("refused", unreachable=True)
    assert endpoint._exhausted("/chat/completions", error, absent=True).fatal
    failed = endpoint._exhausted("/chat/completions", error, absent=False)
    assert (failed.fatal, "refused" in str(failed)) == (False, True)


async def test_a_server_that_is_not_there_ends_the_run() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can come to answer
        error = await failure(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert error.fatal
    assert "is the server running" in str(error)


@pytest.mark.parametrize("number", [400, 413, 422, 501])
async def test_a_refusal_is_not_tried_again(number: int) -> None:
    async with ChatServer(fault=status(number, message="the prompt is too long")) as chat:
        error = await failure(chat.url)
        assert isinstance(error, RefusedError)
        assert not error.fatal
        assert f"({number}): the prompt is too long" in str(error)
        assert chat.calls == 1


async def test_a_wrong_key_ends_the_run_and_is_not_shown() -> None:
    async with ChatServer(key="another") as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert "check the key in OPENAI_API_KEY" in str(error)
        assert "model m" in str(error)
        assert chat.url in str(error)
        assert chat.calls == 1


async def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    async with ChatServer(key="another") as chat:
        assert "set OPENAI_API_KEY, which is not set" in str(await failure(chat.url))
        assert chat.seen[0].authorization == "Bearer EMPTY"


async def test_403_ends_the_run() -> None:
    async with ChatServer(fault=status(403)) as chat:
        assert (await failure(chat.url)).fatal
        assert chat.calls == 1


async def test_a_wrong_model_is_answered_with_the_right_ones() -> None:
    async with ChatServer(models=("llama", "qwen")) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert str(error) == f"{chat.url} has no model m; set llm.model to one of: llama, qwen"
        assert chat.calls == 1


async def test_a_wrong_address_is_told_from_a_wrong_model() -> None:
    async with ChatServer() as chat:
        error = await failure(chat.url.removesuffix("/v1"))
        assert error.fatal
        assert "does llm.base_url end in /v1?" in str(error)


async def test_an_empty_account_ends_the_run() -> None:
    quota = raw(b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}', 429)
    async with ChatServer(fault=quota) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert chat.calls == 1


async def test_a_redirect_names_the_final_address() -> None:
    async with ChatServer(fault=status(308, {"Location": "https://elsewhere/v1"})) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert "https://elsewhere/v1" in str(error)


async def test_a_pause_beyond_patience_ends_the_run() -> None:
    async with ChatServer(fault=status(429, {"Retry-After": "86400"})) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert "86400 s" in str(error)
        assert chat.calls == 1


@pytest.mark.parametrize("number", [429, 503])
async def test_every_caller_keeps_the_pause(number: int) -> None:
    pause = 0.4
    async with ChatServer(faults=[status(number, {"Retry-After": str(pause)})]) as chat:
        llm = OpenAILLM.open(config(chat.url), QUICK)
        first = asyncio.create_task(llm.complete(MESSAGES, Sampling()))
        await asyncio.sleep(0.2)  # long enough for the first one to be told
        assert chat.calls == 1
        others = [llm.complete(MESSAGES, Sampling()) for _ in range(5)]
        await asyncio.gather(first, *others)
        await llm.aclose()
        assert chat.calls == 7
        assert min(wire.at for wire in chat.seen[1:]) >= chat.seen[0].at + pause


async def test_no_more_than_concurrency_are_in_flight() -> None:
    async with ChatServer(delay=0.01) as chat:
        llm = OpenAILLM.open(config(chat.url, concurrency=4), QUICK)
        await asyncio.gather(*(llm.complete(MESSAGES, Sampling()) for _ in range(20)))
        await llm.aclose()
        assert chat.calls == 20
        assert chat.most_flying == 4


async def test_a_server_that_echoes_the_key_does_not_make_it_public() -> None:
    # the cut at 300 characters falls into the key
    echo = f"You sent {'x' * 280} Bearer {KEY}"
    faults = [status(400, message=echo), raw(echo.encode()), status(403, message=echo), raw(echo.encode(), 500)]
    for fault in [*faults, status(307, {"Location": f"http://elsewhere/?key={KEY}"})]:
        async with ChatServer(fault=fault) as chat:
            assert KEY[:9] not in str(await failure(chat.url))


async def test_the_key_is_sent_and_in_no_repr() -> None:
    async with ChatServer(key=KEY) as chat:
        llm = OpenAILLM.open(config(chat.url), QUICK)
        await llm.complete(MESSAGES, Sampling())
        assert KEY not in repr(llm) + repr(llm.identity) + repr(Endpoint(config(chat.url)))
        await llm.aclose()


async def test_another_variable_can_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " abc\n")
    async with ChatServer(key="abc") as chat:
        assert await ask(chat.url, api_key_env="MY_KEY") == "Answer: A"


def test_a_key_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abc\ndef")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        Endpoint(config("http://127.0.0.1:1/v1"))
    assert "def" not in str(caught.value)


def test_the_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LLMConfig(backend="openai", model="m")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        Endpoint(plain)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    assert Endpoint(plain).base_url == "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "file:///v1", "http://me:sk-1@host/v1", "http://host/v1?key=sk-1"]
)
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match=r"llm\.base_url") as caught:
        Endpoint(LLMConfig(backend="openai", model="m"))
    assert "sk-1" not in str(caught.value)


async def test_a_refusal_that_speaks_of_the_model_is_checked_against_the_servers_list() -> None:
    wrong = status(400, message="model 'm' not found")
    async with ChatServer(fault=wrong, models=("llama",)) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert "one of: llama" in str(error)
    async with ChatServer(fault=wrong) as chat:
        assert not (await failure(chat.url)).fatal


async def test_a_server_without_the_service_is_told_from_a_wrong_model() -> None:
    async with ChatServer(fault=status(404, message="Not Found")) as chat:
        error = await failure(chat.url)
        assert error.fatal
        assert "has no /chat/completions for model m" in str(error)


async def test_a_proxy_from_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ChatServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert await ask("http://nowhere.invalid/v1") == "Answer: A"
        monkeypatch.setenv("no_proxy", "nowhere.invalid")
        assert "can't connect" in str(await failure("http://nowhere.invalid/v1"))
