"""The tuned view: the model itself, fine-tuned on what is believed of other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from robustft.config import Config, LLMConfig, TrainConfig
from robustft.data.train_rows import TrainRow
from robustft.errors import ConfigError
from robustft.fusion.fitting import Priors
from robustft.fusion.posterior import fit, posterior
from robustft.fusion.probe import folds_of, near_duplicates, partitions_of, with_probe
from robustft.fusion.target import likeliest
from robustft.fusion.views import PROBE, TUNED, Rows, Views, views_of
from robustft.llm import asking
from robustft.llm.client import LLM, Tag
from robustft.llm.models import Models
from robustft.records import Answer, Example
from robustft.store import Spool, Stored, Taken
from robustft.train.form import Form
from robustft.train.lora import train
from robustft.train.settings import settled
from robustft.work import Work


async def ask_tuned(work: Work, said: Sequence[Stored[Answer]], form: Form, folder: Path) -> Stored[Answer] | None:
    """Return what an adapter that was trained on the other folds says of each row.

    For each fold the likeliest answers of the others are trained on, weighted by how likely they are, told without the
    fold's own labels: what a row is told never saw its label. Near-duplicates share a fold. `said`: what the other
    experts said. Adapters stay in `folder`, one a fold; finished ones are not trained again. None where all rows are
    near-duplicates, so that there are no others. Raises RobustFTError.
    """
    config, examples = work.config, work.examples
    settings = tuned_settings(config)
    embeddings = await (await work.open_embedder()).embed([example.asked for example in examples])
    views = views_of(Rows.of(examples, work.task, work.reviewed), said, config.experts, work.task)
    fold = folds_of(near_duplicates(embeddings, seed=config.seed), config.tuned.folds, config.seed)
    if len(np.unique(fold)) == 1:
        return None
    parts = []
    for held in range(config.tuned.folds):
        work.progress.note(f"{TUNED}: fold {held + 1} of {config.tuned.folds}")
        others = np.flatnonzero(fold != held)
        answer, confidence = teachers(views, embeddings, others, config)
        rows, weights = list[TrainRow](), dict[str, float]()
        for example, option, weight in zip(Taken(examples, others), answer.tolist(), confidence.tolist(), strict=True):
            if example.options:
                rows.append(_train_row(example, option, form))
                weights[example.id] = weight
        train(rows, settings, folder / str(held), work.progress, weights)
        parts.append(await _score(work, np.flatnonzero(fold == held), form, settings, folder / str(held) / "adapter"))
    answers, heard = Spool(Answer, work.folder), [iter(part) for part in parts]
    for held in fold.tolist():
        answers.add(next(heard[held]))
    return answers.stored()


def teachers(
    views: Views, embeddings: NDArray[np.floating], rows: NDArray[np.int64], config: Config
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the likeliest answers (n,) of the `rows` and how likely they are, told from these rows alone.

    Who learns from labels as they are given, even weighted, learns the wrong ones too where a model is quick to fit.
    """
    evidence = views.of_llm().rows(rows)
    priors, noise = Priors(config.posterior.prior_accuracy), config.posterior.noise
    with threadpool_limits(1, "blas"):
        if PROBE in views.names:
            own = embeddings[rows]
            evidence, fusion = with_probe(evidence, own, partitions_of(own, config.seed), priors, noise)
        else:
            fusion = fit(evidence, priors, noise, config.seed)
        return likeliest(posterior(evidence, fusion), evidence.label)


async def _score(
    work: Work, places: NDArray[np.int64], form: Form, settings: TrainConfig, adapter: Path
) -> Stored[Answer]:
    """Let the adapter score the options of some rows, asked as it was trained."""
    config = work.config.model_copy(update={"llm": _with_adapter(work.config.llm, settings, adapter)})
    examples = Taken(work.examples, places)

    async def question(example: Example, llm: LLM) -> Answer:
        if not example.options:
            return asking.silent(example, TUNED)
        scores = await llm.score(form.ask(example), form.candidates(example), Tag(example.id, TUNED))
        return asking.scored(example, TUNED, np.array(scores.logprobs), scores.usage.prompt_tokens)

    async with Models(config, work.task, lambda: examples) as models:
        cluster = None if work.cluster is None else work.cluster.asking_of(config)
        asked = replace(work, config=config, open_llm=models.llm, cluster=cluster)
        (said,) = await asking.ask_all(TUNED, [TUNED], question, zip(examples), len(examples), asked)
        return said


def tuned_settings(config: Config) -> TrainConfig:
    """Return how the adapters are trained: as `train` says, but for what `tuned` names, and weighted.

    Raises ConfigError where nothing can be trained, or there are no options to score.
    """
    if config.task.kind != "choice":
        raise ConfigError(f"experts: tuned scores options, and a '{config.task.kind}' task has none; leave it out")
    own = {"epochs": config.tuned.epochs, "lr": config.tuned.lr, "weight": "confidence", "max_steps": None}
    return settled(config).model_copy(update=own)


def settings_key(config: Config) -> dict[str, Any]:
    """Return the keys of `train` on which what `tuned` says depends; nothing where it isn't asked."""
    if TUNED not in config.experts or config.train is None:
        return {}
    return config.train.model_dump(mode="json", exclude={"epochs", "lr", "weight", "max_steps", "checkpoint"})


def _with_adapter(llm: LLMConfig, settings: TrainConfig, adapter: Path) -> LLMConfig:
    """Return the model that was trained, in process, also where the experts are at a server."""
    own = {"model": settings.model, "adapter": adapter, "trust_remote_code": settings.trust_remote_code}
    return (llm if llm.backend == "local" else LLMConfig()).model_copy(update=own)


def _train_row(example: Example, option: int, form: Form) -> TrainRow:
    return TrainRow(example.id, form.ask(example), form.candidates(example)[option], None, example.source)
