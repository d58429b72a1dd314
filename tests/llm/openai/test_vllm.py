"""The same client against a real vLLM server, when ROBUSTFT_TEST_VLLM names one that serves SmolLM2 in bfloat16."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.client import Sampling
from robustft.llm.openai.model import OpenAILLM
from robustft.llm.split import SplitScores
from robustft.records import Message

URL = os.environ.get("ROBUSTFT_TEST_VLLM")
MODEL = os.environ.get("ROBUSTFT_TEST_VLLM_MODEL", "smollm2")
FOLDER = Path(os.environ.get("ROBUSTFT_TEST_VLLM_FOLDER", "~/.cache/vllm-cpu/model")).expanduser()
pytestmark = pytest.mark.skipif(URL is None, reason="set ROBUSTFT_TEST_VLLM=http://127.0.0.1:8004/v1 to run")

MESSAGES = [Message(role="user", content="What is the capital of France? Answer with one word.")]
CANDIDATES = ["Paris", "London", "naïve 漢字🙂", "The capital of France is Paris."]


@pytest_asyncio.fixture
async def llm() -> AsyncIterator[OpenAILLM]:
    opened = OpenAILLM.open(LLMConfig(backend="openai", model=MODEL, base_url=URL))
    yield opened
    await opened.aclose()


async def test_a_completion_with_logprobs(llm: OpenAILLM) -> None:
    completion = await llm.complete(MESSAGES, Sampling(max_tokens=12, top_logprobs=20))
    assert completion.tokens is not None
    assert completion.logprobs is not None
    assert completion.top_logprobs is not None
    assert "".join(completion.tokens).startswith(completion.text)
    assert len(completion.tokens) == len(completion.logprobs) == len(completion.top_logprobs)
    for logprob, found in zip(completion.logprobs, completion.top_logprobs, strict=True):
        # greedy: the token is the likeliest of its alternatives, whose probabilities are at most 1 together
        assert logprob == pytest.approx(max(found.values()))
        assert sum(map(math.exp, found.values())) < 1.001
    assert completion.usage.completion_tokens == len(completion.tokens)


async def test_scores_are_those_of_transformers(llm: OpenAILLM) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not FOLDER.is_dir():
        pytest.skip(f"no model in {FOLDER}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16)
    header = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    first = len(tokenizer(header, add_special_tokens=False)["input_ids"])
    scores = await SplitScores(llm).score(MESSAGES, CANDIDATES)
    for candidate, logprob, length in zip(CANDIDATES, scores.logprobs, scores.tokens, strict=True):
        ids = torch.tensor([tokenizer(header + candidate, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            logp = model(ids).logits[0, :-1].float().log_softmax(-1)
        own = logp.gather(1, ids[0, 1:, None])[first - 1 :, 0]
        assert length == len(own)
        # bfloat16 has 8 bits: two right implementations differ by some hundredths of a nat a token
        assert logprob == pytest.approx(float(own.sum()), abs=0.1 * length)
    assert scores.logprobs[0] > scores.logprobs[1]


async def test_64_in_flight(llm: OpenAILLM) -> None:
    replies = await asyncio.gather(*(llm.complete(MESSAGES, Sampling(max_tokens=2, sample=n)) for n in range(64)))
    assert len({reply.text for reply in replies}) <= 3


async def test_a_prompt_that_is_too_long_fails_alone(llm: OpenAILLM) -> None:
    long = [Message(role="user", content="hello " * 5000)]
    for call in (llm.complete(long, Sampling(max_tokens=2)), SplitScores(llm).score(long, ["A", "B"])):
        with pytest.raises(ModelError, match="maximum context length") as caught:
            await call
        assert not caught.value.fatal


async def test_a_caller_that_leaves_frees_the_server(llm: OpenAILLM) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(llm.complete(MESSAGES, Sampling(max_tokens=1500, temperature=1.0)), 0.3)
    assert (await llm.complete(MESSAGES, Sampling(max_tokens=2))).usage.completion_tokens == 2


async def test_a_wrong_model_is_named_with_the_right_one() -> None:
    wrong = OpenAILLM.open(LLMConfig(backend="openai", model="nobody", base_url=URL))
    with pytest.raises(ModelError, match=f"has no model nobody; set llm.model to one of: {MODEL}") as caught:
        await wrong.complete(MESSAGES, Sampling())
    assert caught.value.fatal
    await wrong.aclose()
