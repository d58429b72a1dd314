"""The ledger's keys tell apart what was sent, and its values come back exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.errors import ModelError
from robustft.llm.client import Completion, Sampling, Scores, Usage
from robustft.llm.codec import decode_completion, decode_scores, encode, request_key
from robustft.records import Message

# a log p is at most 0, give or take rounding, and -inf for what is impossible
LOGPROB = st.floats(max_value=1.0, allow_nan=False)
COUNT = st.integers(0, 2**40)
USAGE = st.builds(Usage, COUNT, COUNT)
COMPLETION = st.builds(
    Completion,
    text=st.text(),
    tokens=st.none() | st.lists(st.text()).map(tuple),
    logprobs=st.none() | st.lists(LOGPROB).map(tuple),
    top_logprobs=st.none() | st.lists(st.dictionaries(st.text(), LOGPROB, max_size=4), max_size=4).map(tuple),
    reasoning=st.text(),
    finish=st.text(),
    usage=USAGE,
)
SCORES = st.builds(Scores, st.lists(LOGPROB).map(tuple), st.lists(COUNT).map(tuple), USAGE)


@given(COMPLETION)
def test_completions_come_back_exactly(completion: Completion) -> None:
    assert decode_completion(encode(completion)) == completion


@given(SCORES)
def test_scores_come_back_exactly(scores: Scores) -> None:
    assert decode_scores(encode(scores)) == scores


def test_any_mapping_may_hold_the_alternatives() -> None:
    completion = Completion("A", top_logprobs=(MappingProxyType({"A": -0.1}),))
    assert decode_completion(encode(completion)) == Completion("A", top_logprobs=({"A": -0.1},))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_log_p_that_is_no_number_is_refused(wrong: float) -> None:
    for value in (
        Completion("A", logprobs=(-1.0, wrong)),
        Completion("A", top_logprobs=({"A": -1.0}, {"B": wrong})),
        Scores((wrong,), (1,)),
    ):
        with pytest.raises(ModelError, match="no number"):
            encode(value)


@given(st.binary())
def test_damage_is_a_miss(data: bytes) -> None:
    assert decode_completion(data) is None
    assert decode_scores(data) is None


def test_one_kind_is_not_read_as_the_other() -> None:
    assert decode_completion(encode(Scores((-1.0,), (1,)))) is None
    assert decode_scores(encode(Completion("A"))) is None


IDENTITY = {"backend": "openai", "base_url": "http://h/v1", "model": "m", "extra_body": {}}
MESSAGES = [Message(role="system", content="Be brief."), Message(role="user", content="Which?")]


PLAIN = Sampling()


def key(
    identity: dict[str, Any] = IDENTITY,
    kind: str = "complete",
    messages: Sequence[Message] = MESSAGES,
    sampling: Sampling | None = PLAIN,
    candidates: Sequence[str] | None = None,
) -> str:
    return request_key(identity, kind, messages, sampling=sampling, candidates=candidates)


def test_keys_are_the_same_in_every_version() -> None:
    # a ledger outlives the code: whoever changes these throws away everybody's finished calls
    assert key() == "6f3577e35e0dd92330e6d14ba5be77c9c9a15943a1f38635c13bff0f658d55d9"
    assert (
        request_key(IDENTITY, "score", MESSAGES, candidates=("A", "B"))
        == "6ddcb6b4949c91cebf8c0feeb2cd28da679bd17fc1aa75b13e3861d237913fa2"
    )


def test_what_is_equal_has_one_key() -> None:
    shuffled = dict(reversed(IDENTITY.items()))
    assert key(shuffled) == key()
    assert key(messages=tuple(MESSAGES)) == key()
    assert key(messages=[Message(content=m["content"], role=m["role"]) for m in MESSAGES]) == key()
    assert key(sampling=Sampling(temperature=0)) == key()


def test_everything_that_is_sent_changes_the_key() -> None:
    changed: dict[str, Any] = {
        "temperature": 0.5,
        "max_tokens": 7,
        "top_p": 0.5,
        "top_logprobs": 5,
        "stop": ("\n",),
        "seed": 0,
        "sample": 1,
    }
    # a prefix is sent with choices alone
    assert {*changed, "prefix", "choices"} == {field.name for field in fields(Sampling)}
    keys = [key(sampling=replace(Sampling(), **{name: value})) for name, value in changed.items()]
    keys += [
        key(sampling=Sampling(prefix=begun, choices=c)) for begun in "xy" for c in (("A",), ("A", "B"), ("B", "A"))
    ]
    keys += [key(IDENTITY | {name: "other"}) for name in IDENTITY]
    keys += [key(messages=MESSAGES[:1]), key(messages=MESSAGES[::-1])]
    keys += [key(messages=[Message(role="user", content="Be brief."), MESSAGES[1]])]
    keys += [key(kind="score"), key(sampling=None, candidates=["A"]), key(sampling=None, candidates=["A", "B"])]
    keys += [key(sampling=None, candidates=["B", "A"]), key()]
    assert len(set(keys)) == len(keys)


@given(st.lists(st.text(), min_size=2, max_size=2), st.lists(st.text(), min_size=2, max_size=2))
def test_different_messages_have_different_keys(one: list[str], other: list[str]) -> None:
    keys = {key(messages=[Message(role="user", content=text) for text in texts]) for texts in (one, other)}
    assert len(keys) == (1 if one == other else 2)


def test_text_that_json_cannot_hold() -> None:
    with pytest.raises(ModelError, match="JSON"):
        key(messages=[Message(role="user", content="\ud83d")])
    with pytest.raises(ModelError, match="JSON"):
        key({"model": object()})
