"""The detect stage: every row to its experts, at once, then to the checker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

from robustft.config import Config
from robustft.detect.adaptive import ask_until_sure
from robustft.detect.checker import AGENT, SELF_SELECT, Judge, verdict
from robustft.detect.experts import Expert, make_experts
from robustft.errors import ConfigError, ModelError
from robustft.fusion.fuse import Fused
from robustft.fusion.verdicts import verdicts_of
from robustft.llm import asking
from robustft.llm.client import LLM
from robustft.records import Answer, Example, Verdict, by_row
from robustft.store import Stored
from robustft.tasks.task import Task
from robustft.work import Work


@dataclass(frozen=True, slots=True)
class Detected:
    """What the stage found: what each expert said, and the verdicts as they are asked for, both in the rows' order.

    `fused` is the posterior, where the method is that.
    """

    said: Sequence[Stored[Answer]]
    verdicts: Iterable[Verdict]
    fused: Fused | None = None


async def detect(work: Work) -> Detected:
    """Ask the experts that the method needs about every row, and judge its given response.

    A call that failed leaves an answer with finish 'error', an abstention. Raises ModelError when the model can't be
    reached at all.
    """
    examples, config, task = work.examples, work.config, work.task
    if config.method == "posterior":
        said, fused = await ask_until_sure(work)
        return Detected(said, verdicts_of(examples, said, fused), fused)
    panel = make_panel(config, task)
    said = await _ask(panel, work) if panel.names else []
    return Detected(said, (verdict(*row, task) for row in zip(examples, by_row(examples, said), strict=True)))


async def _ask(panel: Panel, work: Work) -> list[Stored[Answer]]:
    """Put every row to the panel; returns what each of its members said."""
    examples, config = work.examples, work.config
    said = await asking.ask_all("detect", panel.names, panel.answer, zip(examples), len(examples), work)
    if config.likelihood.prior == "batch" and "likelihood" in panel.names:
        place = panel.names.index("likelihood")
        said[place] = asking.batch_corrected(said[place], examples, work.folder)
    return said


@dataclass(frozen=True, slots=True)
class Panel:
    """Who answers a row: the experts at once, then the judge, who reads what they said."""

    experts: Sequence[Expert]
    judge: Judge | None

    @property
    def names(self) -> list[str]:
        """The names that the answers carry."""
        return [expert.name for expert in self.experts] + ([self.judge.name] if self.judge else [])

    async def answer(self, example: Example, llm: LLM) -> list[Answer]:
        """Return everybody's answer. Raises ModelError where every call failed, or one that is fatal."""
        answers = list(await asyncio.gather(*(_asked(e.name, example, e.answer(example, llm)) for e in self.experts)))
        if self.judge is not None and example.response is not None:
            answers.append(await _asked(self.judge.name, example, self.judge.answer(example, answers, llm)))
        if answers and all(answer.finish == "error" for answer in answers):
            raise ModelError(answers[0].text)
        return answers


def make_panel(config: Config, task: Task) -> Panel:
    """Return the panel of the config's method. Raises ConfigError for an expert or a prompt that doesn't fit."""
    sampling = asking.answer_sampling(config)
    if config.method == "none":
        return Panel([], None)
    if config.method == "self-select":
        return Panel([], Judge(task, sampling, SELF_SELECT.overridden(config.prompts.self_select), "self-select"))
    experts = make_experts(config, task)
    if config.method == "posterior" and not experts and "probe" not in config.experts:
        raise ConfigError("experts: nobody answers; name probe, likelihood, direct or reasoning")
    if config.method == "self-label":
        return Panel(experts[:1], None)
    agent = Judge(task, sampling, AGENT.overridden(config.prompts.agent), "agent")
    return Panel(experts, agent if "agent" in config.experts else None)


async def _asked(name: str, example: Example, call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except ModelError as error:
        if error.fatal:
            raise
        return asking.failed(example, name, error)
