"""A row's continuation is its own: the same alone and in any batch, drawn from the model's probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.local.tiny import VOCABULARY, naive_logits, tiny_model
from robustft.llm.client import Sampling
from robustft.llm.local import rows
from robustft.llm.local.decoding import Draw, Drawn, continued

FREE, WINDOWED = tiny_model(), tiny_model(sliding_window=4)
END = 1

prompts = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=12).map(tuple)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    max_tokens=st.integers(1, 12),
    top_p=st.sampled_from([1.0, 0.8]),
    top_logprobs=st.integers(0, 3),
)
batches = st.lists(st.builds(Draw, prompts, samplings, st.integers(0, 2**64 - 1)), min_size=1, max_size=6)


def run(draws: Sequence[Draw], model: Any = FREE, ends: frozenset[int] = frozenset({END})) -> list[Drawn]:
    return continued(model, draws, ends=ends, stopped=lambda draw, tokens: False, wanted=lambda index: True)


@settings(max_examples=15, deadline=None)
@given(batches, st.sampled_from([FREE, WINDOWED]), st.sampled_from([1, 256]))
def test_a_row_is_the_same_alone_and_in_a_batch(batch: list[Draw], model: Any, worth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_WORTH", worth)
        together = run(batch, model)
    for draw, drawn in zip(batch, together, strict=True):
        (alone,) = run([draw], model)
        assert drawn.tokens == alone.tokens
        assert drawn.logprobs == pytest.approx(alone.logprobs, abs=2e-3)
        assert drawn.finish == alone.finish


@settings(max_examples=15, deadline=None)
@given(batches)
def test_logprobs_are_the_models_own_at_temperature_one(batch: list[Draw]) -> None:
    for draw, drawn in zip(batch, run(batch), strict=True):
        logp = naive_logits(FREE, [*draw.prompt, *drawn.tokens]).log_softmax(-1)[len(draw.prompt) - 1 : -1]
        assert drawn.logprobs == pytest.approx([float(logp[i, t]) for i, t in enumerate(drawn.tokens)], abs=2e-3)
        for place, top in enumerate(drawn.top_logprobs):
            assert len(top) == draw.sampling.top_logprobs
            assert [value for _, value in top] == pytest.approx(logp[place].topk(len(top)).values.tolist(), abs=2e-3)


@settings(max_examples=15, deadline=None)
@given(batches)
def test_a_row_ends_at_its_end_token_or_its_limit(batch: list[Draw]) -> None:
    for draw, drawn in zip(batch, run(batch), strict=True):
        assert END not in drawn.tokens[:-1]
        assert len(drawn.tokens) <= draw.sampling.max_tokens
        assert drawn.finish == ("stop" if drawn.tokens[-1] == END else "length")
        if drawn.finish == "length":
            assert len(drawn.tokens) == draw.sampling.max_tokens


def test_temperature_zero_takes_the_likeliest_token() -> None:
    prompt = (5, 9, 14)
    (drawn,) = run([Draw(prompt, Sampling(max_tokens=6), 0)], ends=frozenset())
    for step, token in enumerate(drawn.tokens):
        assert token == int(naive_logits(FREE, [*prompt, *drawn.tokens[:step]])[-1].argmax())


def first_tokens(sampling: Sampling, draws: int) -> Counter[int]:
    batch = [Draw((5, 9, 14), sampling, seed) for seed in range(draws)]
    return Counter(drawn.tokens[0] for drawn in run(batch))


def test_samples_follow_the_probabilities_at_the_temperature() -> None:
    draws, temperature = 3000, 2.0
    counts = first_tokens(Sampling(temperature=temperature, max_tokens=1), draws)
    probs = (naive_logits(FREE, (5, 9, 14))[-1] / temperature).softmax(-1).double().numpy()
    share = np.array([counts[token] / draws for token in range(VOCABULARY)])
    # five standard errors of each share, and one draw
    assert np.all(np.abs(share - probs) <= 5 * np.sqrt(probs * (1 - probs) / draws) + 1 / draws)


def test_top_p_draws_from_the_smallest_set_that_reaches_it() -> None:
    probs = naive_logits(FREE, (5, 9, 14))[-1].softmax(-1)
    ordered = probs.sort(descending=True)
    size = int((ordered.values.cumsum(-1) < 0.7).sum()) + 1
    drawn = first_tokens(Sampling(temperature=1.0, top_p=0.7, max_tokens=1), 500)
    assert size < VOCABULARY
    assert set(drawn) == set(ordered.indices[:size].tolist())


def test_unwanted_rows_end_and_the_others_go_on() -> None:
    batch = [Draw((5, row), Sampling(max_tokens=8), 0) for row in range(2, 6)]
    drawn = continued(
        FREE, batch, ends=frozenset(), stopped=lambda draw, tokens: False, wanted=lambda index: index == 2
    )
    assert [len(row.tokens) for row in drawn] == [1, 1, 8, 1]
