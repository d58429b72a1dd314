"""The scripted model: simulated experts with a set accuracy, for tests, load and benchmarks; it alone reads the truth.

Model: for row i, option k and view v (an expert's name) the logits are

    g * ((d_i + boost_v) [k is true] + sqrt(1 - m_v) base_ik + sqrt(m_v) fresh_ikv)

with d ~ N(mu, spread) the row's ease, base and fresh ~ N(0, 1), g the sharpness. What the model says is sampled from
their softmax, and its log-probabilities are those of the softmax; mu is solved for the direct vote's accuracy.
Views share `base`, so their mistakes are correlated. docs/scripted.md explains the choice.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from robustft.config import ScriptedConfig
from robustft.errors import ConfigError, ModelError
from robustft.llm.client import Completion, Sampling, Scores, Tag, Usage
from robustft.records import Example, Message
from robustft.tasks.options import letters
from robustft.tasks.task import Task, given

VIEWS: Mapping[str, tuple[float, float]] = {
    "direct": (0.0, 0.0),
    "reasoning": (0.1, 0.3),
    "context": (0.2, 0.3),
    "review": (0.2, 0.5),
}
"""(boost, share of fresh noise) of each view; any other name is a view of (0, 0.3)."""

MALFORMED = ("", "I am not sure.", "Answer:", "It could be one of several options.", "Let me think about it, first we")


@dataclass(frozen=True, slots=True)
class SimulatedRow:
    """What the scripted model knows of a row: its candidate values, the true one's index, and the given value."""

    candidates: tuple[str, ...]
    truth: int
    given: str | None = None


class ScriptedLLM:
    """Answers the experts of known rows; raises ModelError for a row that it doesn't know.

    The same seed, row, view and sample always give the same answer.
    """

    def __init__(self, config: ScriptedConfig, rows: Mapping[str, SimulatedRow]) -> None:
        self.config, self.rows = config, rows

    @property
    def identity(self) -> dict[str, object]:
        """What distinguishes its answers from another model's, for the ledger's key."""
        digest = hashlib.sha256(repr(sorted(self.rows.items())).encode()).hexdigest()[:16]
        return {"backend": "scripted", "rows": digest} | self.config.model_dump(exclude={"delay"})

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Answer as the tag's expert; temperature 0 takes the likeliest option, any other samples one."""
        row, tag = self._row(tag)
        rng = self._rng(tag, f"sample {sampling.sample}")
        await self._pause(rng)
        prompt_tokens = sum(len(m["content"]) for m in messages) // 4
        if rng.random() < self.config.malformed:
            text = str(rng.choice(MALFORMED))
            return Completion(text, finish="length" if text else "stop", usage=Usage(prompt_tokens, 8))
        logp = self._logp(row, tag)
        if tag.expert in {"agent", "self-select"}:
            wrong = 1.0 - _probability_of(row, logp, row.given)
            says_wrong = wrong > 0.5 if sampling.temperature == 0 else rng.random() < wrong
            word = "Y" if says_wrong else "N"
            return _spoken("Wrong", word, {"Y": wrong, "N": 1.0 - wrong}, sampling, prompt_tokens)
        p = np.exp(logp)
        vote = int(np.argmax(logp)) if sampling.temperature == 0 else _drawn(p, rng)
        probs = dict(zip(row.candidates, p.tolist(), strict=True))
        return _spoken("Answer", row.candidates[vote], probs, sampling, prompt_tokens)

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Score the row's options, in their order, as the tag's expert."""
        row, tag = self._row(tag)
        await self._pause(self._rng(tag, "score"))
        if len(candidates) != len(row.candidates):
            raise ModelError(
                f"scripted model: row '{tag.row}' has {len(row.candidates)} candidates, not {len(candidates)}"
            )
        usage = Usage(sum(len(m["content"]) for m in messages) // 4, 0)
        return Scores(tuple(self._logp(row, tag).tolist()), (1,) * len(candidates), usage)

    async def aclose(self) -> None:
        """Nothing to release."""

    def _row(self, tag: Tag | None) -> tuple[SimulatedRow, Tag]:
        if tag is None or tag.row not in self.rows:
            raise ModelError(f"scripted model: knows no row '{tag.row if tag else None}'; map `data.truth`")
        # a further sample of an expert is of the same opinion
        return self.rows[tag.row], Tag(tag.row, tag.expert.partition("/")[0])

    def _rng(self, tag: Tag, purpose: str) -> np.random.Generator:
        return _rng(self.config.seed, tag.row, tag.expert, purpose)

    async def _pause(self, rng: np.random.Generator) -> None:
        if self.config.delay:
            await asyncio.sleep(self.config.delay)
        if rng.random() < self.config.faults:
            raise ModelError("scripted model: an injected fault")

    def _logp(self, row: SimulatedRow, tag: Tag) -> np.ndarray:
        """Return log p of each candidate, shape (K,), nats."""
        k = len(row.candidates)
        if self.config.mode == "votes":
            return _independent_vote(self._rng(tag, "vote"), k, row.truth, self.config.accuracy)
        boost, fresh_share = VIEWS.get(tag.expert, (0.0, 0.3))
        shared = _rng(self.config.seed, tag.row, "", "row")
        ease = shared.normal(
            solve_mu(self.config.accuracy, self.config.spread, self.config.sharpness, k), self.config.spread
        )
        base, fresh = shared.standard_normal(k), self._rng(tag, "view").standard_normal(k)
        logits = np.sqrt(1 - fresh_share) * base + np.sqrt(fresh_share) * fresh
        logits[row.truth] += ease + boost
        logits *= self.config.sharpness
        logits -= logits.max()
        return np.asarray(logits - np.log(np.exp(logits).sum()))


@lru_cache(maxsize=256)
def solve_mu(accuracy: float, spread: float, sharpness: float, k: int) -> float:
    """Return the mean ease at which a direct vote among `k` options is right with probability `accuracy`.

    Raises ConfigError where no ease gives it.
    """
    rng = np.random.default_rng(0)
    ease, base = rng.standard_normal(20_000) * spread, rng.standard_normal((20_000, k))

    def excess(mu: float) -> float:
        logits = base.copy()
        logits[:, 0] += ease + mu
        return float(softmax(sharpness * logits, axis=1)[:, 0].mean()) - accuracy

    try:
        return float(brentq(excess, -30.0, 30.0, xtol=1e-4))
    except ValueError:
        raise ConfigError(f"llm.scripted.accuracy: {accuracy} is out of reach; choose one inside (0, 1)") from None


def _independent_vote(rng: np.random.Generator, k: int, truth: int, accuracy: float) -> np.ndarray:
    """Return log p of a view whose vote is right with probability `accuracy`, independently of all other views.

    The vote is already drawn: all but 1e-9 of the probability lies on it, however it is then sampled.
    """
    right = rng.random() < accuracy
    vote = truth if right else (truth + int(rng.integers(1, k))) % k
    # how sure it sounds varies, so that rows can be ranked, and tells nothing about being right
    logp = np.full(k, -21.0 - rng.random())
    logp[vote] = 0.0
    return np.asarray(log_softmax(logp))


def _probability_of(row: SimulatedRow, logp: np.ndarray, value: str | None) -> float:
    return float(np.exp(logp[row.candidates.index(value)])) if value in row.candidates else 0.0


def _spoken(label: str, value: str, probs: Mapping[str, float], sampling: Sampling, prompt_tokens: int) -> Completion:
    """Return 'LABEL: VALUE' with the log-probabilities that belong to it."""
    tokens = (label, ":", f" {value}")
    text, usage = "".join(tokens), Usage(prompt_tokens, len(tokens))
    if not sampling.top_logprobs:
        return Completion(text, usage=usage)
    floor = 1e-12
    at_answer = {f" {name}": math.log(max(p, floor)) for name, p in probs.items()}
    return Completion(
        text,
        tokens=tokens,
        logprobs=(0.0, 0.0, at_answer[f" {value}"]),
        top_logprobs=({label: 0.0}, {":": 0.0}, at_answer),
        usage=usage,
    )


def _drawn(p: np.ndarray, rng: np.random.Generator) -> int:
    """Draw an index by its probability, as `rng.choice` does, which takes ten times as long over its checks."""
    cumulated = p.cumsum()
    return int(np.searchsorted(cumulated / cumulated[-1], rng.random(), side="right"))


def _rng(seed: int, row: str, view: str, purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\x1f{row}\x1f{view}\x1f{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def simulated_rows(examples: Sequence[Example], task: Task, seed: int = 0) -> dict[str, SimulatedRow]:
    """Return what the scripted model needs of each row that has a truth.

    A row's candidates are its options' letters; for other tasks the truth and three other rows' truths. Of several
    accepted answers a model says one, so that the first stands for all.
    """
    truths = {e.id: task.label(e.truth, e.options) for e in examples if e.truth is not None}
    pool = sorted({value for value in truths.values() if value is not None})
    rows: dict[str, SimulatedRow] = {}
    for example in examples:
        truth = truths.get(example.id)
        if truth is None:
            continue
        label = given(example, task)
        values = letters(len(example.options)) or _distractors(truth, label, pool, task, seed, example.id)
        candidates = tuple(value.partition(" | ")[0] for value in values)
        own = next((i for i, value in enumerate(values) if label is not None and task.agree(value, label)), None)
        rows[example.id] = SimulatedRow(candidates, values.index(truth), None if own is None else candidates[own])
    return rows


def _distractors(truth: str, label: str | None, pool: Sequence[str], task: Task, seed: int, row: str) -> list[str]:
    """Return the truth, the given value where it is another one, and other rows' truths, four in all if there are."""
    rng = _rng(seed, row, "", "distractors")
    drawn = [pool[i] for i in rng.permutation(len(pool))[:8]]
    found = [truth]
    for value in ([label] if label is not None else []) + drawn:
        if len(found) < 4 and not any(task.agree(value, other) for other in found):
            found.append(value)
    return found
