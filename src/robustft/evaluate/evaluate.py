"""The evaluate stage: the model before training and its adapters, asked about the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustft.config import Config, LLMConfig
from robustft.data.readers import read
from robustft.engine.local import Progress
from robustft.evaluate.accuracy import paired
from robustft.evaluate.held_out import (
    Question,
    check_overlap,
    context_data,
    make_questions,
    read_held_out,
    settings_of,
)
from robustft.evaluate.overlap import Overlap
from robustft.evaluate.scoring import Result, ask, figures, right
from robustft.llm.calls import Calls
from robustft.llm.models import Models
from robustft.records import TRAINED_ON, Decision, Example
from robustft.tasks.task import Task
from robustft.train.form import Form

BASE = "base"


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What models were trained on: the rows as `given`, those trained on with their `final` responses, their form."""

    given: Sequence[Example]
    final: Sequence[Example]
    form: Form

    @classmethod
    def of(cls, examples: Sequence[Example], decisions: Sequence[Decision], form: Form) -> Training:
        """Take the final responses from the decisions, which are aligned with the examples."""
        final = [
            replace(example, response=decision.response_final)
            for example, decision in zip(examples, decisions, strict=True)
            if decision.decision in TRAINED_ON
        ]
        return cls(examples, final, form)


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What every model is asked, how many of the rows are training rows too, and why others were `set_aside`."""

    questions: Sequence[Question]
    overlap: Overlap
    set_aside: Sequence[str]

    def facts(self) -> dict[str, Any]:
        """Return what is said of the rows beside the figures."""
        return {"overlap": self.overlap.facts(), "set_aside": list(self.set_aside)}


async def guard(config: Config, task: Task, given: Sequence[Example]) -> Overlap:
    """Return how many held-out rows are training rows too. Raises DataError where there are any, unless allowed."""
    async with _embedding(config, task) as opened:
        return await check_overlap(read_held_out(config, task).examples, given, config, opened.embedder)


async def prepare(config: Config, task: Task, training: Training) -> Sheet:
    """Return the held-out rows as they are asked. Raises RobustFTError, also as `guard` does."""
    held_out, pool = read_held_out(config, task), _pool(config, task, training)
    async with _embedding(config, task) as opened:
        overlap = await check_overlap(held_out.examples, training.given, config, opened.embedder)
        questions = await make_questions(held_out, pool, training.form, config, opened.embedder)
    return Sheet(questions, overlap, held_out.set_aside)


async def ask_model(
    name: str, llm: LLMConfig, sheet: Sheet, config: Config, task: Task, progress: Progress, calls: Calls | None = None
) -> list[Result]:
    """Ask a model, whose results carry `name`; `calls` counts what was asked. Raises RobustFTError."""
    asked = config.model_copy(update={"llm": llm})
    held_out = [question.example for question in sheet.questions]
    async with Models(asked, task, lambda: held_out, calls, progress.note) as opened:
        return await ask(sheet.questions, name, await opened.llm(), task, asked, progress)


def evaluation_facts(
    results: Mapping[str, Sequence[Result]], sheet: Sheet, task: Task, config: Config
) -> dict[str, Any]:
    """Return what metrics.json says: each model's figures, the differences to the base model, the rows' facts."""
    models = {name: figures(said, task, config) for name, said in results.items()}
    hits = {name: right(said, task, config.task.reading) for name, said in results.items()}
    differences = {name: paired(hits[BASE], hits[name]) for name in hits if name != BASE}
    return {"models": models, "differences": differences} | sheet.facts()


def models_of(config: Config, trained: str | None, own: Path | None) -> dict[str, LLMConfig]:
    """Return the models that the config wants evaluated, `base` first.

    `trained` names the model that is trained, `own` is the folder of the run's own adapter.
    """
    base = base_model(config, trained)
    adapters = dict(settings_of(config).adapters)
    if not adapters and own is not None and base.backend == "local":
        adapters = {"adapter": str(own)}
    return {BASE: base} | {name: with_adapter(base, adapter) for name, adapter in adapters.items()}


def base_model(config: Config, trained: str | None) -> LLMConfig:
    """Return the model before training: `evaluate.llm`, else the one that is `trained`, else the one that cleans."""
    if (own := settings_of(config).llm) is not None:
        return own
    if trained is None:
        return config.llm
    if config.llm.backend != "local":
        return LLMConfig(model=trained, trust_remote_code=config.trusts(trained))
    # what cleans may have an adapter of its own, which isn't trained further
    before = {"model": trained, "adapter": None, "trust_remote_code": config.trusts(trained)}
    return config.llm.model_copy(update=before)


def with_adapter(base: LLMConfig, adapter: str) -> LLMConfig:
    """Return the model with an adapter: its folder, or (at a server) the name under which it is served."""
    local = base.backend == "local"
    return base.model_copy(update={"adapter": Path(adapter)} if local else {"model": adapter})


def _embedding(config: Config, task: Task) -> Models:
    """Return the models with the first embedder alone: of several it has the say."""
    return Models(config.model_copy(update={"embedder": config.embedder[:1]}), task, list)


def _pool(config: Config, task: Task, training: Training) -> Sequence[Example]:
    """Return the rows among which neighbours are looked for: those with a response."""
    settings, elsewhere = settings_of(config), context_data(config)
    if settings.neighbours == 0:
        return []
    if elsewhere is not None:
        rows: Sequence[Example] = read(elsewhere, task).examples
    else:
        rows = training.given if settings.context == "noisy" else training.final
    return [example for example in rows if example.response is not None]
