"""What is sent for a sampling, and what real servers' refusals teach."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import LLMConfig
from robustft.llm.client import Sampling
from robustft.llm.openai.capabilities import Capabilities
from robustft.llm.openai.dialect import Dialect

OTHER = Dialect(length="max_completion_tokens")


@pytest.mark.parametrize(
    ("said", "learned"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
            OTHER,
        ),
        ("'max_tokens' or 'max_completion_tokens' is too large: 3000. This model's maximum context is 2048", None),
        (
            "Requested sample logprobs of 20, which is greater than max allowed: 5 (parameter=logprobs)",
            Dialect(alternatives=5),
        ),
        ("Invalid value for 'top_logprobs': must be between 0 and 5, inclusive", Dialect(alternatives=5)),
        (
            '{"detail":[{"loc":["body","top_logprobs"],"msg":"Input should be less than or equal to 8"}]}',
            Dialect(alternatives=8),
        ),
        ("top_logprobs is not supported", Dialect(alternatives=0)),
        ("logprobs are not supported with gpt-4o-2024-11-20", Dialect(logprobs=False)),
        ("This model does not support logprobs", Dialect(logprobs=False)),
        ("prompt_logprobs is not supported", None),
        ("This model's maximum context length is 2048 tokens", None),
    ],
)
def test_lessons(said: str, learned: Dialect | None) -> None:
    assert Dialect().learn(said) == learned


@given(
    st.lists(st.sampled_from(["max_completion_tokens instead", "top_logprobs", "logprobs", "at most 5", " 3 ", "0"]))
)
def test_a_chain_of_refusals_ends(words: list[str]) -> None:
    dialect: Dialect | None = Dialect()
    for _ in range(25):
        dialect = dialect.learn(" ".join(words)) if dialect else None
    assert dialect is None


def test_the_users_choice_stays() -> None:
    chosen = Dialect.of(LLMConfig(token_parameter="max_tokens"))
    assert chosen.learn("'max_tokens' is not supported. Use 'max_completion_tokens' instead.") is None
    assert (
        Dialect.of(LLMConfig(token_parameter="max_completion_tokens")).ask(Sampling())["max_completion_tokens"] == 512
    )
    assert Dialect.of(LLMConfig()) == Dialect()


def test_what_is_sent() -> None:
    assert Dialect().ask(Sampling(max_tokens=7)) == {"max_tokens": 7, "temperature": 0.0}
    full = Sampling(temperature=1.0, max_tokens=7, top_p=0.9, top_logprobs=20, stop=("\n",), seed=5, sample=2)
    assert Dialect(alternatives=5, seeded=True).ask(full) == {
        "max_tokens": 7,
        "temperature": 1.0,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 5,
    }
    assert "seed" not in Dialect.of(LLMConfig()).ask(full)
    assert Dialect.of(LLMConfig(send_seed=True)).ask(full)["seed"] == 7
    assert "top_logprobs" not in Dialect(alternatives=0).ask(full)
    assert "logprobs" not in Dialect(logprobs=False).ask(full)


def test_a_recalled_name_is_given_up_once() -> None:
    known = Capabilities(endpoint="http://h/v1", model="m", found=date.today(), length="max_completion_tokens")
    recalled = Dialect.of(LLMConfig(), known)
    assert recalled.learn("'max_completion_tokens' is too large: 3000") is None
    plain = recalled.learn("Unrecognized request argument supplied: max_completion_tokens")
    assert plain == Dialect(fixed=True)
    assert plain.learn("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.") is None
