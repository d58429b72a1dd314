"""Decoding: a batch of prompts continued token by token, each row with its own sampling, generator and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robustft.llm.client import Sampling
from robustft.llm.local.rows import free_layout, left_padded, prefilled, shared_length

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, PreTrainedModel

_LEAVE = 0.125
"""Share of a batch that must have ended before the rest moves together: moving copies the whole cache."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A prompt's tokens, how to continue it, and the seed of this row alone."""

    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int


@dataclass(slots=True, eq=False)
class Drawn:
    """What was drawn for one row: tokens (the end token included), log p of each, and the likeliest alternatives.

    Log-probabilities are the model's own (natural log, temperature 1), whatever the sampling, as vLLM and OpenAI
    return them. `finish` is 'stop' or 'length', and empty while the row goes on.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[list[tuple[int, float]]] = field(default_factory=list)
    finish: str = ""


@dataclass(slots=True, eq=False)
class _Row:
    """A row that is being drawn."""

    index: int
    draw: Draw
    rng: torch.Generator
    drawn: Drawn = field(default_factory=Drawn)


def continued(
    model: PreTrainedModel,
    draws: Sequence[Draw],
    *,
    ends: frozenset[int],
    stopped: Callable[[Draw, Sequence[int]], bool],
    wanted: Callable[[int], bool],
) -> list[Drawn]:
    """Continue each prompt until an end token, a stop string, its length limit, or until nobody wants it.

    `ends` are the tokens that end a turn, `stopped(draw, tokens)` says whether a stop string has appeared. A row's
    result depends on the others in the batch by numeric noise only.
    """
    import torch

    with torch.inference_mode():
        everyone = [_Row(i, draw, torch.Generator().manual_seed(draw.seed)) for i, draw in enumerate(draws)]
        batch = _Batch(model, everyone)
        while True:
            batch.take(_choose(batch.logits, batch.rows))
            for row in batch.rows:
                row.drawn.finish = row.drawn.finish or _finish(row, ends, stopped, wanted)
            if all(row.drawn.finish for row in batch.rows):
                return [row.drawn for row in everyone]
            batch.step()


class _Batch:
    """The rows still in the batch with their cache, mask, positions and the logits of their next tokens."""

    def __init__(self, model: PreTrainedModel, rows: list[_Row]) -> None:
        import torch

        prompts = [row.draw.prompt for row in rows]
        shared = shared_length(prompts) if free_layout(model) else 0
        padded = left_padded([prompt[shared:] for prompt in prompts], model.device)
        self.model, self.rows = model, rows
        self.cache: DynamicCache = prefilled(model, prompts[0][:shared], len(rows))
        self.mask = torch.cat([padded.mask.new_ones(len(rows), shared), padded.mask], dim=1)
        self.positions = padded.positions + shared
        self.logits = self._run(padded.ids)

    def take(self, chosen: Sequence[_Chosen]) -> None:
        """Append each row's next token; rows that have ended stay as they are."""
        for row, (token, logp, alternatives) in zip(self.rows, chosen, strict=True):
            if not row.drawn.finish:
                row.drawn.tokens.append(token)
                row.drawn.logprobs.append(logp)
                row.drawn.top_logprobs.append(alternatives)

    def step(self) -> None:
        """Let ended rows leave where it pays, and run the last tokens."""
        import torch

        live = [place for place, row in enumerate(self.rows) if not row.drawn.finish]
        if len(self.rows) - len(live) >= _LEAVE * len(self.rows):
            kept = torch.tensor(live, device=self.model.device)
            self.rows = [self.rows[place] for place in live]
            self.cache.batch_select_indices(kept)
            self.mask, self.positions = self.mask[kept], self.positions[kept]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        self.positions = self.positions[:, -1:] + 1
        self.logits = self._run(torch.tensor([[row.drawn.tokens[-1]] for row in self.rows], device=self.model.device))

    def _run(self, ids: torch.Tensor) -> torch.Tensor:
        """Run new tokens and return the logits behind the last one, float32 (B, V)."""
        logits: torch.Tensor = self.model(
            ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].float()


_Chosen = tuple[int, float, list[tuple[int, float]]]
"""A token, its log p, and the likeliest tokens with theirs."""


def _choose(logits: torch.Tensor, rows: Sequence[_Row]) -> list[_Chosen]:
    """Choose each row's next token from its logits (B, V)."""
    import torch

    tokens = logits.argmax(dim=-1)
    for place, row in enumerate(rows):
        if row.draw.sampling.temperature > 0:
            tokens[place] = _sample(logits[place], row.draw.sampling, row.rng)
    normalisers = torch.logsumexp(logits, dim=-1, keepdim=True)
    logp = (logits.gather(1, tokens[:, None]) - normalisers)[:, 0].tolist()
    widest = min(max(row.draw.sampling.top_logprobs for row in rows), logits.shape[-1])
    values, ids = logits.topk(widest, dim=-1)
    tops = zip(ids.tolist(), (values - normalisers).tolist(), strict=True)
    return [
        (token, value, list(zip(top_ids, top_values, strict=True))[: row.draw.sampling.top_logprobs])
        for token, value, (top_ids, top_values), row in zip(tokens.tolist(), logp, tops, rows, strict=True)
    ]


def _sample(logits: torch.Tensor, sampling: Sampling, rng: torch.Generator) -> int:
    """Draw a token at the sampling's temperature, from the nucleus of top_p.

    By the Gumbel-max trick: with the same generator, numeric noise in the logits changes the token only where two are
    level. Walking the cumulative probabilities would add the noise of 10^5 tokens up.
    """
    import torch

    scaled = logits / sampling.temperature
    if sampling.top_p < 1.0:
        ordered, ids = scaled.sort(descending=True)
        probs = ordered.softmax(dim=-1)
        # outside are the tokens before which the likelier ones reach top_p already
        scaled[ids[probs.cumsum(-1) - probs >= sampling.top_p]] = -torch.inf
    exponential = torch.empty(len(scaled)).exponential_(generator=rng).to(scaled.device)
    return int((scaled - exponential.log()).argmax())


def _finish(
    row: _Row, ends: frozenset[int], stopped: Callable[[Draw, Sequence[int]], bool], wanted: Callable[[int], bool]
) -> str:
    tokens = row.drawn.tokens
    if tokens[-1] in ends or stopped(row.draw, tokens):
        return "stop"
    return "length" if len(tokens) >= row.draw.sampling.max_tokens or not wanted(row.index) else ""
