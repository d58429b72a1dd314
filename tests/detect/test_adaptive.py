from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robustft.config import Config
from robustft.detect.adaptive import ask_until_sure
from robustft.detect.detect import make_panel
from robustft.errors import ConfigError
from robustft.fusion.fuse import Fused, fuse, pilot, whom_to_ask
from robustft.fusion.views import Rows, views_of
from robustft.llm.client import Completion, Sampling, Scores, Tag
from robustft.llm.scripted import ScriptedLLM, SimulatedRow, simulated_rows
from robustft.loading import make_config
from robustft.records import Answer, Example, Message
from robustft.tasks import make_task
from robustft.work import Work
from support import Notes

OPTIONS = ("negative", "neutral", "positive")


class Asked:
    """A model that keeps which call was made for which row and expert."""

    def __init__(self, inner: ScriptedLLM) -> None:
        self.inner = inner
        self.calls: list[tuple[str, str, int]] = []

    @property
    def identity(self) -> dict[str, object]:
        return self.inner.identity

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        assert tag is not None
        self.calls.append((tag.expert, tag.row, sampling.sample))
        return await self.inner.complete(messages, sampling, tag)

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        assert tag is not None
        self.calls.append((tag.expert, tag.row, 0))
        return await self.inner.score(messages, candidates, tag)

    async def aclose(self) -> None: ...

    def rows(self, expert: str) -> list[str]:
        return [row for name, row, _ in self.calls if name == expert]


class Clusters:
    """Embeds a question by the class that its last word names, and some noise."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        rng = np.random.default_rng(0)
        rows = np.array([np.eye(8)[int(text.split()[-1])] + 0.35 * rng.standard_normal(8) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    async def aclose(self) -> None: ...


def moods(n: int = 200, rate: float = 0.3) -> list[Example]:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=n)
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, 3, size=n)) % 3, truth)
    return [
        Example(f"r{i}", (Message(role="user", content=f"Note {i} of {t}"),), "ABC"[g], OPTIONS, "ABC"[t])
        for i, (t, g) in enumerate(zip(truth.tolist(), given.tolist(), strict=True))
    ]


def config(*experts: str, top_logprobs: int = 20, scripted: dict[str, Any] | None = None, **posterior: Any) -> Config:
    return make_config(
        {
            "task": {"instruction": "Mood?"},
            "method": "posterior",
            "experts": experts,
            "llm": {"backend": "scripted", "top_logprobs": top_logprobs, "scripted": scripted or {}},
            "posterior": {"noise": "symmetric", "pilot": 40} | posterior,
        }
    )


async def ask(
    examples: Sequence[Example], settings: Config, model: type[ScriptedLLM] = ScriptedLLM
) -> tuple[list[Answer], Fused, Asked, Notes]:
    task = make_task(settings.task)
    llm, notes = Asked(model(settings.llm.scripted, simulated_rows(examples, task))), Notes()

    async def open_llm() -> Asked:
        return llm

    async def open_embedder() -> Clusters:
        return Clusters()

    said, fused = await ask_until_sure(Work(examples, settings, task, open_llm, open_embedder, notes))
    return [answer for part in said for answer in part], fused, llm, notes


async def test_the_first_expert_is_asked_everything_and_the_next_the_pilot_and_the_undecided() -> None:
    examples, settings = moods(), config("direct", "reasoning", budget=1.4, scripted={"seed": 1})
    answers, fused, llm, _ = await ask(examples, settings)
    assert llm.rows("direct") == [example.id for example in examples]
    task = make_task(settings.task)
    before = fuse(views_of(Rows.of(examples, task), [answers[:200]], ("direct",), task), settings)
    wanted = whom_to_ask(before, settings)
    drawn = pilot(before.views, settings)
    in_turn = [*wanted[drawn[wanted]], *wanted[~drawn[wanted]]]
    assert llm.rows("reasoning") == [examples[row].id for row in in_turn]
    assert set(np.flatnonzero(drawn)) < set(wanted)
    assert before.choice.confidence[wanted[~drawn[wanted]]].max() < settings.target
    assert len(answers) == len(llm.calls) == 280 == 1.4 * 200
    assert fused.views.names == ("direct", "reasoning")
    assert len(fused.levels) == 2


class Guessing(ScriptedLLM):
    """Its reasoning knows nothing, and says so loudly."""

    def _logp(self, row: SimulatedRow, tag: Tag) -> np.ndarray:
        if tag.expert != "reasoning":
            return super()._logp(row, tag)
        logits = 2.0 * self._rng(tag, "guess").standard_normal(len(row.candidates))
        return np.asarray(logits - np.log(np.exp(logits).sum()))


async def test_an_expert_who_tells_the_pilot_nothing_is_asked_no_further() -> None:
    examples, settings = moods(1200), config("direct", "reasoning", pilot=300)
    drawn = pilot((await ask(examples, config("direct")))[1].views, settings)
    _, fused, llm, _ = await ask(examples, settings, Guessing)
    assert llm.rows("reasoning") == [examples[row].id for row in np.flatnonzero(drawn)]
    assert fused.identified
    _, _, able, _ = await ask(examples, settings)
    assert len(able.rows("reasoning")) > 300


async def test_nobody_else_is_asked_where_the_first_expert_settles_it() -> None:
    examples = moods(rate=0.0)
    _, fused, llm, _ = await ask(examples, config("direct", "reasoning", scripted={"accuracy": 0.97}))
    assert fused.choice.taken.all()
    assert len(llm.calls) == 200


async def test_the_probe_answers_every_row_and_asks_nobody() -> None:
    examples = moods()
    answers, fused, llm, notes = await ask(examples, config("probe"))
    assert llm.calls == []
    assert notes.lines == []
    assert [(a.id, a.expert) for a in answers] == [(e.id, "probe") for e in examples]
    for answer in answers:
        assert answer.probs is not None
        assert sum(answer.probs) == pytest.approx(1.0)
        assert answer.value == "ABC"[int(np.argmax(answer.probs))]
        assert answer.nll == pytest.approx(-np.log(max(answer.probs)))
    assert fused.identified
    truth = np.array(["ABC".index(e.truth or "") for e in examples])
    right = (fused.choice.answer == truth).mean()
    assert right > (fused.views.label == truth).mean() + 0.1


async def test_the_probe_is_left_out_where_options_differ_and_the_run_says_so() -> None:
    examples = moods(60)
    examples[7] = replace(examples[7], options=("bad", "fine", "good"))
    answers, fused, _, notes = await ask(examples, config("probe", "direct"))
    assert {answer.expert for answer in answers} == {"direct"}
    assert fused.views.names == ("direct",)
    assert notes.lines == ["the probe needs options that mean the same in every row, and these don't: left out"]


async def test_a_probe_alone_with_options_that_differ_is_one_clear_line() -> None:
    examples = moods(20)
    examples[7] = replace(examples[7], options=("bad", "fine", "good"))
    with pytest.raises(ConfigError, match=r"experts: probe .*; name likelihood, direct or reasoning") as caught:
        await ask(examples, config("probe"))
    assert "\n" not in str(caught.value)


async def test_samples_stand_for_log_probabilities_that_a_model_does_not_give() -> None:
    examples = moods(60)
    settings = config("direct", top_logprobs=0, scripted={"malformed": 0.1}, samples=3)
    answers, fused, llm, _ = await ask(examples, settings)
    silent = {a.id for a in answers if a.expert == "direct" and a.value is None}
    assert 0 < len(silent) < 20
    for name, sample in (("direct", 0), ("direct/2", 1), ("direct/3", 2)):
        rows = [e.id for e in examples if sample == 0 or e.id not in silent]
        assert [a.id for a in answers if a.expert == name] == rows
        assert [row for _, row, number in llm.calls if number == sample] == rows
    values = {(a.id, a.expert): a.value for a in answers}
    assert any(values[e.id, "direct"] != values[e.id, "direct/2"] for e in examples if e.id not in silent)
    assert fused.views.names == ("direct",)


@pytest.mark.parametrize("expert", ["direct", "likelihood"])
async def test_nothing_is_drawn_again_where_log_probabilities_are_there(expert: str) -> None:
    answers, _, llm, _ = await ask(moods(60), config(expert, samples=3))
    assert len(llm.calls) == len(answers) == 60
    assert {answer.expert for answer in answers} == {expert}


async def test_a_call_that_failed_is_an_abstention() -> None:
    examples = moods(100)
    answers, fused, _, _ = await ask(examples, config("direct", scripted={"faults": 0.1}))
    failed = np.array([answer.finish == "error" for answer in answers])
    assert 0 < failed.sum() < 30
    assert [answer.id for answer in answers] == [example.id for example in examples]
    assert fused.views.asked.all()
    assert (np.ptp(fused.views.logp[failed, 0], axis=1) == 0).all()
    assert (np.ptp(fused.views.logp[~failed, 0], axis=1) > 0).all()
    # the label is all that is known of such a row
    assert (fused.choice.answer[failed] == fused.views.label[failed]).all()


@pytest.mark.parametrize(
    ("method", "experts", "complaint"),
    [
        ("posterior", ["direct", "agent"], "experts: agent has no probabilities"),
        ("posterior", [], "experts: nobody answers; name probe"),
        ("posterior", ["context", "review"], "experts: nobody answers; name probe"),
        ("paper", ["direct", "probe"], "experts: probe: only method posterior"),
        ("self-label", ["direct", "review", "context"], "experts: context, review: only method posterior"),
    ],
)
def test_experts_that_a_method_cannot_ask_are_one_line(method: str, experts: list[str], complaint: str) -> None:
    settings = make_config({"method": method, "experts": experts})
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_panel(settings, make_task(settings.task))
    assert "\n" not in str(caught.value)
