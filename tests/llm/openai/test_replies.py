"""Reading replies: what the many servers write, and that no shape of logprobs costs a completion."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.llm.client import Usage
from robustft.llm.openai.replies import (
    PromptToken,
    candidate_length,
    read_completion,
    read_logprobs,
    read_prompt,
    spells,
    split_reasoning,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "tokens", "token", "logprob", "token_logprobs", "top_logprobs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def reply(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish, **choice}]}


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "A"}, "A", ""),
        ({"content": None}, "", ""),
        ({}, "", ""),
        ({"content": "A", "reasoning": "so"}, "A", "so"),
        ({"content": "A", "reasoning_content": "so"}, "A", "so"),
        ({"content": None, "reasoning": None, "reasoning_content": "so"}, "", "so"),
        ({"content": "<think>so</think>\n\nA"}, "A", "so"),
        ({"content": "so</think>A"}, "A", "so"),
        ({"content": "<think>so far"}, "", "so far"),
        ({"content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}, "AB", ""),
    ],
)
def test_text_and_reasoning(message: dict[str, Any], text: str, reasoning: str) -> None:
    completion = read_completion(reply(message))
    assert (completion.text, completion.reasoning) == (text, reasoning)


@given(st.text())
def test_text_without_tags_stays(text: str) -> None:
    assert split_reasoning(text) == ("", text)


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_finish_is_the_servers_word(finish: str) -> None:
    assert read_completion(reply({"content": "A"}, finish)).finish == finish


def test_usage_may_be_missing() -> None:
    assert read_completion(reply({"content": "A"})).usage == Usage()
    counted = reply({"content": "A"}) | {"usage": {"prompt_tokens": 3, "completion_tokens": None}}
    assert read_completion(counted).usage == Usage(3, 0)


@pytest.mark.parametrize("broken", [{}, {"choices": []}, {"choices": None}, reply({"content": "A"}, "error")])
def test_what_is_no_reply_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        read_completion(broken)


def entry(token: str, logprob: float | None, *listed: tuple[str, float | None]) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "top_logprobs": [{"token": t, "logprob": p} for t, p in listed]}


def test_logprobs_and_alternatives() -> None:
    content = [entry("A", -0.5, ("A", -0.5), ("B", -1.0)), entry(".", -0.1, (".", -0.1))]
    assert read_logprobs({"content": content}) == (("A", "."), (-0.5, -0.1), ({"A": -0.5, "B": -1.0}, {".": -0.1}))


def test_plain_completions_form() -> None:
    given = {"tokens": ["A", "."], "token_logprobs": [-0.5, -0.1], "top_logprobs": [{"A": -0.5}, None]}
    assert read_logprobs(given) == (("A", "."), (-0.5, -0.1), ({"A": -0.5}, {}))


def test_a_missing_number_takes_all_numbers_along() -> None:
    for missing in (None, math.nan, -math.inf):
        tokens, logprobs, _ = read_logprobs({"content": [entry("A", -0.5), entry(".", missing)]})
        assert (tokens, logprobs) == (("A", "."), None)
    assert read_logprobs({"content": [{"token": "A"}]}) == (("A",), None, None)


def test_a_missing_alternative_goes_alone() -> None:
    content = [entry("A", -0.5, ("A", -0.5), ("B", None), ("C", math.nan))]
    assert read_logprobs({"content": content})[2] == ({"A": -0.5},)


def test_alternatives_that_read_the_same_add_up() -> None:
    content = [entry("A", -0.5, ("A", math.log(0.6)), ("�", math.log(0.2)), ("�", math.log(0.1)), ("�", None))]
    (found,) = read_logprobs({"content": content})[2] or ()
    assert found == pytest.approx({"A": math.log(0.6), "�": math.log(0.3)})


@given(JSON)
def test_no_shape_of_logprobs_costs_the_completion(shape: Any) -> None:
    completion = read_completion(reply({"content": "A"}, logprobs=shape))
    assert completion.text == "A"
    for numbers in (completion.logprobs, completion.top_logprobs):
        assert numbers is None or (completion.tokens is not None and len(numbers) == len(completion.tokens))
    assert completion.logprobs is None or all(map(math.isfinite, completion.logprobs))


def tokens(*texts: str) -> list[PromptToken]:
    return [PromptToken(text, -1.0) for text in texts]


@pytest.mark.parametrize(
    ("texts", "candidate", "length"),
    [
        (("<s>", "\n", "Par", "is"), "Paris", 2),
        (("<s>", "\n", " Paris"), "Paris", 1),  # the space before it is part of its first token
        (("<s>", "\n\n", "Paris"), "\nParis", 2),  # a token across the border
        (("<s>", "\n", "Paris"), " Paris\n", 1),  # a template that strips
        (("<s>", "\n", "", "", " 漢", "字"), " 漢字", 4),  # bytes held back until their character is whole
        (("<s>", "", "Paris"), "Paris", 1),  # a token without text that isn't such
        (("<s>", "\n", "\ufffd", "\ufffd", "字"), "漢字", None),
        (("London",), "Paris", None),
        (("s",), "Paris", None),
        (("<s>", " "), " ", 1),
    ],
)
def test_candidate_length(texts: tuple[str, ...], candidate: str, length: int | None) -> None:
    assert candidate_length(tokens(*texts), candidate) == length


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1), st.lists(st.text(min_size=1, max_size=3), min_size=1))
def test_a_candidate_cut_into_tokens_is_found_whole(header: list[str], pieces: list[str]) -> None:
    assert candidate_length(tokens(*header, *pieces), "".join(pieces)) == len(pieces)


@pytest.mark.parametrize(
    ("texts", "candidate", "possible"),
    [
        (("\ufffd", "\ufffd", "字"), "漢字", True),
        (("na", "\ufffd", "\ufffd", "ve"), "naïve", True),
        (("naive",), "na ive", True),
        (("\ufffd", "x"), "漢字", False),
        (("n", "\ufffd"), "字n", False),
    ],
)
def test_spells(texts: tuple[str, ...], candidate: str, possible: bool) -> None:
    assert spells(tokens(*texts), candidate) is possible


def test_prompt_tokens() -> None:
    positions = [None, {"7": {"logprob": -1.5, "rank": 9, "decoded_token": "A"}, "8": {"logprob": -0.1}}]
    assert read_prompt({"prompt_logprobs": positions}) == ([PromptToken("A", -1.5)], Usage())
    assert read_prompt(reply({"content": ""})) == (None, Usage())
    with pytest.raises(ValueError, match="prompt_logprobs"):
        read_prompt({"prompt_logprobs": [None, {"7": {"logprob": None, "decoded_token": "A"}}]})
