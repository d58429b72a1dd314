"""Scores of a batch are those of each candidate alone, whatever else is in the batch and however rows share work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.local.tiny import VOCABULARY, naive_logp, tiny_model
from robustft.llm.local import candidates, rows
from robustft.llm.local.candidates import Question, grow, score
from robustft.llm.local.rows import free_layout, shared_length

FREE, WINDOWED = tiny_model(), tiny_model(sliding_window=4)

token = st.integers(0, VOCABULARY - 1)
texts = st.lists(st.lists(token, min_size=1, max_size=5).map(tuple), min_size=1, max_size=4).map(tuple)
prompts = st.lists(token, min_size=1, max_size=12).map(tuple)
batches = st.lists(st.builds(Question, prompts, texts), min_size=1, max_size=5)


def naive(model: object, batch: list[Question]) -> list[tuple[float, ...]]:
    return [tuple(naive_logp(model, q.prompt, candidate) for candidate in q.candidates) for q in batch]


def assert_close(found: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> None:
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(batches)
def test_trees_score_like_each_candidate_alone(batch: list[Question]) -> None:
    assert free_layout(FREE)
    assert_close(score(FREE, batch), naive(FREE, batch))


@settings(max_examples=15, deadline=None)
@given(batches)
def test_rows_score_like_each_candidate_alone_where_the_layout_is_not_free(batch: list[Question]) -> None:
    assert not free_layout(WINDOWED)
    assert_close(score(WINDOWED, batch), naive(WINDOWED, batch))


@settings(max_examples=15, deadline=None)
@given(batches, st.lists(token, min_size=1, max_size=20))
def test_a_shared_beginning_changes_no_score(batch: list[Question], beginning: list[int]) -> None:
    asked = [Question((*beginning, *question.prompt), question.candidates) for question in batch]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_WORTH", 1)
        assert_close(score(FREE, asked), naive(FREE, asked))


def test_a_batch_whose_logits_are_too_many_is_halved_and_scores_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [Question((3, row), ((4, 5, row), (4, 6))) for row in range(7)]
    whole = score(FREE, batch)
    monkeypatch.setattr(candidates, "_LOGITS", 2 * 3 * VOCABULARY)
    assert_close(score(FREE, batch), whole)


@given(texts)
def test_a_tree_holds_each_beginning_once_and_its_steps_spell_the_candidates(
    batch: tuple[tuple[int, ...], ...],
) -> None:
    tree = grow(batch)
    assert len(tree.tokens) == len({text[:end] for text in batch for end in range(1, len(text))})
    for text, steps in zip(batch, tree.steps, strict=True):
        assert tuple(token for _, token in steps) == text
        for depth, (place, _) in enumerate(steps[1:]):
            assert tree.tokens[place - 1] == text[depth]
            assert tree.depths[place - 1] == depth
            assert tree.parents[place - 1] == steps[depth][0]


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([(1,) * 300 + (2,), (1,) * 300 + (3,)], 300),
        ([(1,) * 300, (1,) * 300 + (3,)], 299),
        ([(1,) * 300], 0),
        ([(1,) * 100 + (2,), (1,) * 100 + (3,)], 0),
        ([(1,) * 100 + (n,) for n in range(4)], 100),
    ],
    ids=["pays", "last token is left", "alone", "too short for two", "long enough for four"],
)
def test_shared_length(prompts: list[tuple[int, ...]], length: int) -> None:
    assert shared_length(prompts) == length
