from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.llm.asking import option_probs, read, scored, wrap
from robustft.llm.client import Completion
from robustft.prompts import Prompt
from robustft.records import Example, Message
from robustft.tasks import make_task

TASK = make_task(TaskConfig(kind="choice"))
MOODS = ("negative", "neutral", "positive")
EXAMPLE = Example("x", (Message(role="user", content="?"),), "A", MOODS)


def said(tokens: list[str], alternatives: Mapping[str, float], at: int = -1, finish: str = "stop") -> Completion:
    tops: list[Mapping[str, float]] = [{token: 0.0} for token in tokens]
    tops[at] = {token: math.log(p) for token, p in alternatives.items()}
    return Completion("".join(tokens), tuple(tokens), (-0.5,) * len(tokens), tuple(tops), finish=finish)


def probs_of(completion: Completion) -> tuple[tuple[float, ...], float] | tuple[None, None]:
    found = TASK.locate(completion.text, MOODS)
    assert found is not None
    return option_probs(completion, found, MOODS)


def test_letters_count_with_and_without_space_and_the_rest_is_mass_outside() -> None:
    probs, mass = probs_of(said(["Answer", ":", " B"], {" B": 0.5, "B": 0.1, " A": 0.2, " The": 0.2}))
    assert probs == pytest.approx((0.25, 0.75, 0.0))
    assert mass == pytest.approx(0.8)


def test_a_bracket_in_the_token_before_changes_nothing() -> None:
    probs, _ = probs_of(said(["Answer", ":", " (", "C", ")"], {"C": 0.9, "A": 0.1}, at=3))
    assert probs == pytest.approx((0.1, 0.0, 0.9))


def test_an_option_text_counts_by_its_unmistakable_beginning() -> None:
    probs, mass = probs_of(said(["Answer", ":", " positive"], {" positive": 0.6, " neg": 0.2, " ne": 0.1, " n": 0.1}))
    assert probs == pytest.approx((0.25, 0.0, 0.75))
    assert mass == pytest.approx(0.8)


def test_reasoning_before_the_text_shifts_the_tokens() -> None:
    completion = said(["hmm", " A", "\n", "Answer", ":", " C"], {" C": 1.0})
    only_text = Completion("Answer: C", completion.tokens, completion.logprobs, completion.top_logprobs, "hmm A")
    assert probs_of(only_text)[0] == pytest.approx((0.0, 0.0, 1.0))


def test_without_alternatives_there_are_no_probabilities() -> None:
    answer = read(Completion("Answer: B"), TASK, EXAMPLE, "direct")
    assert (answer.value, answer.probs, answer.mass, answer.nll) == ("B", None, None, None)


def test_reading_keeps_nll_usage_and_text() -> None:
    answer = read(said(["Answer", ":", " B"], {" B": 1.0}), TASK, EXAMPLE, "direct")
    assert (answer.value, answer.nll, answer.probs) == ("B", 0.5, (0.0, 1.0, 0.0))


def test_an_answer_at_the_cut_is_an_abstention() -> None:
    cut = said(["Answer", ":", " B"], {" B": 1.0}, finish="length")
    assert read(cut, TASK, EXAMPLE, "direct").value is None
    going_on = said(["Answer", ":", " B", "\n", "Because"], {" B": 1.0}, at=2, finish="length")
    assert read(going_on, TASK, EXAMPLE, "direct").value == "B"


@given(st.lists(st.floats(-60, 0), min_size=3, max_size=3), st.floats(-30, 30))
def test_scored_probabilities_sum_to_one_and_ignore_a_common_shift(logits: list[float], shift: float) -> None:
    answer = scored(EXAMPLE, "likelihood", np.array(logits), 0)
    moved = scored(EXAMPLE, "likelihood", np.array(logits) + shift, 0)
    assert answer.probs is not None
    assert sum(answer.probs) == pytest.approx(1.0)
    assert answer.probs == pytest.approx(moved.probs, abs=1e-9)
    assert answer.nll == pytest.approx(-math.log(max(answer.probs)), abs=1e-6)


def test_wrap_changes_the_last_turn_only() -> None:
    prompt = Prompt("direct", "<{question}>", frozenset({"question"}))
    messages = [Message(role="system", content="s"), Message(role="user", content="q")]
    assert wrap(messages, prompt) == [messages[0], Message(role="user", content="<q>")]
