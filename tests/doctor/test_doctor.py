"""What the doctor says of a sane endpoint, and of each that has one thing wrong with it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from doctor.endpoint import HEADERS, Changes, Endpoint
from llm import server
from llm.server import raw, status
from robustft.config import Config
from robustft.doctor.doctor import examine
from robustft.doctor.findings import Report
from robustft.loading import make_config

KEY = "sk-canary-0123456789abcdef"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr("robustft.llm.openai.capabilities.user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr("robustft.doctor.wire._PAUSE", 0.01)


def config_of(url: str, llm: Changes | None = None, **more: Any) -> Config:
    return make_config({"llm": {"backend": "openai", "model": "m", "base_url": url} | (llm or {})} | more)


async def visited(endpoint: Endpoint, llm: Changes | None = None, **more: Any) -> Report:
    async with endpoint:
        return await examine(config_of(endpoint.url, llm, **more))


def files(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def worse(report: Report) -> set[str]:
    """Return the checks that aren't ok."""
    return {check for check, found in report.findings.items() if found.result != "ok"}


async def test_a_sane_endpoint_is_ok_throughout(tmp_path: Path) -> None:
    endpoint = Endpoint(headers=HEADERS, key=KEY)
    report = await visited(endpoint)
    assert worse(report) == set()
    assert len(report.findings) == 12
    assert report.obstacle is None
    assert report.findings["logprobs"].seen == "chat form, 20 alternatives a token"
    assert report.findings["reasoning"].seen == "none"
    assert report.findings["constraint"].seen == "response_format is honoured"
    assert "3000 words" in report.findings["long prompts"].seen
    assert "ratelimit-limit-requests 500" in report.findings["speed"].seen
    assert report.kept is not None
    assert (report.kept.length, report.kept.gives_logprobs, report.kept.gives_scores) == ("max_tokens", True, True)
    assert report.spent["requests"] == len(endpoint.seen) <= 20
    assert report.spent["prompt_tokens"] > 3000
    assert {path.suffix for path in files(tmp_path)} == {".json"}  # and so no ledger


REASONS = {"finish": "length", "message": {"content": "", "reasoning": "Hm."}}
FAULTY: dict[str, tuple[Changes, dict[str, tuple[str, str]]]] = {
    "no logprobs": ({"shape": "none"}, {"logprobs": ("degraded", "none")}),
    "null logprobs": ({"shape": "null"}, {"logprobs": ("degraded", "null")}),
    "empty logprobs": ({"shape": "empty"}, {"logprobs": ("degraded", "empty")}),
    "NaN logprobs": ({"shape": "nan"}, {"logprobs": ("degraded", "NaN at 1 of 2 tokens")}),
    "a null for a number": ({"shape": "null-number"}, {"logprobs": ("degraded", "null at 1 of 2 tokens")}),
    "logprobs of plain completions": (
        {"shape": "plain"},
        {"logprobs": ("degraded", "form of plain completions, 0 alternatives a token")},
    ),
    "refuses logprobs": ({"refused": ("logprobs",)}, {"logprobs": ("degraded", "refused")}),
    "few alternatives": ({"most_logprobs": 5}, {"logprobs": ("ok", "chat form, 5 alternatives a token")}),
    "no scores": ({"prompt_logprobs": False}, {"scoring": ("degraded", "no prompt_logprobs")}),
    "echo alone": (
        {"prompt_logprobs": False, "echoes": True},
        {"scoring": ("degraded", "no prompt_logprobs, only echo at /completions")},
    ),
    "ignores constraints": (
        {"constrains": ()},
        {"constraint": ("degraded", "structured_outputs ignored, response_format ignored, guided_choice ignored")},
    ),
    "refuses constraints": (
        {"refused": ("response_format", "structured_outputs", "guided_choice")},
        {"constraint": ("degraded", "structured_outputs refused, response_format refused, guided_choice refused")},
    ),
    "vLLM's constraint": (
        {"constrains": ("structured_outputs",)},
        {"constraint": ("ok", "structured_outputs is honoured")},
    ),
    "cuts long prompts": ({"reads": 1000}, {"long prompts": ("degraded", "1000 are read, and no error")}),
    "cuts them and counts all": (
        {"reads": 1000, "counts_all": True},
        {"long prompts": ("degraded", "is not read, and no error")},
    ),
    "says that they are too long": (
        {"stated": 900, "lists": False},
        {"long prompts": ("ok", "refuses 3000 words: 400")},
    ),
    "reasons in reasoning": ({"message": {"reasoning": "Hm."}}, {"reasoning": ("ok", "in the field reasoning")}),
    "reasons in reasoning_content": (
        {"message": {"reasoning_content": "Hm."}},
        {"reasoning": ("ok", "in the field reasoning_content")},
    ),
    "reasons in the text": ({"think": "<think>Hm.</think>{text}"}, {"reasoning": ("ok", "in the text, in <think>")}),
    "reasons between other marks": (
        {"think": "<thinking>Hm.</thinking>{text}"},
        {"reasoning": ("degraded", "reasoning stays in the text: <thinking>")},
    ),
    "ignores the length limit": ({"limits": False}, {"token limit": ("degraded", "ignored: wrote 200 tokens")}),
    "isn't deterministic": ({"steady": False}, {"determinism": ("degraded", "4 of 5 answers at temperature 0 differ")}),
    "refuses temperature 0": (
        {"refused": ("temperature",)},
        # a score is asked for at temperature 0
        {"scoring": ("degraded", "refuses"), "determinism": ("degraded", "temperature 0 is refused")},
    ),
    "ignores the temperature": ({"warm": False}, {"sampling": ("degraded", "3 equal answers at temperature 1")}),
    "lists no models": ({"lists": False}, {"model": ("ok", "the server lists no models")}),
    "an alias": (
        {"models": ("m", "mm"), "unlisted": ("m",)},
        {"model": ("degraded", "m is not listed; nearest: mm")},
    ),
    "cuts the answer": ({"finish": "length"}, {"answers": ("degraded", "finish length")}),
    "upstream fails": ({"faults": [status(502)]}, {}),
}


@pytest.mark.parametrize("name", FAULTY)
async def test_one_thing_that_is_wrong_is_recognised_and_nothing_else(name: str) -> None:
    changes, expected = FAULTY[name]
    report = await visited(Endpoint(**changes))
    for check, (result, seen) in expected.items():
        assert (report.findings[check].result, seen in report.findings[check].seen) == (result, True), report.findings
    assert worse(report) == {check for check, (result, _) in expected.items() if result != "ok"}
    assert report.obstacle is None


FATAL: dict[str, tuple[Changes, Changes, str, str]] = {
    "wrong key": ({"key": "another"}, {}, "answers: 401", "check the key in OPENAI_API_KEY"),
    "wrong model": ({"models": ("mistral", "qwen")}, {"model": "mistrall"}, "answers: 404", "set llm.model to mistral"),
    "HTML": (
        {"fault": raw(b"<html><h1>Welcome</h1></html>", content_type="text/html")},
        {},
        "no JSON but: Welcome",
        "does llm.base_url name the API",
    ),
    "empty choices": ({"fault": raw(b'{"choices": []}')}, {}, 'no chat completion but: {"choices": []}', "log"),
    "error with status 200": (
        {"fault": raw(b'{"error": {"message": "no upstream", "code": 502}}')},
        {},
        "502: no upstream",
        "look at the server's log",
    ),
    "no credit": ({"fault": status(402, message="no credit")}, {}, "402: no credit", "top up"),
    "redirects": (
        {"fault": status(307, {"Location": "https://other/v1"})},
        {},
        "redirects to https://other/v1",
        "put the final address into llm.base_url",
    ),
    "always busy": ({"fault": status(429, {"Retry-After": "0"})}, {}, "429: busy", "lower llm.concurrency"),
    "nothing but reasoning": (REASONS, {}, "no answer within 512 tokens of reasoning", "raise paper.max_tokens"),
    "empty answers": ({"message": {"content": None}}, {}, "an empty text (finish stop)", "chat template"),
    "no answer in time": ({"fault": server.silence}, {"timeout": 0.1}, "no answer within 0.1 s", "raise llm.timeout"),
    "broken connections": ({"fault": server.reset}, {}, "the connection broke", "log"),
}


@pytest.mark.parametrize("name", FATAL)
async def test_what_ends_a_run_is_said_with_the_way_out(name: str, tmp_path: Path) -> None:
    changes, llm, seen, way_out = FATAL[name]
    report = await visited(Endpoint(**changes), llm)
    assert report.obstacle is not None
    assert seen in report.obstacle
    assert way_out in report.obstacle
    assert "\n" not in report.obstacle
    assert list(report.findings)[-1] == "answers"
    assert report.file is None
    assert not (tmp_path / "cache").exists()


async def test_what_is_no_endpoint_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can come to answer
        report = await examine(config_of(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert "can't connect to 127.0.0.1" in str(report.obstacle)
    assert "start the server" in str(report.obstacle)
    report = await examine(config_of("http://nobody.invalid/v1"))
    assert "no host nobody.invalid is known" in str(report.obstacle)
    async with Endpoint() as endpoint:
        report = await examine(config_of(endpoint.url.replace("http:", "https:")))
        assert "speaks no TLS: write http://" in str(report.obstacle)
        for slip in (endpoint.url.removesuffix("/v1"), endpoint.url + "/chat/completions"):
            report = await examine(config_of(slip))
            assert f"set llm.base_url to {endpoint.url}, which answers" in str(report.obstacle)
        report = await examine(config_of(endpoint.url.removesuffix("/v1") + "/api/v2"))
        assert "does llm.base_url end in /v1?" in str(report.obstacle)


async def test_a_missing_key_is_told_from_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    report = await visited(Endpoint(key=KEY))
    assert "set OPENAI_API_KEY, which is not set" in str(report.obstacle)


async def test_slow_answers_and_busy_servers_degrade_the_speed() -> None:
    report = await visited(Endpoint(delay=0.2), {"timeout": 0.35})
    assert worse(report) == {"speed"}
    assert "raise llm.timeout" in report.findings["speed"].run
    report = await visited(Endpoint(faults=[status(429, {"Retry-After": "0"})]))
    assert worse(report) == {"speed"}
    assert "1 times 429 or 503" in report.findings["speed"].seen


@pytest.mark.parametrize(
    ("faulty", "sections", "check"),
    [
        ({"prompt_logprobs": False}, {"experts": ["likelihood"]}, "scoring: no prompt_logprobs: experts: likelihood"),
        ({"prompt_logprobs": False}, {"method": "paper", "paper": {"answers": "scored"}}, "paper.answers: scored"),
        ({"shape": "null"}, {"method": "paper"}, "logprobs: null: method: paper needs them"),
    ],
)
async def test_what_this_config_needs_and_is_missing_ends_it(faulty: Changes, sections: Changes, check: str) -> None:
    report = await visited(Endpoint(**faulty), **sections)
    assert check in str(report.obstacle)
    assert len(report.findings) == 12
    assert report.kept is not None


async def test_a_weak_model_is_judged_by_its_token_counts() -> None:
    assert worse(await visited(Endpoint(weak=True))) == set()
    assert worse(await visited(Endpoint(weak=True, reads=1000))) == {"long prompts"}
    # a context that is stated is kept to
    report = await visited(Endpoint(stated=1000))
    assert "are read from their beginning" in report.findings["long prompts"].seen
    assert "3000" not in report.findings["long prompts"].seen


async def test_seeds_are_tried_where_they_are_sent() -> None:
    report = await visited(Endpoint(), {"send_seed": True})
    assert report.findings["sampling"].seen == "temperature and seed are honoured"
    report = await visited(Endpoint(seeds=False), {"send_seed": True})
    assert worse(report) == {"sampling"}
    endpoint = Endpoint()
    await visited(endpoint)
    assert not any("seed" in wire.body for wire in endpoint.seen)


async def test_the_other_name_of_the_length_limit_is_learnt_with_one_request() -> None:
    endpoint = Endpoint(refused=("max_tokens",), most_logprobs=5)
    report = await visited(endpoint)
    assert report.findings["token limit"].seen == "max_completion_tokens is taken and kept"
    assert sum("max_tokens" in wire.body for wire in endpoint.seen) == 1
    assert report.kept is not None
    assert (report.kept.length, report.kept.takes_alternatives) == ("max_completion_tokens", 5)


async def test_the_key_is_nowhere(tmp_path: Path) -> None:
    echo = raw(f'{{"error": {{"message": "{"x" * 190}{KEY}"}}}}'.encode(), 400)
    headers = {"x-ratelimit-key": KEY, "Retry-After": f"{'y' * 20}{KEY}"}
    wrapped: Changes = {"think": KEY + "{text}", "headers": headers, "models": ("m", KEY), "unlisted": ("m",)}
    for endpoint in (Endpoint(**wrapped), Endpoint(key="another"), Endpoint(fault=echo)):
        report = await visited(endpoint)
        assert KEY[:12] not in str(report.as_json())
        assert any(KEY in wire.authorization for wire in endpoint.seen)
    (kept,) = files(tmp_path)
    assert KEY[:12] not in kept.read_text()


ODD: dict[str, Any] = {
    "logprobs of numbers": {"logprobs": {"content": [1, 2]}},
    "alternatives of numbers": {"logprobs": {"content": [{"token": "A", "logprob": -1, "top_logprobs": 3}]}},
    "a list for a message's reasoning": {"message": {"content": "Answer: B", "reasoning": [1]}},
}


@pytest.mark.parametrize("name", ODD)
async def test_a_reply_of_an_odd_form_ends_no_visit(name: str) -> None:
    choice = {"message": {"content": "Answer: B"}, "finish_reason": "stop"} | ODD[name]
    reply = json.dumps({"choices": [choice], "usage": {"completion_tokens_details": 3}}).encode()
    report = await visited(Endpoint(faults=[raw(reply)]))
    assert len(report.findings) == 12
    assert report.obstacle is None


async def test_what_was_not_found_out_is_not_held_against_an_endpoint() -> None:
    unasked = await visited(Endpoint(), {"top_logprobs": 0})
    assert unasked.kept is not None
    assert unasked.kept.gives_logprobs is None
    # after the question and the counting comes the score
    interrupted = await visited(Endpoint(faults=[None, None, *[status(500)] * 2]))
    assert interrupted.findings["scoring"].result == "degraded"
    assert interrupted.kept is not None
    assert interrupted.kept.gives_scores is None
