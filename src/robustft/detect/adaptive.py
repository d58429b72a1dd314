"""Method posterior asks: the first expert about every row, each further one where it can change a decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from robustft.detect.experts import Expert, make_experts
from robustft.errors import ConfigError
from robustft.fusion.evidence import Evidence
from robustft.fusion.fitting import Priors
from robustft.fusion.fuse import Fused, fuse, whom_to_ask
from robustft.fusion.probe import partitions_of, with_probe
from robustft.fusion.views import PROBE, Views, views_of
from robustft.llm import asking
from robustft.records import Answer
from robustft.work import Work


async def ask_until_sure(work: Work) -> tuple[list[Answer], Fused]:
    """Ask the config's experts in turn, and fuse what they say; context and review belong to the relabel stage.

    Returns all answers, the probe's among them, and what is believed then. Raises ModelError when the model can't be
    reached at all, ConfigError when nobody can be asked.
    """
    config = work.config
    experts = make_experts(config, work.task)
    answers: list[Answer] = []
    everybody = np.arange(len(work.examples))
    if experts:
        answers += await _asked(experts[0], everybody, work)

    def seen() -> Views:
        return views_of(work.examples, answers, config.experts, work.task, work.reviewed)

    if PROBE in config.experts:
        answers += await _probe(seen(), work)
    fused = fuse(seen(), config)
    for expert in experts[1:]:
        rows = whom_to_ask(fused, config)
        if len(rows):
            answers += await _asked(expert, rows, work)
            fused = fuse(seen(), config)
    return answers, fused


async def _asked(expert: Expert, rows: NDArray[np.int64], work: Work) -> list[Answer]:
    """Ask one expert about some rows; more samples where an answer comes without any log-probabilities."""
    llm, config = await work.open_llm(), work.config
    chosen = [work.examples[row] for row in rows]

    async def ask(place: int) -> Answer:
        return await expert.answer(chosen[place], llm)

    answers = await asking.ask_all(expert.name, ask, chosen, config.llm.rows_at_once, work.progress)
    if expert.name == "likelihood" and config.likelihood.prior == "batch":
        answers = asking.batch_corrected(answers, chosen)
    blind = [example for example, answer in zip(chosen, answers, strict=True) if _gives_no_numbers(answer)]
    for number in range(2, config.posterior.samples + 1):
        again = expert.sampled(number - 1)

        async def ask_again(place: int, again: Expert = again) -> Answer:
            return await again.answer(blind[place], llm)

        if blind:
            name = f"{expert.name}/{number}"
            more = await asking.ask_all(name, ask_again, blind, config.llm.rows_at_once, work.progress)
            answers += [replace(answer, expert=name) for answer in more]
    return answers


def _gives_no_numbers(answer: Answer) -> bool:
    return answer.value is not None and answer.probs is None and answer.nll is None


async def _probe(views: Views, work: Work) -> list[Answer]:
    """Return the cross-fitted classifier's answers; none where options mean another thing in every row.

    Raises ConfigError where nobody else has answered then.
    """
    if not views.shared and not views.names:
        raise ConfigError(
            "experts: probe needs options that mean the same in every row, and these don't; "
            "name likelihood, direct or reasoning"
        )
    if not views.shared:
        work.progress.note("the probe needs options that mean the same in every row, and these don't: left out")
        return []
    examples, config = work.examples, work.config
    work.progress.start(PROBE, len(examples))
    embeddings = await (await work.open_embedder()).embed([example.asked for example in examples])
    evidence = views.evidence(range(len(views.names))) if views.names else _silence(views)
    priors = Priors(config.posterior.prior_accuracy)
    with threadpool_limits(1, "blas"):
        partitions = partitions_of(embeddings, config.seed)
        seen, _ = with_probe(evidence, embeddings, partitions, priors, config.posterior.noise)
    work.progress.advance(len(examples))
    work.progress.finish()
    return [asking.scored(example, PROBE, logp, 0) for example, logp in zip(examples, seen.logp[:, -1], strict=True)]


def _silence(views: Views) -> Evidence:
    """Return the evidence of an expert who always abstains: the labels are all that a probe alone has."""
    n, k = len(views.label), views.logp.shape[2]
    return Evidence(np.zeros((n, 1, k)), views.label, (0,), views.shared, views.reviewed)
