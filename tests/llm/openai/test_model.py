"""Completions, scores and embeddings over a real connection to the test server."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from llm import server
from llm.server import ChatServer, raw, status
from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.client import Completion, Sampling, Usage
from robustft.llm.openai.model import OpenAIEmbedder, OpenAILLM
from robustft.llm.openai.pauses import Backoff
from robustft.llm.split import SplitScores
from robustft.records import Message

QUICK = Backoff(first=0.001, longest=0.004)
MESSAGES = [Message(role="system", content="Be brief."), Message(role="user", content="Which? é漢🙂")]


def open_llm(chat: ChatServer, **changes: Any) -> OpenAILLM:
    config = {"backend": "openai", "model": "m", "base_url": chat.url, "attempts": 3}
    return OpenAILLM.open(LLMConfig.model_validate(config | changes), QUICK)


async def complete(chat: ChatServer, sampling: Sampling, **changes: Any) -> Completion:
    llm = open_llm(chat, **changes)
    try:
        return await llm.complete(MESSAGES, sampling)
    finally:
        await llm.aclose()


async def test_a_request_and_its_reply() -> None:
    async with ChatServer(finish="length", message={"reasoning": "so"}) as chat:
        completion = await complete(chat, Sampling(max_tokens=9, top_logprobs=3), extra_body={"min_p": 0.1})
        assert chat.seen[0].body == {
            "model": "m",
            "messages": MESSAGES,
            "max_tokens": 9,
            "temperature": 0.0,
            "logprobs": True,
            "top_logprobs": 3,
            "min_p": 0.1,
        }
    assert completion.text == "Answer: A"
    assert completion.tokens == tuple("Answer: A")
    assert completion.logprobs == tuple(server.logprob(piece) for piece in "Answer: A")
    assert completion.top_logprobs is not None
    assert set(completion.top_logprobs[0]) == {"A", "A1", "A2"}
    assert (completion.reasoning, completion.finish) == ("so", "length")
    assert completion.usage == Usage(24, 9)


CHOICE = Sampling(1.0, 9, top_logprobs=3, prefix="Answer:", choices=(" A", " B"))


async def test_a_reply_is_held_to_choices_behind_a_prefix() -> None:
    async with ChatServer(
        answer=lambda body: body["structured_outputs"]["choice"][1], pieces=lambda text: [text]
    ) as chat:
        completion = await complete(chat, CHOICE)
        body = chat.seen[0].body
    assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": "Answer:"}]
    assert body["structured_outputs"] == {"choice": [" A", " B"]}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert (completion.text, completion.tokens) == ("Answer: B", ("Answer:", " B"))
    assert completion.logprobs == (0.0, server.logprob(" B"))
    assert completion.top_logprobs is not None
    assert [set(top) for top in completion.top_logprobs] == [set(), {" B", " B1", " B2"}]
    assert completion.usage.completion_tokens == 1


@pytest.mark.parametrize(
    "changes", [{"refused": ("structured_outputs",)}, {"refused": ("continue_final_message",)}, {}], ids=str
)
async def test_a_server_that_heeds_no_choices_is_asked_in_words_for_good(changes: Any) -> None:
    async with ChatServer(answer=lambda body: "I'd say B.", **changes) as chat:
        llm = open_llm(chat)
        said = [(await llm.complete(MESSAGES, CHOICE)).text for _ in range(3)]
        await llm.aclose()
        held = ["structured_outputs" in wire.body for wire in chat.seen]
    assert said == ["I'd say B."] * 3
    assert held == [True, False, False, False]
    assert chat.seen[1].body["messages"] == MESSAGES


async def test_a_prompt_that_is_refused_anyway_tells_nothing_of_choices() -> None:
    async with ChatServer(
        answer=lambda body: body["structured_outputs"]["choice"][0], faults=[status(400)] * 2
    ) as chat:
        llm = open_llm(chat)
        with pytest.raises(ModelError, match="refuses"):
            await llm.complete(MESSAGES, CHOICE)
        assert (await llm.complete(MESSAGES, CHOICE)).text == "Answer: A"
        await llm.aclose()


async def test_no_logprobs_are_asked_for_unless_wanted() -> None:
    async with ChatServer() as chat:
        completion = await complete(chat, Sampling())
        assert "logprobs" not in chat.seen[0].body
    assert (completion.tokens, completion.logprobs, completion.top_logprobs) == (None, None, None)


@pytest.mark.parametrize(
    ("shape", "tokens"), [("none", False), ("null", False), ("empty", False), ("nan", True), ("null-number", True)]
)
async def test_a_server_without_logprobs(shape: server.Shape, tokens: bool) -> None:
    async with ChatServer(shape=shape) as chat:
        completion = await complete(chat, Sampling(top_logprobs=1))
        assert chat.calls == 1
    assert completion.text == "Answer: A"
    assert completion.logprobs is None
    assert (completion.tokens is not None) is tokens


async def test_half_a_surrogate_pair_becomes_text_that_can_be_stored() -> None:
    async with ChatServer(faults=[raw(b'{"choices": [{"message": {"content": "A \\ud83d"}}]}')]) as chat:
        completion = await complete(chat, Sampling())
    assert completion.text == "A ?"


async def test_the_other_name_of_the_length_limit_is_learnt_for_good() -> None:
    async with ChatServer(refused=("max_tokens",)) as chat:
        llm = open_llm(chat)
        await llm.complete(MESSAGES, Sampling(max_tokens=9))
        await llm.complete(MESSAGES, Sampling(max_tokens=9))
        await llm.aclose()
        sent = [sorted({"max_tokens", "max_completion_tokens"} & set(wire.body)) for wire in chat.seen]
    assert sent == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


async def test_fewer_alternatives_are_learnt_for_good() -> None:
    async with ChatServer(most_logprobs=5) as chat:
        llm = open_llm(chat)
        for _ in range(2):
            completion = await llm.complete(MESSAGES, Sampling(top_logprobs=20))
            assert completion.top_logprobs is not None
            assert len(completion.top_logprobs[0]) == 5
        await llm.aclose()
        assert [wire.body["top_logprobs"] for wire in chat.seen] == [20, 5, 5]


@pytest.mark.parametrize(("refused", "calls"), [(("logprobs",), 3), (("top_logprobs", "logprobs"), 4)])
async def test_refused_logprobs_are_left_out_for_good(refused: tuple[str, ...], calls: int) -> None:
    async with ChatServer(refused=refused) as chat:
        llm = open_llm(chat)
        for _ in range(2):
            assert (await llm.complete(MESSAGES, Sampling(top_logprobs=20))).logprobs is None
        await llm.aclose()
        assert chat.calls == calls


async def test_a_refusal_that_names_logprobs_by_the_way_changes_nothing() -> None:
    echo = server.status(400, message='the prompt is too long: {"logprobs": true}')
    async with ChatServer(faults=[echo, echo]) as chat:
        llm = open_llm(chat)
        with pytest.raises(ModelError, match="too long"):
            await llm.complete(MESSAGES, Sampling(top_logprobs=2))
        refused = chat.calls
        assert (await llm.complete(MESSAGES, Sampling(top_logprobs=2))).logprobs is not None
        assert chat.calls == refused + 1
        await llm.aclose()


async def test_text_that_json_cannot_hold() -> None:
    async with ChatServer() as chat:
        llm = open_llm(chat)
        with pytest.raises(ModelError, match="JSON"):
            await llm.complete([Message(role="user", content="\ud83d")], Sampling())
        assert chat.calls == 0
        await llm.aclose()


async def test_identity_tells_models_and_endpoints_apart() -> None:
    config = LLMConfig(backend="openai", model="m", base_url="http://127.0.0.1:1/v1/", extra_body={"a": 1})
    assert OpenAILLM.open(config).identity == {
        "backend": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "model": "m",
        "extra_body": {"a": 1},
    }


CANDIDATES = ["Paris", " 漢字 🙂", "a"]


@pytest.mark.parametrize("pieces", [list, server.words, server.utf8, server.broken])
async def test_scores_are_the_sums_over_the_candidates_tokens(pieces: Any) -> None:
    async with ChatServer(pieces=pieces) as chat:
        llm = open_llm(chat)
        scores = await SplitScores(llm).score(MESSAGES, CANDIDATES)
        await llm.aclose()
        body = chat.seen[0].body
    assert body["messages"][:-1] == MESSAGES
    assert body["messages"][-1]["role"] == "assistant"
    assert (body["add_generation_prompt"], body["continue_final_message"], body["prompt_logprobs"]) == (False, True, 0)
    assert scores.tokens == tuple(len(pieces(candidate)) for candidate in CANDIDATES)
    assert scores.logprobs == tuple(
        math.fsum(server.logprob(piece) for piece in pieces(candidate)) for candidate in CANDIDATES
    )


@pytest.mark.parametrize("candidates", [[], ["a", "b"]])
async def test_a_request_scores_one_candidate(candidates: list[str]) -> None:
    async with ChatServer() as chat:
        llm = open_llm(chat)
        with pytest.raises(ValueError, match=f"one candidate a request, not {len(candidates)}"):
            await llm.score(MESSAGES, candidates)
        await llm.aclose()
        assert chat.calls == 0


async def test_candidates_go_out_at_once_within_the_limit() -> None:
    async with ChatServer(delay=0.02) as chat:
        llm = open_llm(chat, concurrency=3)
        await SplitScores(llm).score(MESSAGES, ["a", "b", "c", "d", "e"])
        await llm.aclose()
        assert (chat.calls, chat.most_flying) == (5, 3)


@pytest.mark.parametrize("changes", [{"prompt_logprobs": False}, {"refused": ("prompt_logprobs",)}])
async def test_a_server_that_cannot_score_says_what_to_do(changes: Any) -> None:
    async with ChatServer(**changes) as chat:
        llm = open_llm(chat)
        with pytest.raises(ModelError, match="leave 'likelihood' out of experts") as caught:
            await SplitScores(llm).score(MESSAGES, CANDIDATES)
        await llm.aclose()
    assert caught.value.fatal


async def test_one_failed_candidate_fails_the_score() -> None:
    async with ChatServer(faults=[None, server.status(400, message="too long")]) as chat:
        llm = open_llm(chat, concurrency=1)
        with pytest.raises(ModelError, match="too long") as caught:
            await SplitScores(llm).score(MESSAGES, CANDIDATES)
        assert not caught.value.fatal
        with pytest.raises(ModelError, match="empty candidate"):
            await SplitScores(llm).score(MESSAGES, ["a", ""])
        await llm.aclose()


async def test_a_template_that_rewrites_the_candidate_is_noticed() -> None:
    async with ChatServer(pieces=lambda text: [piece.upper() for piece in text]) as chat:
        llm = open_llm(chat)
        with pytest.raises(ModelError, match="can't find the candidate 'Paris'"):
            await llm.score(MESSAGES, ["Paris"])
        await llm.aclose()


def open_embedder(chat: ChatServer) -> OpenAIEmbedder:
    return OpenAIEmbedder.open(LLMConfig(backend="openai", base_url=chat.url, attempts=2), "m", QUICK)


async def test_embeddings_are_unit_rows_in_the_order_of_the_texts() -> None:
    texts = [f"text {n}" for n in range(300)]
    async with ChatServer() as chat:
        embedder = open_embedder(chat)
        rows = await embedder.embed(texts)
        await embedder.aclose()
        assert chat.calls == 3
    assert rows.shape == (300, 8)
    assert rows.dtype == np.float32
    expected = np.array([server.vector(text) for text in texts])
    assert np.allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


async def test_embeddings_of_nothing_and_of_a_server_that_has_none() -> None:
    async with ChatServer(fault=raw(b'{"data": [{"index": 0, "embedding": [0.0, 0.0]}]}')) as chat:
        embedder = open_embedder(chat)
        assert (await embedder.embed([])).shape[0] == 0
        with pytest.raises(ModelError, match="not of the expected form"):
            await embedder.embed(["a"])
        await embedder.aclose()
        assert chat.calls == 2
