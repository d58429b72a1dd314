"""Candidate texts scored behind their prompt: one pass over a batch of rows gives log p of every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from robustft.llm.local.rows import free_layout, left_padded, prefilled, shared_length

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Steps = Sequence[tuple[int, int]]
"""The (place, token) pairs of one candidate: its log p is the sum of log p(token) as predicted at the place."""

_LOGITS = 1 << 28
"""Numbers that one pass may put into its logits (rows x places x vocabulary); larger batches are halved."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt's tokens and the tokens of each candidate that may follow it; no candidate is empty."""

    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Candidates merged where they begin alike; a node is a candidate's token that another one follows.

    Place 0 is the prompt's last token, place n + 1 is node n. `tokens`, `parents` (places, each before its node's
    own) and `depths` (0 right behind the prompt) have one entry a node, `steps` one a candidate.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    steps: tuple[Steps, ...]


def grow(candidates: Sequence[Sequence[int]]) -> Tree:
    """Merge candidates into a tree."""
    places: dict[tuple[int, int], int] = {}
    depths: list[int] = []
    steps = []
    for candidate in candidates:
        path = [0]
        for depth, token in enumerate(candidate[:-1]):
            if (path[-1], token) not in places:
                places[path[-1], token] = len(places) + 1
                depths.append(depth)
            path.append(places[path[-1], token])
        steps.append(tuple(zip(path, candidate, strict=True)))
    return Tree(tuple(token for _, token in places), tuple(parent for parent, _ in places), tuple(depths), tuple(steps))


def score(model: PreTrainedModel, questions: Sequence[Question]) -> list[tuple[float, ...]]:
    """Return log p of each question's candidates (nats, summed over their tokens), computed together.

    Where the model's layout is free, each prompt runs once, with its candidates as a tree behind it; other models
    run a row for every candidate.
    """
    import torch

    with torch.inference_mode():
        return _score_trees(model, questions) if free_layout(model) else _score_rows(model, questions)


def _score_trees(model: PreTrainedModel, questions: Sequence[Question]) -> list[tuple[float, ...]]:
    trees = [grow(question.candidates) for question in questions]
    places = 1 + max(len(tree.tokens) for tree in trees)
    if len(questions) > 1 and len(questions) * places * model.config.get_text_config().vocab_size > _LOGITS:
        half = len(questions) // 2
        return _score_trees(model, questions[:half]) + _score_trees(model, questions[half:])
    prompts = [question.prompt for question in questions]
    shared = shared_length(prompts)
    ids, positions, mask = _layout(model, [prompt[shared:] for prompt in prompts], trees, shared)
    cache = prefilled(model, prompts[0][:shared], len(questions)) if shared else None
    logits = model(
        ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=places,
    ).logits
    return _sums(logits, [tree.steps for tree in trees])


def _layout(
    model: PreTrainedModel, suffixes: Sequence[Sequence[int]], trees: Sequence[Tree], shared: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids (B, Q), position ids (B, Q) and the additive mask (B, 1, Q, shared + Q).

    A row is padding, then the prompt's suffix, then the tree's nodes: all suffixes end in one column, so that the
    places whose logits are needed are the last columns of every row.
    """
    import torch

    widest = max(len(suffix) for suffix in suffixes)
    width = widest + max(len(tree.tokens) for tree in trees)
    ids = torch.zeros(len(suffixes), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    # padding sees itself: softmax over no key at all is undefined
    sees = torch.eye(width, dtype=torch.bool).repeat(len(suffixes), 1, 1)
    for row, (suffix, tree) in enumerate(zip(suffixes, trees, strict=True)):
        start, end = widest - len(suffix), widest + len(tree.tokens)
        ids[row, start:end] = torch.tensor([*suffix, *tree.tokens])
        positions[row, start:end] = (
            torch.tensor([*range(len(suffix)), *(len(suffix) + d for d in tree.depths)]) + shared
        )
        sees[row, start:widest, start:widest] = torch.ones(len(suffix), len(suffix), dtype=torch.bool).tril()
        for node, parent in enumerate(tree.parents, start=widest):
            sees[row, node] |= sees[row, widest - 1 + parent]
    sees = torch.cat([torch.ones(len(suffixes), width, shared, dtype=torch.bool), sees], dim=-1)
    mask = torch.zeros(sees.shape, dtype=model.dtype).masked_fill_(~sees, torch.finfo(model.dtype).min)
    return ids.to(model.device), positions.to(model.device), mask[:, None].to(model.device)


def _score_rows(model: PreTrainedModel, questions: Sequence[Question]) -> list[tuple[float, ...]]:
    """Score the first candidate of every question, then the second, and so on, so that no batch outgrows the budget."""
    scores: list[tuple[float, ...]] = [() for _ in questions]
    for rank in range(max(len(question.candidates) for question in questions)):
        asked = [index for index, question in enumerate(questions) if rank < len(question.candidates)]
        candidates = [questions[index].candidates[rank] for index in asked]
        places = max(len(candidate) for candidate in candidates)
        rows = [[*questions[i].prompt, *candidate[:-1]] for i, candidate in zip(asked, candidates, strict=True)]
        ids, mask, positions = left_padded(rows, model.device)
        logits = model(ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=places).logits
        # a row's last place predicts its candidate's last token
        steps = [[list(enumerate(candidate, start=places - len(candidate)))] for candidate in candidates]
        for index, (logp,) in zip(asked, _sums(logits, steps), strict=True):
            scores[index] += (logp,)
    return scores


def _sums(logits: torch.Tensor, steps: Sequence[Sequence[Steps]]) -> list[tuple[float, ...]]:
    """Add up log p along the steps of each row's candidates; logits are (B, places, V)."""
    import torch

    flat = [(row, *step) for row, candidates in enumerate(steps) for path in candidates for step in path]
    rows, places, tokens = torch.tensor(flat, device=logits.device).T
    # row by row: the whole batch in float32 would need the memory of the logits once or twice more
    normalisers = torch.stack([torch.logsumexp(row.float(), dim=-1) for row in logits])
    logp = iter((logits[rows, places, tokens].float() - normalisers[rows, places]).tolist())
    return [tuple(sum(islice(logp, len(path))) for path in candidates) for candidates in steps]
